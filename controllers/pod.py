"""What controllers ask about pods: is it active, ready, available; and pods made from templates.

Who calls it: every controller that owns or follows pods. Invariant: pure functions.
Upstream: pkg/api/v1/pod/util.go, pkg/controller/controller_utils.go.
"""

import copy
import random
from datetime import datetime, timedelta

from minikube_py.api.clock import parse_rfc3339, rfc3339
from minikube_py.api.meta import (
    condition_is,
    condition_of,
    controller_reference,
    is_terminating,
    name_of,
    namespace_of,
)
from minikube_py.api.types import Obj

_SAFE = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: a random name never spells a word
_MAX_BASE = 58


def phase_of(pod: Obj) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def node_of(pod: Obj) -> str:
    return str(pod["spec"].get("nodeName") or "")


def is_finished(pod: Obj) -> bool:
    """Succeeded or Failed: it will never run again."""
    return phase_of(pod) in ("Succeeded", "Failed")


def is_active(pod: Obj) -> bool:
    """Counts towards a replica count: not finished, not being deleted."""
    return not is_finished(pod) and not is_terminating(pod)


def is_ready(pod: Obj) -> bool:
    condition = condition_of(pod, "Ready")
    return condition is not None and condition.get("status") == "True"


def ready_since(pod: Obj) -> datetime | None:
    """When the pod became ready, None while it is not."""
    condition = condition_of(pod, "Ready")
    if condition is None or condition.get("status") != "True" or not condition.get("lastTransitionTime"):
        return None
    return parse_rfc3339(condition["lastTransitionTime"])


def available_in(pod: Obj, min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until the pod counts as available: 0.0 when it does, None while it is not ready."""
    if not is_ready(pod):
        return None
    if min_ready_seconds == 0:
        return 0.0
    since = ready_since(pod)
    if since is None:
        return None
    return max(0.0, (since + timedelta(seconds=min_ready_seconds) - now).total_seconds())


def disrupted(pod: Obj, reason: str, message: str, now: datetime) -> list[Obj] | None:
    """The pod's conditions, with why it is about to be deleted; None when they say so already."""
    if condition_is(pod, "DisruptionTarget") and (condition_of(pod, "DisruptionTarget") or {}).get("reason") == reason:
        return None
    others = [c for c in (pod.get("status") or {}).get("conditions") or [] if c["type"] != "DisruptionTarget"]
    return [*others, {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
                      "lastTransitionTime": rfc3339(now)}]  # fmt: skip


def random_name(base: str) -> str:
    """`base` and five random characters, as the API server makes names from generateName."""
    return base[:_MAX_BASE] + "".join(random.choices(_SAFE, k=5))


def safe_encode(text: str) -> str:
    """Text over the alphabet of random names (used for hashes in labels and names)."""
    return "".join(_SAFE[ord(char) % len(_SAFE)] for char in text)


def from_template(template: Obj, owner: Obj, name: str = "") -> Obj:
    """The pod a controller makes from its template: the template's metadata and spec, owned by `owner`.

    In: `name` decided by the caller ("" lets the API server choose). A name chosen here makes a repeated create harmless.
    """
    metadata = template.get("metadata") or {}
    base = f"{name_of(owner)}-"
    pod: Obj = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": base, "namespace": namespace_of(owner), "ownerReferences": [controller_reference(owner)],
            **{key: copy.deepcopy(metadata[key]) for key in ("labels", "annotations", "finalizers") if metadata.get(key)},
        },
        "spec": copy.deepcopy(template.get("spec") or {}),
    }  # fmt: skip
    if name:
        pod["metadata"]["name"] = name
    return pod
