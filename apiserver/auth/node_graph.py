"""What belongs to which node: the pods bound to it, and all that these pods name.

Who calls it: the node authoriser (`node.py`). Invariant: read from the watch cache and brought up to date by the pod events
since the last question, so a question costs what has changed, not what there is; a mirror pod, which a node makes itself,
opens nothing.
Upstream: plugin/pkg/auth/authorizer/node/{graph,graph_populator}.go, pkg/api/v1/pod/util.go (what a pod names).
"""

import threading
from collections.abc import Iterator

from apiserver.storage.base import Compacted
from apiserver.storage.cache import Store
from apiserver.storage.stored import Stored
from minikube_py.api.meta import labels_of
from minikube_py.api.types import Obj
from minikube_py.api.volumes import NODE_LABEL

Ref = tuple[str, str]
"""(plural, name) in the pod's own namespace."""
_PODS = "/registry/pods/"
_MIRROR = "kubernetes.io/config.mirror"
_LATER = b'"ephemeralContainers"'
"""The only part of a bound pod that may name more things later."""
_PV_SECRETS = ("nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef")


class NodeGraph:
    """The edges from nodes to pods to what they name. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._revision = -1
        self._node_of: dict[str, str] = {}
        self._pods: dict[str, dict[str, frozenset[Ref]]] = {}  # node → pod's key in the store → what it names

    def is_related(self, node: str, plural: str, namespace: str, name: str) -> bool:
        """Whether the node has business with that object."""
        if plural in ("volumeattachments.storage.k8s.io", "resourceslices.resource.k8s.io"):
            spec: Obj = (self._object(plural, "", name) or {}).get("spec") or {}
            return spec.get("nodeName") == node
        with self._lock:
            self._refresh()
            pods = dict(self._pods.get(node, {}))
        if plural == "pods":
            return f"{_PODS}{namespace}/{name}" in pods
        if plural == "persistentvolumes":
            return self._claims_volume(pods, name) or self.is_local(node, name)
        prefix = f"{_PODS}{namespace}/"
        named = [refs for key, refs in pods.items() if key.startswith(prefix)]
        if any((plural, name) in refs for refs in named):
            return True
        return plural == "secrets" and any(secret == (namespace, name) for secret in self._volume_secrets(pods))

    def is_local(self, node: str, volume: str) -> bool:
        """Whether a volume was made on the node's own disk."""
        found = self._object("persistentvolumes", "", volume) or {"metadata": {}}
        return labels_of(found).get(NODE_LABEL) == node

    def is_on_disk(self, node: str, namespace: str, claim: str) -> bool:
        """Whether a claim's volume was."""
        spec: Obj = (self._object("persistentvolumeclaims", namespace, claim) or {}).get("spec") or {}
        return bool(spec.get("volumeName")) and self.is_local(node, spec["volumeName"])

    def _claims_volume(self, pods: dict[str, frozenset[Ref]], name: str) -> bool:
        claim: Obj = (self._object("persistentvolumes", "", name) or {}).get("spec", {}).get("claimRef") or {}
        prefix, wanted = f"{_PODS}{claim.get('namespace', '')}/", ("persistentvolumeclaims", claim.get("name", ""))
        return any(wanted in refs for key, refs in pods.items() if key.startswith(prefix))

    def _volume_secrets(self, pods: dict[str, frozenset[Ref]]) -> Iterator[tuple[str, str]]:
        """What the drivers of the volumes behind the pods' claims need on the node."""
        for key, refs in pods.items():
            namespace = key[len(_PODS) :].partition("/")[0]
            for claim in (name for plural, name in refs if plural == "persistentvolumeclaims"):
                spec = (self._object("persistentvolumeclaims", namespace, claim) or {}).get("spec") or {}
                volume = self._object("persistentvolumes", "", spec.get("volumeName") or "") or {}
                driver = (volume.get("spec") or {}).get("csi") or {}
                for ref in (driver[field] for field in _PV_SECRETS if driver.get(field)):
                    yield ref.get("namespace", namespace), ref.get("name", "")

    def _object(self, plural: str, namespace: str, name: str) -> Obj | None:
        stored = self._store.get(f"/registry/{plural}/{f'{namespace}/' if namespace else ''}{name}", fresh=False)
        return stored.obj() if stored else None

    def _refresh(self) -> None:
        if self._store.changed(_PODS) <= self._revision:
            return
        try:
            events = self._store.events_since(_PODS, self._revision)
        except Compacted:
            page = self._store.list(_PODS, fresh=False)
            self._node_of, self._pods, self._revision = {}, {}, page.revision
            for stored in page.items:
                self._put(stored.key, stored)
            return
        for event in events:
            if not self._is_known(event.key, event.stored, event.previous):
                self._put(event.key, event.stored)
            self._revision = event.revision

    def _is_known(self, key: str, new: Stored | None, old: Stored | None) -> bool:
        """An update of a pod that is bound already changes nothing here."""
        return new is not None and old is not None and key in self._node_of and _LATER not in new.raw

    def _put(self, key: str, stored: Stored | None) -> None:
        if (before := self._node_of.pop(key, "")) and key in self._pods.get(before, {}):
            del self._pods[before][key]
            if not self._pods[before]:
                del self._pods[before]
        node = stored.fields.get("spec.nodeName", "") if stored else ""
        if stored is not None and node:
            self._node_of[key] = node
            self._pods.setdefault(node, {})[key] = references(stored.obj())


def references(pod: Obj) -> frozenset[Ref]:
    """Everything a pod names that its node must read. Nothing, for a mirror pod."""
    if _MIRROR in (pod["metadata"].get("annotations") or {}):
        return frozenset()
    spec, found = pod.get("spec") or {}, set[Ref]()
    if account := spec.get("serviceAccountName"):
        found.add(("serviceaccounts", account))
    found.update(("secrets", ref.get("name", "")) for ref in spec.get("imagePullSecrets") or ())
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            found.update(_of_environment(container))
    for volume in spec.get("volumes") or ():
        found.update(_of_volume(volume, pod["metadata"]["name"]))
    status = pod.get("status") or {}
    claims = [*(spec.get("resourceClaims") or ()), *(status.get("resourceClaimStatuses") or ())]
    claims.append(status.get("extendedResourceClaimStatus") or {})
    found.update(("resourceclaims.resource.k8s.io", claim.get("resourceClaimName", "")) for claim in claims)
    return frozenset(ref for ref in found if ref[1])


def _of_environment(container: Obj) -> Iterator[Ref]:
    for source in container.get("envFrom") or ():
        yield "secrets", (source.get("secretRef") or {}).get("name", "")
        yield "configmaps", (source.get("configMapRef") or {}).get("name", "")
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        yield "secrets", (source.get("secretKeyRef") or {}).get("name", "")
        yield "configmaps", (source.get("configMapKeyRef") or {}).get("name", "")


def _of_volume(volume: Obj, pod: str) -> Iterator[Ref]:
    yield "secrets", (volume.get("secret") or {}).get("secretName", "")
    yield "configmaps", (volume.get("configMap") or {}).get("name", "")
    yield "persistentvolumeclaims", (volume.get("persistentVolumeClaim") or {}).get("claimName", "")
    if volume.get("ephemeral") is not None:
        yield "persistentvolumeclaims", f"{pod}-{volume['name']}"
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield "secrets", (source.get("secret") or {}).get("name", "")
        yield "configmaps", (source.get("configMap") or {}).get("name", "")
    for kind, source in volume.items():  # drivers name the secret they log in with
        if kind != "name" and isinstance(source, dict):
            for field in ("secretRef", "nodePublishSecretRef"):
                yield "secrets", (source.get(field) or {}).get("name", "")
    yield "secrets", (volume.get("azureFile") or {}).get("secretName", "")
