"""What is etcd's own: API servers that share it, and its absence."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from apiserver.storage import open_backend
from apiserver.storage.base import StoreUnavailable
from apiserver.storage.cache import Store
from minikube_py.api.errors import RequestEntityTooLarge
from tests import harness
from tests.apiserver.storage.test_cache import PODS, fields_of, key, pod, read, shown

pytestmark = pytest.mark.etcd


class Etcd:
    """An etcd of the test's own, on one port and one directory, to be killed and brought back."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port, self.peer = directory, harness.free_port(), harness.free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = shutil.which("etcd")
        assert binary, "etcd is not installed: apt-get install etcd-server (make test does)"
        url, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.peer}"
        with (self.directory / "etcd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [binary, "--data-dir", str(self.directory / "data"), "--listen-client-urls", url,
                 "--advertise-client-urls", url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                 "--initial-cluster", f"default={peer}"],
                stdout=log, stderr=log,
            )  # fmt: skip
        harness.eventually(lambda: harness.url_answers(f"{url}/health"), what="etcd health")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[Etcd]:
    etcd = Etcd(tmp_path)
    etcd.start()
    yield etcd
    etcd.kill()


def open_store(url: str) -> Store:
    store = Store(open_backend(url, ""), fields_of)
    store.start()
    return store


def test_servers_that_share_an_etcd_read_each_others_writes_at_once(etcd: str) -> None:
    url = f"etcd://{etcd}?prefix=/shared"
    one, two = open_store(url), open_store(url)
    stored = one.create(key("a"), pod("a"))
    for _ in range(50):
        stored = one.update(key("a"), pod("a"), stored.revision)
        seen = two.get(key("a"))
        assert seen is not None
        assert seen.revision == stored.revision
        stored = two.update(key("a"), pod("a"), stored.revision)
        assert [item.revision for item in one.list(PODS).items] == [stored.revision]
    gone = two.delete(key("a"), stored.revision)
    assert gone.revision == two.revision
    assert one.get(key("a")) is None
    one.close()
    two.close()


def test_a_neighbour_in_the_same_etcd_does_not_hold_up_reads(etcd: str) -> None:
    store, neighbour = open_store(f"etcd://{etcd}?prefix=/one"), open_backend(f"etcd://{etcd}?prefix=/two", "")
    stored = store.create(key("a"), pod("a"))
    beyond = neighbour.create(key("b"), b"{}")
    assert [item.key for item in store.list(PODS).items] == [stored.key]
    assert store.revision > beyond, "it wrote a mark to find out that it had seen everything of its own"
    store.close()
    neighbour.close()


def test_an_object_that_etcd_refuses_is_too_large(etcd: str) -> None:
    store = open_store(f"etcd://{etcd}?prefix=/large")
    with pytest.raises(RequestEntityTooLarge, match="etcd refuses the object"):
        store.create(key("a"), pod("a") | {"data": "x" * 2_000_000})
    store.close()


def test_no_etcd_is_one_clear_sentence() -> None:
    with pytest.raises(StoreUnavailable, match=r"etcd at 127\.0\.0\.1:\d+ cannot be used"):
        open_backend(f"etcd://127.0.0.1:{harness.free_port()}", "")
    with pytest.raises(StoreUnavailable, match="is not etcd://HOST:PORT"):
        open_backend("etcd://127.0.0.1:port", "")


def test_a_killed_etcd_fails_writes_and_watches_go_on_after_it_is_back(own_etcd: Etcd) -> None:
    store = open_store(f"etcd://127.0.0.1:{own_etcd.port}")
    first = store.create(key("a"), pod("a"))

    async def run() -> None:
        subscription = store.subscribe(PODS, None)
        own_etcd.kill()
        with pytest.raises(StoreUnavailable, match="check that it runs"):
            store.create(key("lost"), pod("lost"))
        with pytest.raises(StoreUnavailable):
            store.get(key("a"))
        own_etcd.start()
        second = harness.eventually(lambda: store.update(key("a"), pod("a", app="x"), first.revision), timeout=15)
        other = open_store(f"etcd://127.0.0.1:{own_etcd.port}")
        other.create(key("b"), pod("b"))
        other.close()
        assert shown(await read(subscription, 2)) == [("MODIFIED", "a"), ("ADDED", "b")]
        assert store.get(key("a")) == second or store.get(key("a")).revision == second.revision  # type: ignore[union-attr]
        assert not subscription.ended

    asyncio.run(run())
    store.close()


def test_a_cache_that_missed_a_compaction_loads_anew(own_etcd: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"etcd://127.0.0.1:{own_etcd.port}"
    store = open_store(url)
    first = store.create(key("a"), pod("a"))
    store.create(key("b"), pod("b"))

    async def run() -> None:
        subscription = store.subscribe(PODS, None)
        monkeypatch.setattr("apiserver.storage.cache._RETRY_SECONDS", 3.0)
        own_etcd.kill()
        await asyncio.sleep(0.5)  # the cache has noticed and now waits before it tries again
        own_etcd.start()
        backend = open_backend(url, "")
        backend.delete(key("a"), first.revision)
        backend.compact(backend.create(key("c"), b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"c"}}'))
        backend.close()
        with pytest.raises(StopAsyncIteration):
            while True:
                await asyncio.wait_for(anext(subscription), 15)
        assert [item.key for item in store.list(PODS).items] == [key("b"), key("c")]

    asyncio.run(run())
    store.close()
