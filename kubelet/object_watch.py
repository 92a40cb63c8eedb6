"""Following the ConfigMaps and Secrets that running pods have mounted, so that a change reaches the files in no time.

Who calls it: `pod_worker` names a pod whose volumes are about to be set up, and one that has ended. Invariants: each object is
watched once, by its name (a node may see no others), however many pods mount it, and only as long as one does; what is not
watched (the root certificate every pod mounts, objects beyond the limit, environment variables) is as fresh as `ObjectCache`
makes it.
Upstream: pkg/kubelet/util/manager/watch_based_manager.go.
"""

import threading
from collections.abc import Callable, Iterator

from kubelet.objects import ObjectCache
from minikube_py.api.gvr import CONFIGMAPS, SECRETS
from minikube_py.api.meta import uid_of
from minikube_py.api.types import Obj
from minikube_py.client.informer import Handler, Informer, SharedInformers

Key = tuple[str, str, str]
"""(plural, namespace, name)"""
_RESOURCES = {"configmaps": CONFIGMAPS, "secrets": SECRETS}
_EVERYBODYS = "kube-root-ca.crt"


def mounted(pod: Obj) -> Iterator[Key]:
    """The objects whose contents are in the pod's volumes."""
    namespace = pod["metadata"]["namespace"]
    for volume in pod["spec"].get("volumes") or []:
        for source in (volume, *((volume.get("projected") or {}).get("sources") or [])):
            if found := source.get("configMap"):
                yield "configmaps", namespace, found.get("name", "")
            if found := source.get("secret"):
                yield "secrets", namespace, found.get("secretName") or found.get("name", "")


class ObjectWatches:
    """What is watched for whom. Thread-safe. `refresh(uid)` has a pod's volumes written anew."""

    def __init__(
        self, informers: SharedInformers, cache: ObjectCache, refresh: Callable[[str], None], limit: int = 64
    ) -> None:
        self._informers, self._cache, self._refresh, self._limit = informers, cache, refresh, limit
        self._users: dict[Key, set[str]] = {}
        self._watched: dict[Key, Informer] = {}
        self._lock = threading.Lock()

    def follow(self, pod: Obj) -> None:
        """The pod's volumes are about to be set up, perhaps not for the first time."""
        for key in mounted(pod):
            if key[2] == _EVERYBODYS:
                continue
            with self._lock:
                self._users.setdefault(key, set()).add(uid_of(pod))
                if key in self._watched or len(self._watched) >= self._limit:
                    continue
                plural, namespace, name = key
                informer = self._informers.of(
                    _RESOURCES[plural], namespace=namespace, field_selector=f"metadata.name={name}"
                )
                self._watched[key] = informer
            informer.add_handler(self._handler(key))

    def forget(self, uid: str) -> None:
        """The pod has ended."""
        with self._lock:
            for users in self._users.values():
                users.discard(uid)
            idle = [key for key, users in self._users.items() if not users]
            dropped = [self._watched.pop(key) for key in idle if key in self._watched]
            for key in idle:
                del self._users[key]
        for informer in dropped:
            self._informers.drop(informer)

    def _handler(self, key: Key) -> Handler:
        return lambda old, new: self._changed(key, new)

    def _changed(self, key: Key, new: Obj | None) -> None:
        if not self._cache.put(*key, new):
            return
        with self._lock:
            users = list(self._users.get(key, ()))
        for uid in users:
            self._refresh(uid)
