"""What the scheduler knows of nodes and the pods on them, in columns: one list per property, one row per node.

Who calls it: informer handlers keep it current, the scheduling cycle reads it, `assume` puts a decision into it before the
API has confirmed it. All under the scheduler's one lock.
Invariants: rows are dense (0..n-1); for every resource, `requested[row]` is exactly the sum over `nodes[row].pods`; a pod is
on at most one node; a pod whose node is not known yet waits in `orphans`. Sets that many rows share (taints, label values,
pod labels, affinity terms) are stored once and referred to, so that a plugin judges each distinct value once, not each node.
Upstream: pkg/scheduler/backend/cache/{cache,snapshot}.go, framework.NodeInfo.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TypeVar

from controllers.scheduler.podinfo import AffinityTerm, Group, HostPort, PodInfo, WeightedTerm
from minikube_py.api import meta
from minikube_py.api.podresources import amounts
from minikube_py.api.selectors import Selector
from minikube_py.api.tolerations import Taint, taints_of
from minikube_py.api.types import Obj

K = TypeVar("K")


class NodeRow:
    """What does not lend itself to a column."""

    __slots__ = ("images", "labels", "name", "node", "pods", "ports")

    def __init__(self, node: Obj) -> None:
        self.name = meta.name_of(node)
        self.pods: dict[str, PodInfo] = {}
        self.ports: Counter[HostPort] = Counter()
        self.replace(node)

    def replace(self, node: Obj) -> None:
        self.node = node
        self.labels = meta.labels_of(node)
        images = (node.get("status") or {}).get("images") or ()
        self.images: dict[str, int] = {n: i.get("sizeBytes", 0) for i in images for n in i.get("names") or ()}


class Snapshot:
    """The columns. `rows` maps a node's name to its row."""

    def __init__(self) -> None:
        self.nodes: list[NodeRow] = []
        self.rows: dict[str, int] = {}
        self.allocatable: dict[str, list[int]] = {}
        self.requested: dict[str, list[int]] = {}
        self.nonzero_cpu: list[int] = []
        self.nonzero_memory: list[int] = []
        self.unschedulable: list[bool] = []
        self.taints: list[int] = []  # index into taint_sets
        self.taint_sets: list[tuple[Taint, ...]] = []
        self.image_nodes: Counter[str] = Counter()
        self.pods: dict[str, PodInfo] = {}
        self.assumed: dict[str, PodInfo] = {}
        self.orphans: dict[str, dict[str, PodInfo]] = {}
        self.nominated: dict[str, PodInfo] = {}  # pending pods that a preemption made room for; `node` says where
        self.groups: dict[Group, dict[str, int]] = defaultdict(dict)
        self._labelled: dict[tuple[str, str], set[Group]] = {}  # label -> the groups that carry it
        self.affinity_terms: dict[AffinityTerm, dict[str, int]] = defaultdict(dict)
        self.anti_affinity_terms: dict[AffinityTerm, dict[str, int]] = defaultdict(dict)
        self.preferred_terms: dict[WeightedTerm, dict[str, int]] = defaultdict(dict)
        self._labels: dict[str, list[str | None]] = {}

    # -- nodes --------------------------------------------------------------------------------------------------------

    def set_node(self, node: Obj) -> None:
        """Add a node, or take over its new version."""
        name = meta.name_of(node)
        row = self.rows.get(name)
        if row is None:
            row = self.rows[name] = len(self.nodes)
            self.nodes.append(NodeRow(node))
            for column in (*self.allocatable.values(), *self.requested.values(), self.nonzero_cpu, self.nonzero_memory):
                column.append(0)
            for labels in self._labels.values():
                labels.append(None)
            self.unschedulable.append(False)
            self.taints.append(0)
        else:
            self.image_nodes.subtract(self.nodes[row].images.keys())
            self.nodes[row].replace(node)
        self._fill(row, node)
        for pod in self.orphans.pop(name, {}).values():
            self._count(pod, 1)

    def _fill(self, row: int, node: Obj) -> None:
        allocatable = amounts((node.get("status") or {}).get("allocatable"))
        for resource in allocatable:
            self.column(self.allocatable, resource)
        for resource, column in self.allocatable.items():
            column[row] = allocatable.get(resource, 0)
        for key, labels in self._labels.items():
            labels[row] = self.nodes[row].labels.get(key)
        self.unschedulable[row] = bool((node.get("spec") or {}).get("unschedulable"))
        taints = taints_of(node)
        if taints not in self.taint_sets:
            self.taint_sets.append(taints)
        self.taints[row] = self.taint_sets.index(taints)
        self.image_nodes.update(self.nodes[row].images.keys())

    def remove_node(self, name: str) -> None:
        """Forget a node; its pods wait in `orphans` until they go or it comes back. The last row moves into the hole."""
        row = self.rows.get(name)
        if row is None:
            return
        gone = self.nodes[row]
        for pod in list(gone.pods.values()):
            self._count(pod, -1)
            self.orphans.setdefault(name, {})[pod.key] = pod
        self.image_nodes.subtract(gone.images.keys())
        columns: list[list] = [  # type: ignore[type-arg]  # lists of several types
            self.nodes, self.nonzero_cpu, self.nonzero_memory, self.unschedulable, self.taints,
            *self.allocatable.values(), *self.requested.values(), *self._labels.values(),
        ]  # fmt: skip
        for column in columns:
            column[row] = column[-1]
            column.pop()
        del self.rows[name]
        if row < len(self.nodes):
            self.rows[self.nodes[row].name] = row

    def column(self, table: dict[str, list[int]], resource: str) -> list[int]:
        """The column of a resource in `allocatable` or `requested`; made of zeros when nobody named it before."""
        column = table.get(resource)
        if column is None:
            column = table[resource] = [0] * len(self.nodes)
        return column

    def label_column(self, key: str) -> list[str | None]:
        """Every node's value of this label (None = absent), kept current once it was asked for."""
        column = self._labels.get(key)
        if column is None:
            column = self._labels[key] = [node.labels.get(key) for node in self.nodes]
        return column

    # -- pods ---------------------------------------------------------------------------------------------------------

    def set_pod(self, pod: PodInfo) -> None:
        """The API says that this pod is on `pod.node`: take it over, in place of what was assumed or known before."""
        self.assumed.pop(pod.key, None)
        self.remove_pod(pod.key)
        self.pods[pod.key] = pod
        if pod.node in self.rows:
            self._count(pod, 1)
        else:
            self.orphans.setdefault(pod.node, {})[pod.key] = pod

    def remove_pod(self, key: str) -> PodInfo | None:
        """The pod is gone (deleted, or ended). Out: what was known of it."""
        self.assumed.pop(key, None)
        pod = self.pods.pop(key, None)
        if pod is None:
            return None
        if pod.node in self.rows:
            self._count(pod, -1)
        else:
            waiting = self.orphans.get(pod.node, {})
            waiting.pop(key, None)
            if not waiting:
                self.orphans.pop(pod.node, None)
        return pod

    def assume(self, pod: PodInfo, node: str) -> PodInfo:
        """Count a pending pod as placed before the API confirmed it. Out: the pod as placed."""
        placed = pod.at(node)
        self.set_pod(placed)
        self.assumed[pod.key] = placed
        return placed

    def forget(self, key: str, uid: str) -> bool:
        """Take an assumption back, if it is still one and about that very pod."""
        placed = self.assumed.get(key)
        if placed is None or placed.uid != uid:
            return False
        self.remove_pod(key)
        return True

    def _count(self, pod: PodInfo, sign: int) -> None:
        row = self.rows[pod.node]
        node = self.nodes[row]
        for resource, number in pod.requests.items():
            self.column(self.requested, resource)[row] += sign * number
        self.nonzero_cpu[row] += sign * pod.nonzero_cpu
        self.nonzero_memory[row] += sign * pod.nonzero_memory
        if sign > 0:
            node.pods[pod.key] = pod
        else:
            del node.pods[pod.key]
        for port in pod.ports:
            _tally(node.ports, port, sign)
        known = pod.group in self.groups
        self._index(self.groups, pod.group, pod.node, sign)
        if known != (pod.group in self.groups):
            self._index_labels(pod.group)
        for term in pod.affinity:
            self._index(self.affinity_terms, term, pod.node, sign)
        for term in pod.anti_affinity:
            self._index(self.anti_affinity_terms, term, pod.node, sign)
        for preferred in pod.preferred:
            self._index(self.preferred_terms, preferred, pod.node, sign)

    def groups_meant(self, selector: Selector) -> Iterator[tuple[Group, dict[str, int]]]:
        """The groups whose labels match, with their pods per node. Only those that carry a label it names are looked at."""
        named = [requirement for requirement in selector.requirements if requirement.op == "In"]
        candidates: Iterable[Group] = self.groups
        if named:
            carriers: list[list[set[Group]]] = [
                [self._labelled.get((r.key, value), set()) for value in r.values] for r in named
            ]
            fewest = min(carriers, key=lambda sets: sum(len(groups) for groups in sets))
            candidates = chain.from_iterable(fewest)
        for group in candidates:
            if selector.matches(dict(group.labels)):
                yield group, self.groups[group]

    def _index_labels(self, group: Group) -> None:
        """`group` came, or went."""
        for label in group.labels:
            if group in self.groups:
                self._labelled.setdefault(label, set()).add(group)
            else:
                self._labelled[label].discard(group)
                if not self._labelled[label]:
                    del self._labelled[label]

    @staticmethod
    def _index(table: dict[K, dict[str, int]], key: K, node: str, sign: int) -> None:
        counts = table[key]
        _tally(counts, node, sign)
        if not counts:
            del table[key]

    # -- what if ------------------------------------------------------------------------------------------------------

    @contextmanager
    def pretend(self, add: Iterable[PodInfo] = (), remove: Iterable[PodInfo] = ()) -> Iterator[None]:
        """The snapshot as it would be with these pods added and those removed; as it was again afterwards."""
        added, removed = list(add), list(remove)
        for pod in removed:
            self._count(pod, -1)
        for pod in added:
            self._count(pod, 1)
        try:
            yield
        finally:
            for pod in added:
                self._count(pod, -1)
            for pod in removed:
                self._count(pod, 1)


def _tally(counts: dict[K, int], key: K, sign: int) -> None:
    number = counts.get(key, 0) + sign
    if number:
        counts[key] = number
    else:
        del counts[key]
