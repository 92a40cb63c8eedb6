"""Deleting: preconditions, graceful deletion, finalizers and propagation policy; one object or a whole collection.

Who calls it: the REST edge (`apiserver/rest.py`), `Registry.remove`. Invariant: an object with finalizers or with grace left
is only marked (deletionTimestamp), never removed; the delete is a compare-and-swap, tried again when somebody was faster
and the preconditions still hold. DELETED events carry the object's last state.
Stop of the data path: 3, for deletes.
Upstream: staging/src/k8s.io/apiserver/pkg/registry/rest/delete.go and registry/generic/registry/store.go.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from apiserver import strategies
from apiserver.admission import chain
from apiserver.registry import Call, Registry, is_namespace, released
from apiserver.resources import convert
from apiserver.storage.base import RevisionMismatch
from apiserver.storage.stored import Stored
from apiserver.strategies.base import mark_deleting
from minikube_py.api import errors
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_ATTEMPTS = 60
_PARALLEL = 8
_ORPHAN, _FOREGROUND = "orphan", "foregroundDeletion"
_POLICIES = ("Orphan", "Background", "Foreground")


def delete(registry: Registry, call: Call) -> tuple[Stored, bool]:
    """Delete or begin to delete one object, as `call.options` (DeleteOptions) asks.

    Out: the object's last or newest state, and whether it is gone. Raises NotFound, Conflict, Invalid, Forbidden.
    """
    _check_options(call)
    row, strategy = call.row, strategies.for_row(call.row)
    ctx = registry.context(call.user, call.dry_run)
    for _ in range(_ATTEMPTS):
        before = registry.get(row, call.namespace, call.name)
        old = before.obj()
        _check_preconditions(call, old)
        attributes = registry.attributes(call, chain.DELETE, None, convert.read(row, before.obj()), ctx)
        if not call.admitted:
            chain.admit(attributes)
            chain.validate(attributes)
        new = before.obj()
        decision = strategy.before_delete(new, call.options, registry.clock)
        if decision == "pending":
            return before, False
        _set_finalizers(new, call.options)
        if decision == "now" and (new["metadata"].get("finalizers") or not _removable(new)):
            if not new["metadata"].get("deletionTimestamp"):
                mark_deleting(new, registry.clock)
            if is_namespace(new):
                new["status"] = {**(new.get("status") or {}), "phase": "Terminating"}
            decision = "marked"
        elif decision == "marked" and released(new):
            decision = "now"
        if call.dry_run:
            return registry.unstored(before.key, new, before.revision), decision == "now"
        try:
            if decision == "marked":
                return (before if new == old else registry.store.update(before.key, new, before.revision)), False
            stored = registry.store.delete(before.key, before.revision)
            strategy.after_delete(old, ctx)
            chain.deleted(attributes, old)
            return stored, True
        except RevisionMismatch:
            continue
    raise errors.conflict(row.plural, call.name, errors.STALE, row.group)


def delete_collection(registry: Registry, call: Call, items: list[Stored]) -> list[Stored]:
    """Delete each of `items`; one that is already gone is no error. Out: their last or newest states, in order.

    Several at a time, since each waits for the disk, and the store commits what waits together.
    """

    def one(stored: Stored) -> Stored | None:
        meta = stored.obj()["metadata"]
        try:
            return delete(registry, replace(call, namespace=meta.get("namespace", ""), name=meta["name"]))[0]
        except errors.NotFound:
            return None

    if len(items) <= 1:
        deleted: Iterable[Stored | None] = map(one, items)
    else:
        with ThreadPoolExecutor(min(_PARALLEL, len(items)), thread_name_prefix="delete") as pool:
            deleted = list(pool.map(one, items))
    return [stored for stored in deleted if stored is not None]


def _removable(obj: Obj) -> bool:
    """A namespace goes when its content has: spec.finalizers is empty."""
    return not is_namespace(obj) or not (obj.get("spec") or {}).get("finalizers")


def _check_options(call: Call) -> None:
    options, causes = call.options, []
    policy, orphan = options.get("propagationPolicy"), options.get("orphanDependents")
    if policy is not None and orphan is not None:
        text = "Invalid value: {}: orphanDependents and deletionPropagation cannot be both set"
        causes.append(Cause("FieldValueInvalid", text.format(f'"{policy}"'), "propagationPolicy"))
    if policy is not None and policy not in _POLICIES:
        listed = ", ".join(f'"{p}"' for p in (*sorted(_POLICIES), "nil"))
        text = f'Unsupported value: "{policy}": supported values: {listed}'
        causes.append(Cause("FieldValueNotSupported", text, "propagationPolicy"))
    if causes:
        raise errors.invalid("DeleteOptions", "", causes, "meta.k8s.io")


def _check_preconditions(call: Call, old: Obj) -> None:
    wanted, meta = call.options.get("preconditions") or {}, old["metadata"]
    for key, name in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if wanted.get(key) is not None and wanted[key] != meta[key]:
            why = f"Precondition failed: {name} in precondition: {wanted[key]}, {name} in object meta: {meta[key]}"
            raise errors.conflict(call.row.plural, call.name, why, call.row.group)


def _set_finalizers(obj: Obj, options: Obj) -> None:
    """The garbage collector's finalizer that the propagation policy asks for; without a policy they stay as they are."""
    policy = options.get("propagationPolicy")
    if policy is None and options.get("orphanDependents") is not None:
        policy = "Orphan" if options["orphanDependents"] else "Background"
    if policy is None:
        return
    before = obj["metadata"].get("finalizers") or []
    kept = [name for name in before if name not in (_ORPHAN, _FOREGROUND)]
    wanted = {"Orphan": [_ORPHAN], "Foreground": [_FOREGROUND]}.get(policy, [])
    finalizers = [name for name in before if name in wanted or name in kept]
    finalizers += [name for name in wanted if name not in finalizers]
    if finalizers:
        obj["metadata"]["finalizers"] = finalizers
    else:
        obj["metadata"].pop("finalizers", None)
