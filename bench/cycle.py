"""The scheduling cycle alone: how many pods per second get a node, with no API around it, on 500 and 5,000 nodes.

Who calls it: __main__.py. Reading the pod object counts, binding does not. Upstream's own CI floor for its scheduler is
680 pods/s on 5,000 nodes.
"""

import random
import time
from collections.abc import Mapping, Sequence

from bench.figures import Figure
from bench.target import Options, Target
from controllers.scheduler.config import ProfileConfig
from controllers.scheduler.cycle import Search
from controllers.scheduler.framework import Handle
from controllers.scheduler.podinfo import pod_info
from controllers.scheduler.profile import build
from controllers.scheduler.snapshot import Snapshot
from minikube_py.api.gvr import GVR, NODES, PODS, new_object
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client, Config

_PODS = {500: 2000, 5000: 1000}


def _nothing(resource: GVR, namespace: str = "", name: str = "") -> Sequence[Obj]:
    return []


def _no_labels(namespace: str) -> Mapping[str, str]:
    return {}


def _node(number: int) -> Obj:
    name, allocatable = f"n{number}", {"cpu": "32", "memory": "64Gi", "pods": "110"}
    made = new_object(NODES, name, spec={}, status={"allocatable": allocatable})
    made["metadata"]["labels"] = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": f"z{number % 3}"}
    return made


def _pod(number: int, kind: str) -> Obj:
    labels = {"app": f"a{number % 10}"}
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}
    spec: Obj = {"containers": [container]}
    if kind == "spread":
        spec["topologySpreadConstraints"] = [{
            "topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": labels},
        }]  # fmt: skip
    elif kind == "anti-affinity":
        term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}
        spec["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    made = new_object(PODS, f"p{number}", "default", spec=spec)
    made["metadata"] |= {"uid": f"u{number}", "labels": labels}
    return made


def pods_per_second(nodes: int, pods: int, kind: str = "plain") -> float:
    """Schedule so many pods of a kind (plain, spread, anti-affinity) onto so many empty nodes."""
    snapshot = Snapshot()
    for number in range(nodes):
        snapshot.set_node(_node(number))
    unused = Client(Config(server="http://127.0.0.1:1"))
    search = Search(
        build("default-scheduler", ProfileConfig().points, {}, Handle(unused, _nothing, _no_labels, {})),
        random.Random(1),
    )
    objects = [_pod(number, kind) for number in range(pods)]
    start = time.perf_counter()
    for obj in objects:
        pod = pod_info(obj)
        snapshot.assume(pod, search.place(snapshot, pod).node)
    return pods / (time.perf_counter() - start)


def measure(target: Target, options: Options) -> list[Figure]:
    figures = []
    for nodes, pods in _PODS.items():
        for kind in ("plain", "spread", "anti-affinity"):
            rate = pods_per_second(nodes, pods if kind == "plain" else pods // 4, kind)
            figures.append(Figure(f"scheduling cycle, {nodes} nodes, {kind}", rate, "pods/s", "higher"))
    return figures
