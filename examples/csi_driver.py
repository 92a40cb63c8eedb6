"""A complete CSI driver in one file: directories as volumes, provisioned, attached, staged, published and taken away again.

    python examples/csi_driver.py --root NODE_DIRECTORY --data DIRECTORY [--kubeconfig FILE] [--name csi.example.com]

NODE_DIRECTORY is what `/var/lib/kubelet` is elsewhere: the kubelet finds the driver's socket in its `plugins_registry`. With a
kubeconfig the same process also does what the external provisioner and attacher do for other drivers: it makes a volume for
each claim of a class that names it, and says of each VolumeAttachment that it is attached.
"""

import argparse
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any

from kubelet import grpc_server
from kubelet.csi import schema
from kubelet.volumes import mounts
from minikube_py.api import volumes as v
from minikube_py.api.gvr import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES, VOLUMEATTACHMENTS, new_object
from minikube_py.api.meta import annotations_of, is_terminating, key_of, name_of, namespace_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller
from minikube_py.client.informer import SharedInformers
from minikube_py.client.kubeconfig import load
from minikube_py.client.rest import Client

NAME = "csi.example.com"


class Directories:
    """The Identity and Node services: a volume is a directory of `data`, published by a bind mount."""

    def __init__(
        self, name: str, node: str, data: Path, abilities: tuple[int, ...] = (schema.STAGE, schema.EXPAND)
    ) -> None:
        self.name, self.node, self.data, self.abilities = name, node, data, abilities
        self.calls: list[tuple[str, Any]] = []
        self.m = schema.messages()

    def get_plugin_info(self, request: Any) -> Any:
        return self.m["GetPluginInfoResponse"](name=self.name, vendor_version="1")

    def get_plugin_capabilities(self, request: Any) -> Any:
        return self.m["GetPluginCapabilitiesResponse"]()

    def probe(self, request: Any) -> Any:
        return self.m["ProbeResponse"](ready=self.m["BoolValue"](value=True))

    def node_get_info(self, request: Any) -> Any:
        topology = self.m["Topology"](segments={f"topology.{self.name}/node": self.node})
        return self.m["NodeGetInfoResponse"](node_id=self.node, max_volumes_per_node=16, accessible_topology=topology)

    def node_get_capabilities(self, request: Any) -> Any:
        rpcs = [self.m["NodeServiceCapability"](rpc=self.m["NodeRPC"](type=number)) for number in self.abilities]
        return self.m["NodeGetCapabilitiesResponse"](capabilities=rpcs)

    def node_stage_volume(self, request: Any) -> Any:
        (self.data / request.volume_id).mkdir(parents=True, exist_ok=True)
        _bind(self.data / request.volume_id, Path(request.staging_target_path))
        return self.m["Empty"]()

    def node_unstage_volume(self, request: Any) -> Any:
        _unbind(Path(request.staging_target_path))
        return self.m["Empty"]()

    def node_publish_volume(self, request: Any) -> Any:
        ephemeral = request.volume_context.get("csi.storage.k8s.io/ephemeral") == "true"
        source = Path(request.staging_target_path) if request.staging_target_path else self.data / request.volume_id
        if ephemeral or not request.staging_target_path:
            source.mkdir(parents=True, exist_ok=True)
        for key, value in request.volume_context.items() if ephemeral else ():
            (source / key.replace("/", "_")).write_text(value)
        _bind(source, Path(request.target_path), read_only=request.readonly)
        return self.m["Empty"]()

    def node_unpublish_volume(self, request: Any) -> Any:
        target = Path(request.target_path)
        _unbind(target)
        if target.exists():
            target.rmdir()
        if request.volume_id.startswith("csi-"):  # an ephemeral one: nobody will ask for it again
            rmtree(self.data / request.volume_id, ignore_errors=True)
        return self.m["Empty"]()

    def node_expand_volume(self, request: Any) -> Any:
        return self.m["NodeExpandVolumeResponse"](capacity_bytes=request.capacity_range.required_bytes)


def _run(*command: str | Path) -> None:
    """Raises OSError."""
    if code := subprocess.run(command, check=False).returncode:
        raise OSError(f"{' '.join(map(str, command))} ended with code {code}")


def _bind(source: Path, target: Path, *, read_only: bool = False) -> None:
    if not mounts.is_mounted(target):
        target.mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", source, target)
        if read_only:
            _run("mount", "-o", "remount,bind,ro", target)


def _unbind(target: Path) -> None:
    while mounts.is_mounted(target):
        _run("umount", target)


# -- gRPC ------------------------------------------------------------------------------------------------------------------

_METHODS = {
    "Identity": {"GetPluginInfo": "Empty", "GetPluginCapabilities": "Empty", "Probe": "Empty"},
    "Node": {
        "NodeGetInfo": "Empty", "NodeGetCapabilities": "Empty", "NodeStageVolume": "NodeStageVolumeRequest",
        "NodeUnstageVolume": "NodeUnstageVolumeRequest", "NodePublishVolume": "NodePublishVolumeRequest",
        "NodeUnpublishVolume": "NodeUnpublishVolumeRequest", "NodeExpandVolume": "NodeExpandVolumeRequest",
    },
}  # fmt: skip


def serve(driver: Directories, socket: Path, registration: Path) -> Callable[[], None]:
    """Answer on `socket`, and register through `registration`. Out: what ends it."""
    m = schema.messages()
    services = {
        f"csi.v1.{service}": {method: (m[request], _method(driver, method)) for method, request in methods.items()}
        for service, methods in _METHODS.items()
    }
    stop = grpc_server.serve(socket, services)
    leave = grpc_server.register(registration, "CSIPlugin", driver.name, socket, ["1.0.0"])

    def end() -> None:
        leave()
        stop()

    return end


def _method(driver: Directories, name: str) -> Callable[[Any], Any]:
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")

    def call(request: Any) -> Any:
        driver.calls.append((name, request))
        return getattr(driver, words)(request)

    return call


# -- what runs once per cluster --------------------------------------------------------------------------------------------


class Provisioner:
    """Makes a PersistentVolume for each claim that waits for this driver; deletes those nobody claims any more."""

    name = "csi-provisioner"

    def __init__(self, client: Client, informers: SharedInformers, driver: str) -> None:
        self._client, self._driver = client, driver
        self.claims, self.classes = informers.of(PERSISTENTVOLUMECLAIMS), informers.of(STORAGECLASSES)
        self.volumes = informers.of(PERSISTENTVOLUMES)

    def reconcile(self, key: str) -> float | None:
        if "/" not in key:
            volume = self.volumes.get("", key)
            if volume is not None and v.phase_of(volume) == "Released" and not is_terminating(volume):
                self._client.delete(PERSISTENTVOLUMES, key, uid=uid_of(volume))
            return None
        claim = self.claims.get_key(key)
        if claim is None or claim["spec"].get("volumeName") or annotations_of(claim).get(v.PROVISIONER) != self._driver:
            return None
        name, found = f"pvc-{uid_of(claim)}", self.classes.get("", v.class_of(claim)) or {}
        if self.volumes.get("", name) is None:
            self._client.create(PERSISTENTVOLUMES, self._volume(name, claim, found))
        return None

    def _volume(self, name: str, claim: Obj, found: Obj) -> Obj:
        ref = {
            "kind": "PersistentVolumeClaim",
            "namespace": namespace_of(claim),
            "name": name_of(claim),
            "uid": uid_of(claim),
        }
        spec = {
            "accessModes": claim["spec"]["accessModes"], "capacity": claim["spec"]["resources"]["requests"],
            "csi": {"driver": self._driver, "volumeHandle": name}, "claimRef": ref, "storageClassName": v.class_of(claim),
            "persistentVolumeReclaimPolicy": found.get("reclaimPolicy", "Delete"), "volumeMode": v.mode_of(claim),
        }  # fmt: skip
        volume = new_object(PERSISTENTVOLUMES, name, spec=spec)
        volume["metadata"]["annotations"] = {v.PROVISIONED_BY: self._driver}
        return volume


class Attacher:
    """Directories need no attaching: every VolumeAttachment of this driver is attached at once."""

    name = "csi-attacher"

    def __init__(self, client: Client, informers: SharedInformers, driver: str) -> None:
        self._client, self._driver, self.attachments = client, driver, informers.of(VOLUMEATTACHMENTS)

    def reconcile(self, key: str) -> float | None:
        held = self.attachments.get("", key)
        if (
            held is not None
            and held["spec"]["attacher"] == self._driver
            and not (held.get("status") or {}).get("attached")
        ):
            status = {"attached": True, "attachmentMetadata": {"by": self.name}}
            self._client.patch(VOLUMEATTACHMENTS, key, {"status": status}, subresource="status")
        return None


def control(client: Client, driver: str) -> Callable[[], None]:
    """Run both loops. Out: what ends them."""
    informers = SharedInformers(client)
    provisioner, attacher = Provisioner(client, informers, driver), Attacher(client, informers, driver)

    def mine(volume: Obj) -> tuple[str, ...]:
        return (name_of(volume),) if annotations_of(volume).get(v.PROVISIONED_BY) == driver else ()

    def waiting(found: Obj) -> list[str]:
        return [key_of(claim) for claim in provisioner.claims.list()]

    loops = [
        Controller(provisioner)
        .watch(provisioner.claims)
        .watch(provisioner.volumes, mine)
        .watch(provisioner.classes, waiting),
        Controller(attacher).watch(attacher.attachments),
    ]
    informers.start()
    for loop in loops:
        loop.start()

    def stop() -> None:
        for loop in loops:
            loop.stop()
        informers.stop()

    return stop


def main() -> None:
    parser = argparse.ArgumentParser(description="A CSI driver whose volumes are directories.")
    parser.add_argument("--root", required=True, type=Path, help="the node's directory, which holds plugins_registry")
    parser.add_argument("--data", required=True, type=Path, help="where the volumes' directories are")
    parser.add_argument("--kubeconfig", default="", help="provision and attach, too")
    parser.add_argument("--name", default=NAME)
    options = parser.parse_args()
    root = options.root.resolve()
    driver = Directories(options.name, root.name, options.data.resolve())
    serve(driver, root / "plugins" / options.name / "csi.sock", root / "plugins_registry" / f"{options.name}-reg.sock")
    if options.kubeconfig:
        control(Client(load(options.kubeconfig)), options.name)
    threading.Event().wait()


if __name__ == "__main__":
    main()
