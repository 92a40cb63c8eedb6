"""The watch stream: initial state, resumption, bookmarks, time limits, 410, transforms."""

import asyncio
import threading
from collections.abc import Iterator
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
