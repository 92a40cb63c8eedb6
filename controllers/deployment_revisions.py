"""Which ReplicaSet is a Deployment's newest, and how revisions are numbered and remembered in annotations.

Who calls it: `controllers.deployment`. Invariant: equal templates find the same ReplicaSet, however they are spelled; the
name of a ReplicaSet is a function of the template and the collision count, so that creating it twice cannot make two.
Upstream: pkg/controller/deployment/util/deployment_util.go. The hash differs from upstream's in value (that one hashes a Go
memory dump), not in alphabet or use.
"""

import copy
from typing import Any

import orjson

from controllers.deployment_math import DESIRED, MAX, desired, max_surge
from controllers.pod import safe_encode
from minikube_py.api.gvr import REPLICASETS, new_object
from minikube_py.api.meta import annotations_of, controller_reference, name_of, namespace_of
from minikube_py.api.types import Obj

HASH_LABEL = "pod-template-hash"
REVISION, HISTORY = "deployment.kubernetes.io/revision", "deployment.kubernetes.io/revision-history"
_NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration", REVISION, HISTORY, DESIRED, MAX,
    "deprecated.deployment.rollback.to",
}  # fmt: skip
_HISTORY_CHARACTERS = 2000


def normalised(value: Any) -> Any:
    """A template without what means nothing: nulls, empty maps and lists."""
    if isinstance(value, dict):
        cleaned = {key: normalised(item) for key, item in value.items()}
        return {key: item for key, item in cleaned.items() if item not in (None, {}, [])}
    if isinstance(value, list):
        return [normalised(item) for item in value]
    return value


def _without_hash(template: Obj) -> Any:
    plain = normalised(template)
    labels = plain.get("metadata", {}).get("labels", {})
    labels.pop(HASH_LABEL, None)
    return normalised(plain)


def newest(deployment: Obj, sets: list[Obj]) -> Obj | None:
    """The ReplicaSet made from the Deployment's present template; the oldest of them, should there be several."""
    template = _without_hash(deployment["spec"]["template"])
    same = [rs for rs in sets if _without_hash(rs["spec"]["template"]) == template]
    return min(same, key=by_age, default=None)


def by_age(obj: Obj) -> tuple[str, str]:
    """Sort key: oldest first."""
    return obj["metadata"].get("creationTimestamp", ""), name_of(obj)


def template_hash(template: Obj, collisions: int) -> str:
    """A short hash of a pod template, in the alphabet of random names."""
    data = orjson.dumps([_without_hash(template), collisions], option=orjson.OPT_SORT_KEYS)
    value = 2166136261
    for byte in data:
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF  # FNV-1a, 32 bits
    return safe_encode(str(value))


def revision_of(obj: Obj) -> int:
    """The revision annotation as a number (64 bits and more), 0 when there is none."""
    try:
        return int(annotations_of(obj)[REVISION])
    except (KeyError, ValueError):
        return 0


def new_set(deployment: Obj) -> Obj:
    """The ReplicaSet for the Deployment's present template, not yet sized."""
    spec, status = deployment["spec"], deployment.get("status") or {}
    hashed = template_hash(spec["template"], int(status.get("collisionCount") or 0))
    template, selector = copy.deepcopy(spec["template"]), copy.deepcopy(spec["selector"])
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: hashed}
    template["metadata"] = {**(template.get("metadata") or {}), "labels": labels}
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: hashed}
    rs = new_object(REPLICASETS, f"{name_of(deployment)}-{hashed}", namespace_of(deployment))
    rs["metadata"] |= {"labels": dict(labels), "ownerReferences": [controller_reference(deployment)]}
    rs["spec"] = {
        "replicas": 0, "minReadySeconds": spec.get("minReadySeconds", 0), "selector": selector, "template": template,
    }  # fmt: skip
    return rs


def annotations_for(deployment: Obj, rs: Obj, revision: int, *, exists: bool) -> dict[str, str]:
    """The annotations the newest ReplicaSet shall carry: the Deployment's own, and the revision bookkeeping."""
    have = annotations_of(rs)
    wanted = {**have, **{k: v for k, v in annotations_of(deployment).items() if k not in _NOT_COPIED}}
    old = revision_of(rs)
    if old < revision:
        wanted[REVISION] = str(revision)
        if REVISION in have:
            wanted[HISTORY] = _remember(have.get(HISTORY, ""), have[REVISION])
    if not exists:
        wanted |= size_annotations(deployment)
    return wanted


def size_annotations(deployment: Obj) -> dict[str, str]:
    """What a ReplicaSet remembers of the Deployment's size, to be scaled in proportion later."""
    return {DESIRED: str(desired(deployment)), MAX: str(desired(deployment) + max_surge(deployment))}


def _remember(history: str, revision: str) -> str:
    kept = [*(part for part in history.split(",") if part), revision]
    while kept and len(",".join(kept)) > _HISTORY_CHARACTERS:
        kept.pop(0)
    return ",".join(kept)
