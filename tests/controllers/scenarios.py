"""One small life per controller: what a user does, step by step, and what must be there after each step. Workloads and nodes.

Who uses it: test_every_controller.py, which runs each of them undisturbed and under every disturbance, and fails for a
controller without a row. A step's check sees the world through an undisturbed client.
"""

import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from controllers.options import Options
from controllers.pod import is_ready
from minikube_py.api import errors
from minikube_py.api import gvr as g
from minikube_py.api.clock import REAL, rfc3339
from minikube_py.api.gvr import GVR, new_object
from minikube_py.api.meta import annotations_of, condition_is, condition_of, is_terminating, name_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers import play
from tests.controllers.test_job import Runner

Step = tuple[Callable[[Client, str], object], Callable[[Client, str], object]]


class Scenario(NamedTuple):
    """In: `beside` are controllers that must run too; `kubelet` plays one; `mine`: what marks this test's writes."""

    steps: tuple[Step, ...]
    beside: tuple[str, ...] = ()
    kubelet: Callable[[Client, str], Any] = lambda client, namespace: contextlib.nullcontext()
    options: Callable[[Any], Options] = lambda apiserver: Options()
    mine: Callable[[str, str], bool] = lambda path, namespace: namespace in path


def absent(client: Client, res: GVR, name: str, namespace: str = "") -> bool:
    try:
        client.get(res, name, namespace)
    except errors.NotFound:
        return True
    return False


def nothing(client: Client, namespace: str) -> None:
    """The namespace is there, and that is all."""


def create(res: GVR, name: str, **fields: Any) -> Callable[[Client, str], object]:
    return lambda client, namespace: client.create(res, new_object(res, name, namespace, **fields))


def delete(res: GVR, name: str, **how: Any) -> Callable[[Client, str], object]:
    return lambda client, namespace: client.delete(res, name, namespace, **how)


def patch(res: GVR, name: str, **change: Any) -> Callable[[Client, str], object]:
    return lambda client, namespace: client.patch(res, name, change, namespace)


def together(*acts: Callable[[Client, str], object]) -> Callable[[Client, str], object]:
    return lambda client, namespace: [act(client, namespace) for act in acts]


def status(res: GVR, name: str, **wanted: int) -> Callable[[Client, str], bool]:
    """Whether these fields of the status have these values (0: absent)."""

    def check(client: Client, namespace: str) -> bool:
        found = client.get(res, name, namespace).get("status") or {}
        return all(found.get(field, 0) == value for field, value in wanted.items())

    return check


# -- workloads --------------------------------------------------------------------------------------------------------


def pods(count: int, image: str = "busybox:1", ready: bool = True) -> Callable[[Client, str], bool]:
    def check(client: Client, namespace: str) -> bool:
        found = client.list(g.PODS, namespace)["items"]
        images = [p["spec"]["containers"][0]["image"] for p in found if is_ready(p) or not ready]
        return images == [image] * count and len(found) == count

    return check


def both(*checks: Callable[[Client, str], object]) -> Callable[[Client, str], bool]:
    return lambda client, namespace: all(check(client, namespace) for check in checks)


def template(image: str = "busybox:1") -> Obj:
    return play.pod_template("web", image)


SELECTOR = {"matchLabels": {"app": "web"}}
_NEW_IMAGE = {"template": {"spec": {"containers": [{"name": "main", "image": "busybox:2"}]}}}


def replicated(res: GVR, selector: Any = SELECTOR, **spec: Any) -> Callable[[Client, str], object]:
    return create(res, "web", spec={"replicas": 2, "selector": selector, "template": template(), **spec})


def _node(client: Client, namespace: str) -> str:
    """A node only this test knows."""
    node = new_object(g.NODES, f"{namespace}-node", spec={})
    node["metadata"]["labels"] = {"test": namespace}
    client.create(g.NODES, node)
    client.patch(g.NODES, name_of(node), {"spec": {"taints": None}})
    return name_of(node)


def _daemons(client: Client, namespace: str) -> None:
    _node(client, namespace)
    pod = template()
    pod["spec"]["nodeSelector"] = {"test": namespace}
    client.create(
        g.DAEMONSETS, new_object(g.DAEMONSETS, "web", namespace, spec={"selector": SELECTOR, "template": pod})
    )


def _grows_and_shrinks(res: GVR, selector: Any = SELECTOR) -> Scenario:
    return Scenario((
        (replicated(res, selector, replicas=3), both(pods(3), status(res, "web", replicas=3, availableReplicas=3))),
        (patch(res, "web", spec={"replicas": 1}), both(pods(1), status(res, "web", replicas=1, availableReplicas=1))),
    ), kubelet=play.Kubelet)  # fmt: skip


def _cron(client: Client, namespace: str) -> None:
    """A schedule that was due an hour and a half ago (a clock that jumps by an hour knows it, too), and not since yesterday."""
    due = REAL.now() - timedelta(minutes=90)
    spec = {"schedule": f"{due.minute} {due.hour} * * *", "jobTemplate": {"spec": {"template": _job_template()}}}
    client.create(g.CRONJOBS, new_object(g.CRONJOBS, "tick", namespace, spec={**spec, "suspend": True}))
    last = {"lastScheduleTime": rfc3339(due - timedelta(hours=20))}
    client.patch(g.CRONJOBS, "tick", {"status": last}, namespace, subresource="status")
    client.patch(g.CRONJOBS, "tick", {"spec": {"suspend": False}}, namespace)


def _job_template() -> Obj:
    return {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1"}]}}


def _ticked(client: Client, namespace: str) -> bool:
    active = (client.get(g.CRONJOBS, "tick", namespace).get("status") or {}).get("active") or []
    jobs = client.list(g.JOBS, namespace)["items"]
    return [ref["uid"] for ref in active] == [uid_of(job) for job in jobs] and len(jobs) == 1


_AUTOSCALER: Obj = {
    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"}, "minReplicas": 1, "maxReplicas": 3,
}  # fmt: skip

WORKLOADS: dict[str, Scenario] = {
    "replicaset": _grows_and_shrinks(g.REPLICASETS),
    "replicationcontroller": _grows_and_shrinks(g.REPLICATIONCONTROLLERS, {"app": "web"}),
    "deployment": Scenario((
        (replicated(g.DEPLOYMENTS), both(pods(2), status(g.DEPLOYMENTS, "web", updatedReplicas=2, availableReplicas=2))),
        (patch(g.DEPLOYMENTS, "web", spec=_NEW_IMAGE),
         both(pods(2, "busybox:2"), status(g.DEPLOYMENTS, "web", replicas=2, updatedReplicas=2, availableReplicas=2))),
    ), beside=("replicaset",), kubelet=play.Kubelet),
    "daemonset": Scenario((
        (_daemons, both(pods(1), status(g.DAEMONSETS, "web", numberAvailable=1))),
        (patch(g.DAEMONSETS, "web", spec=_NEW_IMAGE),
         both(pods(1, "busybox:2"), status(g.DAEMONSETS, "web", updatedNumberScheduled=1, numberAvailable=1))),
    ), kubelet=play.Kubelet),
    "statefulset": Scenario((
        (replicated(g.STATEFULSETS, serviceName="web", volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]),
         both(pods(2), status(g.STATEFULSETS, "web", currentReplicas=2, availableReplicas=2))),
        (patch(g.STATEFULSETS, "web", spec=_NEW_IMAGE),
         both(pods(2, "busybox:2"), status(g.STATEFULSETS, "web", currentReplicas=2, availableReplicas=2))),
    ), kubelet=play.Kubelet),
    "job": Scenario((
        (create(g.JOBS, "work", spec={"completions": 3, "parallelism": 2, "template": _job_template()}),
         lambda client, namespace: condition_is(client.get(g.JOBS, "work", namespace), "Complete")
         and client.get(g.JOBS, "work", namespace)["status"]["succeeded"] == 3),
    ), kubelet=lambda client, namespace: Runner(client, namespace, lambda pod: "Succeeded")),
    "cronjob": Scenario(((_cron, _ticked),)),
    "horizontal-pod-autoscaler": Scenario((
        (together(replicated(g.REPLICASETS, replicas=5), create(g.HORIZONTALPODAUTOSCALERS, "web", spec=_AUTOSCALER)),
         lambda client, namespace: client.get(g.REPLICASETS, "web", namespace)["spec"]["replicas"] == 3),
    ), options=lambda apiserver: Options(horizontal_pod_autoscaler_sync_period=0.2)),
    "resource-claim": Scenario((
        (lambda client, namespace: _claiming_pod(client, namespace),
         lambda client, namespace: _claims_of(client, namespace) == 1),
        (lambda client, namespace: client.patch(
            g.PODS, "gpu", {"status": {"phase": "Succeeded"}}, namespace, subresource="status"),
         lambda client, namespace: not client.list(g.RESOURCECLAIMS, namespace)["items"]),
    )),
}  # fmt: skip


def _claiming_pod(client: Client, namespace: str) -> None:
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}
    devices = {"spec": {"devices": {"requests": [request]}}}
    client.create(g.RESOURCECLAIMTEMPLATES, new_object(g.RESOURCECLAIMTEMPLATES, "one", namespace, spec=devices))
    spec = {**template()["spec"], "resourceClaims": [{"name": "card", "resourceClaimTemplateName": "one"}]}
    client.create(g.PODS, new_object(g.PODS, "gpu", namespace, spec=spec))


def _claims_of(client: Client, namespace: str) -> int:
    noted = (client.get(g.PODS, "gpu", namespace).get("status") or {}).get("resourceClaimStatuses") or []
    claims = client.list(g.RESOURCECLAIMS, namespace)["items"]
    named = [
        name_of(claim) for claim in claims if annotations_of(claim)["resource.kubernetes.io/pod-claim-name"] == "card"
    ]
    return len(claims) if named == [entry["resourceClaimName"] for entry in noted] else -1


# -- services ---------------------------------------------------------------------------------------------------------


def _two_behind(client: Client, namespace: str) -> None:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    client.create(g.SERVICES, new_object(g.SERVICES, "web", namespace, spec=spec))
    for number in (1, 2):
        pod = new_object(g.PODS, f"p{number}", namespace, spec=template()["spec"])
        pod["metadata"]["labels"] = {"app": "web"}
        play.set_ready(client, client.create(g.PODS, pod), True, f"10.2.0.{number}")


def _sliced(*addresses: str) -> Callable[[Client, str], bool]:
    def check(client: Client, namespace: str) -> bool:
        slices = client.list(g.ENDPOINTSLICES, namespace)["items"]
        found = [sorted(e["addresses"][0] for e in s.get("endpoints") or []) for s in slices]
        return found == [list(addresses)]

    return check


def _endpoints(*addresses: str) -> Callable[[Client, str], bool]:
    def check(client: Client, namespace: str) -> bool:
        subsets = client.get(g.ENDPOINTS, "web", namespace).get("subsets") or []
        return sorted(a["ip"] for subset in subsets for a in subset.get("addresses") or []) == list(addresses)

    return check


_GONE = delete(g.PODS, "p1", grace_period_seconds=0)
_SUBSETS = [{"addresses": [{"ip": "10.3.0.1"}], "ports": [{"port": 80}]}]

SERVING: dict[str, Scenario] = {
    "endpointslice": Scenario(((_two_behind, _sliced("10.2.0.1", "10.2.0.2")), (_GONE, _sliced("10.2.0.2")))),
    "endpoints": Scenario(((_two_behind, _endpoints("10.2.0.1", "10.2.0.2")), (_GONE, _endpoints("10.2.0.2")))),
    "endpointslicemirroring": Scenario((
        (together(create(g.SERVICES, "web", spec={"ports": [{"port": 80}]}), create(g.ENDPOINTS, "web", subsets=_SUBSETS)),
         _sliced("10.3.0.1")),
        (patch(g.ENDPOINTS, "web", subsets=[{**_SUBSETS[0], "addresses": [{"ip": "10.3.0.2"}]}]), _sliced("10.3.0.2")),
    )),
}  # fmt: skip


# -- nodes ------------------------------------------------------------------------------------------------------------


def _bound_pod(client: Client, namespace: str) -> str:
    node = _node(client, namespace)
    client.create(g.PODS, new_object(g.PODS, "p", namespace, spec={**template()["spec"], "nodeName": node}))
    return node


def _tainted(client: Client, namespace: str) -> None:
    taint = {"key": "test/leave", "effect": "NoExecute"}
    client.patch(g.NODES, _bound_pod(client, namespace), {"spec": {"taints": [taint]}})


def _out_of_service(client: Client, namespace: str) -> None:
    node = _bound_pod(client, namespace)
    client.delete(g.PODS, "p", namespace)
    taint = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}
    client.patch(g.NODES, node, {"spec": {"taints": [taint]}})


def _silent(client: Client, namespace: str) -> None:
    now = rfc3339(REAL.now())
    conditions = [{"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}]
    client.patch(g.NODES, _bound_pod(client, namespace), {"status": {"conditions": conditions}}, subresource="status")
    play.set_ready(client, client.get(g.PODS, "p", namespace), True, "10.1.1.1")


def _declared_silent(client: Client, namespace: str) -> bool:
    node = client.get(g.NODES, f"{namespace}-node")
    taints = {(t["key"], t["effect"]) for t in node["spec"].get("taints") or []}
    ready = (condition_of(node, "Ready") or {}).get("status")
    pod = condition_of(client.get(g.PODS, "p", namespace), "Ready") or {}
    return (ready, pod["status"]) == ("Unknown", "False") and ("node.kubernetes.io/unreachable", "NoSchedule") in taints


NODES: dict[str, Scenario] = {
    "node-lifecycle": Scenario(
        ((_silent, _declared_silent),),
        options=lambda apiserver: Options(node_monitor_period=0.1, node_monitor_grace_period=0.2),
    ),
    "taint-eviction": Scenario(((_tainted, lambda c, n: is_terminating(c.get(g.PODS, "p", n))
                                 and condition_is(c.get(g.PODS, "p", n), "DisruptionTarget")),)),
    "pod-garbage-collector": Scenario(((_out_of_service, lambda c, n: absent(c, g.PODS, "p", n)),)),
    "node-ipam": Scenario(
        ((_node, lambda client, namespace: client.get(g.NODES, f"{namespace}-node")["spec"].get("podCIDR")),),
        options=lambda apiserver: Options(cluster_cidr="10.77.0.0/16"),
    ),
}  # fmt: skip
