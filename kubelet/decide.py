"""What has to happen next to a pod: a pure function of its spec, what the runtime shows, and what its probes said.

Who calls it: `pod_worker`, again and again until nothing is left to do. It never waits and never acts: back-off, image pulls
and failures are the business of whoever carries the plan out.
Invariants: a container whose newest instance runs is never started again; one of a dead sandbox is killed before a new
sandbox is made; the plan for a pod that is as it should be is empty.
Stop of the data path: 9. Upstream: computePodActions and computeInitContainerActions in pkg/kubelet/kuberuntime.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kubelet.observation import Observation
from kubelet.qos import container_limits, is_sidecar
from kubelet.runtime import labels
from kubelet.runtime.base import CREATED, EXITED, Resources, Status
from minikube_py.api.types import Obj


@dataclass(frozen=True)
class Start:
    """Start this container as this attempt; `after` is the instance that ended, for the back-off."""

    container: str
    attempt: int
    after: Status | None = None


@dataclass(frozen=True)
class Kill:
    """Stop this container; `why` is the message of the Killing event."""

    status: Status
    why: str


@dataclass(frozen=True)
class Resize:
    """Give this running container other limits."""

    status: Status
    limits: Resources


@dataclass(frozen=True)
class Plan:
    """To be done in this order: kill, remove, resize, make a sandbox (then ask again), start.

    `finished`: the pod has ended by itself.
    """

    kill: tuple[Kill, ...] = ()
    remove: tuple[str, ...] = ()
    create_sandbox: int | None = None
    start: tuple[Start, ...] = ()
    resize: tuple[Resize, ...] = ()
    finished: bool = False

    def __bool__(self) -> bool:
        return self != Plan()


Started = Callable[[Status], bool]


def decide(pod: Obj, seen: Observation, failing: Mapping[str, str], started: Started) -> Plan:
    """The next steps.

    In: `failing` maps container ids to the reason why a probe wants them restarted; `started` says whether the startup
    probe of a running container has passed (True where there is none).
    """
    if seen.sandbox is None:
        return _without_sandbox(pod, seen)
    steps = _Steps(pod, seen, failing, started)
    steps.ephemeral()
    initialized = steps.init_containers()
    if initialized:
        steps.main_containers()
    return steps.plan()


def restarts(pod: Obj, container: Obj, ended: Status) -> bool:
    """Whether a container that ended is to be started again."""
    for rule in container.get("restartPolicyRules") or []:
        codes = rule.get("exitCodes") or {}
        listed = ended.exit_code in (codes.get("values") or ())
        if rule.get("action") == "Restart" and listed == (codes.get("operator") == "In"):
            return True
    policy = container.get("restartPolicy") or pod["spec"].get("restartPolicy", "Always")
    return bool(policy == "Always" or (policy == "OnFailure" and ended.exit_code != 0))


def _without_sandbox(pod: Obj, seen: Observation) -> Plan:
    spec = pod["spec"]
    ended = [seen.newest(container["name"]) for container in spec["containers"]]
    if any(ended) and spec.get("restartPolicy") == "Never":
        return Plan(finished=True)
    succeeded = [status is not None and status.state == EXITED and status.exit_code == 0 for status in ended]
    if spec.get("restartPolicy") == "OnFailure" and all(succeeded):
        return Plan(finished=True)
    kill = tuple(Kill(status, "Pod sandbox changed, it will be killed and re-created.") for status in seen.running())
    attempt = seen.sandboxes[0].attempt + 1 if seen.sandboxes else 0
    if seen.sandboxes and seen.sandboxes[0].state == CREATED:
        return Plan(kill=kill, remove=(seen.sandboxes[0].id,), create_sandbox=attempt - 1)
    return Plan(kill=kill, create_sandbox=attempt)


class _Steps:
    """Collects the plan for a pod whose sandbox runs."""

    def __init__(self, pod: Obj, seen: Observation, failing: Mapping[str, str], started: Started) -> None:
        self.pod, self.spec, self.seen, self.failing, self.started = pod, pod["spec"], seen, failing, started
        self._kill: list[Kill] = []
        self._remove: list[str] = []
        self._start: list[Start] = []
        self._resize: list[Resize] = []
        self._finished = False

    def plan(self) -> Plan:
        return Plan(
            tuple(self._kill), tuple(self._remove), None, tuple(self._start), tuple(self._resize), self._finished
        )

    def ephemeral(self) -> None:
        """Ephemeral containers are started once, whatever becomes of them."""
        for container in self.spec.get("ephemeralContainers") or []:
            if self.seen.newest(container["name"]) is None:
                self._begin(container)

    def init_containers(self) -> bool:
        """One after the other; a sidecar is passed once it has started. True when the main containers may run."""
        before = any(self.seen.current(container["name"]) for container in self.spec["containers"])
        for container in self.spec.get("initContainers") or []:
            done = self._sidecar(container) if is_sidecar(container) else self._regular_init(container, before)
            if not done and not before:
                return False
            if self._finished:
                return False
        return True

    def _sidecar(self, container: Obj) -> bool:
        status = self.seen.current(container["name"])
        if status is None or not status.running:
            self._begin(container)
            return False
        if self._must_go(container, status):
            return False
        return self.started(status)

    def _regular_init(self, container: Obj, before: bool) -> bool:
        if before:
            return True
        status = self.seen.current(container["name"])
        if status is None or status.state == CREATED:
            self._begin(container)
            return False
        if status.running:
            return False
        if status.exit_code == 0:
            return True
        if self.spec.get("restartPolicy") == "Never":
            self._finished = True
        else:
            self._begin(container)
        return False

    def main_containers(self) -> None:
        alive = False
        for container in self.spec["containers"]:
            status = self.seen.current(container["name"])
            newest = self.seen.newest(container["name"])
            if status is not None and status.running:
                if not self._must_go(container, status):
                    alive = True
                    continue
                if _changed(container, status):  # whatever the restart policy says
                    self._start.append(Start(container["name"], status.attempt + 1))
                    alive = True
                alive = alive or (container.get("restartPolicy") or self.spec.get("restartPolicy")) != "Never"
            elif newest is None or newest.state == CREATED or restarts(self.pod, container, newest):
                self._begin(container)
                alive = True
        self._finished = self._finished or not alive

    def _must_go(self, container: Obj, status: Status) -> bool:
        name = container["name"]
        if _changed(container, status):
            self._kill.append(Kill(status, f"Container {name} definition changed, will be restarted"))
            return True
        if status.id in self.failing:
            self._kill.append(Kill(status, self.failing[status.id]))
            return True
        wanted = container_limits(self.pod, container, 0)
        if status.limits is not None and _differs(status.limits, wanted):
            if _restarts_for(container, status.limits, wanted):
                self._kill.append(Kill(status, f"Container {name} resize requires restart"))
                return True
            self._resize.append(Resize(status, wanted))
        return False

    def _begin(self, container: Obj) -> None:
        newest = self.seen.newest(container["name"])
        if newest is None:
            self._start.append(Start(container["name"], 0))
        elif newest.state == CREATED:
            self._remove.append(newest.id)
            self._start.append(Start(container["name"], newest.attempt))
        else:
            self._start.append(Start(container["name"], newest.attempt + 1, newest))


def _differs(now: Resources, wanted: Resources) -> bool:
    return (now.cpu_shares, now.cpu_quota, now.memory) != (wanted.cpu_shares, wanted.cpu_quota, wanted.memory)


def _restarts_for(container: Obj, now: Resources, wanted: Resources) -> bool:
    """Whether the container's resizePolicy asks for a restart when this resource changes."""
    policies = {entry["resourceName"]: entry.get("restartPolicy") for entry in container.get("resizePolicy") or []}
    cpu = (now.cpu_shares, now.cpu_quota) != (wanted.cpu_shares, wanted.cpu_quota)
    by_cpu = cpu and policies.get("cpu") == "RestartContainer"
    return by_cpu or (now.memory != wanted.memory and policies.get("memory") == "RestartContainer")


def _changed(container: Obj, status: Status) -> bool:
    return status.labels.get(labels.HASH, "") != labels.container_hash(container)
