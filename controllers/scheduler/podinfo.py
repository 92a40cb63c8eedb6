"""A pod as the scheduler sees it: everything the plugins ask of it, read from the object once.

Who calls it: the scheduler's informer handlers make one per pod version; snapshot, queue and plugins read it.
Invariant: nothing changes after `pod_info` except through `at`, which makes a copy; equal affinity terms of one namespace
are equal (and hash alike), so that a thousand replicas count as one term in the snapshot's indexes.
Upstream: pkg/scheduler/framework/types.go (PodInfo, AffinityTerm).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from minikube_py.api import meta
from minikube_py.api.podresources import DEFAULT_MEMORY, DEFAULT_MILLI_CPU, pod_requests
from minikube_py.api.selectors import NOTHING, Selector, from_label_selector
from minikube_py.api.types import Obj

_NONZERO = {"cpu": DEFAULT_MILLI_CPU, "memory": DEFAULT_MEMORY}
ANY_ADDRESS = "0.0.0.0"


class HostPort(NamedTuple):
    """A port of the node itself that a pod occupies."""

    address: str
    protocol: str
    port: int

    def conflicts(self, other: "HostPort") -> bool:
        """Same protocol and port, and the same address or either on all addresses."""
        if (self.protocol, self.port) != (other.protocol, other.port):
            return False
        return self.address == other.address or ANY_ADDRESS in (self.address, other.address)


class Group(NamedTuple):
    """Pods that no label selector can tell apart: counted together in the snapshot."""

    namespace: str
    labels: frozenset[tuple[str, str]]
    terminating: bool


@dataclass(frozen=True, eq=False)
class AffinityTerm:
    """One pod (anti-)affinity term, its namespaces resolved. Compared by `identity`, its canonical text."""

    identity: str
    topology_key: str
    namespaces: frozenset[str]
    namespace_selector: Selector
    selector: Selector

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AffinityTerm) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def matches(self, namespace: str, labels: Mapping[str, str], namespace_labels: Mapping[str, str]) -> bool:
        """Whether a pod with these labels, in this namespace (whose own labels are given), is meant by the term."""
        if namespace not in self.namespaces and not self.namespace_selector.matches(namespace_labels):
            return False
        return self.selector.matches(labels)


class WeightedTerm(NamedTuple):
    """A preferred term; anti-affinity has a negative weight."""

    term: AffinityTerm
    weight: int


@lru_cache(maxsize=2048)
def _compile(identity: str) -> AffinityTerm:
    namespace, term = json.loads(identity)
    namespaces = frozenset(term.get("namespaces") or ())
    selector = term.get("namespaceSelector")
    if not namespaces and selector is None:
        namespaces = frozenset([namespace])
    return AffinityTerm(
        identity, term.get("topologyKey", ""), namespaces,
        NOTHING if selector is None else from_label_selector(selector), from_label_selector(term.get("labelSelector")),
    )  # fmt: skip


def affinity_term(namespace: str, term: Obj) -> AffinityTerm:
    """A term as a pod of `namespace` wrote it."""
    return _compile(json.dumps([namespace, term], sort_keys=True))


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


@dataclass(slots=True, eq=False)
class PodInfo:
    """Requests are in scheduler units (milli-CPU, bytes, devices) and contain "pods": 1. `node` is "" while pending."""

    pod: Obj
    key: str
    uid: str
    namespace: str
    labels: dict[str, str]
    node: str
    priority: int
    created: str
    terminating: bool
    requests: dict[str, int]
    nonzero_cpu: int
    nonzero_memory: int
    group: Group
    ports: tuple[HostPort, ...] = ()
    affinity: tuple[AffinityTerm, ...] = ()
    anti_affinity: tuple[AffinityTerm, ...] = ()
    preferred: tuple[WeightedTerm, ...] = field(default=())

    @property
    def spec(self) -> Obj:
        spec: Obj = self.pod["spec"]
        return spec

    def at(self, node: str) -> "PodInfo":
        """The same pod as if it were on that node."""
        return replace(self, node=node)


def host_ports(pod: Obj) -> tuple[HostPort, ...]:
    """The ports of the node its containers and sidecars occupy."""
    spec = pod["spec"]
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return tuple(
        HostPort(port.get("hostIP") or ANY_ADDRESS, port.get("protocol") or "TCP", port["hostPort"])
        for container in [*(spec.get("containers") or ()), *sidecars]
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


def pod_info(pod: Obj) -> PodInfo:
    """Read everything the scheduler needs from a pod object (which is kept, and must not be changed)."""
    spec, metadata = pod["spec"], pod["metadata"]
    namespace, labels = meta.namespace_of(pod), meta.labels_of(pod)
    requests, nonzero = pod_requests(pod), pod_requests(pod, defaults=_NONZERO)
    requests["pods"] = 1
    affinity = spec.get("affinity") or {}
    pods, others = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}

    def terms(source: Obj) -> tuple[AffinityTerm, ...]:
        return tuple(affinity_term(namespace, term) for term in source.get(_REQUIRED) or ())

    preferred = [
        WeightedTerm(affinity_term(namespace, entry["podAffinityTerm"]), sign * entry["weight"])
        for sign, source in ((1, pods), (-1, others))
        for entry in source.get(_PREFERRED) or ()
    ]
    terminating = meta.is_terminating(pod)
    return PodInfo(
        pod=pod, key=meta.key_of(pod), uid=meta.uid_of(pod), namespace=namespace, labels=labels,
        node=spec.get("nodeName") or "", priority=spec.get("priority") or 0,
        created=metadata.get("creationTimestamp") or "", terminating=terminating, requests=requests,
        nonzero_cpu=nonzero.get("cpu", 0), nonzero_memory=nonzero.get("memory", 0),
        group=Group(namespace, frozenset(labels.items()), terminating), ports=host_ports(pod),
        affinity=terms(pods), anti_affinity=terms(others), preferred=tuple(preferred),
    )  # fmt: skip
