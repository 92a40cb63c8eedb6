"""The scheduler dies before or after any of its writes: nothing is bound twice, nothing overcommitted, nothing forgotten."""

import threading
from typing import Any

import pytest

from minikube_py.api import errors, meta
from minikube_py.client.rest import Client
from tests.conftest import APIServer
from tests.harness import eventually
from tests.scheduler.test_scheduler import Cluster, _with_priority, cluster  # noqa: F401  (fixture)


class Mortal(Client):
    """Stops answering at its n-th write (events aside): before it is sent, or after it was done but before the answer."""

    def prepare(self, dies_at: int, after: bool) -> "Mortal":
        self.dies_at, self.after, self.writes = dies_at, after, 0
        self.dead, self.lock = threading.Event(), threading.Lock()
        self.bindings: list[str] = []
        return self

    def _send(self, method: str, path: str, *args: Any, **kw: Any) -> Any:
        if method == "GET" or "/events" in path:
            if self.dead.is_set():
                raise errors.ServiceUnavailable("dead")
            return super()._send(method, path, *args, **kw)
        with self.lock:
            self.writes += 1
            if self.writes >= self.dies_at:
                dying = not self.dead.is_set()
                self.dead.set()
                if not (dying and self.after):
                    raise errors.ServiceUnavailable("dead")
            response = super()._send(method, path, *args, **kw)
            if path.endswith("/binding") and response.status < 400:
                self.bindings.append(path)
            if self.dead.is_set():
                raise errors.ServiceUnavailable("dead")
            return response


def mortal(server: APIServer, dies_at: int, after: bool = False) -> Mortal:
    return Mortal(server.client().config).prepare(dies_at, after)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("dies_at", [1, 2, 3, 4, 5])
def test_a_new_scheduler_finishes_what_a_dead_one_began(
    cluster: Cluster,
    apiserver: APIServer,
    dies_at: int,
    after: bool,
) -> None:
    cluster.add_node("a", pods=2)
    for name in ("p1", "p2", "p3"):
        cluster.add_pod(name)
    first = mortal(apiserver, dies_at, after)
    cluster.start(first)
    eventually(lambda: first.dead.is_set() or cluster.condition("p3").get("reason") == "Unschedulable")
    cluster.stop()
    second = mortal(apiserver, 10_000)
    scheduler = cluster.start(second)
    eventually(lambda: sum(bool(cluster.where(n)) for n in ("p1", "p2", "p3")) == 2)
    pending = next(n for n in ("p1", "p2", "p3") if not cluster.where(n))
    eventually(lambda: "Too many pods" in cluster.condition(pending).get("message", ""))
    bound = first.bindings + second.bindings
    assert len(bound) == len(set(bound)) == 2
    snapshot = scheduler.snapshot
    eventually(lambda: snapshot.requested["pods"][snapshot.rows[cluster.nodes[0]]] == 2 and not snapshot.assumed)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("dies_at", [1, 2, 3])
def test_a_preemption_cut_short_is_finished(
    cluster: Cluster,
    apiserver: APIServer,
    dies_at: int,
    after: bool,
) -> None:
    there = cluster.add_node("a", pods=1)
    cluster.start()
    cluster.add_pod("low", terminationGracePeriodSeconds=0)
    eventually(lambda: cluster.where("low") == there)
    cluster.stop()
    _with_priority(cluster, "high", 1000)
    first = mortal(apiserver, dies_at, after)
    cluster.start(first)
    eventually(lambda: first.dead.is_set())
    cluster.stop()
    cluster.start()
    eventually(lambda: cluster.where("high") == there)
    with pytest.raises(errors.NotFound):
        cluster.pod("low")


def test_an_answer_that_was_lost_is_asked_for_and_the_room_stays_taken_meanwhile(
    cluster: Cluster,
    apiserver: APIServer,
) -> None:
    """The connection breaks after the binding was done, then works again: the same scheduler must not place the pod twice."""
    cluster.add_node("a", pods=1)

    class Forgetful(Client):
        lost = False

        def _send(self, method: str, path: str, *args: Any, **kw: Any) -> Any:
            response = super()._send(method, path, *args, **kw)
            if path.endswith("/binding") and not self.lost:
                self.lost = True
                raise errors.ServiceUnavailable("the answer got lost")
            return response

    client = Forgetful(apiserver.client().config)
    scheduler = cluster.start(client)
    cluster.add_pod("p1")
    eventually(lambda: cluster.where("p1"))
    cluster.add_pod("p2")
    eventually(lambda: "Too many pods" in cluster.condition("p2").get("message", ""))
    assert client.lost and cluster.where("p2") == ""
    eventually(lambda: not scheduler.snapshot.assumed)
    assert cluster.messages("p1", "FailedScheduling") == []
    assert meta.condition_is(cluster.pod("p1"), "PodScheduled")


def test_a_pod_somebody_else_bound_meanwhile_is_counted_where_it_is(
    cluster: Cluster,
    apiserver: APIServer,
) -> None:
    one, two = cluster.add_node("a", pods=1), cluster.add_node("b", pods=1)

    class Late(Client):
        """Somebody else binds p to the other node just before we do."""

        def _send(self, method: str, path: str, query: Any, body: Any, *args: Any, **kw: Any) -> Any:
            if path.endswith("/p/binding"):
                other = {**body, "target": {**body["target"], "name": two if body["target"]["name"] == one else one}}
                super()._send(method, path, query, other, *args, **kw)
            return super()._send(method, path, query, body, *args, **kw)

    cluster.start(Late(apiserver.client().config))
    cluster.add_pod("p")
    eventually(lambda: cluster.where("p"))
    cluster.add_pod("q")
    eventually(lambda: cluster.where("q"))
    assert {cluster.where("p"), cluster.where("q")} == {one, two}
