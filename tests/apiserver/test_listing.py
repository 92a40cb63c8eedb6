"""Lists: selectors, chunks that come from one revision, tokens that expire into others, resourceVersion semantics."""

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver import listing
from apiserver.main import fields_of
from apiserver.request import Query
from apiserver.resources import table
from apiserver.storage import open_backend
from apiserver.storage.cache import Store
from apiserver.storage.compactor import KEEP_SECONDS
from minikube_py.api.clock import FakeClock
from minikube_py.api.errors import Expired
from tests.apiserver.wire import Wire, config_map


def _names(answer: dict[str, Any]) -> list[str]:
    return [item["metadata"]["name"] for item in answer["items"]]


@pytest.fixture
def thirty(wire: Wire, maps: str) -> str:
    for index in range(30):
        made = config_map(f"m{index:02}")
        made["metadata"]["labels"] = {"third": str(index % 3), "app": "list"}
        wire.ok("POST", maps, made)
    return maps


def test_chunks_come_from_one_revision(wire: Wire, thirty: str) -> None:
    found, token, versions, remaining = [], "", set(), []
    while True:
        page = wire.ok("GET", thirty, limit=7, **({"continue_": token} if token else {}))
        found += _names(page)
        versions.add(page["metadata"]["resourceVersion"])
        remaining.append(page["metadata"].get("remainingItemCount"))
        wire.ok("POST", thirty, config_map(f"late-{len(found)}"))
        token = page["metadata"].get("continue", "")
        if not token:
            break
    assert found == [f"m{index:02}" for index in range(30)]
    assert len(versions) == 1
    assert remaining == [23, 16, 9, 2, None]
    assert len(_names(wire.ok("GET", thirty))) == 35


def test_a_continued_list_takes_no_resource_version(wire: Wire, thirty: str) -> None:
    token = wire.ok("GET", thirty, limit=5)["metadata"]["continue"]
    answer = wire("GET", thirty, limit=5, continue_=token, resourceVersion="5")
    assert (answer.status, answer.reason) == (400, "BadRequest")


def test_selectors(wire: Wire, thirty: str) -> None:
    assert len(_names(wire.ok("GET", thirty, labelSelector="third=1"))) == 10
    assert len(_names(wire.ok("GET", thirty, labelSelector="third in (0,2),app=list"))) == 20
    assert len(_names(wire.ok("GET", thirty, labelSelector="third notin (0)"))) == 20
    assert _names(wire.ok("GET", thirty, labelSelector="!app")) == []
    assert _names(wire.ok("GET", thirty, fieldSelector="metadata.name=m07")) == ["m07"]
    assert len(_names(wire.ok("GET", thirty, fieldSelector="metadata.name!=m07"))) == 29
    page = wire.ok("GET", thirty, labelSelector="third=1", limit=4)
    assert _names(page) == ["m01", "m04", "m07", "m10"]
    assert "remainingItemCount" not in page["metadata"]


def test_a_list_has_the_stores_revision(wire: Wire, thirty: str) -> None:
    first = int(wire.ok("GET", thirty)["metadata"]["resourceVersion"])
    elsewhere = wire.ok("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"generateName": "tick-"}})
    second = int(wire.ok("GET", thirty)["metadata"]["resourceVersion"])
    assert second >= int(elsewhere["metadata"]["resourceVersion"]) > first
    wire.ok("DELETE", f"/api/v1/namespaces/default/secrets/{elsewhere['metadata']['name']}")


def test_resource_version_match(wire: Wire, thirty: str) -> None:
    then = wire.ok("GET", thirty)["metadata"]["resourceVersion"]
    wire.ok("POST", thirty, config_map("later"))
    exact = wire.ok("GET", thirty, resourceVersion=then, resourceVersionMatch="Exact")
    assert (len(exact["items"]), exact["metadata"]["resourceVersion"]) == (30, then)
    newer = wire.ok("GET", thirty, resourceVersion=then, resourceVersionMatch="NotOlderThan")
    assert len(newer["items"]) == 31
    assert len(wire.ok("GET", thirty, resourceVersion="0")["items"]) == 31
    assert len(wire.ok("GET", thirty, resourceVersion=then, limit=500)["items"]) == 30


def test_concurrent_writers_and_a_lister(wire: Wire, maps: str) -> None:
    """Each list is a prefix of history: what a writer created before it created the next is there too."""

    def write(worker: int) -> None:
        for index in range(25):
            wire.ok("POST", maps, config_map(f"w{worker}-{index:02}"))

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        names = _names(wire.ok("GET", maps))
        for worker in range(4):
            mine = sorted(name for name in names if name.startswith(f"w{worker}-"))
            assert mine == [f"w{worker}-{index:02}" for index in range(len(mine))]
    assert len(_names(wire.ok("GET", maps))) == 100


@given(revision=st.integers(0, 2**53), start=st.text(st.characters(codec="utf-8", exclude_characters="\0.")))
def test_tokens_round_trip(revision: int, start: str) -> None:
    prefix = "/registry/pods/"
    token = listing._encode(revision, start)
    assert listing._decode(token, prefix) == (revision, prefix + start)


@given(token=st.text())
def test_no_token_breaks_the_server(token: str) -> None:
    from minikube_py.api.errors import BadRequest

    try:
        revision, start = listing._decode(token, "/registry/pods/")
    except BadRequest:
        return
    assert revision >= 0
    assert start.startswith("/registry/pods/")


def test_a_token_expires_into_one_that_goes_on(tmp_path: Path) -> None:
    """Even when nothing in the collection has changed: what is listed must be from a revision that is kept."""
    store = Store(open_backend("sqlite", str(tmp_path), ""), fields_of)
    store.start()
    try:
        row = table.get("", "podtemplates")
        for index in range(10):
            metadata = {"name": f"t{index}", "namespace": "n"}
            store.create(row.key("n", f"t{index}"), {"apiVersion": "v1", "kind": "PodTemplate", "metadata": metadata})
        everything = listing.Selection(None, None)
        first = listing.run(store, row, "n", Query("limit=4"), everything)
        store.create("/registry/configmaps/n/x", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})
        _compact(store)
        with pytest.raises(Expired) as caught:
            listing.run(store, row, "n", Query(f"limit=4&continue={first.token}"), everything)
        token = caught.value.metadata["continue"]
        second = listing.run(store, row, "n", Query(f"limit=4&continue={token}"), everything)
        assert [item.key.rpartition("/")[2] for item in second.page.items] == ["t4", "t5", "t6", "t7"]
        assert second.page.revision > first.page.revision
        third = listing.run(store, row, "n", Query(f"limit=4&continue={second.token}"), everything)
        assert third.page.revision == second.page.revision
        assert (third.token, third.remaining) == ("", None)
    finally:
        store.close()


def _compact(store: Store) -> None:
    """Let so much time pass that everything until now is forgotten."""
    clock = FakeClock()
    compactor = store._compactor
    compactor._clock = clock
    compactor._seen.clear()
    compactor.step()
    clock.advance(KEEP_SECONDS + 1)
    assert compactor.step() == store.revision
