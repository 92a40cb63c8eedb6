"""Validation of `metadata`, the same for every kind, and what an update may not touch in it.

Who calls it: `Strategy` (base.py). Invariant: accepts exactly what upstream's ObjectMeta validation accepts.
Upstream: staging/src/k8s.io/apimachinery/pkg/api/validation/objectmeta.go and apis/meta/v1/validation.
"""

from collections.abc import Callable

from apiserver.strategies.checks import forbidden, immutable, invalid, required, syntax, too_long
from minikube_py.api import names
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

subdomain = names.subdomain
_ANNOTATIONS_LIMIT = 256 * 1024
_SERVER_OWNED = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generateName",
    "selfLink",
)
_PLAIN_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})


def labels(path: str, value: Obj | None) -> list[Cause]:
    """Keys and values of a label map."""
    causes = []
    for key, text in (value or {}).items():
        causes += syntax(path, key, names.qualified)
        causes += syntax(path, text, names.label_value)
    return causes


def annotations(path: str, value: Obj | None) -> list[Cause]:
    """Keys (case does not matter) and the total size."""
    causes, size = [], 0
    for key, text in (value or {}).items():
        causes += [invalid(path, key, p) for p in [names.qualified(key.lower())] if p]
        size += len(key.encode()) + len(str(text).encode())
    if size > _ANNOTATIONS_LIMIT:
        causes.append(too_long(path, _ANNOTATIONS_LIMIT))
    return causes


def finalizer(path: str, value: str) -> list[Cause]:
    """A qualified name; without a domain only the built-in ones."""
    causes = syntax(path, value, names.qualified)
    if not causes and "/" not in value and value not in _PLAIN_FINALIZERS:
        causes.append(invalid(path, value, "name is neither a standard finalizer name nor is it fully qualified"))
    return causes


def _owner_references(meta: Obj) -> list[Cause]:
    path, causes, controllers = "metadata.ownerReferences", [], []
    for index, ref in enumerate(meta.get("ownerReferences") or ()):
        at = f"{path}[{index}]"
        group, _, version = str(ref.get("apiVersion") or "").rpartition("/")
        if not version:
            causes.append(invalid(f"{at}.apiVersion", ref.get("apiVersion") or "", "version must not be empty"))
        empty = [name for name in ("kind", "name", "uid") if not ref.get(name)]
        causes += [invalid(f"{at}.{name}", "", "must not be empty") for name in empty]
        if not group and ref.get("kind") == "Event":
            causes.append(invalid(at, ref, f"{version}, Kind={ref['kind']} is disallowed from being an owner"))
        if ref.get("controller"):
            controllers.append(ref)
    if len(controllers) > 1:
        text = 'Only one reference can have Controller set to true. Found "true" in references for {} and {}'
        first, second = (f"{c.get('kind')}/{c.get('name')}" for c in controllers[:2])
        causes.append(invalid(path, meta["ownerReferences"], text.format(first, second)))
    return causes


def _common(meta: Obj) -> list[Cause]:
    causes = labels("metadata.labels", meta.get("labels"))
    causes += annotations("metadata.annotations", meta.get("annotations"))
    causes += _owner_references(meta)
    finalizers = meta.get("finalizers") or ()
    for value in finalizers:
        causes += finalizer("metadata.finalizers", value)
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        causes.append(invalid("metadata.finalizers", list(finalizers), why))
    return causes


def validate(meta: Obj, name_rule: Callable[[str], str]) -> list[Cause]:
    """Metadata of an object about to be created (generateName already resolved)."""
    causes = []
    if prefix := meta.get("generateName"):
        # the prefix may end in what a whole name may not end in
        probe = prefix[:-1] + "a" if prefix.endswith(("-", ".")) else prefix
        causes += [invalid("metadata.generateName", prefix, p) for p in [name_rule(probe)] if p]
    name = meta.get("name")
    if not name:
        causes.append(required("metadata.name", "name or generateName is required"))
    else:
        causes += syntax("metadata.name", name, name_rule)
    return causes + _common(meta)


def carry_over(new: Obj, old: Obj) -> None:
    """Server-owned metadata that a client left out (or sent stale) comes from the stored object. Mutates `new`."""
    meta, before = new["metadata"], old["metadata"]
    for field in _SERVER_OWNED:
        if field == "uid" and meta.get("uid"):
            continue
        if field in before:
            meta[field] = before[field]
        else:
            meta.pop(field, None)


def validate_update(new: Obj, old: Obj) -> list[Cause]:
    """Metadata as a successor of `old`: the immutable parts, and no new finalizer once deletion has begun."""
    causes = []
    for field in ("name", "namespace", "uid", "creationTimestamp"):
        causes += immutable(f"metadata.{field}", new.get(field), old.get(field))
    if old.get("deletionTimestamp"):
        added = [f for f in new.get("finalizers") or () if f not in (old.get("finalizers") or ())]
        if added:
            text = "no new finalizers can be added if the object is being deleted, found new finalizers "
            causes.append(forbidden("metadata.finalizers", text + str(added).replace("'", '"')))
    return causes + _common(new)
