"""What an informer holds: objects by key, and indexes over them.

Who calls it: `informer.Informer`. Invariant: every index agrees with the objects at every moment another thread can look.
Upstream: staging/src/k8s.io/client-go/tools/cache/thread_safe_store.go.
"""

import threading
from collections.abc import Callable, Iterable

from minikube_py.api.types import Obj

IndexFunction = Callable[[Obj], Iterable[str]]
_NAMESPACE = "namespace"


def _by_namespace(obj: Obj) -> Iterable[str]:
    return (obj["metadata"].get("namespace", ""),)


class ObjectStore:
    """Thread-safe; hands out the stored objects themselves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, Obj] = {}
        self._functions: dict[str, IndexFunction] = {_NAMESPACE: _by_namespace}
        self._indexes: dict[str, dict[str, dict[str, None]]] = {_NAMESPACE: {}}

    def put(self, key: str, new: Obj | None) -> Obj | None:
        """Store an object, or remove it (None). Out: what was there before."""
        with self._lock:
            old = self._objects.get(key)
            if new is None:
                self._objects.pop(key, None)
            else:
                self._objects[key] = new
            for name, function in self._functions.items():
                self._reindex(self._indexes[name], function, key, old, new)
            return old

    def get(self, key: str) -> Obj | None:
        with self._lock:
            return self._objects.get(key)

    def all_keys(self) -> list[str]:
        with self._lock:
            return list(self._objects)

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Index what is there, and everything put from now on, by the values `function(obj)` gives."""
        with self._lock:
            self._functions[name] = function
            index = self._indexes[name] = {}
            for key, obj in self._objects.items():
                self._reindex(index, function, key, None, obj)

    def by_index(self, name: str, value: str) -> list[Obj]:
        with self._lock:
            return [self._objects[key] for key in self._indexes[name].get(value, ())]

    def list(self, namespace: str = "") -> list[Obj]:
        """All objects, or those of one namespace."""
        if namespace:
            return self.by_index(_NAMESPACE, namespace)
        with self._lock:
            return list(self._objects.values())

    @staticmethod
    def _reindex(
        index: dict[str, dict[str, None]], function: IndexFunction, key: str, old: Obj | None, new: Obj | None
    ) -> None:
        before = tuple(function(old)) if old is not None else ()
        after = tuple(function(new)) if new is not None else ()
        if before == after:
            return
        for value in set(before).difference(after):
            keys = index.get(value, {})
            keys.pop(key, None)
            if not keys:
                index.pop(value, None)
        for value in set(after).difference(before):
            index.setdefault(value, {})[key] = None
