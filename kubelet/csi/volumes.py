"""CSI volumes of pods: waited for, staged once per node, published once per pod, and undone in reverse.

Who calls it: `volumes.persistent_volumes`. Invariants: what a driver is asked is written down (`vol_data.json`) before it is
asked, below the pod's directory for a publish and below `plugins/kubernetes.io/csi` for a stage, so a kubelet killed anywhere
knows what there is to undo; a volume is unstaged when no pod's directory mentions it any more;
a driver that wants it is asked to publish again from time to time, with fresh tokens.
Upstream: pkg/volume/csi/{csi_mounter,csi_attacher,csi_block}.go.
"""

import contextlib
import json
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from kubelet.csi import schema
from kubelet.csi.driver import Driver, Volume
from kubelet.csi.drivers import Drivers
from kubelet.env import data_of
from kubelet.errors import VolumeError
from kubelet.volumes import mounts, persistent
from minikube_py.api import volumes as v
from minikube_py.api.meta import name_of, namespace_of, uid_of
from minikube_py.api.types import Obj

Getter = Callable[[str, str, str], Obj | None]
TokenGetter = Callable[[Obj, str, int], Obj]
"""(pod, audience, seconds) → the status of a TokenRequest bound to the pod."""
_DATA, _PLUGIN = "vol_data.json", "kubernetes.io~csi"
_EPHEMERAL, _PERSISTENT = "Ephemeral", "Persistent"
_TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"


class CSIVolumes:
    """`get` reads CSIDrivers, VolumeAttachments and Secrets; `changed` is called when `in_use` may have changed."""

    def __init__(
        self, root: Path, node: str, drivers: Drivers, get: Getter, token: TokenGetter, changed: Callable[[], None]
    ) -> None:
        self._root, self._node, self._drivers, self._get, self._changed = root, node, drivers, get, changed
        self._token = token
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    # -- up -----------------------------------------------------------------------------------------------------------

    def persistent(self, pod: Obj, volume: Obj, read_only: bool) -> Path:
        """Set up the PersistentVolume for the pod. Raises VolumeError, OSError, APIError."""
        source = volume["spec"]["csi"]
        settings = self._settings(source["driver"], _PERSISTENT)
        wanted = Volume(
            source["driver"], source["volumeHandle"], access_mode=volume["spec"]["accessModes"][0],
            fs_type=source.get("fsType") or "", read_only=read_only, block=v.mode_of(volume) == "Block", group=_group(pod),
            mount_options=tuple(volume["spec"].get("mountOptions") or ()), attributes=source.get("volumeAttributes") or {},
            context=_context(settings, pod, ephemeral=False), publish_context=self._attached(settings, source),
            stage_secrets=self._secret(source.get("nodeStageSecretRef")),
            publish_secrets=self._secret(source.get("nodePublishSecretRef")),
        )  # fmt: skip
        return self._set_up(pod, name_of(volume), wanted, settings)

    def inline(self, pod: Obj, volume: Obj) -> Path:
        """Set up a volume that lives as long as its pod. Raises as `persistent`."""
        source = volume["csi"]
        settings = self._settings(source["driver"], _EPHEMERAL)
        reference = source.get("nodePublishSecretRef")
        wanted = Volume(
            source["driver"], f"csi-{sha256((uid_of(pod) + volume['name']).encode()).hexdigest()}",
            fs_type=source.get("fsType") or "", read_only=bool(source.get("readOnly")), group=_group(pod),
            attributes=source.get("volumeAttributes") or {}, context=_context(settings, pod, ephemeral=True),
            publish_secrets=self._secret({**reference, "namespace": namespace_of(pod)} if reference else None),
        )  # fmt: skip
        return self._set_up(pod, volume["name"], wanted, settings, stage=False)

    def expand(self, pod: Obj, volume: Obj) -> None:
        """Let the driver grow a volume that is set up for the pod. Raises VolumeError."""
        source = volume["spec"]["csi"]
        driver = self._drivers.get(source["driver"])
        if schema.EXPAND not in driver.abilities:
            return
        wanted = Volume(source["driver"], source["volumeHandle"], access_mode=volume["spec"]["accessModes"][0])
        staging = self._staging(driver.name, wanted.handle) if schema.STAGE in driver.abilities else None
        driver.expand(wanted, self._directory(uid_of(pod), name_of(volume)) / "mount", staging, int(v.capacity(volume)))

    def _set_up(self, pod: Obj, name: str, volume: Volume, settings: Obj, *, stage: bool = True) -> Path:
        directory = self._directory(uid_of(pod), name)
        target = directory / "mount"
        driver = self._drivers.get(volume.driver)
        if mounts.is_mounted(target) and not settings.get("requiresRepublish"):
            return target
        with self._locks[f"{volume.driver}^{volume.handle}"]:
            staging = self._staging(driver.name, volume.handle) if stage and schema.STAGE in driver.abilities else None
            fresh = not mounts.is_mounted(target)
            if staging is not None and fresh:
                staging.mkdir(parents=True, exist_ok=True)
                _note(staging.parent, driver.name, volume.handle)
                driver.stage(volume, staging)
            directory.mkdir(parents=True, exist_ok=True)
            _note(directory, driver.name, volume.handle)
            self._changed()
            driver.publish(self._with_tokens(volume, settings, pod), staging, target)
            if fresh and _gives(settings, driver, volume):
                policy = (pod["spec"].get("securityContext") or {}).get("fsGroupChangePolicy")
                assert volume.group is not None
                persistent.give(target, volume.group, policy)
        return target

    def _with_tokens(self, volume: Volume, settings: Obj, pod: Obj) -> Volume:
        """The volume with the pod's tokens for the audiences that the driver asks for. Raises APIError."""
        wanted = [
            (r.get("audience") or "", r.get("expirationSeconds") or 3600) for r in settings.get("tokenRequests") or ()
        ]
        if not wanted:
            return volume
        told = {_TOKENS: json.dumps({audience: self._token(pod, audience, seconds) for audience, seconds in wanted})}
        if settings.get("serviceAccountTokenInSecrets"):
            return replace(volume, publish_secrets={**volume.publish_secrets, **told})
        return replace(volume, context={**volume.context, **told})

    def _settings(self, driver: str, mode: str) -> Obj:
        """The spec of the CSIDriver, {} when the driver has none. Raises VolumeError for a mode it does not do."""
        found: Obj = (self._get("csidrivers", "", driver) or {}).get("spec") or {}
        modes = found.get("volumeLifecycleModes") or [_PERSISTENT]
        if mode not in modes:
            raise VolumeError(f'volume mode "{mode}" not supported by driver {driver} (only supports {modes})')
        return {"attachRequired": True, **found}

    def _attached(self, settings: Obj, source: Obj) -> Mapping[str, str]:
        """What the attacher left for the node. Raises VolumeError while the volume is not attached."""
        if not settings["attachRequired"]:
            return {}
        name = v.attachment_name(source["volumeHandle"], source["driver"], self._node)
        status = (self._get("volumeattachments", "", name) or {}).get("status") or {}
        if not status.get("attached"):
            why = (status.get("attachError") or {}).get("message", "")
            raise VolumeError(
                f"volume {source['volumeHandle']} is not attached to this node yet{': ' if why else ''}{why}"
            )
        metadata: dict[str, str] = status.get("attachmentMetadata") or {}
        return metadata

    def _secret(self, reference: Obj | None) -> dict[str, str]:
        if not reference:
            return {}
        found = self._get("secrets", reference["namespace"], reference["name"])
        if found is None:
            raise VolumeError(f'secret "{reference["name"]}" not found')
        return {key: value.decode() for key, value in data_of(found).items()}

    # -- down ---------------------------------------------------------------------------------------------------------

    def release(self, uid: str) -> None:
        """Undo every CSI volume of a pod. Raises OSError when a driver does not do its part: to be tried again."""
        for directory, driver, handle in list(self._noted(uid)):
            try:
                with self._locks[f"{driver}^{handle}"]:
                    self._undo(directory, self._drivers.get(driver), handle)
            except VolumeError as error:
                raise OSError(f"UnmountVolume.TearDown failed for volume {directory.name}: {error}") from error

    def _undo(self, directory: Path, driver: Driver, handle: str) -> None:
        driver.unpublish(handle, directory / "mount")
        staging = self._staging(driver.name, handle)
        others = [noted for noted in self._noted("*") if noted[0] != directory]
        if staging.parent.exists() and (driver.name, handle) not in {noted[1:] for noted in others}:
            driver.unstage(handle, staging)
            mounts.clear(staging)
            shutil.rmtree(staging.parent, ignore_errors=True)
        mounts.clear(directory)  # last: it says what is left to do
        self._changed()

    def in_use(self) -> list[str]:
        """The attachable volumes that are set up here, as Node.status.volumesInUse lists them."""
        held = {(driver, handle) for _, driver, handle in self._noted("*")}
        needs = {name for name, _ in held if self._settings_quietly(name).get("attachRequired", True)}
        return sorted(v.attachable_name(driver, handle) for driver, handle in held if driver in needs)

    def _settings_quietly(self, driver: str) -> Obj:
        with contextlib.suppress(VolumeError):
            return self._settings(driver, _PERSISTENT)
        return {"attachRequired": False}

    # -- on disk ------------------------------------------------------------------------------------------------------

    def _directory(self, uid: str, name: str) -> Path:
        return self._root / "pods" / uid / "volumes" / _PLUGIN / name

    def _staging(self, driver: str, handle: str) -> Path:
        named = sha256(handle.encode()).hexdigest()
        return self._root / "plugins" / "kubernetes.io" / "csi" / driver / named / "globalmount"

    def _noted(self, uid: str) -> Iterator[tuple[Path, str, str]]:
        """(directory, driver, handle) of the volumes of a pod, "*" for all pods."""
        for file in (self._root / "pods").glob(f"{uid}/volumes/{_PLUGIN}/*/{_DATA}"):
            try:
                data = json.loads(file.read_text())
            except (OSError, ValueError):
                continue  # written by a kubelet that was killed: the driver was not asked yet
            yield file.parent, data["driverName"], data["volumeHandle"]


def _note(directory: Path, driver: str, handle: str) -> None:
    making = directory / f".{_DATA}"
    making.write_text(json.dumps({"driverName": driver, "volumeHandle": handle}))
    making.rename(directory / _DATA)


def _group(pod: Obj) -> int | None:
    group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return None if group is None else int(group)


def _context(settings: Obj, pod: Obj, *, ephemeral: bool) -> dict[str, str]:
    if not settings.get("podInfoOnMount"):
        return {}
    return {
        "csi.storage.k8s.io/pod.name": name_of(pod), "csi.storage.k8s.io/pod.namespace": namespace_of(pod),
        "csi.storage.k8s.io/pod.uid": uid_of(pod),
        "csi.storage.k8s.io/serviceAccount.name": pod["spec"].get("serviceAccountName") or "",
        "csi.storage.k8s.io/ephemeral": "true" if ephemeral else "false",
    }  # fmt: skip


def _gives(settings: Obj, driver: Driver, volume: Volume) -> bool:
    """Whether it is for us to give the volume to the pod's fsGroup."""
    if volume.group is None or volume.read_only or volume.block or schema.MOUNT_GROUP in driver.abilities:
        return False
    policy = settings.get("fsGroupPolicy") or "ReadWriteOnceWithFSType"
    if policy == "ReadWriteOnceWithFSType":
        return bool(volume.fs_type) and volume.access_mode.startswith("ReadWriteOnce")
    return bool(policy == "File")
