"""One look at everything a node runs: containers, pods, the node itself.

Who calls it: the handlers of /stats and /metrics, each for itself. Invariant: numbers come from the runtime and the kernel
when asked; nothing is sampled while nobody asks. A rate is the average since the look that was asked for at least some
seconds ago, or over the container's life when there was none. The node's counters never go back, even where they are only
the sum of its containers'.
Upstream: pkg/kubelet/stats/{cri,cadvisor}_stats_provider.go.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kubelet.cgroups import Cgroups
from kubelet.eviction.rank import PodUsage
from kubelet.observation import observe
from kubelet.options import Options
from kubelet.pod_manager import PodManager
from kubelet.runtime.base import RUNNING, Runtime, Stats, Status
from kubelet.stats.network import Interface, interfaces
from minikube_py.api.clock import Clock
from minikube_py.api.meta import uid_of
from minikube_py.api.types import Obj

_RATE_OVER, _SHORTEST = 10.0, 1.0
"""Seconds: the last look is kept until it is this old; rates over less than the second say nothing."""


@dataclass(frozen=True)
class Container:
    """A running container. `cores` is how much of the processor it uses now."""

    status: Status
    stats: Stats
    cores: float


@dataclass(frozen=True)
class Pod:
    """A pod of this node: all it uses together, and each running container."""

    pod: Obj
    stats: Stats
    cores: float
    containers: list[Container]
    network: list[Interface]
    disk: PodUsage


@dataclass(frozen=True)
class Snapshot:
    """`at` in epoch seconds, as everything was at that moment."""

    at: float
    stats: Stats
    cores: float
    pods: list[Pod]


class Collector:
    """Thread-safe."""

    def __init__(
        self, options: Options, runtime: Runtime, pods: PodManager, cgroups: Cgroups,
        disk_of: Callable[[Obj], PodUsage], clock: Clock,
    ) -> None:  # fmt: skip
        self.options, self._runtime, self._pods, self._cgroups = options, runtime, pods, cgroups
        self._disk_of, self.clock = disk_of, clock
        self._lock = threading.Lock()
        self._past: dict[str, list[tuple[float, int]]] = {}
        self._now: dict[str, list[tuple[float, int]]] = {}
        self._last: dict[str, int] = {}
        self._gone = 0
        self.started = clock.time()

    def snapshot(self) -> Snapshot:
        """Look now. Raises RuntimeFault."""
        running = [summary.id for summary in self._runtime.list_all() if summary.state == RUNNING]
        observed = observe(self._runtime.inspect(id_) for id_ in running)
        statuses = [status for group in observed.containers.values() for status in group]
        stats = {each.container_id: each for each in self._runtime.stats([status.id for status in statuses])}
        sandboxes = {status.pod.uid: status for status in observed.sandboxes}
        with self._lock:
            at = self.clock.time()
            pods = [self._pod(pod, statuses, stats, sandboxes, at) for pod in self._pods.pods()]
            whole = self._node(stats)
            snapshot = Snapshot(at, whole, self._cores("", whole.cpu_nanoseconds, self.started, at), pods)
            self._past, self._now = self._now, {}
        return snapshot

    def _pod(
        self, pod: Obj, statuses: Sequence[Status], stats: dict[str, Stats], sandboxes: dict[str, Status], at: float
    ) -> Pod:  # fmt: skip
        uid = uid_of(pod)
        containers = [
            Container(
                status, stats[status.id], self._cores(status.id, stats[status.id].cpu_nanoseconds, _start(status), at)
            )
            for status in statuses
            if status.pod.uid == uid and status.id in stats
        ]
        whole = self._cgroups.usage(pod) or Stats.total("", [each.stats for each in containers])
        sandbox = sandboxes.get(uid)
        began = _start(sandbox) if sandbox is not None else self.started
        wired = sandbox is not None and not pod["spec"].get("hostNetwork")
        network = interfaces(sandbox.pid) if wired and sandbox is not None and self._cgroups.driver else []
        cores = self._cores(uid, whole.cpu_nanoseconds, began, at)
        return Pod(pod, whole, cores, containers, network, self._disk_of(pod))

    def _node(self, stats: dict[str, Stats]) -> Stats:
        """The node's own cgroup, else the sum of its containers, with the processor time of those that are gone."""
        found = self._cgroups.usage()
        if found is not None:
            return found
        self._gone += sum(used for id_, used in self._last.items() if id_ not in stats)
        self._last = {id_: each.cpu_nanoseconds for id_, each in stats.items()}
        total = Stats.total("", stats.values())
        return replace(total, cpu_nanoseconds=total.cpu_nanoseconds + self._gone)

    def _cores(self, key: str, used: int, began: float, at: float) -> float:
        """How many cores were used lately. In: nanoseconds so far, the start of counting."""
        past = self._past.get(key, [])
        if past and past[-1][1] > used:
            past = []  # it began anew
        since, before = next((look for look in reversed(past) if at - look[0] >= _SHORTEST), (began, 0))
        if not past or at - past[-1][0] >= _RATE_OVER:
            past = [*past, (at, used)][-2:]
        self._now[key] = past
        return max(0, used - before) / 1e9 / max(at - since, _SHORTEST)


def _start(status: Status) -> float:
    return status.started_at.timestamp() if status.started_at else 0.0
