"""Who owns whom: every object of every kind, its owners and its dependents, kept up to date by informers.

Who calls it: `controllers.garbagecollector`. Invariants: kinds come and go with discovery, nobody lists them; an edge exists
exactly while the dependent's informer shows an owner reference with that uid.
Upstream: pkg/controller/garbagecollector/graph_builder.go.
"""

import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

from controllers.context import Context
from minikube_py.api.gvr import GVR
from minikube_py.api.meta import is_terminating, key_of, owners_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.discovery import Discovered, discover
from minikube_py.client.informer import Informer

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_IGNORED = {("", "events"), ("events.k8s.io", "events")}  # thousands of them, short-lived, owning nothing


class Where(NamedTuple):
    """An object's place: its collection, and its "namespace/name" there."""

    res: GVR
    key: str

    @property
    def text(self) -> str:
        """The work-queue key."""
        return f"{self.res.plural}.{self.res.group}|{self.key}"


def finalizers_of(obj: Obj) -> list[str]:
    return obj["metadata"].get("finalizers") or []


def deletes_dependents(obj: Obj) -> bool:
    """Whether it waits for its dependents to go first (foreground deletion)."""
    return is_terminating(obj) and FOREGROUND in finalizers_of(obj)


def orphans_dependents(obj: Obj) -> bool:
    return is_terminating(obj) and ORPHAN in finalizers_of(obj)


class OwnerGraph:
    """`enqueue` is told the work-queue keys of what has to be looked at."""

    def __init__(self, context: Context, enqueue: Callable[[str], None]) -> None:
        self._context, self._enqueue = context, enqueue
        self._informers: dict[str, Informer] = {}  # by "plural.group"
        self._places: dict[str, Where] = {}  # by uid
        self._dependents: dict[str, dict[Where, None]] = {}  # by uid of the owner
        self._lock = threading.Lock()
        self.served = Discovered()

    def refresh(self) -> None:
        """Follow what the API server serves now. Raises APIError when it cannot be asked."""
        self.served = discover(self._context.client)
        served = {f"{resource.gvr.plural}.{resource.gvr.group}" for resource in self.served.resources}
        failed = {name.partition("/")[0] for name in self.served.failed}
        for name, informer in list(self._informers.items()):
            if name not in served and informer.res.group not in failed:
                self._drop(name, informer)
        for resource in self.served.with_verbs("delete", "list", "watch"):
            name = f"{resource.gvr.plural}.{resource.gvr.group}"
            if (resource.gvr.group, resource.gvr.plural) in _IGNORED or name in self._informers:
                continue
            informer = self._context.informers.metadata_of(resource.gvr)
            self._informers[name] = informer
            informer.add_handler(self._handler(resource.gvr))

    def _drop(self, name: str, informer: Informer) -> None:
        """A kind that is served no more (its definition was deleted) has no objects."""
        del self._informers[name]
        self._context.informers.drop(informer)
        for obj in informer.list():
            self._store(Where(informer.res, key_of(obj)), obj, None)

    def _handler(self, res: GVR) -> Callable[[Obj | None, Obj | None], None]:
        def changed(old: Obj | None, new: Obj | None) -> None:
            obj = new or old
            if obj is None or (old is not None and new is not None and _links(old) == _links(new)):
                return
            self._store(Where(res, key_of(obj)), old, new)

        return changed

    def synced(self) -> bool:
        """Whether every kind's first list is here."""
        return all(informer.wait_synced(0) for informer in list(self._informers.values()))

    def get(self, text: str) -> tuple[Where, Obj] | None:
        """The object a work-queue key names."""
        collection, _, key = text.partition("|")
        informer = self._informers.get(collection)
        obj = informer.get_key(key) if informer else None
        return (Where(informer.res, key), obj) if informer and obj is not None else None

    def find(self, uid: str) -> tuple[Where, Obj] | None:
        """The object with this uid, if any informer shows it."""
        with self._lock:
            where = self._places.get(uid)
        found = self.get(where.text) if where else None
        return found if found and uid_of(found[1]) == uid else None

    def dependents(self, uid: str) -> list[tuple[Where, Obj]]:
        """The objects that name this uid as an owner."""
        with self._lock:
            places = list(self._dependents.get(uid, ()))
        return [found for where in places if (found := self.get(where.text)) is not None]

    def _store(self, where: Where, old: Obj | None, new: Obj | None) -> None:
        before, after = _owner_uids(old), _owner_uids(new)
        uid = uid_of(new or old or {"metadata": {}})
        with self._lock:
            if new is not None:
                self._places[uid] = where
            else:
                self._places.pop(uid, None)
            for owner in before - after:
                edges = self._dependents.get(owner, {})
                edges.pop(where, None)
                if not edges:
                    self._dependents.pop(owner, None)
            for owner in after - before:
                self._dependents.setdefault(owner, {})[where] = None
        self._announce(where, new, uid, before | after)

    def _announce(self, where: Where, new: Obj | None, uid: str, owners: Iterable[str]) -> None:
        if new is None:
            with self._lock:
                orphaned = list(self._dependents.get(uid, ()))
            for dependent in orphaned:
                self._enqueue(dependent.text)
        elif owners_of(new) or deletes_dependents(new) or orphans_dependents(new):
            self._enqueue(where.text)
        for owner in owners:  # an owner may be waiting for this very change
            found = self.find(owner)
            if found is not None and deletes_dependents(found[1]):
                self._enqueue(found[0].text)


def _owner_uids(obj: Obj | None) -> set[str]:
    return {ref["uid"] for ref in owners_of(obj)} if obj is not None else set()


def _links(obj: Obj) -> tuple[object, ...]:
    """All that the garbage collector looks at."""
    metadata = obj["metadata"]
    return metadata.get("uid"), owners_of(obj), finalizers_of(obj), metadata.get("deletionTimestamp")
