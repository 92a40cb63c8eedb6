"""DefaultTolerationSeconds: how long a pod stays on a node that is not ready or cannot be reached.

Who calls it: `chain.py`, at pod creation and update. Invariant: a pod that says itself what it tolerates keeps its word.
Upstream: plugin/pkg/admission/defaulttolerationseconds.
"""

from typing import Any

from apiserver.admission.attributes import Attributes

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
_UPSTREAM_SECONDS = 300


def admit(attributes: Attributes) -> None:
    """Add the two NoExecute tolerations that are missing."""
    if not attributes.is_("pods") or attributes.obj is None:
        return
    spec, options = attributes.obj.setdefault("spec", {}), attributes.ctx.options
    tolerations = list(spec.get("tolerations") or ())
    for key, option in ((NOT_READY, "not_ready"), (UNREACHABLE, "unreachable")):
        if not any(_covers(item, key) for item in tolerations):
            seconds = getattr(options, f"default_{option}_toleration_seconds", _UPSTREAM_SECONDS)
            more = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
            tolerations.append(more)
    if len(tolerations) != len(spec.get("tolerations") or ()):
        spec["tolerations"] = tolerations


def _covers(toleration: dict[str, Any], key: str) -> bool:
    return toleration.get("key") in (key, "", None) and toleration.get("effect") in ("NoExecute", "", None)
