"""Leader election against the real API server: never two, and a quick change when the leader goes."""

import contextlib
import threading
import time

import pytest

from minikube_py.api import errors
from minikube_py.api.gvr import LEASES
from minikube_py.client.leader import LeaderElector
from minikube_py.client.rest import Client
from tests.conftest import APIServer
from tests.harness import eventually


class Candidate:
    """One instance that notes while it acts; `acting` is shared to catch two at a time."""

    def __init__(self, client: Client, name: str, namespace: str, acting: set[str], clashes: list[str]) -> None:
        self.name, self._acting, self._clashes, self.terms = name, acting, clashes, 0
        self.elector = LeaderElector(
            client, "the-lease", name, namespace=namespace, lease_duration=1.5, renew_deadline=1.0, retry_period=0.2
        )
        self.thread = threading.Thread(target=self.elector.run, args=(self._start, self._stop), daemon=True)
        self.thread.start()

    def _start(self) -> None:
        if self._acting:
            self._clashes.append(f"{self.name} while {self._acting}")
        self._acting.add(self.name)
        self.terms += 1

    def _stop(self) -> None:
        self._acting.discard(self.name)


def test_never_two_and_quick_succession(client: Client, namespace: str) -> None:
    acting, clashes = set[str](), list[str]()
    candidates = {n: Candidate(client, n, namespace, acting, clashes) for n in ("a", "b", "c")}
    for _ in range(2):
        leader = eventually(lambda: next(iter(acting), None))
        assert client.get(LEASES, "the-lease", namespace)["spec"]["holderIdentity"] == leader
        gone = candidates.pop(leader)
        began = time.monotonic()
        gone.elector.stop()
        eventually(lambda leader=leader: acting - {leader})  # type: ignore[misc]
        assert time.monotonic() - began < 1.4, "the lease is given back, not waited for"
        gone.thread.join(2)
    last = next(iter(candidates.values()))
    last.elector.stop()
    last.thread.join(2)
    assert client.get(LEASES, "the-lease", namespace)["spec"]["holderIdentity"] == "" and clashes == []


def test_a_leader_that_cannot_renew_stops_before_another_starts(fresh_apiserver: APIServer) -> None:
    acting, clashes = set[str](), list[str]()
    one = Candidate(fresh_apiserver.client(), "one", "default", acting, clashes)
    eventually(lambda: acting == {"one"})
    fresh_apiserver.stop()
    eventually(lambda: not acting, timeout=4, what="it must not act on a lease it cannot renew")
    fresh_apiserver.start()
    eventually(lambda: acting == {"one"}, timeout=10)
    two = Candidate(fresh_apiserver.client(), "two", "default", acting, clashes)
    time.sleep(2)
    assert acting == {"one"} and clashes == []
    for candidate in (one, two):
        candidate.elector.stop()


def test_a_lease_somebody_took_is_lost(client: Client, namespace: str) -> None:
    acting, clashes = set[str](), list[str]()
    one = Candidate(client, "one", namespace, acting, clashes)
    eventually(lambda: acting == {"one"})
    thief = {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 1}}
    with contextlib.suppress(errors.Conflict):
        client.patch(LEASES, "the-lease", thief, namespace)
    eventually(lambda: not acting)
    eventually(lambda: acting == {"one"}, what="the thief does not renew")
    assert one.terms == 2
    one.elector.stop()


def test_impossible_periods_are_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="lease duration > renew deadline"):
        LeaderElector(client, "x", "y", lease_duration=1, renew_deadline=2, retry_period=0.1)
