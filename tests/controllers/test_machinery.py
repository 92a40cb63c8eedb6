"""What holds for all controllers together: a settled cluster is not written to, and one bad object slows nobody."""

import time

from controllers.main import Running
from controllers.options import Options
from minikube_py.api import gvr as g
from minikube_py.api.clock import REAL, FakeClock
from minikube_py.api.gvr import new_object
from minikube_py.api.meta import is_terminating
from minikube_py.client.rest import Client
from tests.conftest import APIServer
from tests.controllers.play import CountingClient, Kubelet, deployment, live_pods, pod_template, replicaset, running
from tests.harness import eventually


def _a_bit_of_everything(client: Client) -> None:
    selector, template = {"matchLabels": {"app": "x"}}, pod_template("x")
    node = new_object(g.NODES, "n1")
    client.create(g.NODES, node)
    client.patch(g.NODES, "n1", {"spec": {"taints": None}})
    lease = new_object(g.LEASES, "n1", "kube-node-lease", spec={"holderIdentity": "n1"})
    client.create(g.LEASES, lease)
    capacity = {"cpu": "8", "memory": "8Gi", "pods": "30"}
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}
    body = {"status": {"conditions": [ready], "capacity": capacity, "allocatable": capacity}}
    client.patch(g.NODES, "n1", body, subresource="status")
    client.create(g.DEPLOYMENTS, deployment("web", "default", 2))
    spec = {"selector": selector, "template": template, "serviceName": "x", "replicas": 1}
    client.create(g.STATEFULSETS, new_object(g.STATEFULSETS, "x", "default", spec=spec))
    client.create(g.DAEMONSETS, new_object(g.DAEMONSETS, "x", "default", spec={
        "selector": {"matchLabels": {"app": "agent"}}, "template": pod_template("agent")}))  # fmt: skip
    job = {"spec": {"restartPolicy": "Never", "containers": template["spec"]["containers"]}}
    client.create(g.JOBS, new_object(g.JOBS, "x", "default", spec={"template": job}))
    cron = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": job}}}
    client.create(g.CRONJOBS, new_object(g.CRONJOBS, "x", "default", spec=cron))
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    client.create(g.SERVICES, new_object(g.SERVICES, "web", "default", spec=spec))
    client.create(g.RESOURCEQUOTAS, new_object(g.RESOURCEQUOTAS, "x", "default", spec={"hard": {"pods": "99"}}))
    spec = {"selector": {"matchLabels": {"app": "web"}}, "maxUnavailable": 1}
    client.create(g.PODDISRUPTIONBUDGETS, new_object(g.PODDISRUPTIONBUDGETS, "web", "default", spec=spec))
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""}
    client.create(g.PERSISTENTVOLUMECLAIMS, new_object(g.PERSISTENTVOLUMECLAIMS, "x", "default", spec=claim))


def test_a_settled_cluster_is_not_written_to(fresh_apiserver: APIServer) -> None:
    """A minute of the controllers' and the scheduler's own clock, every loop of theirs running."""
    client, clock = fresh_apiserver.client(), FakeClock(REAL.time())
    counting = CountingClient(client)
    options = Options(cluster_cidr="10.244.0.0/16", load_balancer_range="10.66.0.0/24", node_monitor_grace_period=3600)
    everything = Running(counting, options, clock)
    _a_bit_of_everything(client)
    everything.start()
    try:
        with Kubelet(client, "default"):
            for res, name, field, wanted in (
                (g.DEPLOYMENTS, "web", "availableReplicas", 2), (g.STATEFULSETS, "x", "availableReplicas", 1),
                (g.DAEMONSETS, "x", "numberAvailable", 1), (g.JOBS, "x", "ready", 1),
            ):  # fmt: skip

                def reached(res: g.GVR = res, name: str = name, field: str = field, wanted: int = wanted) -> bool:
                    return _ticks(clock) and _status(client, res, name, field) == wanted

                eventually(reached, timeout=60, what=f"{res.plural} {name}")
            before = eventually(lambda: _at_rest(counting, clock))
            for _ in range(60):
                clock.advance(1.0)
                time.sleep(0.05)
            assert counting.writes[before:] == []
    finally:
        everything.stop()


def _ticks(clock: FakeClock) -> bool:
    clock.advance(0.1)
    return True


def _status(client: Client, res: g.GVR, name: str, field: str) -> object:
    return (client.get(res, name, "default").get("status") or {}).get(field)


def _at_rest(counting: CountingClient, clock: FakeClock) -> int:
    """How many writes there were, once a while has passed without one."""
    before = len(counting.writes)
    for _ in range(10):
        clock.advance(1.0)
        time.sleep(0.1)
    return before if len(counting.writes) == before else 0


def test_a_poisonous_object_slows_nobody(client: Client, namespace: str) -> None:
    """Its pods are refused for ever; a hundred pods of others come meanwhile as if it were not there."""
    poison = f"{namespace}-poison"
    client.create(g.NAMESPACES, new_object(g.NAMESPACES, poison))

    def refuse(number: int, method: str, path: str) -> str:
        return "refused" if f"/{poison}/pods" in path else ""

    disturbed = CountingClient(client, refuse)
    with running(disturbed, "replicaset"):
        client.create(g.REPLICASETS, replicaset("poison", poison, 100))
        eventually(lambda: sum(f"/{poison}/pods" in write for write in disturbed.writes) > 3)
        for number in range(10):
            client.create(g.REPLICASETS, replicaset(f"good-{number}", namespace, 10))
        eventually(lambda: len(live_pods(client, namespace)) == 100, timeout=15)
        refused = [write for write in disturbed.writes if f"/{poison}/pods" in write]
        assert len(refused) < 40, "it is tried ever more rarely, one pod at a time"
        assert not is_terminating(client.get(g.REPLICASETS, "poison", poison))
