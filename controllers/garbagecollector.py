"""Garbage collection: what is owned goes when its owners are gone; owners may wait for it, or let go of it first.

Who calls it: `controllers.main`. Invariants: nothing is deleted before a live read has confirmed that it is still the same
object and that every owner is gone (or waits for it); an object with one living owner only loses the dead references.
Upstream: pkg/controller/garbagecollector/garbagecollector.go.
"""

from collections import OrderedDict

from controllers.context import Context
from controllers.gc_graph import (
    FOREGROUND,
    ORPHAN,
    OwnerGraph,
    Where,
    deletes_dependents,
    finalizers_of,
    orphans_dependents,
)
from minikube_py.api import errors
from minikube_py.api.gvr import APISERVICES, CUSTOMRESOURCEDEFINITIONS
from minikube_py.api.meta import is_terminating, name_of, namespace_of, owners_of, split_key, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_REFRESH = "(discovery)"
_REFRESH_SECONDS, _UNKNOWN_KIND_SECONDS, _SYNC_SECONDS = 30.0, 30.0, 30.0
_REMEMBERED = 500


def build(context: Context) -> Controller:
    """Watches everything that can be listed, watched and deleted. Built last, to share the informers others asked for."""
    reconciler = GarbageCollector(context)
    controller = Controller(reconciler, workers=2, clock=context.clock)
    reconciler.connect(controller)
    controller.queue.add(_REFRESH)
    for kinds in (CUSTOMRESOURCEDEFINITIONS, APISERVICES):  # what is served changes with these
        controller.watch(context.informers.metadata_of(kinds), lambda definition: (_REFRESH,))
    return controller


class GarbageCollector:
    """The reconciler; keys are "plural.group|namespace/name"."""

    name = "garbage-collector"

    def __init__(self, context: Context) -> None:
        self._context, self._client, self._clock = context, context.client, context.clock
        self._absent: OrderedDict[str, None] = OrderedDict()  # owners known to be gone, to ask only once
        self._started: float | None = None
        self._waiting: set[str] = set()  # keys of objects with an owner of a kind nobody serves (yet)

    def connect(self, controller: Controller) -> None:
        """The graph feeds the controller's queue."""
        self._enqueue = controller.queue.add
        self._graph = OwnerGraph(self._context, controller.queue.add)

    def reconcile(self, key: str) -> float | None:
        if key == _REFRESH:
            self._graph.refresh()
            self._started = self._started or self._clock.monotonic()
            waiting, self._waiting = self._waiting, set()
            for other in waiting:
                self._enqueue(other)
            return _REFRESH_SECONDS
        if self._started is None or not self._ready(self._started):
            return 0.2
        found = self._graph.get(key)
        if found is None:
            return None
        where, obj = found
        if orphans_dependents(obj):
            self._orphan(where, obj)
        elif deletes_dependents(obj):
            self._wait_for_dependents(where, obj)
        if is_terminating(obj) or not owners_of(obj):
            return None
        return self._judge(where, obj)

    def _ready(self, started: float) -> bool:
        """Dependents must be known before an owner may go; a kind that cannot be listed is not waited for for ever."""
        return self._graph.synced() or self._clock.monotonic() - started > _SYNC_SECONDS

    # -- the dependent's side -----------------------------------------------------------------------------------------

    def _judge(self, where: Where, obj: Obj) -> float | None:
        """Delete the object if its owners are gone or wait for it; else take the dead references off."""
        states = {ref["uid"]: self._state(obj, ref) for ref in owners_of(obj)}
        if "unknown" in states.values():
            self._waiting.add(where.text)
            return _UNKNOWN_KIND_SECONDS
        if set(states.values()) <= {"solid"}:
            return None
        live = self._live(where, uid_of(obj))
        if live is None or is_terminating(live):
            return None
        states = {ref["uid"]: self._state(live, ref) for ref in owners_of(live)}
        if not states or "unknown" in states.values():
            return _UNKNOWN_KIND_SECONDS if states else None
        if "solid" in states.values():
            kept = [ref for ref in owners_of(live) if states[ref["uid"]] == "solid"]
            if len(kept) < len(states):
                self._patch(where, live, {"ownerReferences": kept})
            return None
        if "waiting" in states.values() and (dependents := self._graph.dependents(uid_of(live))):
            if any(deletes_dependents(dependent) for _, dependent in dependents):
                # A circle of owners that all wait: somebody has to stop being waited for.
                refs = [{**ref, "blockOwnerDeletion": False} for ref in owners_of(live)]
                live = self._patch(where, live, {"ownerReferences": refs}) or live
            self._delete(where, live, "Foreground")
            return None
        policy = (
            "Orphan" if ORPHAN in finalizers_of(live) else "Foreground" if FOREGROUND in finalizers_of(live) else ""
        )
        self._delete(where, live, policy or "Background")
        return None

    def _state(self, obj: Obj, ref: Obj) -> str:
        """Of one owner: "solid" (lives), "waiting" (lives until its dependents are gone), "absent", "unknown" (kind)."""
        found = self._graph.find(ref["uid"])
        if found is not None and namespace_of(found[1]) in ("", namespace_of(obj)):
            return "waiting" if deletes_dependents(found[1]) else "solid"
        if ref["uid"] in self._absent:
            return "absent"
        res = self._graph.served.by_kind(ref.get("apiVersion", ""), ref.get("kind", ""))
        if res is None:
            return "unknown"
        try:
            owner = self._client.get(res, ref["name"], namespace_of(obj) if res.namespaced else "")
        except errors.NotFound:
            return self._note_absent(ref["uid"])
        if uid_of(owner) != ref["uid"]:
            return self._note_absent(ref["uid"])
        return "waiting" if deletes_dependents(owner) else "solid"

    def _note_absent(self, uid: str) -> str:
        self._absent[uid] = None
        while len(self._absent) > _REMEMBERED:
            self._absent.popitem(last=False)
        return "absent"

    # -- the owner's side ---------------------------------------------------------------------------------------------

    def _wait_for_dependents(self, where: Where, owner: Obj) -> None:
        dependents = self._graph.dependents(uid_of(owner))
        blocking = [
            place for place, obj in dependents
            if any(ref["uid"] == uid_of(owner) and ref.get("blockOwnerDeletion") for ref in owners_of(obj))
        ]  # fmt: skip
        for place, _ in dependents:
            self._enqueue(place.text)
        if not blocking:
            self._remove_finalizer(where, owner, FOREGROUND)

    def _orphan(self, where: Where, owner: Obj) -> None:
        for place, obj in self._graph.dependents(uid_of(owner)):
            self._patch(place, obj, {"ownerReferences": [ref for ref in owners_of(obj) if ref["uid"] != uid_of(owner)]})
        self._remove_finalizer(where, owner, ORPHAN)

    def _remove_finalizer(self, where: Where, owner: Obj, finalizer: str) -> None:
        live = self._live(where, uid_of(owner))
        if live is not None and finalizer in finalizers_of(live):
            self._patch(where, live, {"finalizers": [f for f in finalizers_of(live) if f != finalizer]})

    # -- writes -------------------------------------------------------------------------------------------------------

    def _live(self, where: Where, uid: str) -> Obj | None:
        namespace, name = split_key(where.key)
        try:
            live = self._client.get(where.res, name, namespace)
        except errors.NotFound:
            return None
        return live if uid_of(live) == uid else None

    def _patch(self, where: Where, obj: Obj, metadata: Obj) -> Obj | None:
        """Change metadata of exactly the object we looked at. None when it is gone; raises Conflict when it has changed."""
        guard = {"uid": uid_of(obj), "resourceVersion": obj["metadata"]["resourceVersion"]}
        body = {"metadata": {**guard, **{key: value or None for key, value in metadata.items()}}}
        try:
            return self._client.patch(where.res, name_of(obj), body, namespace_of(obj))
        except errors.NotFound:
            return None

    def _delete(self, where: Where, obj: Obj, policy: str) -> None:
        try:
            self._client.delete(
                where.res, name_of(obj), namespace_of(obj), uid=uid_of(obj), propagation_policy=policy,
                resource_version=obj["metadata"]["resourceVersion"],
            )  # fmt: skip
        except errors.NotFound:
            return
