"""The watch cache on the embedded backend: reads, selectors, subscriptions, and what a restart shows."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apiserver.storage import subscription as fanout
from apiserver.storage.base import Compacted, KeyExists, RevisionMismatch
from apiserver.storage.cache import Store
from apiserver.storage.sqlite import SQLiteBackend
from apiserver.storage.subscription import Subscription, WatchEvent
from minikube_py.api.selectors import parse_fields, parse_labels
from minikube_py.api.types import Obj

PODS = "/registry/pods/"
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Thousands of commits: what a disk does with them is not the question there."""


def pod(name: str, namespace: str = "default", node: str = "", **labels: str) -> Obj:
    metadata: Obj = {"name": name, "namespace": namespace, "labels": labels}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {"nodeName": node}}


def key(name: str, namespace: str = "default") -> str:
    return f"{PODS}{namespace}/{name}"


def fields_of(plural: str, obj: Obj) -> dict[str, str]:
    return {"spec.nodeName": obj["spec"]["nodeName"]} if plural == "pods" else {}


def open_store(path: Path) -> Store:
    store = Store(SQLiteBackend(path), fields_of)
    store.start()
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "store.db")
    yield store
    store.close()


def names(items: list[Any]) -> list[str]:
    return [item.obj()["metadata"]["name"] for item in items]


async def read(subscription: Subscription, count: int) -> list[WatchEvent]:
    """The next `count` events."""
    events: list[WatchEvent] = []
    while len(events) < count:
        events += await asyncio.wait_for(anext(subscription), 5)
    return events


def shown(events: list[WatchEvent]) -> list[tuple[str, str]]:
    return [(event.type, event.stored.key.rpartition("/")[2]) for event in events]


def test_what_is_written_is_read_with_its_resource_version(store: Store) -> None:
    stored = store.create(key("a"), pod("a", app="web"))
    assert stored.obj()["metadata"]["resourceVersion"] == str(stored.revision) == str(store.revision)
    assert stored.raw.startswith(b'{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"')
    assert store.get(key("a")) is stored
    assert store.get(key("b")) is None
    newer = store.update(key("a"), stored.obj(), stored.revision)
    assert newer.revision > stored.revision
    assert newer.raw.count(b"resourceVersion") == 1
    gone = store.delete(key("a"), newer.revision)
    assert gone.revision == store.revision > newer.revision
    assert gone.obj()["metadata"]["resourceVersion"] == str(gone.revision)
    assert store.get(key("a")) is None


def test_a_text_that_looks_like_the_splice_point_is_left_alone(store: Store) -> None:
    tricky = pod("a") | {"data": {"text": '"metadata":{"resourceVersion":"1"'}, "kind": 'x"metadata":{'}
    stored = store.create(key("a"), tricky)
    read_back = stored.at_revision(77).obj()
    assert read_back["metadata"].pop("resourceVersion") == "77"
    assert read_back == tricky


def test_writes_that_lose_say_so(store: Store) -> None:
    first = store.create(key("a"), pod("a"))
    with pytest.raises(KeyExists):
        store.create(key("a"), pod("a"))
    store.update(key("a"), pod("a"), first.revision)
    with pytest.raises(RevisionMismatch):
        store.update(key("a"), pod("a"), first.revision)
    with pytest.raises(RevisionMismatch):
        store.delete(key("a"), first.revision)
    with pytest.raises(RevisionMismatch):
        store.update(key("none"), pod("none"), first.revision)


def test_lists_are_sorted_selected_and_bounded_by_their_prefix(store: Store) -> None:
    for namespace, name in (("b", "2"), ("a", "3"), ("ab", "1"), ("a", "1"), ("b", "1")):
        store.create(key(name, namespace), pod(name, namespace, node=f"n{name}", app=name))
    assert [item.key for item in store.list(PODS).items] == sorted(
        key(name, namespace) for namespace, name in (("b", "2"), ("a", "3"), ("ab", "1"), ("a", "1"), ("b", "1"))
    )
    assert names(store.list(f"{PODS}a/").items) == ["1", "3"]
    assert names(store.list(PODS, parse_labels("app in (2,3)")).items) == ["3", "2"]
    assert names(store.list(PODS, None, parse_fields("spec.nodeName=n1,metadata.namespace!=b")).items) == ["1", "1"]
    assert names(store.list(key("3", "a"), None, parse_fields("metadata.name=3")).items) == ["3"]
    assert store.list("/registry/nodes/").items == []
    assert store.sizes()["pods"] == 5
    assert store.changed(PODS) == store.revision


@pytest.mark.parametrize("remembered", [20_000, 0])
def test_a_continued_list_stays_at_its_revision(store: Store, remembered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the recent events in memory, and from the backend's log once they are forgotten."""
    monkeypatch.setattr("apiserver.storage.collection._MAX_EVENTS", remembered)
    for number in range(10):
        store.create(key(f"p{number}"), pod(f"p{number}", app="even" if number % 2 == 0 else "odd"))
    first = store.list(PODS, limit=4)
    assert (names(first.items), first.remaining, first.last_key) == (["p0", "p1", "p2", "p3"], 6, key("p3"))
    same = store.list(PODS, revision=first.revision, start_after=first.last_key, limit=4)
    victim = store.get(key("p5"))
    assert victim is not None
    store.delete(victim.key, victim.revision)
    store.create(key("p55"), pod("p55", app="odd"))
    past = store.list(PODS, revision=first.revision, start_after=first.last_key, limit=4)
    assert names(past.items) == names(same.items) == ["p4", "p5", "p6", "p7"]
    assert past.remaining == same.remaining == 2
    assert past.revision == first.revision
    last = store.list(PODS, revision=first.revision, start_after=past.last_key, limit=4)
    assert (names(last.items), last.remaining, last.last_key) == (["p8", "p9"], None, "")
    odd = store.list(PODS, parse_labels("app=odd"), revision=first.revision, limit=2)
    assert (names(odd.items), odd.remaining) == (["p1", "p3"], None)
    rest = store.list(PODS, parse_labels("app=odd"), revision=first.revision, start_after=odd.last_key)
    assert names(rest.items) == ["p5", "p7", "p9"]
    store.backend.compact(store.revision)
    if not remembered:
        with pytest.raises(Compacted):
            store.list(PODS, revision=first.revision, start_after=first.last_key)


STEPS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["put", "put", "drop"])), max_size=25)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS, st.integers(0, 25), st.sampled_from(["", "a", "c"]), st.integers(0, 4), st.booleans())
def test_the_past_from_memory_is_the_past_from_the_log(
    steps: list[tuple[str, str]], back: int, after: str, limit: int, odd: bool
) -> None:
    directory = TemporaryDirectory(dir=MEMORY)
    store = open_store(Path(directory.name) / "store.db")
    revisions = [store.create(key("z"), pod("z")).revision]
    for number, (name, action) in enumerate(steps):
        current = store.get(key(name))
        if action == "put" and current is None:
            store.create(key(name), pod(name, n=str(number % 2)))
        elif action == "put" and current is not None:
            store.update(key(name), pod(name, n=str(number % 2)), current.revision)
        elif current is not None:
            store.delete(key(name), current.revision)
        revisions.append(store.revision)
    revision = revisions[-1 - min(back, len(revisions) - 1)]
    labels = parse_labels("n=1") if odd else None
    start_after = key(after) if after else ""
    from_memory = store.list(PODS, labels, revision=revision, start_after=start_after, limit=limit)
    store._collections[PODS].floor = store._collections[PODS].changed = store.revision + 1
    from_log = store.list(PODS, labels, revision=revision, start_after=start_after, limit=limit)
    assert [item.raw for item in from_memory.items] == [item.raw for item in from_log.items]
    assert from_memory[1:] == from_log[1:]
    store.close()
    directory.cleanup()


def test_a_subscription_starts_with_the_state_or_resumes_from_a_revision(store: Store) -> None:
    created = store.create(key("a"), pod("a"))
    store.create("/registry/nodes/n", pod("n"))

    async def run() -> None:
        fresh, resumed = store.subscribe(PODS, None), store.subscribe(PODS, created.revision - 1)
        assert shown(fresh.initial) == [("ADDED", "a")]
        assert fresh.progress() == store.revision
        updated = store.update(key("a"), pod("a"), created.revision)
        store.create(key("b", "other"), pod("b", "other"))
        store.delete(key("a"), updated.revision)
        tail = [("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]
        assert shown(await read(fresh, 3)) == tail
        resumed_events = await read(resumed, 4)
        assert shown(resumed_events) == [("ADDED", "a"), *tail]
        deleted = resumed_events[-1].stored.obj()["metadata"]["resourceVersion"]
        assert deleted == str(store.revision)
        assert fresh.progress() == store.revision

    asyncio.run(run())


def test_starting_or_ceasing_to_match_is_an_addition_or_a_deletion(store: Store) -> None:
    async def run() -> None:
        by_label = store.subscribe(PODS, None, parse_labels("app=web"))
        by_field = store.subscribe(PODS, None, None, parse_fields("spec.nodeName=n1"))
        stored = store.create(key("a"), pod("a"))
        stored = store.update(key("a"), pod("a", node="n1", app="web"), stored.revision)
        stored = store.update(key("a"), pod("a", node="n1", app="web", x="y"), stored.revision)
        left = store.update(key("a"), pod("a", node="n2", app="db"), stored.revision)
        store.delete(key("a"), left.revision)
        last = store.create(key("z"), pod("z", node="n1", app="web"))
        for subscription in (by_label, by_field):
            events = await read(subscription, 4)
            assert shown(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "z")]
            gone = events[2].stored.obj()
            assert gone["metadata"]["labels"]["app"] == "web", "the last state that matched"
            assert gone["metadata"]["resourceVersion"] == str(left.revision)
            assert events[3].stored.revision == last.revision

    asyncio.run(run())


def test_an_event_is_encoded_once_for_all_watchers(store: Store) -> None:
    async def run() -> None:
        watchers = [store.subscribe(PODS, None) for _ in range(50)]
        store.create(key("a"), pod("a"))
        lines = [(await read(watcher, 1))[0].line for watcher in watchers]
        assert all(line is lines[0] for line in lines)
        assert lines[0].endswith(b"}\n")

    asyncio.run(run())


def test_a_watcher_that_does_not_read_is_cut_off_and_nobody_waits_for_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "MAX_BEHIND", 10)

    async def run() -> None:
        slow, good = store.subscribe(PODS, None), store.subscribe(PODS, None)
        for number in range(30):
            store.create(key(f"p{number:02}"), pod(f"p{number:02}"))
            assert shown(await read(good, 1)) == [("ADDED", f"p{number:02}")]
        assert slow.ended
        with pytest.raises(StopAsyncIteration):
            await anext(slow)
        resumed = store.subscribe(PODS, store.revision - 30)
        assert len(await read(resumed, 30)) == 30, "however much it missed, a resumed watch is not behind"

    asyncio.run(run())


def test_a_revision_older_than_what_is_remembered_is_compacted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apiserver.storage.collection._MAX_EVENTS", 5)
    revisions = [store.create(key(f"p{number}"), pod(f"p{number}")).revision for number in range(8)]

    async def run() -> None:
        with pytest.raises(Compacted):
            store.subscribe(PODS, revisions[0])
        assert len(await read(store.subscribe(PODS, revisions[2]), 5)) == 5

    asyncio.run(run())


def test_a_restart_shows_the_same_and_watches_resume_across_it(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.db")
    first = store.create(key("a"), pod("a"))
    store.update(key("a"), pod("a", app="x"), first.revision)
    store.create(key("b"), pod("b"))
    before = [item.raw for item in store.list(PODS).items]
    revision = store.revision
    store.close()
    store = open_store(tmp_path / "store.db")

    async def run() -> None:
        resumed = await read(store.subscribe(PODS, first.revision), 2)
        assert shown(resumed) == [("MODIFIED", "a"), ("ADDED", "b")]

    assert [item.raw for item in store.list(PODS).items] == before
    assert store.revision == revision
    asyncio.run(run())
    store.close()


def test_concurrent_writers_and_watchers_agree(store: Store) -> None:
    """Eight threads race on shared keys; a watcher that replays its events ends with exactly what a list shows."""

    def work(seed: int) -> None:
        for step in range(60):
            target = key(f"p{(seed * 7 + step) % 13}")
            current = store.get(target)
            try:
                if current is None:
                    store.create(target, pod(target))
                elif step % 5 == 0:
                    store.delete(target, current.revision)
                else:
                    store.update(target, pod(target, app=str(step)), current.revision)
            except (KeyExists, RevisionMismatch):
                continue

    async def run() -> None:
        subscription = store.subscribe(PODS, None)
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(None, work, seed) for seed in range(8)))
        seen: dict[str, bytes] = {}
        revisions: list[int] = []
        while subscription.progress() is None:
            for event in await anext(subscription):
                revisions.append(event.stored.revision)
                if event.type == "DELETED":
                    del seen[event.stored.key]
                else:
                    assert (event.stored.key in seen) == (event.type == "MODIFIED")
                    seen[event.stored.key] = event.stored.raw
        assert seen == {item.key: item.raw for item in store.list(PODS).items}
        assert revisions == sorted(set(revisions))

    asyncio.run(run())


def test_closing_ends_subscriptions(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.db")

    async def run() -> None:
        subscription = store.subscribe(PODS, None)
        threading.Thread(target=store.close).start()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(subscription), 5)

    asyncio.run(run())
