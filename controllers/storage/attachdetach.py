"""Attaching: a VolumeAttachment for each CSI volume on each node where a pod uses it, while its driver wants one.

Who calls it: `controllers.main`; the driver's attacher does the work and reports it. Invariants: the name follows from volume
and node, so nothing is asked for twice; a volume is not taken from a node that says it is still in use there, unless that node
was declared out of service or is gone; a ReadWriteOnce volume is not attached to a second node.
Upstream: pkg/controller/volume/attachdetach.
"""

import re
from collections.abc import Iterable

from controllers.context import Context
from controllers.nodelifecycle import BY_NODE, index_by_node
from controllers.pod import is_finished, node_of
from minikube_py.api import errors
from minikube_py.api import volumes as v
from minikube_py.api.gvr import (
    CSIDRIVERS,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    VOLUMEATTACHMENTS,
    new_object,
)
from minikube_py.api.meta import is_terminating, name_of, namespace_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_OURS = re.compile("csi-[0-9a-f]{64}")
"""What we call attachments; others are somebody else's to remove."""
_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_SINGLE = {"ReadWriteOnce", "ReadWriteOncePod"}


def build(context: Context) -> Controller:
    """Watches pods, nodes, attachments and what they refer to; keys are nodes."""
    reconciler = AttachDetach(context)
    controller = Controller(reconciler, clock=context.clock).watch(reconciler.nodes)
    controller.watch(reconciler.pods, lambda pod: (node_of(pod),) if node_of(pod) and any(v.claims_of(pod)) else ())
    controller.watch(reconciler.attachments, reconciler.nodes_wanting)
    controller.watch(reconciler.claims, reconciler.nodes_using)
    controller.watch(reconciler.drivers, lambda driver: [name_of(node) for node in reconciler.nodes.list()])
    return controller.watch(reconciler.volumes, lambda volume: ())


class AttachDetach:
    """The reconciler."""

    name = "attachdetach"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorder("attachdetach-controller")
        informers = context.informers
        self.pods, self.nodes, self.drivers = informers.of(PODS), informers.of(NODES), informers.of(CSIDRIVERS)
        self.claims, self.volumes = informers.of(PERSISTENTVOLUMECLAIMS), informers.of(PERSISTENTVOLUMES)
        self.attachments = informers.of(VOLUMEATTACHMENTS)
        index_by_node(context)

    def nodes_using(self, claim: Obj) -> Iterable[str]:
        pods = self.pods.list(namespace_of(claim))
        return {node_of(p) for p in pods if node_of(p) and any(c.name == name_of(claim) for c in v.claims_of(p))}

    def nodes_wanting(self, attachment: Obj) -> Iterable[str]:
        """Its own node; and those where pods wait for the volume to come free."""
        volume = self.volumes.get("", attachment["spec"]["source"].get("persistentVolumeName") or "")
        ref = ((volume or {"spec": {}})["spec"].get("claimRef")) or {}
        claim = self.claims.get(ref.get("namespace", ""), ref.get("name", "")) if ref else None
        return {attachment["spec"]["nodeName"], *(self.nodes_using(claim) if claim else ())}

    def reconcile(self, key: str) -> float | None:
        wanted = self._wanted(key)
        held = {name_of(a): a for a in self.attachments.list() if a["spec"]["nodeName"] == key}
        for name, (volume, pods) in wanted.items():
            if name not in held:
                self._attach(name, volume, key, pods)
        for name, attachment in held.items():
            if name in wanted or is_terminating(attachment) or not _OURS.fullmatch(name):
                continue
            if self._may_detach(attachment):
                self._client.delete(VOLUMEATTACHMENTS, name, uid=uid_of(attachment))
        self._show(key, held)
        return None

    def _wanted(self, node: str) -> dict[str, tuple[Obj, list[Obj]]]:
        """Attachment name → (volume, the pods that use it) on a node."""
        found: dict[str, tuple[Obj, list[Obj]]] = {}
        for pod in self.pods.by_index(BY_NODE, node):
            for used in v.claims_of(pod) if not is_finished(pod) else ():
                claim = self.claims.get(namespace_of(pod), used.name)
                volume = self.volumes.get("", claim["spec"].get("volumeName") or "") if claim else None
                if claim is None or volume is None or not v.is_fully_bound(claim) or not v.belongs_to(volume, claim):
                    continue
                csi = volume["spec"].get("csi")
                if csi and self._is_attachable(csi["driver"]):
                    name = v.attachment_name(csi["volumeHandle"], csi["driver"], node)
                    found.setdefault(name, (volume, []))[1].append(pod)
        return found

    def _is_attachable(self, driver: str) -> bool:
        found = self.drivers.get("", driver)
        return found is None or found["spec"].get("attachRequired") is not False

    def _attach(self, name: str, volume: Obj, node: str, pods: list[Obj]) -> None:
        csi = volume["spec"]["csi"]
        elsewhere = self._elsewhere(name_of(volume), node)
        if elsewhere and set(volume["spec"].get("accessModes") or ()) <= _SINGLE:
            text = f'Multi-Attach error for volume "{name_of(volume)}" Volume is already exclusively attached to one node and '
            text += "can't be attached to another"
            for pod in pods:
                self._recorder.event(pod, "Warning", "FailedAttachVolume", text)
            return
        spec = {"attacher": csi["driver"], "nodeName": node, "source": {"persistentVolumeName": name_of(volume)}}
        try:
            self._client.create(VOLUMEATTACHMENTS, new_object(VOLUMEATTACHMENTS, name, spec=spec))
        except errors.AlreadyExists:
            return

    def _elsewhere(self, volume: str, node: str) -> list[Obj]:
        return [
            held for held in self.attachments.list()
            if held["spec"]["nodeName"] != node and held["spec"]["source"].get("persistentVolumeName") == volume
        ]  # fmt: skip

    def _may_detach(self, attachment: Obj) -> bool:
        node = self.nodes.get("", attachment["spec"]["nodeName"])
        volume = self.volumes.get("", attachment["spec"]["source"].get("persistentVolumeName") or "")
        if node is None or volume is None or not volume["spec"].get("csi"):
            return True
        if any(taint["key"] == _OUT_OF_SERVICE for taint in (node.get("spec") or {}).get("taints") or ()):
            return True
        csi = volume["spec"]["csi"]
        used = (node.get("status") or {}).get("volumesInUse") or ()
        return v.attachable_name(csi["driver"], csi["volumeHandle"]) not in used

    def _show(self, node_name: str, held: dict[str, Obj]) -> None:
        """Node.status.volumesAttached lists what is attached."""
        node = self.nodes.get("", node_name)
        if node is None:
            return
        attached = []
        for attachment in held.values():
            volume = self.volumes.get("", attachment["spec"]["source"].get("persistentVolumeName") or "")
            if volume is not None and volume["spec"].get("csi") and (attachment.get("status") or {}).get("attached"):
                csi = volume["spec"]["csi"]
                attached.append({"name": v.attachable_name(csi["driver"], csi["volumeHandle"]), "devicePath": ""})
        attached.sort(key=lambda entry: entry["name"])
        before = (node.get("status") or {}).get("volumesAttached") or []
        if before != attached:
            self._client.patch(NODES, node_name, {"status": {"volumesAttached": attached}}, subresource="status")
