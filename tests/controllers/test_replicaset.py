"""ReplicaSet against the real API server."""

import time

from controllers.replicaset_rank import pods_to_delete
from minikube_py.api.clock import REAL
from minikube_py.api.gvr import PODS, REPLICASETS, REPLICATIONCONTROLLERS, new_object
from minikube_py.api.meta import condition_of, controller_of, name_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers.play import CountingClient, Kubelet, live_pods, pod_template, replicaset, running
from tests.harness import eventually


def _scale(client: Client, namespace: str, name: str, replicas: int) -> None:
    client.patch(REPLICASETS, name, {"spec": {"replicas": replicas}}, namespace)


def _status(client: Client, namespace: str, name: str) -> Obj:
    status: Obj = client.get(REPLICASETS, name, namespace)["status"]
    return status


def test_grows_and_shrinks_and_reports(client: Client, namespace: str) -> None:
    with running(client, "replicaset"), Kubelet(client, namespace) as kubelet:
        rs = client.create(REPLICASETS, replicaset("web", namespace, 5))
        eventually(lambda: _status(client, namespace, "web").get("availableReplicas") == 5)
        pods = live_pods(client, namespace)
        assert len(pods) == 5 and len(kubelet.seen) == 5
        for pod in pods:
            assert controller_of(pod) == {
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": uid_of(rs), "controller": True,
                "blockOwnerDeletion": True,
            }  # fmt: skip
            assert pod["metadata"]["generateName"] == "web-" and name_of(pod).startswith("web-")
        status = _status(client, namespace, "web")
        counts = ("replicas", "readyReplicas", "availableReplicas", "fullyLabeledReplicas")
        assert {name: status.get(name) for name in counts} == dict.fromkeys(counts, 5)
        assert status["observedGeneration"] == rs["metadata"].get("generation", 0)
        _scale(client, namespace, "web", 2)
        eventually(lambda: _status(client, namespace, "web").get("replicas") == 2)
        assert len(live_pods(client, namespace)) == 2
        assert len(kubelet.seen) == 5, "shrinking makes no pod"
        client.delete(PODS, name_of(live_pods(client, namespace)[0]), namespace)
        eventually(lambda: len(kubelet.seen) == 6 and _status(client, namespace, "web").get("readyReplicas") == 2)


def test_finished_pods_are_replaced_and_kept(client: Client, namespace: str) -> None:
    with running(client, "replicaset"):
        client.create(REPLICASETS, replicaset("job", namespace, 1))
        pod = eventually(lambda: live_pods(client, namespace))[0]
        client.patch(PODS, name_of(pod), {"status": {"phase": "Failed"}}, namespace, subresource="status")
        eventually(lambda: len(live_pods(client, namespace)) == 2)
        eventually(lambda: _status(client, namespace, "job").get("replicas") == 1)


def test_adopts_and_releases(client: Client, namespace: str) -> None:
    orphan = new_object(PODS, "orphan", namespace, spec=pod_template("web")["spec"])
    orphan["metadata"]["labels"] = {"app": "web"}
    client.create(PODS, orphan)
    with running(client, "replicaset"):
        rs = client.create(REPLICASETS, replicaset("web", namespace, 2))
        eventually(lambda: len(live_pods(client, namespace)) == 2)
        adopted = eventually(lambda: controller_of(client.get(PODS, "orphan", namespace)))
        assert adopted["uid"] == uid_of(rs)
        client.patch(PODS, "orphan", {"metadata": {"labels": {"app": "other"}}}, namespace)
        eventually(lambda: controller_of(client.get(PODS, "orphan", namespace)) is None, what="released")
        eventually(lambda: len(live_pods(client, namespace, "web")) == 2, what="replaced")


def test_min_ready_seconds_delays_availability(client: Client, namespace: str) -> None:
    with running(client, "replicaset"), Kubelet(client, namespace):
        client.create(REPLICASETS, replicaset("slow", namespace, 1, minReadySeconds=2))
        eventually(lambda: _status(client, namespace, "slow").get("readyReplicas") == 1)
        assert not _status(client, namespace, "slow").get("availableReplicas")
        eventually(lambda: _status(client, namespace, "slow").get("availableReplicas") == 1, timeout=6)


def test_refused_pods_show_as_replica_failure(client: Client, namespace: str) -> None:
    refusing = CountingClient(client, lambda n, method, path: "refused" if path.endswith("/pods") else "")
    with running(refusing, "replicaset"):
        client.create(REPLICASETS, replicaset("bad", namespace, 30))
        failed = eventually(lambda: condition_of(client.get(REPLICASETS, "bad", namespace), "ReplicaFailure"))
        assert (failed["status"], failed["reason"]) == ("True", "FailedCreate") and "exceeded quota" in failed[
            "message"
        ]
        attempts = [write for write in refusing.writes if write.endswith("/pods")]
        assert len(attempts) < 30, "one request per attempt, not one per missing pod"
        _scale(client, namespace, "bad", 0)
        eventually(lambda: condition_of(client.get(REPLICASETS, "bad", namespace), "ReplicaFailure") is None)


def test_replicationcontrollers_do_the_same(client: Client, namespace: str) -> None:
    spec = {"replicas": 2, "selector": {"app": "old"}, "template": pod_template("old")}
    with running(client, "replicationcontroller"), Kubelet(client, namespace):
        client.create(REPLICATIONCONTROLLERS, new_object(REPLICATIONCONTROLLERS, "old", namespace, spec=spec))
        eventually(lambda: client.get(REPLICATIONCONTROLLERS, "old", namespace)["status"].get("availableReplicas") == 2)
        owner = controller_of(live_pods(client, namespace)[0])
        assert owner is not None and (owner["apiVersion"], owner["kind"]) == ("v1", "ReplicationController")


def test_settled_sets_are_not_written(client: Client, namespace: str) -> None:
    counting = CountingClient(client)
    with running(counting, "replicaset"), Kubelet(client, namespace):
        client.create(REPLICASETS, replicaset("web", namespace, 3))
        eventually(lambda: _status(client, namespace, "web").get("availableReplicas") == 3)
        time.sleep(0.5)
        before = len(counting.writes)
        time.sleep(2)
        assert not [write for write in counting.writes[before:] if namespace in write]


def test_deletion_order() -> None:
    now, count = REAL.now(), iter(range(100))

    def pod(node: str = "n", phase: str = "Running", ready: bool = True, cost: str = "0", restarts: int = 0) -> Obj:
        return {
            "metadata": {
                "uid": str(next(count)), "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"controller.kubernetes.io/pod-deletion-cost": cost},
            },
            "spec": {"nodeName": node},
            "status": {
                "phase": phase, "containerStatuses": [{"restartCount": restarts}],
                "conditions": [{
                    "type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:10Z",
                }],
            },
        }  # fmt: skip

    wanted = [
        pod(node=""), pod(phase="Pending"), pod(phase="Unknown"), pod(ready=False), pod(cost="-5"),
        pod(node="crowded", restarts=1), pod(node="crowded"), pod(restarts=3), pod(), pod(cost="7"),
    ]  # fmt: skip
    related = [*wanted, pod(node="crowded"), *(pod(node="crowded") for _ in range(20))]
    for size in range(1, len(wanted)):
        assert pods_to_delete(wanted[::-1], related, size, now) == wanted[:size]
