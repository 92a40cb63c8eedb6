"""Who has which device, on disk: read back after a restart of the kubelet, when the containers still run.

Who calls it: `manager`. Invariant: what was allocated is on disk before the container exists; a damaged file is put
aside and said so, never half believed.
Fields as upstream's (pkg/kubelet/cm/devicemanager/checkpoint), but for AllocResp, which holds the response as JSON in base64
instead of protobuf, and Checksum, which is a CRC-32 of the canonical JSON of Data.
"""

import base64
import json
import logging
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from minikube_py.api.types import Obj

log = logging.getLogger(__name__)

FILE = "kubelet_internal_checkpoint"


class Entry(NamedTuple):
    """One container's devices of one resource: NUMA node -> ids, and what the plugin answered."""

    pod_uid: str
    container: str
    resource: str
    devices: dict[int, list[str]]
    response: Obj

    def ids(self) -> set[str]:
        return {device for devices in self.devices.values() for device in devices}


def write(directory: Path, entries: Iterable[Entry], registered: dict[str, list[str]]) -> None:
    """Replace the file atomically and durably. Raises OSError."""
    data = {
        "PodDeviceEntries": [
            {
                "PodUID": entry.pod_uid, "ContainerName": entry.container, "ResourceName": entry.resource,
                "DeviceIDs": {str(node): ids for node, ids in entry.devices.items()},
                "AllocResp": base64.b64encode(json.dumps(entry.response).encode()).decode(),
            }
            for entry in entries
        ],
        "RegisteredDevices": registered,
    }  # fmt: skip
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / f".{FILE}.{os.getpid()}"
    with temporary.open("w") as file:
        json.dump({"Data": data, "Checksum": _checksum(data)}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(directory / FILE)


def read(directory: Path) -> tuple[list[Entry], dict[str, list[str]]]:
    """What `write` wrote; nothing when there is no file or it is damaged."""
    path = directory / FILE
    try:
        document: Any = json.loads(path.read_text())
        data = document["Data"]
        if document["Checksum"] != _checksum(data):
            raise ValueError("its checksum is wrong")
        entries = [_entry(found) for found in data["PodDeviceEntries"] or []]
        return entries, dict(data["RegisteredDevices"] or {})
    except FileNotFoundError:
        return [], {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.error("the device checkpoint %s is damaged (%s); devices of running pods are not known", path, error)
        path.replace(path.with_name(f"{FILE}.damaged"))
        return [], {}


def _entry(found: Obj) -> Entry:
    devices = {int(node): list(ids) for node, ids in found["DeviceIDs"].items()}
    response = json.loads(base64.b64decode(found["AllocResp"]))
    return Entry(found["PodUID"], found["ContainerName"], found["ResourceName"], devices, response)


def _checksum(data: Obj) -> int:
    return zlib.crc32(json.dumps(data, sort_keys=True).encode())
