"""Events go when nobody repeats them; on a real store, only the clock is held still."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from apiserver.expiry import EventExpiry, last_seen
from apiserver.main import fields_of
from apiserver.storage import open_backend
from apiserver.storage.cache import Store
from minikube_py.api.clock import FakeClock, rfc3339
from minikube_py.api.types import Obj


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(open_backend("sqlite", str(tmp_path), ""), fields_of)
    made.start()
    yield made
    made.close()


def _event(clock: FakeClock, name: str) -> Obj:
    metadata = {"name": name, "namespace": "default", "creationTimestamp": rfc3339(clock.now())}
    return {"apiVersion": "v1", "kind": "Event", "metadata": metadata}


def test_only_old_events_go(store: Store) -> None:
    clock = FakeClock()
    expiry = EventExpiry(store, 100, clock)
    for name in ("old", "repeated"):
        store.create(f"/registry/events/default/{name}", _event(clock, name))
    store.create("/registry/configmaps/default/old", {**_event(clock, "old"), "kind": "ConfigMap"})
    clock.advance(60)
    assert expiry.step() == 0
    stored = store.get("/registry/events/default/repeated")
    assert stored is not None
    store.update(stored.key, {**stored.obj(), "lastTimestamp": rfc3339(clock.now())}, stored.revision)
    store.create("/registry/events/default/new", _event(clock, "new"))
    clock.advance(60)
    assert expiry.step() == 1
    assert [item.key.rpartition("/")[2] for item in store.list("/registry/events/").items] == ["new", "repeated"]
    assert store.get("/registry/configmaps/default/old") is not None


def test_the_newest_time_counts() -> None:
    event: Obj = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "eventTime": "2026-01-01T00:00:05.000001Z"}
    early = last_seen(event)
    event["series"] = {"lastObservedTime": "2026-01-01T00:01:00.000000Z"}
    assert last_seen(event) - early == pytest.approx(55, abs=0.01)
    assert last_seen({"metadata": {}}) == 0
