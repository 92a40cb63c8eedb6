"""A Deployment's status: counts, and the conditions Available, Progressing and ReplicaFailure.

Who calls it: `controllers.deployment`. Invariant: pure functions of the Deployment, its ReplicaSets and the time; the same
input gives the same status, so a settled Deployment is never written.
Upstream: pkg/controller/deployment/{sync,progress}.go.
"""

from datetime import datetime, timedelta

from controllers.deployment_math import desired, max_unavailable, status_total
from minikube_py.api.clock import parse_rfc3339, rfc3339
from minikube_py.api.meta import condition_of, name_of
from minikube_py.api.types import Obj

_NO_DEADLINE = 2**31 - 1
AVAILABLE_REASON, TIMED_OUT = "NewReplicaSetAvailable", "ProgressDeadlineExceeded"


def deadline(deployment: Obj) -> int | None:
    """progressDeadlineSeconds, None when there is none."""
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    return None if seconds is None or seconds == _NO_DEADLINE else int(seconds)


def condition(kind: str, status: str, reason: str, message: str, now: datetime) -> Obj:
    moment = rfc3339(now)
    return {
        "type": kind, "status": status, "lastUpdateTime": moment, "lastTransitionTime": moment, "reason": reason,
        "message": message,
    }  # fmt: skip


def put(status: Obj, new: Obj) -> None:
    """Set a condition in `status` (mutated); one that says the same already stays untouched."""
    old = condition_of({"status": status}, new["type"])
    if old is not None and (old["status"], old.get("reason")) == (new["status"], new["reason"]):
        return
    if old is not None and old["status"] == new["status"]:
        new = {**new, "lastTransitionTime": old.get("lastTransitionTime", new["lastTransitionTime"])}
    status["conditions"] = [c for c in status.get("conditions") or [] if c["type"] != new["type"]] + [new]


def remove(status: Obj, kind: str) -> None:
    """Take a condition out of `status` (mutated)."""
    status["conditions"] = [c for c in status.get("conditions") or [] if c["type"] != kind]


def counted(deployment: Obj, sets: list[Obj], new_set: Obj | None, now: datetime) -> Obj:
    """The status with its counts and the condition Available brought up to date."""
    old = deployment.get("status") or {}
    available = status_total(sets, "availableReplicas")
    status: Obj = {
        **old, "observedGeneration": deployment["metadata"].get("generation", 0), "replicas": status_total(sets),
        "updatedReplicas": status_total([new_set] if new_set else []),
        "readyReplicas": status_total(sets, "readyReplicas"), "availableReplicas": available,
        "unavailableReplicas": max(0, sum(desired(rs) for rs in sets) - available),
        "conditions": list(old.get("conditions") or []),
    }  # fmt: skip
    seen = [rs_status for rs in sets if (rs_status := rs.get("status") or {}).get("observedGeneration")]
    leaving = [rs_status.get("terminatingReplicas") for rs_status in seen]
    if None not in leaving:  # else one of the sets was last counted by a controller that did not know of this
        status["terminatingReplicas"] = sum(leaving)
    if available >= desired(deployment) - max_unavailable(deployment):
        reason, message = "MinimumReplicasAvailable", "Deployment has minimum availability."
        put(status, condition("Available", "True", reason, message, now))
    else:
        reason, message = "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
        put(status, condition("Available", "False", reason, message, now))
    return status


def rollout(deployment: Obj, sets: list[Obj], new_set: Obj | None, now: datetime) -> Obj:
    """`counted`, and how the rollout is going: Progressing and ReplicaFailure."""
    status = counted(deployment, sets, new_set, now)
    current = condition_of(deployment, "Progressing")
    if deadline(deployment) is None:
        remove(status, "Progressing")
    finished = status["replicas"] == status["updatedReplicas"] and (current or {}).get("reason") == AVAILABLE_REASON
    if deadline(deployment) is not None and not finished:
        _progress(deployment, status, new_set, current, now)
    failure = _failure(sets, new_set)
    if failure is None:
        remove(status, "ReplicaFailure")
    else:
        reason, message = failure.get("reason", ""), failure.get("message", "")
        put(status, condition("ReplicaFailure", failure["status"], reason, message, now))
    return status


def _progress(deployment: Obj, status: Obj, new_set: Obj | None, current: Obj | None, now: datetime) -> None:
    what = f'ReplicaSet "{name_of(new_set)}"' if new_set else f'Deployment "{name_of(deployment)}"'
    if complete(deployment, status):
        message = f"{what} has successfully progressed."
        put(status, condition("Progressing", "True", AVAILABLE_REASON, message, now))
    elif _progressed(deployment, status):
        fresh = condition("Progressing", "True", "ReplicaSetUpdated", f"{what} is progressing.", now)
        if current is not None and current["status"] == "True":
            fresh["lastTransitionTime"] = current.get("lastTransitionTime", fresh["lastTransitionTime"])
        remove(status, "Progressing")  # so that lastUpdateTime moves: the deadline counts from the last progress
        put(status, fresh)
    elif timed_out(deployment, current, now):
        put(status, condition("Progressing", "False", TIMED_OUT, f"{what} has timed out progressing.", now))


def complete(deployment: Obj, status: Obj) -> bool:
    """Every replica is of the newest template and available, and nothing older is left."""
    wanted = desired(deployment)
    counts = [int(status.get(f) or 0) for f in ("updatedReplicas", "replicas", "availableReplicas")]
    observed = int(status.get("observedGeneration") or 0)
    return counts == [wanted] * 3 and observed >= int(deployment["metadata"].get("generation") or 0)


def _progressed(deployment: Obj, status: Obj) -> bool:
    old = deployment.get("status") or {}

    def field(of: Obj, name: str) -> int:
        return int(of.get(name) or 0)

    outdated_now = field(status, "replicas") - field(status, "updatedReplicas")
    outdated_before = field(old, "replicas") - field(old, "updatedReplicas")
    more = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return outdated_now < outdated_before or any(field(status, name) > field(old, name) for name in more)


def timed_out(deployment: Obj, current: Obj | None, now: datetime) -> bool:
    """Whether the rollout made no progress for longer than its deadline."""
    seconds = deadline(deployment)
    if seconds is None or current is None or current.get("reason") == AVAILABLE_REASON:
        return False
    if current.get("reason") == TIMED_OUT:
        return True
    return parse_rfc3339(current["lastUpdateTime"]) + timedelta(seconds=seconds) < now


def check_again_in(deployment: Obj, status: Obj, now: datetime) -> float | None:
    """Seconds until the progress deadline of an unfinished rollout has to be looked at; None when there is no need."""
    seconds, current = deadline(deployment), condition_of({"status": status}, "Progressing")
    if seconds is None or current is None or complete(deployment, status) or current.get("reason") == TIMED_OUT:
        return None
    left = (parse_rfc3339(current["lastUpdateTime"]) + timedelta(seconds=seconds) - now).total_seconds()
    return max(0.0, left) + 1.0  # whole seconds in timestamps: be sure to be past it


def _failure(sets: list[Obj], new_set: Obj | None) -> Obj | None:
    for rs in [new_set, *sets] if new_set else sets:
        if (found := condition_of(rs or {}, "ReplicaFailure")) is not None:
            return found
    return None
