"""The local-path provisioner: a claim gets a directory on the node its first pod goes to.

Who calls it: `controllers.main`. It says which directory on which node; the kubelet there makes it, and removes it with its
data (`kubelet/volumes/local_path.py`). Invariants: a claim's volume is called after the claim's uid, so a repeated provisioning
finds what is there; the volume's finalizer keeps it until its node has removed the data, or is gone for good with them.
Upstream: sigs.k8s.io/sig-storage-lib-external-provisioner, and Rancher's local-path-provisioner, with a directory per node.
"""

from collections.abc import Iterable

from controllers.context import Context
from minikube_py.api import errors
from minikube_py.api import volumes as v
from minikube_py.api.gvr import NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES, new_object
from minikube_py.api.meta import (
    annotations_of,
    condition_is,
    is_terminating,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from minikube_py.api.types import Obj
from minikube_py.client import finalizers
from minikube_py.client.controller import Controller

_HOSTNAME = "kubernetes.io/hostname"
_MODES = {"ReadWriteOnce", "ReadWriteOncePod"}


class Refused(Exception):
    """Why no volume can be made; `elsewhere` when another node might do."""

    def __init__(self, message: str, *, elsewhere: bool = False) -> None:
        super().__init__(message)
        self.elsewhere = elsewhere


def build(context: Context) -> Controller:
    """Watches claims, classes, volumes and nodes; keys are claims ("namespace/name") and volumes ("name")."""
    reconciler = LocalPath(context)
    controller = Controller(reconciler, clock=context.clock).watch(reconciler.claims, _ours)
    controller.watch(reconciler.classes, reconciler.waiting).watch(reconciler.volumes, reconciler.concerned_by)
    return controller.watch(reconciler.nodes, reconciler.waiting_on)


def _ours(claim: Obj) -> Iterable[str]:
    marked = annotations_of(claim).get(v.PROVISIONER) == v.LOCAL_PATH
    return (key_of(claim),) if marked and not claim["spec"].get("volumeName") else ()


def _made_here(volume: Obj) -> bool:
    return annotations_of(volume).get(v.PROVISIONED_BY) == v.LOCAL_PATH


class LocalPath:
    """The reconciler."""

    name = "local-path-provisioner"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorder(v.LOCAL_PATH)
        informers = context.informers
        self.claims, self.volumes = informers.of(PERSISTENTVOLUMECLAIMS), informers.of(PERSISTENTVOLUMES)
        self.nodes, self.classes = informers.of(NODES), informers.of(STORAGECLASSES)

    def waiting(self, storage_class: Obj) -> Iterable[str]:
        """Claims of this class without a volume yet."""
        mine = (claim for claim in self.claims.list() if v.class_of(claim) == name_of(storage_class))
        yield from (key for claim in mine for key in _ours(claim))

    def concerned_by(self, volume: Obj) -> Iterable[str]:
        """The volume, if it was made here; a snapshot also concerns the claims that may wait for it."""
        if _made_here(volume):
            yield name_of(volume)
        if v.SNAPSHOT in annotations_of(volume):
            yield from (key for claim in self.claims.list() for key in _ours(claim))

    def waiting_on(self, node: Obj) -> Iterable[str]:
        """Claims without a volume yet; and, when the node is gone, its volumes."""
        yield from (key for claim in self.claims.list() for key in _ours(claim))
        if self.nodes.get("", name_of(node)) is None:
            yield from (name_of(pv) for pv in self.volumes.list() if labels_of(pv).get(v.NODE_LABEL) == name_of(node))

    def reconcile(self, key: str) -> float | None:
        if "/" not in key:
            self._reclaim(key)
            return None
        claim = self.claims.get_key(key)
        if claim is None or is_terminating(claim) or not list(_ours(claim)):
            return None
        storage_class = self.classes.get("", v.class_of(claim))
        selected = annotations_of(claim).get(v.SELECTED_NODE, "")
        if storage_class is None or (v.waits_for_consumer(storage_class) and not selected):
            return None
        try:
            self._provision(claim, storage_class, self._node(selected, storage_class))
        except Refused as refusal:
            text = f'failed to provision volume with StorageClass "{name_of(storage_class)}": {refusal}'
            self._recorder.event(claim, "Warning", "ProvisioningFailed", text)
            if selected and refusal.elsewhere:
                metadata = {
                    "annotations": {v.SELECTED_NODE: None},
                    "resourceVersion": claim["metadata"]["resourceVersion"],
                }
                self._client.patch(PERSISTENTVOLUMECLAIMS, name_of(claim), {"metadata": metadata}, namespace_of(claim))
        return None

    def _node(self, selected: str, storage_class: Obj) -> Obj:
        """The node the volume is made on: the one the scheduler selected, else the one with the fewest volumes."""
        if selected:
            node = self.nodes.get("", selected)
            if node is None or not condition_is(node, "Ready"):
                raise Refused(f"node {selected} is not there", elsewhere=True)
            if v.DIRECTORY not in annotations_of(node):
                raise Refused(f"node {selected} offers no directory for volumes", elsewhere=True)
            return node
        terms = storage_class.get("allowedTopologies") or ()
        able = [
            node for node in self.nodes.list()
            if condition_is(node, "Ready") and v.DIRECTORY in annotations_of(node) and v.in_topology(terms, labels_of(node))
        ]  # fmt: skip
        if not able:
            raise Refused("no node that is Ready offers a directory for volumes")
        held = [labels_of(volume).get(v.NODE_LABEL) for volume in self.volumes.list()]
        return min(able, key=lambda node: (held.count(name_of(node)), name_of(node)))

    def _provision(self, claim: Obj, storage_class: Obj, node: Obj) -> None:
        modes = claim["spec"].get("accessModes") or []
        if not set(modes) <= _MODES:
            raise Refused("a volume on one node's disk can only be ReadWriteOnce or ReadWriteOncePod")
        if v.mode_of(claim) == "Block":
            raise Refused("only volumes with a filesystem can be made")
        if claim["spec"].get("selector"):
            raise Refused("claim.spec.selector is not supported")
        name = f"pvc-{uid_of(claim)}"
        directory = f"{annotations_of(node)[v.DIRECTORY]}/{name}"
        ref = {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace_of(claim), "name": name_of(claim),
            "uid": uid_of(claim), "resourceVersion": claim["metadata"]["resourceVersion"],
        }  # fmt: skip
        term = {"matchExpressions": [{"key": _HOSTNAME, "operator": "In", "values": [labels_of(node)[_HOSTNAME]]}]}
        spec: Obj = {
            "accessModes": modes, "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "claimRef": ref, "local": {"path": directory}, "volumeMode": "Filesystem",
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}, "storageClassName": name_of(storage_class),
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
        }  # fmt: skip
        if storage_class.get("mountOptions"):
            spec["mountOptions"] = storage_class["mountOptions"]
        volume = new_object(PERSISTENTVOLUMES, name, spec=spec)
        volume["metadata"] |= {
            "annotations": {v.PROVISIONED_BY: v.LOCAL_PATH, **self._contents(claim, node)}, "finalizers": [v.DATA_FINALIZER],
            "labels": {v.NODE_LABEL: name_of(node)},
        }  # fmt: skip
        limit = (storage_class.get("parameters") or {}).get("limit")
        if limit == "image":
            volume["metadata"]["annotations"][v.LIMITED] = limit
        elif limit not in (None, "none"):
            raise Refused(f'parameter limit: "{limit}" is neither "none" nor "image"')
        try:
            self._client.create(PERSISTENTVOLUMES, volume)
        except errors.AlreadyExists:
            return
        self._recorder.event(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}")

    def _contents(self, claim: Obj, node: Obj) -> dict[str, str]:
        """The annotation that says what the new volume is a copy of. Raises Refused for what cannot be copied."""
        source = claim["spec"].get("dataSource") or claim["spec"].get("dataSourceRef")
        if not source:
            return {}
        text = f"{source['kind']} {source['name']}"
        kind = source["kind"] if claim["spec"].get("dataSource") else "source in another namespace"
        if kind == "VolumeSnapshot":
            volume = v.snapshot_volume(claim, self.volumes.list())
            if volume is None or v.MADE not in annotations_of(volume):
                raise Refused(f"{text} is not ready to be used, or not of {v.LOCAL_PATH}")
        elif kind == "PersistentVolumeClaim":
            origin = self.claims.get(namespace_of(claim), source["name"])
            volume = self.volumes.get("", (origin or {"spec": {}})["spec"].get("volumeName") or "")
            if volume is None or not _made_here(volume):
                raise Refused(f"{text} has no volume made by {v.LOCAL_PATH} that could be copied")
        else:
            raise Refused(f"a volume cannot be made from a {kind}")
        if labels_of(volume).get(v.NODE_LABEL) != name_of(node):
            raise Refused(f"{text} is on node {labels_of(volume).get(v.NODE_LABEL)}", elsewhere=True)
        if v.requested(claim) < v.capacity(volume):
            raise Refused(f"a copy must be at least as large as its source ({volume['spec']['capacity']['storage']})")
        return {v.COPY_OF: name_of(volume)}

    def _reclaim(self, name: str) -> None:
        volume = self.volumes.get("", name)
        if volume is None or not _made_here(volume):
            return
        held = volume["metadata"].get("finalizers") or []
        if is_terminating(volume):
            if v.DATA_FINALIZER in held and v.phase_of(volume) != "Bound" and self._node_is_gone(volume):
                finalizers.take(self._client, PERSISTENTVOLUMES, volume, v.DATA_FINALIZER)
        elif v.phase_of(volume) == "Released" and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
            self._client.delete(PERSISTENTVOLUMES, name, uid=uid_of(volume))

    def _node_is_gone(self, volume: Obj) -> bool:
        """Asked of the API server: the cache may be behind a node that registers anew."""
        try:
            self._client.get(NODES, labels_of(volume).get(v.NODE_LABEL, ""))
        except errors.NotFound:
            return True
        return False
