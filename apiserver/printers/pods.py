"""The columns of a Pod: readiness, the one word that sums its containers up, restarts.

Who uses it: `kinds.py`; the columns take what `view` makes of a pod.
Invariant: the words are those kubectl users know: Pending, ContainerCreating, CrashLoopBackOff,
Init:0/2, Completed, Terminating, …
Upstream: pkg/printers/internalversion/printers.go (printPod).
"""

from datetime import datetime
from typing import NamedTuple

from apiserver.printers.columns import AGE, NAME, NONE, Column, column, condition, dig, since
from minikube_py.api.types import Obj


class Summary(NamedTuple):
    """`restarted`: when a container last ended before a restart, RFC 3339 or ""."""

    ready: int
    total: int
    reason: str
    restarts: int
    restarted: str


class _Count:
    """Restarts and the latest end of a run, over some containers."""

    def __init__(self) -> None:
        self.restarts, self.latest = 0, ""

    def add(self, status: Obj) -> None:
        self.restarts += status.get("restartCount") or 0
        self.latest = max(self.latest, dig(status, "lastState", "terminated", "finishedAt") or "")


def summarize(pod: Obj) -> Summary:
    """What the pod's cells say, from its spec and status alone."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    inits: list[Obj] = spec.get("initContainers") or []
    sidecars = {one.get("name") for one in inits if one.get("restartPolicy") == "Always"}
    phase = status.get("phase") or ""
    reason = status.get("reason") or phase
    if any(
        c.get("type") == "PodScheduled" and c.get("reason") == "SchedulingGated" for c in status.get("conditions") or ()
    ):
        reason = "SchedulingGated"
    everyone, kept = _Count(), _Count()
    initializing, ready = _initializing(status, sidecars, len(inits), everyone, kept)
    if initializing and condition(pod, "Initialized") != "True":
        reason, counted = initializing, everyone
    else:
        main_reason, main_ready = _main(pod, status, kept)
        reason, ready, counted = main_reason or initializing or reason, ready + main_ready, kept
    if dig(pod, "metadata", "deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif phase not in ("Succeeded", "Failed"):
            reason = "Terminating"
    total = len(spec.get("containers") or ()) + len(sidecars)
    return Summary(ready, total, reason, counted.restarts, counted.latest)


def _initializing(
    status: Obj, sidecars: set[str | None], count: int, everyone: _Count, kept: _Count
) -> tuple[str, int]:
    """The reason an init container still holds the pod up ("" when none does), and how many sidecars are ready."""
    ready = 0
    for index, one in enumerate(status.get("initContainerStatuses") or ()):
        sidecar = one.get("name") in sidecars
        everyone.add(one)
        if sidecar:
            kept.add(one)
        state = one.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting") or {}
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if sidecar and one.get("started"):
            ready += bool(one.get("ready"))
            continue
        if terminated is not None:
            return f"Init:{_ended(terminated)}", ready
        if waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}", ready
        return f"Init:{index}/{count}", ready
    return "", ready


def _ended(terminated: Obj) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode') or 0}"


def _main(pod: Obj, status: Obj, counted: _Count) -> tuple[str, int]:
    """The reason of the first main container that has one ("" when all just run), and how many are ready."""
    reason, ready = "", 0
    for one in reversed(status.get("containerStatuses") or ()):
        counted.add(one)
        state = one.get("state") or {}
        if dig(state, "waiting", "reason"):
            reason = state["waiting"]["reason"]
        elif state.get("terminated") is not None:
            reason = _ended(state["terminated"])
        elif one.get("ready") and state.get("running") is not None:
            ready += 1
    if reason == "Completed" and ready:
        reason = "Running" if condition(pod, "Ready") == "True" else "NotReady"
    return reason, ready


def view(pod: Obj) -> Obj:
    """The pod with its summary, which three columns show, worked out once."""
    return {**pod, "summary": summarize(pod)}


def _ready(pod: Obj) -> str:
    found: Summary = pod["summary"]
    return f"{found.ready}/{found.total}"


def _restarts(pod: Obj, now: datetime) -> str:
    found: Summary = pod["summary"]
    if found.restarts and found.restarted:
        return f"{found.restarts} ({since(found.restarted, now)} ago)"
    return str(found.restarts)


def _ip(pod: Obj) -> str:
    addresses = dig(pod, "status", "podIPs") or ()
    return str((addresses[0].get("ip") if addresses else dig(pod, "status", "podIP")) or NONE)


def _gates(pod: Obj) -> str:
    gates = dig(pod, "spec", "readinessGates") or ()
    if not gates:
        return NONE
    return f"{sum(condition(pod, gate.get('conditionType', '')) == 'True' for gate in gates)}/{len(gates)}"


POD = (
    NAME,
    column("Ready", _ready),
    column("Status", lambda pod: pod["summary"].reason),
    Column("Restarts", _restarts),
    AGE,
    column("IP", _ip, wide=True),
    column("Node", lambda pod: dig(pod, "spec", "nodeName") or NONE, wide=True),
    column("Nominated Node", lambda pod: dig(pod, "status", "nominatedNodeName") or NONE, wide=True),
    column("Readiness Gates", _gates, wide=True),
)

_ENDED = {
    "Succeeded": {
        "type": "Completed",
        "status": "True",
        "reason": "Succeeded",
        "message": "All containers ended well.",
    },
    "Failed": {"type": "Completed", "status": "True", "reason": "Failed", "message": "At least one container failed."},
}


def row_conditions(pod: Obj) -> list[Obj]:
    """Marks rows of pods that are over, which clients may hide."""
    ended = _ENDED.get(dig(pod, "status", "phase") or "")
    return [ended] if ended else []
