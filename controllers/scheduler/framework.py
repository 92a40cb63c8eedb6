"""The scheduler's plugin seam: the extension points, and what runs the plugins of a profile at each of them.

Who calls it: cycle.py runs filters and scores, main.py the rest; every file in plugins/ implements `Plugin`.
Invariant: plugins only read the snapshot. A filter judges all rows it is given in one call and returns only the rejected
ones; a score returns one number per row. So a plugin works on whole columns, and a faster column type changes no interface.
Upstream: pkg/scheduler/framework/interface.go and runtime/framework.go.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from controllers.scheduler.podinfo import PodInfo
from controllers.scheduler.snapshot import Snapshot
from minikube_py.api.gvr import GVR
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client

# What may happen in a cluster that can make a rejected pod fit. Plugins name those that can change their mind.
NODE_ADD: Final = "NodeAdd"
NODE_DELETE: Final = "NodeDelete"
NODE_ALLOCATABLE: Final = "NodeAllocatable"
NODE_LABEL: Final = "NodeLabel"
NODE_TAINT: Final = "NodeTaint"  # spec.unschedulable included
POD_ADD: Final = "AssignedPodAdd"
POD_DELETE: Final = "AssignedPodDelete"
POD_LABEL: Final = "AssignedPodLabel"
POD_SCALE_DOWN: Final = "AssignedPodScaleDown"
NAMESPACE_LABEL: Final = "NamespaceLabel"
VOLUME_CLAIM: Final = "PersistentVolumeClaim"
VOLUME: Final = "PersistentVolume"
STORAGE_CLASS: Final = "StorageClass"
CSI: Final = "CSI"  # drivers, their limits per node, their capacities
RESOURCE_CLAIM: Final = "ResourceClaim"
RESOURCE_SLICE: Final = "ResourceSlice"
DEVICE_CLASS: Final = "DeviceClass"

MAX_SCORE: Final = 100


class Verdict(NamedTuple):
    """Why a plugin refuses a node. `unresolvable`: no preemption of pods on it could change that."""

    plugin: str
    reasons: tuple[str, ...]
    unresolvable: bool = False


class Skip:
    """What `pre_filter` returns when the plugin's filter has nothing to check for this pod."""


SKIP: Final = Skip()
PreFilter = Skip | Verdict | None
"""SKIP; a Verdict that holds for every node; None = run the filter."""


class Wait:
    """What `permit` and `pre_bind` return while something is not ready yet: they are called again."""


WAIT: Final = Wait()
Readiness = Wait | str | None
"""WAIT; a reason to refuse; None = go on and bind."""


@dataclass(slots=True)
class Cycle:
    """One attempt to place one pod. `state` is for plugins to carry results from one extension point to the next."""

    pod: PodInfo
    snapshot: Snapshot
    state: dict[str, Any] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()


class PostFilter(NamedTuple):
    """What a post_filter did about a pod that fits nowhere.

    `message` is added to the pod's own; `nominated` is the node that will have room ("" = none any more, None = unchanged)
    once `victims` are gone. `write`, if any, is what makes room instead: it runs on a writer thread and may raise APIError.
    """

    message: str
    nominated: str | None = None
    victims: tuple[PodInfo, ...] = ()
    write: Callable[[], object] | None = None


class Lister(Protocol):
    """Reads other objects from informers: all of a kind, those of one namespace, or the one of a name (or none)."""

    def __call__(self, resource: GVR, namespace: str = "", name: str = "") -> Sequence[Obj]: ...


class Handle(NamedTuple):
    """What plugins are made with: how to reach the API, other objects (from informers), and a namespace's labels.

    `shared` is one for all profiles of a scheduler: what is promised by one of them is promised by all.
    """

    client: Client
    lister: Lister
    namespace_labels: Callable[[str], Mapping[str, str]]
    shared: dict[str, Any]


class Plugin(Protocol):
    """One scheduling rule. Subclass it and override the extension points the rule needs; the others do nothing."""

    name: ClassVar[str]
    events: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def build(cls, handle: Handle, args: Obj) -> "Plugin":
        """Make it. In: its `args` in the configuration's pluginConfig. Raises ValueError for what it does not take."""
        only(args)
        return cls()

    def queue_sort(self, pod: PodInfo, since: float) -> tuple[Any, ...]:
        """The queue's sort key, smallest first; one plugin decides it. In: when the pod began to wait, in seconds."""
        return ()

    def pre_enqueue(self, pod: PodInfo) -> str | None:
        """A reason to keep the pod out of the queue until it is changed, or None."""
        return None

    def pre_filter(self, cycle: Cycle) -> PreFilter:
        """Once per attempt, before any filter: compute what is common to all nodes."""
        return None

    def filter(self, cycle: Cycle, rows: Sequence[int]) -> Mapping[int, Verdict]:
        """The rows among these that the pod cannot go to."""
        return {}

    def post_filter(self, cycle: Cycle, profile: "Profile", rejected: Mapping[int, Verdict]) -> PostFilter | None:
        """The pod fits nowhere (`rejected` covers every row): try to make room, or say why not. The first answer counts."""
        return None

    def score(self, cycle: Cycle, rows: Sequence[int]) -> list[float] | None:
        """How much the plugin likes each of these rows; None = it does not care about this pod."""
        return None

    def normalise(self, cycle: Cycle, rows: Sequence[int], scores: list[float]) -> list[float]:
        """Its scores brought to 0..MAX_SCORE."""
        return scores

    def reserve(self, cycle: Cycle, node: str) -> str | None:
        """The pod is about to be bound to the node: claim what it needs there, or return why that failed."""
        return None

    def unreserve(self, cycle: Cycle, node: str) -> None:
        """Give back what `reserve` claimed; must be harmless when nothing was."""
        return

    def permit(self, cycle: Cycle, node: str) -> Readiness:
        """The last word on the decision. WAIT keeps the pod's place, for example until its whole group has places."""
        return None

    def pre_bind(self, cycle: Cycle, node: str) -> Readiness:
        """Make ready (by writing to the API) what the pod needs on the node. May be repeated. Raises errors.APIError."""
        return None

    def bind(self, pod: PodInfo, node: str) -> bool:
        """Write the decision to the API. True = done, no other plugin is asked. Raises errors.APIError."""
        return False


class Entry(NamedTuple):
    plugin: Plugin
    weight: int


class Profile:
    """The plugins that act at each extension point, in order, with their weights; pods of `name` are scheduled by it."""

    def __init__(self, name: str, points: Mapping[str, Iterable[tuple[Plugin, int]]]) -> None:
        self.name = name
        self._at = {point: tuple(Entry(*entry) for entry in entries) for point, entries in points.items()}
        plugins = {entry.plugin.name: entry.plugin for entries in self._at.values() for entry in entries}
        self.interests = {plugin_name: plugin.events for plugin_name, plugin in plugins.items()}

    def at(self, point: str) -> tuple[Entry, ...]:
        """The plugins that do something at this extension point, in order."""
        return self._at[point]

    def queue_sort(self, pod: PodInfo, since: float) -> tuple[Any, ...]:
        return self.at("queue_sort")[0].plugin.queue_sort(pod, since)

    def pre_enqueue(self, pod: PodInfo) -> str | None:
        for plugin, _ in self.at("pre_enqueue"):
            if (reason := plugin.pre_enqueue(pod)) is not None:
                return reason
        return None

    def pre_filter(self, cycle: Cycle) -> Verdict | None:
        """Out: the verdict on all nodes at once, if a plugin gave one."""
        skipped: set[str] = set()
        for plugin, _ in self.at("pre_filter"):
            result = plugin.pre_filter(cycle)
            if isinstance(result, Verdict):
                return result
            if isinstance(result, Skip):
                skipped.add(plugin.name)
        cycle.skipped = frozenset(skipped)
        return None

    def reserve(self, cycle: Cycle, node: str) -> str | None:
        """Out: why one of them refused; then nothing is reserved."""
        for plugin, _ in self.at("reserve"):
            if (refusal := plugin.reserve(cycle, node)) is not None:
                self.unreserve(cycle, node)
                return refusal
        return None

    def unreserve(self, cycle: Cycle, node: str) -> None:
        for plugin, _ in reversed(self.at("reserve")):
            plugin.unreserve(cycle, node)

    def permit(self, cycle: Cycle, node: str) -> Readiness:
        return _together([plugin.permit(cycle, node) for plugin, _ in self.at("permit")])

    def pre_bind(self, cycle: Cycle, node: str) -> Readiness:
        """Raises errors.APIError."""
        return _together([plugin.pre_bind(cycle, node) for plugin, _ in self.at("pre_bind")])

    def filter(self, cycle: Cycle, rows: Sequence[int]) -> tuple[Sequence[int], dict[int, Verdict]]:
        """Run the filters in order, each on what the ones before it left. Out: feasible rows, first verdict per other row."""
        rejected: dict[int, Verdict] = {}
        for plugin, _ in self.at("filter"):
            if plugin.name in cycle.skipped:
                continue
            if not rows:
                break
            refused = plugin.filter(cycle, rows)
            if refused:
                rejected.update(refused)
                rows = [row for row in rows if row not in refused]
        return rows, rejected

    def score(self, cycle: Cycle, rows: Sequence[int]) -> tuple[list[float], dict[str, list[float]]]:
        """Out: the weighted sum per row, and each plugin's weighted share of it."""
        total = [0.0] * len(rows)
        shares: dict[str, list[float]] = {}
        for plugin, weight in self.at("score"):
            raw = plugin.score(cycle, rows)
            if raw is None:
                continue
            share = [weight * number for number in plugin.normalise(cycle, rows, raw)]
            shares[plugin.name] = share
            total = [a + b for a, b in zip(total, share, strict=True)]
        return total, shares


def _together(answers: Sequence[Readiness]) -> Readiness:
    """The first refusal; WAIT while one of them waits."""
    refusals = [answer for answer in answers if isinstance(answer, str)]
    return refusals[0] if refusals else (WAIT if WAIT in answers else None)


def only(args: Obj, *known: str) -> None:
    """Raises ValueError for an argument that is not among these."""
    unknown = [name for name in args if name not in (*known, "apiVersion", "kind")]
    if unknown:
        raise ValueError(
            f"unknown field {unknown[0]!r}; " + (f"known: {', '.join(known)}" if known else "it takes none")
        )


def normalise_by_max(scores: list[float], *, reverse: bool = False) -> list[float]:
    """Scale so that the largest becomes MAX_SCORE; `reverse` makes small raw scores good ones."""
    largest = max(scores, default=0)
    if largest == 0:
        return [float(MAX_SCORE)] * len(scores) if reverse else scores
    scaled = [MAX_SCORE * score // largest for score in scores]
    return [MAX_SCORE - score for score in scaled] if reverse else scaled
