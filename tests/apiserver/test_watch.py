"""The watch stream: initial state, resumption, bookmarks, time limits, 410, transforms."""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from apiserver import watch
from apiserver.storage.cache import Store
from apiserver.storage.sqlite import SQLiteBackend
from apiserver.watch import WatchRequest, stream
from minikube_py.api.selectors import parse_labels
from minikube_py.api.types import Obj

CONFIG_MAPS = "/registry/configmaps/"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(SQLiteBackend(tmp_path / "store.db"), lambda plural, obj: {})
    store.start()
    yield store
    store.close()


def config_map(name: str, **labels: str) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "x", "labels": labels}}


def put(store: Store, name: str, **labels: str) -> int:
    return store.create(f"{CONFIG_MAPS}x/{name}", config_map(name, **labels)).revision


def request(**changes: Any) -> WatchRequest:
    return WatchRequest(**{"prefix": CONFIG_MAPS, "api_version": "v1", "kind": "ConfigMap", **changes})


def collect(store: Store, wanted: WatchRequest, count: int = 1000) -> list[Obj]:
    """The stream's first `count` lines, or all until it ends."""

    async def run() -> list[Obj]:
        lines: list[Obj] = []
        async for chunk in stream(store, wanted):
            assert chunk.endswith(b"\n")
            lines += [orjson.loads(line) for line in chunk.splitlines()]
            if len(lines) >= count:
                break
        return lines

    return asyncio.run(asyncio.wait_for(run(), 10))


def shown(lines: list[Obj]) -> list[tuple[str, str]]:
    return [(line["type"], line["object"]["metadata"].get("name", "")) for line in lines]


def test_without_a_revision_the_state_comes_first(store: Store) -> None:
    put(store, "a"), put(store, "b")
    for version in ("", "0"):
        lines = collect(store, request(resource_version=version, timeout_seconds=0.05))
        assert shown(lines) == [("ADDED", "a"), ("ADDED", "b")]
    quiet = collect(store, request(resource_version="", send_initial_events=False, timeout_seconds=0.05))
    assert quiet == []


def test_it_resumes_after_a_revision_and_selects(store: Store) -> None:
    first = put(store, "a")
    put(store, "b", app="x"), put(store, "c")
    assert shown(collect(store, request(resource_version=str(first)), 2)) == [("ADDED", "b"), ("ADDED", "c")]
    chosen = collect(store, request(resource_version=str(first), labels=parse_labels("app=x")), 1)
    assert shown(chosen) == [("ADDED", "b")]


def test_initial_events_end_with_a_bookmark(store: Store) -> None:
    put(store, "a")
    lines = collect(store, request(send_initial_events=True, bookmarks=True), 2)
    assert shown(lines) == [("ADDED", "a"), ("BOOKMARK", "")]
    end = lines[1]["object"]
    assert (end["kind"], end["apiVersion"]) == ("ConfigMap", "v1")
    assert end["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert end["metadata"]["resourceVersion"] == str(store.revision)


def test_bookmarks_follow_writes_elsewhere(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "BOOKMARK_SECONDS", 0.02)
    first = put(store, "a")

    async def run() -> Obj:
        chunks = stream(store, request(resource_version=str(first), bookmarks=True))
        reading = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0.05)
        assert not reading.done(), "nothing happened, so that there is nothing to say"
        store.create("/registry/secrets/x/s", config_map("s"))
        line: Obj = orjson.loads(await asyncio.wait_for(reading, 5))
        return line

    line = asyncio.run(run())
    assert line["type"] == "BOOKMARK"
    assert line["object"]["metadata"]["resourceVersion"] == str(store.revision)


def test_a_stream_that_is_never_quiet_ends_in_time(store: Store) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            put(store, f"p{number}")
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        lines = collect(store, request(timeout_seconds=0.2), count=10**9)
    finally:
        stop.set()
        writer.join()
    versions = [int(line["object"]["metadata"]["resourceVersion"]) for line in lines]
    assert versions
    assert versions == list(range(versions[0], versions[0] + len(versions)))


def test_a_revision_that_is_gone_is_one_error_event(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apiserver.storage.collection._MAX_EVENTS", 2)
    first = put(store, "a")
    for name in "bcdef":
        put(store, name)
    lines = collect(store, request(resource_version=str(first)))
    assert [line["type"] for line in lines] == ["ERROR"]
    status = lines[0]["object"]
    assert (status["code"], status["reason"]) == (410, "Expired")
    assert status["message"].startswith(f"too old resource version: {first} (")


def test_a_transform_shapes_every_line(store: Store) -> None:
    put(store, "a")
    lines = collect(store, request(transform=lambda event: b'{"type":"ADDED","object":{"metadata":{"name":"T"}}}\n'), 1)
    assert shown(lines) == [("ADDED", "T")]


def test_leaving_frees_the_subscription(store: Store) -> None:
    async def run() -> None:
        put(store, "a")
        chunks = stream(store, request())
        await anext(chunks)
        collection = store._collections[CONFIG_MAPS]
        assert len(collection.subscriptions) == 1
        await chunks.aclose()  # type: ignore[attr-defined]
        assert collection.subscriptions == []

    asyncio.run(run())


def test_what_is_pushed_past_the_stream_and_what_goes_through_it_keep_one_order(store: Store) -> None:
    """Watchers whose connection now takes a chunk at once and now does not, with selectors and without, see every event of
    theirs once and in order; those that see the same share the bytes."""
    sent: list[list[bytes]] = [[], [], [], []]
    pushed: list[bytes] = []
    draw, busy = random.Random(7), [True]

    def write_of(number: int) -> Callable[[bytes], bool]:
        def write(chunk: bytes) -> bool:
            if busy[0] and draw.random() < 0.3:
                return False
            sent[number].append(chunk)
            pushed.append(chunk)
            return True

        return write

    async def follow(number: int, **changes: Any) -> None:
        async for chunk in stream(store, request(resource_version="0", **changes), write_of(number)):
            sent[number].append(chunk)
            await asyncio.sleep(draw.random() / 500)  # a slow connection: more may come before it is asked again

    def writer() -> None:
        for number in range(150):
            put(store, f"o{number:03}", app="a" if number % 3 else "b")

    async def run() -> None:
        put(store, "first", app="a")
        only_b = {"labels": parse_labels("app=b")}
        wanted: list[dict[str, Any]] = [{}, {"prefix": f"{CONFIG_MAPS}x/"}, only_b, {"prefix": f"{CONFIG_MAPS}y/"}]
        tasks = [asyncio.ensure_future(follow(number, **asked)) for number, asked in enumerate(wanted)]
        await asyncio.sleep(0.01)
        await asyncio.to_thread(writer)
        while any(len(b"".join(got).splitlines()) < count for got, count in zip(sent, (151, 151, 50, 0), strict=True)):
            await asyncio.sleep(0.01)
        busy[0] = False
        await asyncio.sleep(0.05)  # by now every reader waits, and the next event needs none of them
        pushed.clear()
        await asyncio.to_thread(put, store, "last", app="a")
        while len(pushed) < 2:
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), 20))
    seen = [[name for _, name in shown([orjson.loads(x) for x in b"".join(got).splitlines()])] for got in sent]
    everything = [f"o{number:03}" for number in range(150)]
    assert seen == [["first", *everything, "last"], ["first", *everything, "last"], everything[::3], []]
