"""Startup, liveness and readiness probes: when each is due, what its results mean, and the one schedule they all share.

Who calls it: `pod_worker` says which containers run (`follow`) and asks for `ready`, `started` and `failing`; the executor runs
what is due. Invariants: probes of one container wait for its startup probe; a result changes only after as many equal answers
as its threshold says; a container nobody runs any more has no probes. No thread per probe: due probes borrow one.
Upstream: pkg/kubelet/prober (prober_manager.go, worker.go).
"""

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kubelet.executor import KeyedExecutor
from kubelet.pod_spec import container_of
from kubelet.probe_action import FAILURE, SUCCESS, Outcome
from kubelet.runtime.base import Status
from kubelet.stats.probe_counts import ProbeCounts
from minikube_py.api.clock import Clock
from minikube_py.api.types import Obj

STARTUP, LIVENESS, READINESS = "startup", "liveness", "readiness"
_FIELDS = {STARTUP: "startupProbe", LIVENESS: "livenessProbe", READINESS: "readinessProbe"}
Action = Callable[[Obj, Obj, Obj, Status, str], Outcome]
"""(pod, container, probe, status, pod ip) → outcome"""
Notify = Callable[[Obj, str, str, str, str], None]
"""(pod, container, event type, reason, message)"""


@dataclass
class Probe:
    """One probe of one running container. `result` None until it has one."""

    kind: str
    spec: Obj
    pod: Obj
    container: Obj
    status: Status
    pod_ip: str
    result: bool | None = None
    last: str = ""
    run: int = 0

    def note(self, outcome: str) -> bool:
        """Count an outcome. Out: True when the result changed."""
        self.run = self.run + 1 if outcome == self.last else 1
        self.last = outcome
        threshold = self.spec.get("failureThreshold", 3) if outcome == FAILURE else self.spec.get("successThreshold", 1)
        if self.run < threshold:
            return False
        changed = self.result != (outcome == SUCCESS)
        self.result = outcome == SUCCESS
        return changed


@dataclass
class _Container:
    probes: dict[str, Probe] = field(default_factory=dict)
    failing: str = ""


class Probes:
    """The probes of every container of the node. Thread-safe."""

    def __init__(self, clock: Clock, action: Action, changed: Callable[[str], None], notify: Notify) -> None:
        self._clock, self._action, self._changed, self._notify = clock, action, changed, notify
        self.counts = ProbeCounts()
        self._containers: dict[str, _Container] = {}
        self._by_pod: dict[str, set[str]] = {}
        self._lock = threading.Lock()
        self._executor = KeyedExecutor("probe", self._probe, clock, limit=64)

    # --- what the pod worker asks

    def follow(self, pod: Obj, running: Sequence[Status], pod_ip: str) -> None:
        """Probe exactly these containers of the pod from now on."""
        uid = pod["metadata"]["uid"]
        wanted = {status.id: status for status in running}
        with self._lock:
            known = self._by_pod.get(uid, set())
            for gone in known - wanted.keys():
                self._containers.pop(gone, None)
            self.counts.forget(known - wanted.keys())
            fresh = [status for id_, status in wanted.items() if id_ not in known]
            self._by_pod[uid] = set(wanted)
            if not wanted:
                del self._by_pod[uid]
            for status in fresh:
                self._containers[status.id] = self._new(pod, status, pod_ip)
        for status in fresh:
            for kind in self._containers.get(status.id, _Container()).probes:
                self._executor.add_after(f"{kind}/{status.id}", self._first_delay(status.id, kind))

    def started(self, status: Status) -> bool:
        """Whether the startup probe has passed; True for a running container without one."""
        return status.running and self._result(status.id, STARTUP, default=True)

    def ready(self, status: Status) -> bool:
        return self.started(status) and self._result(status.id, READINESS, default=True)

    def failing(self, uid: str) -> dict[str, str]:
        """Containers of the pod that a probe wants restarted: id → why."""
        with self._lock:
            ids = self._by_pod.get(uid, set())
            return {id_: self._containers[id_].failing for id_ in ids if self._containers[id_].failing}

    def grace_of(self, container_id: str) -> int | None:
        """The probe-level grace period of a container a probe failed."""
        with self._lock:
            found = self._containers.get(container_id)
            for kind in (LIVENESS, STARTUP):
                probe = found.probes.get(kind) if found else None
                if probe and probe.result is False and probe.spec.get("terminationGracePeriodSeconds") is not None:
                    return int(probe.spec["terminationGracePeriodSeconds"])
        return None

    def stop(self) -> None:
        self._executor.stop()

    def _result(self, container_id: str, kind: str, *, default: bool) -> bool:
        with self._lock:
            found = self._containers.get(container_id)
            if found is None:
                return False
            probe = found.probes.get(kind)
            return default if probe is None else bool(probe.result)

    def _new(self, pod: Obj, status: Status, pod_ip: str) -> _Container:
        container = container_of(pod, status.name) or {}
        return _Container({
            kind: Probe(kind, container[name], pod, container, status, pod_ip, result=kind == LIVENESS or None)
            for kind, name in _FIELDS.items() if container.get(name)
        })  # fmt: skip

    def _first_delay(self, container_id: str, kind: str) -> float:
        """What is left of initialDelaySeconds; after a restart of the kubelet probes are spread over their period."""
        probe = self._containers[container_id].probes[kind]
        delay = float(probe.spec.get("initialDelaySeconds", 0))
        age = 0.0
        if probe.status.started_at is not None:
            age = max(0.0, self._clock.time() - probe.status.started_at.timestamp())
        if age > 30:
            return random.uniform(0, float(probe.spec.get("periodSeconds", 10)))
        return max(0.0, delay - age)

    # --- when one is due

    def _probe(self, key: str) -> float | None:
        kind, _, container_id = key.partition("/")
        with self._lock:
            found = self._containers.get(container_id)
            probe = found.probes.get(kind) if found else None
        if found is None or probe is None or (found.failing and kind != READINESS):
            return None
        period = float(probe.spec.get("periodSeconds", 10))
        startup = found.probes.get(STARTUP)
        if kind == STARTUP and probe.result is True:
            return None
        if kind != STARTUP and startup is not None and not startup.result:
            return None  # asked again as soon as the startup probe has passed
        began, status = self._clock.monotonic(), probe.status
        outcome = self._action(probe.pod, probe.container, probe.spec, status, probe.pod_ip)
        took = self._clock.monotonic() - began
        self.counts.note(container_id, status.pod, status.name, kind, outcome.result, took)
        self._settle(found, probe, outcome)
        return period

    def _settle(self, found: _Container, probe: Probe, outcome: Outcome) -> None:
        if outcome.result == FAILURE:
            title = {STARTUP: "Startup", LIVENESS: "Liveness", READINESS: "Readiness"}[probe.kind]
            self._notify(
                probe.pod, probe.container["name"], "Warning", "Unhealthy", f"{title} probe failed: {outcome.text}"
            )
        with self._lock:
            if self._containers.get(probe.status.id) is not found or not probe.note(outcome.result):
                return
            if probe.kind != READINESS and probe.result is False:
                found.failing = f"Container {probe.container['name']} failed {probe.kind} probe, will be restarted"
        if probe.kind == STARTUP and probe.result:
            for kind in found.probes:
                if kind != STARTUP:
                    self._executor.add_after(f"{kind}/{probe.status.id}", self._first_delay(probe.status.id, kind))
        self._changed(probe.pod["metadata"]["uid"])
