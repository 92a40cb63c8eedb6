"""Deployment against the real API server: rolling, recreating, scaling, pausing, undoing, and a deadline that passes."""

import threading
import time
from collections import Counter
from collections.abc import Callable

from controllers.deployment_revisions import new_set
from minikube_py.api.gvr import DEPLOYMENTS, EVENTS, REPLICASETS
from minikube_py.api.meta import annotations_of, condition_of, controller_of, labels_of, name_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers.play import CountingClient, Kubelet, deployment, live_pods, running
from tests.harness import eventually

REVISION = "deployment.kubernetes.io/revision"


def _image(pod_or_set: Obj) -> str:
    spec = pod_or_set["spec"].get("template", pod_or_set)["spec"]
    return str(spec["containers"][0]["image"])


def _set_image(client: Client, namespace: str, image: str, name: str = "web") -> None:
    containers = [{"name": "main", "image": image}]
    client.patch(DEPLOYMENTS, name, {"spec": {"template": {"spec": {"containers": containers}}}}, namespace)


def _sets(client: Client, namespace: str) -> list[Obj]:
    found: list[Obj] = client.list(REPLICASETS, namespace)["items"]
    return sorted(found, key=lambda rs: int(annotations_of(rs).get(REVISION, "0")))


def _settled(client: Client, namespace: str, replicas: int, image: str = "", name: str = "web") -> Callable[[], bool]:
    def check() -> bool:
        live = client.get(DEPLOYMENTS, name, namespace)
        status = live.get("status") or {}
        counts = [status.get(f, 0) for f in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
        right_image = not image or all(_image(p) == image for p in live_pods(client, namespace))
        observed = status.get("observedGeneration", 0) == live["metadata"].get("generation", 0)
        return counts == [replicas] * 4 and right_image and observed

    return check


def test_first_rollout(client: Client, namespace: str) -> None:
    with running(client, "replicaset", "deployment"), Kubelet(client, namespace) as kubelet:
        made = client.create(DEPLOYMENTS, deployment("web", namespace, 3))
        eventually(_settled(client, namespace, 3))
        [rs] = _sets(client, namespace)
        hashed = labels_of(rs)["pod-template-hash"]
        assert name_of(rs) == f"web-{hashed}" and rs["spec"]["selector"]["matchLabels"]["pod-template-hash"] == hashed
        assert all(labels_of(p) == {"app": "web", "pod-template-hash": hashed} for p in live_pods(client, namespace))
        owner = controller_of(rs)
        assert owner is not None and owner["uid"] == uid_of(made)
        assert annotations_of(rs) == {
            REVISION: "1", "deployment.kubernetes.io/desired-replicas": "3", "deployment.kubernetes.io/max-replicas": "4",
        }  # fmt: skip
        live = eventually(lambda: _with_reason(client, namespace, "NewReplicaSetAvailable"))
        assert annotations_of(live)[REVISION] == "1"
        available = condition_of(live, "Available")
        assert available is not None and available["status"] == "True"
        assert "unavailableReplicas" not in live["status"]
        assert len(kubelet.seen) == 3
        eventually(lambda: f"Scaled up replica set {name_of(rs)} from 0 to 3" in _messages(client, namespace))


def _with_reason(client: Client, namespace: str, reason: str) -> Obj | None:
    live = client.get(DEPLOYMENTS, "web", namespace)
    return live if (condition_of(live, "Progressing") or {}).get("reason") == reason else None


def _messages(client: Client, namespace: str) -> list[str]:
    return [event["message"] for event in client.list(EVENTS, namespace)["items"]]


def test_rolling_update_keeps_its_bounds_and_can_be_undone(client: Client, namespace: str) -> None:
    with running(client, "replicaset", "deployment"), Kubelet(client, namespace) as kubelet:
        client.create(DEPLOYMENTS, deployment("web", namespace, 4))
        eventually(_settled(client, namespace, 4))
        least, stop = [4], threading.Event()

        def observe() -> None:
            while not stop.is_set():
                ready = [
                    p for p in live_pods(client, namespace) if (condition_of(p, "Ready") or {}).get("status") == "True"
                ]
                least.append(len(ready))

        observer = threading.Thread(target=observe, daemon=True)
        observer.start()
        _set_image(client, namespace, "busybox:2")
        eventually(_settled(client, namespace, 4, "busybox:2"))
        stop.set()
        observer.join()
        assert kubelet.most <= 5 and min(least) >= 3, "25 % of 4 pods: one more, one fewer"
        first, second = _sets(client, namespace)
        assert [rs["spec"]["replicas"] for rs in (first, second)] == [0, 4]
        client.patch(DEPLOYMENTS, "web", {"spec": {"template": {"spec": first["spec"]["template"]["spec"]}}}, namespace)
        eventually(_settled(client, namespace, 4, "busybox:1"))
        newest = eventually(lambda: [rs for rs in _sets(client, namespace) if annotations_of(rs).get(REVISION) == "3"])[
            0
        ]
        assert uid_of(newest) == uid_of(first), "going back uses the same set"
        assert annotations_of(newest)["deployment.kubernetes.io/revision-history"] == "1"
        assert annotations_of(client.get(DEPLOYMENTS, "web", namespace))[REVISION] == "3"


def test_recreate_never_mixes(client: Client, namespace: str) -> None:
    with running(client, "replicaset", "deployment"), Kubelet(client, namespace) as kubelet:
        mixed: list[set[str]] = []
        kubelet.pods.add_handler(lambda old, new: mixed.append({_image(p) for p in kubelet.pods.list()}))
        client.create(DEPLOYMENTS, deployment("web", namespace, 3, strategy={"type": "Recreate"}))
        eventually(_settled(client, namespace, 3))
        _set_image(client, namespace, "busybox:2")
        eventually(_settled(client, namespace, 3, "busybox:2"))
        assert {"busybox:1", "busybox:2"} not in mixed
        assert len(kubelet.seen) == 6


def test_proportional_scaling_of_a_stuck_rollout(client: Client, namespace: str) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    with (
        running(client, "replicaset", "deployment"),
        Kubelet(client, namespace, healthy=lambda pod: _image(pod) == "busybox:1"),
    ):
        client.create(DEPLOYMENTS, deployment("web", namespace, 10, strategy=rolling))
        eventually(_settled(client, namespace, 10))
        _set_image(client, namespace, "busybox:404")
        eventually(lambda: [rs["spec"]["replicas"] for rs in _sets(client, namespace)] == [8, 5])
        client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 30}}, namespace)
        eventually(lambda: [rs["spec"]["replicas"] for rs in _sets(client, namespace)] == [20, 13])
        time.sleep(1)
        assert [rs["spec"]["replicas"] for rs in _sets(client, namespace)] == [20, 13]


def test_pause_resume_and_history_limit(client: Client, namespace: str) -> None:
    with running(client, "replicaset", "deployment"), Kubelet(client, namespace):
        client.create(DEPLOYMENTS, deployment("web", namespace, 2, revisionHistoryLimit=1))
        eventually(_settled(client, namespace, 2))
        client.patch(DEPLOYMENTS, "web", {"spec": {"paused": True}}, namespace)
        _set_image(client, namespace, "busybox:2")
        eventually(lambda: _with_reason(client, namespace, "DeploymentPaused"))
        client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 3}}, namespace)
        eventually(lambda: len(live_pods(client, namespace)) == 3)
        assert len(_sets(client, namespace)) == 1, "a paused Deployment scales but does not roll out"
        client.patch(DEPLOYMENTS, "web", {"spec": {"paused": False}}, namespace)
        for number in (2, 3, 4):
            _set_image(client, namespace, f"busybox:{number}")
            eventually(_settled(client, namespace, 3, f"busybox:{number}"))
        eventually(lambda: [_image(rs) for rs in _sets(client, namespace)] == ["busybox:3", "busybox:4"])


def test_progress_deadline(client: Client, namespace: str) -> None:
    with running(client, "replicaset", "deployment"), Kubelet(client, namespace, healthy=lambda pod: False):
        client.create(DEPLOYMENTS, deployment("web", namespace, 1, progressDeadlineSeconds=1))
        live = eventually(lambda: _with_reason(client, namespace, "ProgressDeadlineExceeded"))
        assert (condition_of(live, "Progressing") or {})["status"] == "False"
        assert (condition_of(live, "Available") or {})["status"] == "False"


def test_a_hash_that_is_taken_counts_up(client: Client, namespace: str) -> None:
    with running(client, "replicaset", "deployment"), Kubelet(client, namespace):
        paused = client.create(DEPLOYMENTS, deployment("web", namespace, 1, paused=True))
        stranger = new_set(paused)
        del stranger["metadata"]["ownerReferences"]
        stranger["spec"] |= {"selector": {"matchLabels": {"app": "stranger"}}, "replicas": 0}
        stranger["metadata"]["labels"] = stranger["spec"]["template"]["metadata"]["labels"] = {"app": "stranger"}
        client.create(REPLICASETS, stranger)
        client.patch(DEPLOYMENTS, "web", {"spec": {"paused": None}}, namespace)
        eventually(_settled(client, namespace, 1))
        assert client.get(DEPLOYMENTS, "web", namespace)["status"]["collisionCount"] == 1
        assert len(_sets(client, namespace)) == 2


def test_settled_deployments_are_not_written(client: Client, namespace: str) -> None:
    counting = CountingClient(client)
    with running(counting, "replicaset", "deployment"), Kubelet(client, namespace):
        client.create(DEPLOYMENTS, deployment("web", namespace, 3))
        eventually(_settled(client, namespace, 3))
        time.sleep(0.5)
        before = len(counting.writes)
        time.sleep(2)
        assert not [write for write in counting.writes[before:] if namespace in write]


_WRITES = {  # of one Deployment of one replica, from its creation until it is available; events not counted
    "POST replicasets": 1, "POST pods": 1,
    "PUT deployments/status": 3,  # its revision, a pod, the pod's readiness
    "PUT replicasets/status": 2,  # a pod, its readiness
}  # fmt: skip


def test_it_costs_no_more_writes_than_it_has_to(client: Client, namespace: str) -> None:
    counting, names = CountingClient(client), [f"d{number}" for number in range(10)]
    with running(counting, "replicaset", "deployment"):
        for name in names:
            client.create(DEPLOYMENTS, deployment(name, namespace, 1))
        for name in names:
            eventually(lambda name=name: _status_of(client, namespace, name).get("unavailableReplicas") == 1)  # type: ignore[misc]
        time.sleep(0.3)
        with Kubelet(client, namespace):
            for name in names:
                eventually(_settled(client, namespace, 1, name=name))
    made = Counter(_kind_of(write) for write in counting.done if f"/{namespace}/" in write)
    assert set(made) == set(_WRITES)
    assert all(number <= len(names) * _WRITES[kind] for kind, number in made.items()), made


def _status_of(client: Client, namespace: str, name: str) -> Obj:
    return client.get(DEPLOYMENTS, name, namespace).get("status") or {}


def _kind_of(write: str) -> str:
    """ "PUT /apis/apps/v1/namespaces/n/replicasets/web/status" is "PUT replicasets/status"."""
    method, _, path = write.partition(" ")
    plural, _, rest = path.partition("/namespaces/")[2].partition("/")[2].partition("/")
    return f"{method} {plural}{'/status' if rest.endswith('/status') else ''}"
