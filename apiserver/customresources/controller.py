"""What a CustomResourceDefinition needs done behind its back: its names, when others let go of them, and its end.

Who calls it: `main.run` starts it, in every API server; the store wakes it when a definition changes. Invariant: a definition
goes only after the last object of its kind; every step reads the newest state and may be repeated by anybody.
Upstream: apiextensions-apiserver/pkg/controller/{status,establish,finalizer}.
"""

import logging
from collections.abc import Callable

from apiserver import deletion
from apiserver.auth.user import SERVER
from apiserver.background import Background
from apiserver.customresources import names
from apiserver.customresources.catalogue import COLLECTION, Catalogue
from apiserver.registry import Call, Registry
from apiserver.resources import table
from apiserver.storage.base import StoreUnavailable
from apiserver.storage.cache import Store
from minikube_py.api import errors
from minikube_py.api.clock import rfc3339
from minikube_py.api.types import Obj

log = logging.getLogger(__name__)
_IDLE_SECONDS, _AGAIN_SECONDS = 300.0, 0.5


class CustomResourceController:
    """A background thread."""

    def __init__(self, store: Store, registry: Registry, catalogue: Catalogue) -> None:
        self._store, self._registry, self._catalogue, self._clock = store, registry, catalogue, registry.clock
        self._thread = Background("custom-resources", registry.clock, self.step)

    def start(self) -> None:
        self._store.on_change(COLLECTION, self._thread.wake)
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop()

    def step(self) -> float:
        """Look at every definition once. Out: the seconds until they must be looked at again."""
        self._catalogue.custom()
        everyone = self._registry.lister(names.CRDS)
        done = [self._look_after(crd, everyone) for crd in everyone]
        return _IDLE_SECONDS if all(done) else _AGAIN_SECONDS

    def _look_after(self, crd: Obj, everyone: list[Obj]) -> bool:
        name = crd["metadata"]["name"]
        try:
            if not crd["metadata"].get("deletionTimestamp"):
                self._keep_names(crd, everyone)
                return True
            if names.CLEANUP not in (crd["metadata"].get("finalizers") or ()):
                return True
            return self._clean_up(crd)
        except errors.NotFound:
            return True
        except (errors.APIError, StoreUnavailable) as error:
            log.warning("the CustomResourceDefinition %s is looked at again: %s", name, error)
            return False

    def _keep_names(self, crd: Obj, everyone: list[Obj]) -> None:
        now = rfc3339(self._clock.now())
        if names.status(crd, everyone, now) != crd.get("status"):
            self._change(crd, lambda new: {**new, "status": names.status(new, everyone, now)})

    def _change(self, crd: Obj, mutate: Callable[[Obj], Obj | None]) -> None:
        self._registry.change(names.CRDS, "", crd["metadata"]["name"], mutate)

    def _clean_up(self, crd: Obj) -> bool:
        """Delete all objects of the kind; when there are none left, let the definition go."""
        row = table.by_plural_key(crd["metadata"]["name"])
        left = self._store.list(row.prefix()).items if row is not None and row.custom is not None else []
        if left and row is not None:  # never those of a built-in kind whose name it asked for
            self._say(crd, "InstanceDeletionInProgress", "CustomResource deletion is in progress")
            deletion.delete_collection(self._registry, Call(row, "", "", SERVER), left)
            left = self._store.list(row.prefix()).items
        if left:
            return False
        call = Call(table.get("apiextensions.k8s.io", "customresourcedefinitions"), "", crd["metadata"]["name"], SERVER)
        self._registry.update(call, _released, retry=True)
        return True

    def _say(self, crd: Obj, reason: str, message: str) -> None:
        now = rfc3339(self._clock.now())

        def mutate(new: Obj) -> Obj:
            names.set_condition(new.setdefault("status", {}), "Terminating", True, reason, message, now)
            return new

        self._change(crd, mutate)


def _released(crd: Obj) -> Obj:
    finalizers = [name for name in crd["metadata"].get("finalizers") or () if name != names.CLEANUP]
    return {**crd, "metadata": {**crd["metadata"], "finalizers": finalizers}}
