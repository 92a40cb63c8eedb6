"""Small builders of nodes and pods, and a scheduler core without an API: snapshot, profile, search."""

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any

from controllers.scheduler.config import Configuration, ProfileConfig
from controllers.scheduler.cycle import Search
from controllers.scheduler.framework import Handle
from controllers.scheduler.main import SchedulerOptions
from controllers.scheduler.podinfo import PodInfo, pod_info
from controllers.scheduler.profile import build
from controllers.scheduler.snapshot import Snapshot
from minikube_py.api.gvr import GVR
from minikube_py.api.types import Obj

_uids = itertools.count(1)


def node(
    name: str, *, labels: Mapping[str, str] | None = None, taints: Sequence[Obj] = (), **capacity: str | int
) -> Obj:
    """A Ready node; capacity by keyword: cpu="4", memory="8Gi", pods=110, gpu=2 (nvidia.com/gpu)."""
    allocatable: Obj = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    for key, value in capacity.items():
        allocatable["nvidia.com/gpu" if key == "gpu" else key.replace("_", "-")] = str(value)
    return {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {"taints": list(taints)} if taints else {},
        "status": {"allocatable": allocatable, "capacity": allocatable},
    }  # fmt: skip


def pod(name: str, *, namespace: str = "default", labels: Mapping[str, str] | None = None, **spec: Any) -> Obj:
    """A pending pod. `requests` becomes its one container's requests; everything else goes into the spec as it is."""
    requests = spec.pop("requests", {})
    container = {"name": "c", "image": "x", **({"resources": {"requests": requests}} if requests else {})}
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{next(_uids)}", "labels": dict(labels or {})},
        "spec": {"containers": [container], **spec}, "status": {},
    }  # fmt: skip


def info(name: str, **kw: Any) -> PodInfo:
    return pod_info(pod(name, **kw))


def anti_affinity(labels: Mapping[str, str], key: str = "kubernetes.io/hostname") -> Obj:
    term = {"labelSelector": {"matchLabels": dict(labels)}, "topologyKey": key}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def affinity(labels: Mapping[str, str], key: str = "kubernetes.io/hostname") -> Obj:
    term = {"labelSelector": {"matchLabels": dict(labels)}, "topologyKey": key}
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def spread(key: str, labels: Mapping[str, str], skew: int = 1, **more: Any) -> Obj:
    return {
        "topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": dict(labels)}, **more,
    }  # fmt: skip


def options(*profiles: str | ProfileConfig) -> SchedulerOptions:
    """Of a scheduler that serves these profiles (by name: the default plugins), its ties broken alike every time."""
    named = [ProfileConfig(profile) if isinstance(profile, str) else profile for profile in profiles]
    return SchedulerOptions(Configuration(tuple(named)), seed=1)


class Core:
    """The decision part alone. `configured`: its profile; `objects`: what listers find, by plural."""

    def __init__(
        self, nodes: Sequence[Obj] = (), *, seed: int = 1, configured: ProfileConfig | None = None, **objects: list[Obj]
    ) -> None:
        configured = configured or ProfileConfig()
        self.snapshot = Snapshot()
        for each in nodes:
            self.snapshot.set_node(each)

        def lister(resource: GVR, namespace: str = "", name: str = "") -> list[Obj]:
            found = [o for o in objects.get(resource.plural, []) if name in ("", o["metadata"]["name"])]
            return [o for o in found if not namespace or o["metadata"].get("namespace") == namespace]

        client: Any = None  # nothing here binds
        handle = Handle(client, lister, lambda name: {"kubernetes.io/metadata.name": name}, {})
        self.profile = build(configured.scheduler_name, configured.points, configured.args, handle)
        self.search = Search(self.profile, random.Random(seed))

    def place(self, pod: PodInfo) -> str:
        """Decide and assume. Raises NoFit."""
        where = self.search.place(self.snapshot, pod).node
        self.snapshot.assume(pod, where)
        return where
