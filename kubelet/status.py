"""`Pod.status`: a pure function of the pod, what the runtime shows, what the probes say, and the clock.

Who calls it: `pod_worker` after every step. Invariants: a pod that is Succeeded or Failed stays so; conditions that others put
there are kept; nothing changes its lastTransitionTime while its status stays the same. Golden-tested.
Stop of the data path: the way back. Upstream: generateAPIPodStatus and getPhase in pkg/kubelet/kubelet_pods.go.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kubelet import container_status
from kubelet.container_status import Facts
from kubelet.observation import Observation
from kubelet.qos import is_sidecar, qos_class
from minikube_py.api.meta import condition_of, set_condition
from minikube_py.api.types import Obj

SUCCEEDED, FAILED, RUNNING, PENDING = "Succeeded", "Failed", "Running", "Pending"
_OWN = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@dataclass(frozen=True)
class Disruption:
    """The DisruptionTarget condition: somebody else's need ended the pod."""

    reason: str
    message: str


@dataclass(frozen=True)
class Verdict:
    """A phase that does not follow from the containers: a pod rejected, evicted, or past its deadline."""

    reason: str
    message: str
    phase: str = FAILED
    disruption: Disruption | None = None


def generate(
    pod: Obj, seen: Observation, facts: Facts, *, now: str, start_time: str, host_ip: str, pod_ip: str = "",
    verdict: Verdict | None = None,
) -> Obj:  # fmt: skip
    """The whole status object. In: `now`, `start_time` RFC 3339; `pod_ip` "" while the pod has no address."""
    spec, old = pod["spec"], pod.get("status") or {}
    inits = spec.get("initContainers") or []
    waiting_for_init = facts if not inits else replace(facts, initialized=False)
    init = [container_status.build(pod, container, seen, waiting_for_init, init=True) for container in inits]
    initialized = _initialized(spec, init, seen)
    own = facts if initialized else replace(facts, initialized=False)
    main = [container_status.build(pod, container, seen, own) for container in spec["containers"]]
    ephemeral = [
        container_status.build(pod, container, seen, facts) for container in spec.get("ephemeralContainers") or []
    ]
    phase = old.get("phase") if old.get("phase") in (SUCCEEDED, FAILED) else None
    phase = phase or (verdict.phase if verdict else phase_of(spec, init, main, initialized, terminal=facts.terminal))
    status: Obj = {
        **{key: value for key, value in old.items() if key in _KEPT},
        "observedGeneration": pod["metadata"].get("generation", 1),
        "phase": phase,
        "conditions": _conditions(pod, seen, phase, init, main, initialized, pod_ip, now, verdict),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": old.get("startTime") or start_time,
        "qosClass": qos_class(pod),
        "containerStatuses": main,
    }
    if verdict:
        status.update(reason=verdict.reason, message=verdict.message)
    if spec.get("resources") and seen.sandbox is not None:
        status.update(resources=spec["resources"], allocatedResources=spec["resources"].get("requests") or {})
    if init:
        status["initContainerStatuses"] = init
    if ephemeral:
        status["ephemeralContainerStatuses"] = ephemeral
    if pod_ip:
        status.update(podIP=pod_ip, podIPs=[{"ip": pod_ip}])
    return status


_KEPT = ("reason", "message", "nominatedNodeName", "resize", "resourceClaimStatuses", "podIP", "podIPs")


def rejected(pod: Obj, verdict: Verdict, now: str) -> Obj:
    """The status of a pod this node refused: it keeps its conditions and never had containers."""
    old = pod.get("status") or {}
    return {
        **old, "phase": verdict.phase, "reason": verdict.reason, "message": verdict.message,
        "startTime": old.get("startTime") or now, "qosClass": qos_class(pod),
        "observedGeneration": pod["metadata"].get("generation", 1),
    }  # fmt: skip


def settled(status: Obj) -> bool:
    """Whether a status says already that the pod is over and all its containers have ended."""
    entries = status.get("containerStatuses") or []
    over = status.get("phase") in (SUCCEEDED, FAILED)
    return over and bool(entries) and all("terminated" in entry.get("state", {}) for entry in entries)


def _initialized(spec: Obj, init: Sequence[Obj], seen: Observation) -> bool:
    """All init containers done and all sidecars started, or the main containers run already."""
    if any(seen.current(container["name"]) for container in spec["containers"]):
        return True
    return all(
        _init_done(container, entry) for container, entry in zip(spec.get("initContainers") or [], init, strict=True)
    )


def _init_done(container: Obj, entry: Obj) -> bool:
    return bool(entry["started"] if is_sidecar(container) else entry["ready"])


def phase_of(spec: Obj, init: Sequence[Obj], main: Sequence[Obj], initialized: bool, *, terminal: bool = False) -> str:
    """Pending, Running, Succeeded or Failed, in the order upstream asks the questions."""
    policy = spec.get("restartPolicy", "Always")
    failed_init = any(
        not is_sidecar(container) and (_exit_code(entry) or 0) != 0
        for container, entry in zip(spec.get("initContainers") or [], init, strict=True)
    )
    if failed_init and (policy == "Never" or terminal):
        return FAILED
    if not initialized and not terminal:
        return PENDING
    running = sum("running" in entry["state"] for entry in main)
    codes = [code for entry in main if (code := _exit_code(entry)) is not None]
    if running + len(codes) < len(main) and not (terminal and not running):
        return PENDING
    if running:
        return RUNNING
    succeeded = bool(codes) and len(codes) == len(main) and not any(codes)
    if terminal:
        return SUCCEEDED if succeeded else FAILED
    if policy == "Always":
        return RUNNING
    if succeeded:
        return SUCCEEDED
    return FAILED if policy == "Never" else RUNNING


def _exit_code(entry: Obj) -> int | None:
    """The exit code of a container that ended, also of one that waits for its restart."""
    ended = entry["state"].get("terminated")
    if ended is None and "waiting" in entry["state"]:
        ended = entry["lastState"].get("terminated")
    return None if ended is None else int(ended["exitCode"])


def _conditions(
    pod: Obj, seen: Observation, phase: str, init: Sequence[Obj], main: Sequence[Obj], initialized: bool, pod_ip: str,
    now: str, verdict: Verdict | None,
) -> list[Obj]:  # fmt: skip
    spec, generation = pod["spec"], pod["metadata"].get("generation", 1)
    holder: Obj = {"conditions": [dict(old) for old in (pod.get("status") or {}).get("conditions") or []]}
    incomplete = [
        entry["name"]
        for container, entry in zip(spec.get("initContainers") or [], init, strict=True)
        if not initialized and not _init_done(container, entry)
    ]
    ready = _containers_ready(spec, phase, init, main)
    wanted = {
        "PodReadyToStartContainers": (seen.sandbox is not None and bool(pod_ip), "", ""),
        "Initialized": _init_condition(phase, initialized, incomplete),
        "ContainersReady": ready,
        "Ready": _ready(pod, phase, ready),
        "PodScheduled": (True, "", ""),
    }
    if verdict and verdict.disruption:
        wanted["DisruptionTarget"] = (True, verdict.disruption.reason, verdict.disruption.message)
    for kind, (value, reason, message) in wanted.items():
        set_condition(holder, kind, "True" if value else "False", now, reason, message)
    for condition in holder["conditions"]:
        if condition["type"] in wanted:
            condition["observedGeneration"] = generation
    order = {kind: index for index, kind in enumerate(_OWN)}
    return sorted(holder["conditions"], key=lambda condition: order.get(condition["type"], -1))


def _init_condition(phase: str, initialized: bool, incomplete: Sequence[str]) -> tuple[bool, str, str]:
    if phase == SUCCEEDED:
        return True, "PodCompleted", ""
    if initialized:
        return True, "", ""
    return False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]"


def _containers_ready(spec: Obj, phase: str, init: Sequence[Obj], main: Sequence[Obj]) -> tuple[bool, str, str]:
    if phase == SUCCEEDED:
        return False, "PodCompleted", ""
    if phase == FAILED:
        return False, "PodFailed", ""
    sidecars = [
        entry for container, entry in zip(spec.get("initContainers") or [], init, strict=True) if is_sidecar(container)
    ]
    unready = [entry["name"] for entry in (*sidecars, *main) if not entry["ready"]]
    if unready:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return True, "", ""


def _ready(pod: Obj, phase: str, containers: tuple[bool, str, str]) -> tuple[bool, str, str]:
    if not containers[0]:
        return containers
    missing = []
    for gate in pod["spec"].get("readinessGates") or []:
        kind = gate["conditionType"]
        found = condition_of(pod, kind)
        if found is None:
            missing.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif found.get("status") != "True":
            missing.append(f'the status of pod readiness gate "{kind}" is not "True", but {found.get("status")}')
    return (False, "ReadinessGatesNotReady", ", ".join(missing)) if missing else (True, "", "")
