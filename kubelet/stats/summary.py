"""GET /stats/summary: what pods and node use, as one JSON object.

Who calls it: `handlers`. Invariant: a pure function of a snapshot; a number that is not known is left out, never 0.
Upstream: kubelet/pkg/apis/stats/v1alpha1, pkg/kubelet/server/stats/summary.go.
"""

import os
from datetime import UTC, datetime
from typing import Any

from kubelet.options import Options
from kubelet.runtime.base import Stats
from kubelet.stats.collect import Container, Pod, Snapshot
from kubelet.stats.network import Interface
from minikube_py.api import quantity
from minikube_py.api.clock import rfc3339
from minikube_py.api.meta import name_of, namespace_of, uid_of
from minikube_py.api.types import Obj


def summary(options: Options, snapshot: Snapshot, started: float, *, brief: bool = False) -> Obj:
    """The Summary object. In: `started` the kubelet's start, epoch seconds; `brief` leaves out all but cpu and memory."""
    now = _time(snapshot.at)
    capacity = quantity.value(options.capacity["memory"])
    node: Obj = {
        "nodeName": options.node_name, "startTime": _time(started), **_used(snapshot.stats, snapshot.cores, now, capacity),
    }  # fmt: skip
    if not brief:
        disk = _file_system(options.root_dir, now)
        pods = sum(pod.disk.disk for pod in snapshot.pods)
        node |= {
            "systemContainers": [
                {"name": "pods", "startTime": node["startTime"],
                 **_used(snapshot.stats, snapshot.cores, now, capacity)}
            ],
            "fs": {**disk, "usedBytes": pods}, "runtime": {"imageFs": disk, "containerFs": {**disk, "usedBytes": pods}},
            "rlimit": {"time": now, "maxpid": _maximum_pid(options), "curproc": snapshot.stats.pids},
        }  # fmt: skip
    return {"node": node, "pods": [_pod(options, pod, now, brief) for pod in snapshot.pods]}


def _pod(options: Options, found: Pod, now: str, brief: bool) -> Obj:
    pod = found.pod
    reference = {"name": name_of(pod), "namespace": namespace_of(pod), "uid": uid_of(pod)}
    made: Obj = {
        "podRef": reference, "startTime": (pod.get("status") or {}).get("startTime", now),
        "containers": [_container(options, found, one, now, brief) for one in found.containers],
        **_used(found.stats, found.cores, now),
    }  # fmt: skip
    if brief:
        return made
    disk = _file_system(options.root_dir, now)
    if found.network:
        made["network"] = {
            "time": now,
            **_interface(found.network[0]),
            "interfaces": list(map(_interface, found.network)),
        }
    made["volume"] = [{"name": name, **disk, "usedBytes": used} for name, used in found.disk.volumes.items()]
    made["ephemeral-storage"] = {**disk, "usedBytes": found.disk.disk, "inodesUsed": found.disk.inodes}
    made["process_stats"] = {"process_count": found.stats.pids}
    return made


def _container(options: Options, pod: Pod, found: Container, now: str, brief: bool) -> Obj:
    status = found.status
    limit = status.limits.memory if status.limits else 0
    began = rfc3339(status.started_at) if status.started_at else now
    made = {"name": status.name, "startTime": began, **_used(found.stats, found.cores, now, limit)}
    if not brief:
        disk, used = _file_system(options.root_dir, now), pod.disk.containers.get(status.name)
        made |= {"rootfs": {**disk, "usedBytes": used.disk} if used else disk, "logs": disk}
    return made


def _used(stats: Stats, cores: float, now: str, limit: int = 0) -> Obj:
    memory: Obj = {
        "time": now, "usageBytes": stats.memory_usage, "workingSetBytes": stats.memory_working_set,
        "rssBytes": stats.memory_rss, "pageFaults": stats.page_faults, "majorPageFaults": stats.major_page_faults,
    }  # fmt: skip
    if limit:
        memory["availableBytes"] = max(0, limit - stats.memory_working_set)
    cpu = {"time": now, "usageNanoCores": round(cores * 1e9), "usageCoreNanoSeconds": stats.cpu_nanoseconds}
    return {"cpu": cpu, "memory": memory, "swap": {"time": now, "swapUsageBytes": stats.memory_swap}}


def _interface(one: Interface) -> Obj:
    return {
        "name": one.name, "rxBytes": one.rx_bytes, "rxErrors": one.rx_errors, "txBytes": one.tx_bytes,
        "txErrors": one.tx_errors,
    }  # fmt: skip


def _file_system(path: str, now: str) -> dict[str, Any]:
    """The file system that pods' files, images and layers are on."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    disk = os.statvfs(path)
    return {
        "time": now, "availableBytes": disk.f_bavail * disk.f_frsize, "capacityBytes": disk.f_blocks * disk.f_frsize,
        "usedBytes": (disk.f_blocks - disk.f_bfree) * disk.f_frsize, "inodesFree": disk.f_favail, "inodes": disk.f_files,
        "inodesUsed": disk.f_files - disk.f_ffree,
    }  # fmt: skip


def _maximum_pid(options: Options) -> int:
    if options.max_pids:
        return options.max_pids
    with open("/proc/sys/kernel/pid_max") as file:
        return int(file.read())


def _time(at: float) -> str:
    return rfc3339(datetime.fromtimestamp(at, UTC))
