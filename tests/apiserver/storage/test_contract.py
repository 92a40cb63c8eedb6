"""What every backend promises, run against each of them (upstream: apiserver/pkg/storage/testing)."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from apiserver.storage.base import Backend, Change, Compacted, KeyExists, RevisionMismatch, StoreUnavailable, Watch
from tests.apiserver.storage.conftest import Opener

PODS = "/registry/pods/"


def take(watch: Watch, count: int) -> list[Change]:
    """The next `count` changes; a watchdog ends a watch that stays silent."""
    watchdog = threading.Timer(10, watch.close)
    watchdog.start()
    found: list[Change] = []
    try:
        while len(found) < count:
            found += next(watch)
    finally:
        watchdog.cancel()
    return found


def in_threads(count: int, work: Any) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_create_then_get(backend: Backend) -> None:
    before = backend.current_revision()
    assert before > 0, "revision 0 means 'any' to a client"
    revision = backend.create(PODS + "a", b"one")
    assert revision > before
    assert backend.get(PODS + "a") == (PODS + "a", b"one", revision, revision)
    assert backend.get(PODS + "b") is None
    assert backend.current_revision() == revision
    with pytest.raises(KeyExists):
        backend.create(PODS + "a", b"two")
    assert backend.current_revision() == revision, "a lost write leaves no trace"


def test_update_compares(backend: Backend) -> None:
    first = backend.create(PODS + "a", b"one")
    second = backend.update(PODS + "a", b"two", first)
    assert second > first
    assert backend.get(PODS + "a") == (PODS + "a", b"two", first, second)
    with pytest.raises(RevisionMismatch) as stale:
        backend.update(PODS + "a", b"three", first)
    assert stale.value.current == (PODS + "a", b"two", first, second)
    with pytest.raises(RevisionMismatch) as missing:
        backend.update(PODS + "b", b"x", first)
    assert missing.value.current is None


def test_delete_compares_and_has_a_revision(backend: Backend) -> None:
    first = backend.create(PODS + "a", b"one")
    with pytest.raises(RevisionMismatch):
        backend.delete(PODS + "a", first + 100)
    gone = backend.delete(PODS + "a", first)
    assert gone > first
    assert backend.get(PODS + "a") is None
    with pytest.raises(RevisionMismatch) as missing:
        backend.delete(PODS + "a", first)
    assert missing.value.current is None
    again = backend.create(PODS + "a", b"new")
    assert backend.get(PODS + "a") == (PODS + "a", b"new", again, again)


def test_list_pages_in_key_order_from_one_revision(backend: Backend) -> None:
    for name in ("c", "a", "e", "b", "d"):
        backend.create(PODS + name, name.encode())
    backend.create("/registry/podtemplates/x", b"not a pod")
    listing = backend.list(PODS)
    assert [item.value for item in listing.items] == [b"a", b"b", b"c", b"d", b"e"]
    assert (listing.revision, listing.remaining) == (backend.current_revision(), 0)
    first = backend.list(PODS, limit=2)
    assert ([item.value for item in first.items], first.remaining) == ([b"a", b"b"], 3)
    c = backend.get(PODS + "c")
    assert c is not None
    backend.delete(PODS + "c", c.mod_revision)
    backend.create(PODS + "bb", b"bb")
    second = backend.list(PODS, revision=first.revision, start_after=PODS + "b", limit=2)
    assert ([item.value for item in second.items], second.remaining) == ([b"c", b"d"], 1)
    assert second.revision == first.revision
    now = backend.list(PODS, start_after=PODS + "b")
    assert [item.value for item in now.items] == [b"bb", b"d", b"e"]
    assert backend.list(PODS + "a").items[0].value == b"a"
    assert backend.list("/registry/none/").items == []


def test_older_revisions_can_be_read_until_compacted(backend: Backend) -> None:
    first = backend.create(PODS + "a", b"one")
    second = backend.update(PODS + "a", b"two", first)
    third = backend.delete(PODS + "a", second)
    fourth = backend.create(PODS + "a", b"four")
    for revision, value in ((first, b"one"), (second, b"two"), (fourth, b"four")):
        old = backend.get(PODS + "a", revision)
        assert old is not None
        assert old.value == value
        assert [item.value for item in backend.list(PODS, revision=revision).items] == [value]
    assert backend.get(PODS + "a", third) is None
    assert backend.list(PODS, revision=third).items == []
    backend.compact(third)
    for revision in (first, second):
        with pytest.raises(Compacted) as gone:
            backend.list(PODS, revision=revision)
        assert gone.value.compact_revision == third
        with pytest.raises(Compacted):
            backend.get(PODS + "a", revision)
        with pytest.raises(Compacted):
            backend.watch(PODS, revision)
    assert backend.list(PODS, revision=third).items == []
    watch = backend.watch(PODS, third)
    assert take(watch, 1)[0][:3] == (fourth, PODS + "a", b"four")
    watch.close()
    backend.compact(first)  # to where it is compacted already: nothing happens
    backend.compact(fourth + 1_000_000)  # beyond the end: up to the end
    found = backend.get(PODS + "a")
    assert found is not None
    assert found.value == b"four"


def test_watch_delivers_history_then_what_happens(backend: Backend) -> None:
    first = backend.create(PODS + "a", b"one")
    second = backend.update(PODS + "a", b"two", first)
    watch, late = backend.watch(PODS, first - 1), backend.watch(PODS, second)
    third = backend.delete(PODS + "a", second)
    backend.create("/registry/podtemplates/x", b"not a pod")
    fourth = backend.create(PODS + "a", b"four")
    kept = (PODS + "a", b"two", first, second)
    expected = [
        Change(first, PODS + "a", b"one", None),
        Change(second, PODS + "a", b"two", (PODS + "a", b"one", first, first)),  # type: ignore[arg-type]
        Change(third, PODS + "a", None, kept),  # type: ignore[arg-type]
        Change(fourth, PODS + "a", b"four", None),
    ]
    assert take(watch, 4) == expected
    assert take(late, 2) == expected[2:]
    watch.close()
    with pytest.raises(StopIteration):
        next(watch)
    late.close()


def test_a_closed_watch_wakes_its_reader(backend: Backend) -> None:
    watch = backend.watch(PODS, backend.current_revision())
    threading.Timer(0.1, watch.close).start()
    assert list(watch) == []


def test_a_mark_moves_the_revision_and_no_object(backend: Backend) -> None:
    backend.create(PODS + "a", b"one")
    watch = backend.watch("/registry/", backend.current_revision())
    revision = backend.mark()
    assert take(watch, 1)[0].revision == revision == backend.current_revision()
    assert [item.key for item in backend.list(PODS).items] == [PODS + "a"]
    watch.close()


def test_of_racing_writers_exactly_one_wins(backend: Backend) -> None:
    """Each round every thread writes against the same revision; the winners' chain has no gap and no fork."""
    revision = backend.create(PODS + "a", b"0")
    for _ in range(10):
        won: list[int] = []
        lost: list[int] = []

        def write(number: int, at: int = revision, won: list[int] = won, lost: list[int] = lost) -> None:
            try:
                won.append(backend.update(PODS + "a", str(number).encode(), at))
            except RevisionMismatch:
                lost.append(number)

        in_threads(6, write)
        assert (len(won), len(lost)) == (1, 5)
        revision = won[0]


def test_a_failed_compare_fails_alone(backend: Backend) -> None:
    """Writers that lose share a commit with writers that win."""
    backend.create(PODS + "taken", b"x")
    outcomes: dict[int, bool] = {}

    def write(number: int) -> None:
        for step in range(20):
            if number % 2:
                backend.create(f"{PODS}{number}-{step}", b"x")
            else:
                with pytest.raises(KeyExists):
                    backend.create(PODS + "taken", b"y")
        outcomes[number] = True

    in_threads(8, write)
    assert sorted(outcomes) == list(range(8))
    assert len(backend.list(PODS).items) == 1 + 4 * 20


def test_watchers_started_under_load_miss_and_repeat_nothing(backend: Backend) -> None:
    start = backend.current_revision()
    stop = threading.Event()

    def write(number: int) -> None:
        for step in range(40):
            backend.create(f"{PODS}{number}-{step:03}", b"x")

    def watch_all() -> Iterator[Watch]:
        while not stop.is_set():
            yield backend.watch(PODS, start)
            stop.wait(0.01)

    watches: list[Watch] = []
    opening = threading.Thread(target=lambda: watches.extend(watch_all()))
    opening.start()
    in_threads(4, write)
    stop.set()
    opening.join()
    keys = {f"{PODS}{number}-{step:03}" for number in range(4) for step in range(40)}
    assert watches
    for watch in watches:
        changes = take(watch, len(keys))
        assert {change.key for change in changes} == keys
        revisions = [change.revision for change in changes]
        assert revisions == sorted(set(revisions))
        watch.close()


def test_reopening_shows_the_same_and_goes_on(opener: Opener) -> None:
    backend = opener()
    first = backend.create(PODS + "a", b"one")
    second = backend.update(PODS + "a", b"two", first)
    gone = backend.create(PODS + "b", b"x")
    last = backend.delete(PODS + "b", gone)
    backend.compact(last)
    backend.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        backend.create(PODS + "c", b"x")
    with pytest.raises(StoreUnavailable, match="closed"):
        backend.get(PODS + "a")
    again = opener()
    assert again.list(PODS).items == [(PODS + "a", b"two", first, second)]
    assert again.current_revision() >= last
    assert again.create(PODS + "c", b"x") > last, "a revision is never handed out twice"
    with pytest.raises(Compacted):
        again.list(PODS, revision=first)
    again.close()
