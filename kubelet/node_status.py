"""`Node.status` and what a node is registered with: pure functions of the options, the engine and a few readings.

Who calls it: `node`. Invariant: capacity is the share this node was given, not the machine's; everything others add to a node
(extended resources, conditions of other agents, labels) is left to them.
Upstream: pkg/kubelet/nodestatus/setters.go, pkg/kubelet/kubelet_node_status.go.
"""

import contextlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kubelet.eviction.thresholds import DISK_PRESSURE, MEMORY_PRESSURE, PID_PRESSURE, kept_free
from kubelet.options import Options
from kubelet.runtime.base import Image, Info
from kubelet.volumes.local_path import directory
from minikube_py import KUBERNETES_RELEASE
from minikube_py.api import quantity
from minikube_py.api.types import Obj
from minikube_py.api.volumes import DIRECTORY

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}
_MOST_IMAGES = 50
_PRESSURE = {
    # condition: ((reason, message) when false, the same when true)
    MEMORY_PRESSURE: (
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    ),
    DISK_PRESSURE: (
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
    ),
    PID_PRESSURE: (
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
    ),
}


@dataclass(frozen=True)
class Readings:
    """How the node is: which pressure conditions are true, and why the engine does not answer ("" when it does)."""

    pressure: frozenset[str] = frozenset()
    runtime_error: str = ""


def registration(options: Options, device_labels: Mapping[str, str | None]) -> Obj:
    """The Node object without its status. In: a device label that is None is left out."""
    arch = _ARCHITECTURES.get(platform.machine(), platform.machine())
    labels = {
        "beta.kubernetes.io/arch": arch, "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": arch,
        "kubernetes.io/hostname": options.node_name, "kubernetes.io/os": "linux",
        **{name: value for name, value in device_labels.items() if value is not None}, **options.node_labels,
    }  # fmt: skip
    spec: Obj = {"podCIDR": options.pod_cidr, "podCIDRs": [options.pod_cidr]}
    if options.register_taints:
        spec["taints"] = [_taint(text) for text in options.register_taints]
    marks = {} if options.simulated_nodes else {DIRECTORY: str(directory(options.root_dir))}  # a fleet has no disks
    metadata = {"name": options.node_name, "labels": labels, "annotations": marks}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}


def _taint(text: str) -> Obj:
    key, _, effect = text.rpartition(":")
    name, _, value = key.partition("=")
    return {"key": name, "effect": effect, **({"value": value} if value else {})}


def status(
    options: Options, info: Info, images: Sequence[Image], readings: Readings, devices: Mapping[str, str],
    allocatable_devices: Mapping[str, str], old: Sequence[Obj], now: str,
) -> Obj:  # fmt: skip
    """The parts of a node's status that are ours. In: `old` are the present conditions, whose transition times live on."""
    return {
        "addresses": [
            {"type": "InternalIP", "address": options.node_ip}, {"type": "Hostname", "address": options.node_name},
        ],
        "capacity": {**options.capacity, **devices},
        "allocatable": {**allocatable(options), **allocatable_devices},
        "conditions": conditions(readings, old, now),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": options.port}},
        "images": [_image(image) for image in sorted(images, key=lambda i: -i.size)[:_MOST_IMAGES] if image.names],
        "nodeInfo": node_info(info),
    }  # fmt: skip


def allocatable(options: Options) -> dict[str, str]:
    """What pods may be promised: the capacity less what has to stay free (see `eviction`)."""
    kept = kept_free(options.eviction_thresholds, options.capacity)
    return {
        name: quantity.format(max(0, quantity.value(text) - kept[name]), binary=True) if kept.get(name) else text
        for name, text in options.capacity.items()
    }  # fmt: skip


def _image(image: Image) -> Obj:
    return {"names": [*image.digests, *image.names][:5], "sizeBytes": image.size}


def conditions(readings: Readings, old: Sequence[Obj], now: str) -> list[Obj]:
    """Our four conditions; a condition's transition time moves only when its status does."""
    ready = not readings.runtime_error
    wanted = [
        (kind, kind in readings.pressure, *_PRESSURE[kind][kind in readings.pressure])
        for kind in (MEMORY_PRESSURE, DISK_PRESSURE, PID_PRESSURE)
    ]  # fmt: skip
    wanted += [
        ("Ready", ready, "KubeletReady" if ready else "KubeletNotReady",
         "kubelet is posting ready status" if ready else f"container runtime is down: {readings.runtime_error}"),
    ]  # fmt: skip
    known = {condition["type"]: condition for condition in old}
    result = []
    for kind, value, reason, message in wanted:
        text = "True" if value else "False"
        before = known.get(kind, {})
        since = before.get("lastTransitionTime", now) if before.get("status") == text else now
        result.append({
            "type": kind, "status": text, "reason": reason, "message": message, "lastHeartbeatTime": now,
            "lastTransitionTime": since,
        })  # fmt: skip
    return result


def node_info(info: Info) -> Obj:
    version = f"v{KUBERNETES_RELEASE}.0+minikube-py"
    return {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "bootID": _line("/proc/sys/kernel/random/boot_id"),
        "containerRuntimeVersion": f"{info.name}://{info.version}",
        "kernelVersion": info.kernel or platform.release(),
        "kubeProxyVersion": "",
        "kubeletVersion": version,
        "machineID": _line("/etc/machine-id"),
        "operatingSystem": "linux",
        "osImage": info.operating_system or "Linux",
        "systemUUID": _line("/sys/class/dmi/id/product_uuid") or _line("/etc/machine-id"),
    }


def _line(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return ""


def worth_writing(old: Obj, new: Obj) -> bool:
    """Whether a status differs from the server's in anything but the heartbeat."""

    def stripped(entries: Sequence[Obj]) -> list[Obj]:
        return [{k: v for k, v in entry.items() if k != "lastHeartbeatTime"} for entry in entries]

    held = {condition["type"]: condition for condition in old.get("conditions") or []}
    ours = [held[c["type"]] for c in new["conditions"] if c["type"] in held]
    if stripped(ours) != stripped(new["conditions"]):
        return True
    if {n for i in new["images"] for n in i["names"]} != {n for i in old.get("images") or [] for n in i["names"]}:
        return True
    for key in ("capacity", "allocatable"):
        if any((old.get(key) or {}).get(name) != value for name, value in new[key].items()):
            return True
    return "volumesInUse" in new or any(
        old.get(key) != new[key] for key in ("addresses", "nodeInfo", "daemonEndpoints")
    )
