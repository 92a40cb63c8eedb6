"""The eviction loop: every ten seconds look, and end at most one pod where the node runs short.

Who calls it: `main` starts it; `node` asks for the conditions, `pod_manager` whether to take a pod. Invariants: what can be
had back without ending a pod (unused images, when disk is short) is had back first; pods over a limit of their own are
evicted whatever the node has left; one pod per round, and none while the last one still ends, so that the effect is seen
before the next is chosen.
Upstream: pkg/kubelet/eviction/eviction_manager.go.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from kubelet.eviction import rank
from kubelet.eviction.rank import PodUsage
from kubelet.eviction.thresholds import DISK_PRESSURE, Observed, Pressure, Threshold
from kubelet.eviction.usage import Meter
from kubelet.options import Options
from kubelet.pod_spec import grace_period
from kubelet.runtime.base import RuntimeFault
from kubelet.status import Disruption, Verdict
from minikube_py.api.clock import Clock
from minikube_py.api.meta import name_of, uid_of
from minikube_py.api.podresources import is_critical
from minikube_py.api.types import Obj

_log = logging.getLogger(__name__)
REASON = "Evicted"
_AT_ONCE = 1  # seconds of patience at a hard threshold
_PATIENCE = 30.0

Evict = Callable[[Obj, Verdict, int | None], bool]
"""(pod, verdict, seconds of grace, None = the pod's own) → whether there was such a pod."""


class EvictionManager:
    """One per kubelet. `conditions` may be asked from any thread."""

    def __init__(
        self, options: Options, meter: Meter, pods: Callable[[], Sequence[Obj]], evict: Evict,
        tell: Callable[[Obj | None, str, str], None], reclaim: Callable[[], bool], changed: Callable[[], None], clock: Clock,
    ) -> None:  # fmt: skip
        """In: `pods` those that run here now; `tell` (None = about the node) records a Warning; `reclaim` frees disk that no
        pod uses and says whether it did; `changed` is called when the conditions are others than before."""
        self._options, self._meter, self._pods, self._evict = options, meter, pods, evict
        self._tell, self._reclaim, self._changed, self._clock = tell, reclaim, changed, clock
        self._pressure = Pressure(options.eviction_thresholds, options.eviction_pressure_transition_period)
        self._conditions: frozenset[str] = frozenset()
        self._stopped = threading.Event()
        self._ending: tuple[str, float] | None = None

    def start(self) -> None:
        threading.Thread(target=self._run, name="eviction", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def conditions(self) -> frozenset[str]:
        """The pressure conditions that are true."""
        return self._conditions

    def refuse(self, pod: Obj) -> Verdict | None:
        """Why a node in this state takes no such pod."""
        why = rank.refused(pod, self._conditions)
        return Verdict(REASON, why) if why else None

    def _run(self) -> None:
        while not self._clock.wait(self._stopped, self._options.eviction_monitoring_period):
            try:
                self.look()
            except (RuntimeFault, OSError) as error:
                _log.info("cannot see what pods use: %s", error)

    def look(self) -> None:
        """One round. Raises RuntimeFault, OSError."""
        pods = list(self._pods())
        observed = self._meter.observe(pods)
        now = self._clock.monotonic()
        crossed = self._pressure.update(observed, now)
        before, self._conditions = self._conditions, self._pressure.conditions(now)
        if before != self._conditions:
            self._changed()
        if self._waits(pods):
            return
        if self._over_own_limits(pods) or not crossed:
            return
        first = crossed[0]
        self._tell(None, "EvictionThresholdMet", f"Attempting to reclaim {first.resource}")
        if first.condition == DISK_PRESSURE and self._reclaim():
            return
        self._relieve(first, pods, observed)

    def _waits(self, pods: Sequence[Obj]) -> bool:
        """Whether the pod evicted last still ends."""
        if self._ending is None:
            return False
        uid, until = self._ending
        waits = self._clock.monotonic() < until and any(uid_of(pod) == uid for pod in pods)
        if not waits:
            self._ending = None
        return waits

    def _over_own_limits(self, pods: Sequence[Obj]) -> bool:
        found = False
        for pod in pods:
            limited = rank.has_own_limit(pod) and not is_critical(pod)
            why = rank.over_own_limit(pod, self._meter.disk_of(pod)) if limited else ""
            if why and self._end(pod, Verdict(REASON, why), _AT_ONCE):
                found = True
        return found

    def _relieve(self, threshold: Threshold, pods: Sequence[Obj], observed: Mapping[str, Observed]) -> None:
        usage: dict[str, PodUsage] = {uid_of(pod): self._meter.pod(pod) for pod in pods}
        for pod in rank.ranked(pods, threshold.resource, lambda pod: usage[uid_of(pod)]):
            why = rank.message(pod, threshold, observed, usage[uid_of(pod)])
            verdict = Verdict(REASON, why, disruption=Disruption("TerminationByKubelet", why))
            grace = _AT_ONCE
            if threshold.grace:
                grace = min(self._options.eviction_max_pod_grace_period, grace_period(pod))
            if self._end(pod, verdict, grace):
                return
        _log.warning("short of %s and no pod that could be evicted", threshold.resource)

    def _end(self, pod: Obj, verdict: Verdict, grace: int) -> bool:
        _log.info("evicting %s: %s", name_of(pod), verdict.message)
        if not self._evict(pod, verdict, grace):
            return False
        self._tell(pod, REASON, verdict.message)
        self._ending = (uid_of(pod), self._clock.monotonic() + max(_PATIENCE, grace))
        return True
