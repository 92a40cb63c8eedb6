"""ResourceQuota status: what a namespace uses of what it may use.

Who calls it: `controllers.main`. The API server charges what is created; this gives back what is gone, and counts anew when a
limit changes. Invariants: the arithmetic is the admission's own (`minikube_py.api.quota`); a collection is watched from the
moment a quota first names it; a count never undoes a charge whose object is still on its way into the store (a charge comes
first), because a counted quota is only corrected when nobody has charged it for a second.
Upstream: pkg/controller/resourcequota/resource_quota_controller.go.
"""

import threading
from collections.abc import Callable
from decimal import Decimal

from controllers.context import Context
from minikube_py.api import errors, quantity, quota
from minikube_py.api.gvr import GVR, PERSISTENTVOLUMECLAIMS, PODS, RESOURCECLAIMS, RESOURCEQUOTAS, SERVICES
from minikube_py.api.meta import is_terminating, key_of, namespace_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller
from minikube_py.client.discovery import discover
from minikube_py.client.informer import Informer

_WHOLE = {
    "pods": PODS, "services": SERVICES, "persistentvolumeclaims": PERSISTENTVOLUMECLAIMS, quota.CLAIMS: RESOURCECLAIMS,
}  # fmt: skip
_UNSYNCED_RETRY, _UNKNOWN_RETRY, _QUIET = 0.2, 30.0, 1.0
_STORAGE_CLASS = ".storageclass.storage.k8s.io/"


def build(context: Context) -> Controller:
    """Watches quotas; what they count is watched as they name it. Keys are quotas."""
    reconciler = ResourceQuota(context)
    controller = Controller(reconciler, clock=context.clock)
    reconciler.enqueue = controller.queue.add
    return controller.watch(reconciler.quotas)


def collection_of(name: str) -> str:
    """The collection a name of `spec.hard` counts: "requests.cpu" -> "pods", "count/jobs.batch" -> "jobs.batch"."""
    if name.startswith("count/"):
        return name.removeprefix("count/")
    if name.startswith("services"):
        return "services"
    if name == "requests.storage" or _STORAGE_CLASS in name or name == "persistentvolumeclaims":
        return "persistentvolumeclaims"
    if name.endswith(quota.DEVICES):
        return quota.CLAIMS
    if name in ("configmaps", "secrets", "replicationcontrollers", "resourcequotas"):
        return name
    return "pods"


class ResourceQuota:
    """The reconciler."""

    name = "resourcequota"

    def __init__(self, context: Context) -> None:
        self._client, self._informers, self._clock = context.client, context.informers, context.clock
        self.quotas = context.informers.of(RESOURCEQUOTAS)
        self.enqueue: Callable[[str], None] = lambda key: None
        self._counted: dict[str, Informer] = {}
        self._seen: dict[str, tuple[str, float]] = {}
        """Of quotas whose count differs: the revision last seen, and since when."""
        self._lock = threading.Lock()

    def reconcile(self, key: str) -> float | None:
        found = self.quotas.get_key(key)
        if found is None or is_terminating(found):
            self._seen.pop(key, None)
            return None
        hard: dict[str, str] = found["spec"].get("hard") or {}
        counted: dict[str, Informer] = {}
        unknown = False
        for collection in sorted({collection_of(name) for name in hard}):
            informer = self._counted.get(collection) or self._watch(collection)
            if informer is None:
                unknown = True
            elif not informer.wait_synced(0):
                return _UNSYNCED_RETRY
            else:
                counted[collection] = informer
        used = self._used(found, hard, counted)
        counts = {name: quota.text(name, used[name], hard[name]) for name in hard}
        status = found.get("status") or {}
        again = _UNKNOWN_RETRY if unknown else None
        if _same(status.get("hard") or {}, hard) and _same(status.get("used") or {}, counts):
            self._seen.pop(key, None)
            return again
        if _counted(status, hard) and (wait := self._still_charged(key, found)) > 0:
            return wait
        self._write(found, {"hard": hard, "used": counts})
        return again

    def _still_charged(self, key: str, found: Obj) -> float:
        """Seconds until this revision of the quota has stood long enough to be corrected; 0 when it has."""
        now, revision = self._clock.monotonic(), found["metadata"]["resourceVersion"]
        seen, since = self._seen.get(key, ("", now))
        if seen != revision:
            self._seen[key] = (revision, now)
            return _QUIET
        return max(0.0, since + _QUIET - now)

    def _watch(self, collection: str) -> Informer | None:
        """Begin to watch a collection. None when the server has no such kind."""
        res = _WHOLE.get(collection) or self._find(collection)
        if res is None:
            return None
        informer = self._informers.of(res) if collection in _WHOLE else self._informers.metadata_of(res)
        with self._lock:
            self._counted[collection] = informer

        def changed(old: Obj | None, new: Obj | None) -> None:
            # Only what changes the count: appearing, going, and (for pods) ending or being resized.
            if old is not None and new is not None and quota.usage(collection, old) == quota.usage(collection, new):
                return
            for obj in self.quotas.list(namespace_of(new or old or {"metadata": {}})):
                self.enqueue(key_of(obj))

        informer.add_handler(changed)
        return informer

    def _find(self, collection: str) -> GVR | None:
        plural, _, group = collection.partition(".")
        served = discover(self._client).with_verbs("list", "watch")
        return next((r.gvr for r in served if (r.gvr.plural, r.gvr.group) == (plural, group)), None)

    @staticmethod
    def _used(found: Obj, hard: dict[str, str], counted: dict[str, Informer]) -> dict[str, Decimal]:
        used = dict.fromkeys(hard, Decimal(0))
        for collection, informer in counted.items():
            for obj in informer.list(namespace_of(found)):
                if quota.covers(found, collection, obj):
                    for name, amount in quota.usage(collection, obj).items():
                        if name in used:
                            used[name] += amount
        return used

    def _write(self, found: Obj, status: Obj) -> None:
        try:
            self._client.update(RESOURCEQUOTAS, {**found, "status": status}, subresource="status")
        except errors.NotFound:
            return


def _counted(status: Obj, hard: dict[str, str]) -> bool:
    """Whether the quota was counted before, under the limits it has now."""
    return _same(status.get("hard") or {}, hard) and (status.get("used") or {}).keys() == hard.keys()


def _same(one: dict[str, str], two: dict[str, str]) -> bool:
    return one.keys() == two.keys() and all(quantity.parse(one[name]) == quantity.parse(two[name]) for name in one)
