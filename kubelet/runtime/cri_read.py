"""What a CRI runtime answers, translated into the types of the runtime seam. Pure.

Who calls it: `runtime.cri`. Invariants: a container that could not be started reads as exited, with the runtime's words; what
only the verbose answer tells (the process, the limits of older runtimes) is read where it is there, and 0 or None where not.
Upstream: pkg/kubelet/kuberuntime/kuberuntime_container.go (toKubeContainerStatus).
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kubelet.runtime import cri_create, cri_schema, labels
from kubelet.runtime.base import CONTAINER, EXITED, RUNNING, SANDBOX, Image, Info, Resources, Stats, Status
from minikube_py.api.types import Obj


def sandbox_state(number: int) -> str:
    return RUNNING if number == cri_schema.READY else EXITED


def container_state(number: int) -> str:
    return cri_schema.CONTAINER_STATES[number]


def details(info: Mapping[str, str]) -> Obj:
    """The verbose part of an answer; {} where the runtime tells nothing."""
    try:
        found = json.loads(info.get("info") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _moment(nanoseconds: int) -> datetime | None:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC) if nanoseconds > 0 else None


def sandbox(answer: Any) -> Status:
    """A PodSandboxStatusResponse, verbose."""
    found, own = answer.status, dict(answer.status.labels)
    state = sandbox_state(found.state)
    return Status(
        id=found.id, kind=SANDBOX, pod=labels.pod_ref(own), name=labels.SANDBOX_NAME, attempt=found.metadata.attempt,
        state=state, labels=own, created_at=_moment(found.created_at), started_at=_moment(found.created_at),
        pid=int(details(answer.info).get("pid") or 0) if state == RUNNING else 0,
        ip=own.get(labels.POD_IP) or found.network.ip,
    )  # fmt: skip


def container(answer: Any) -> Status:
    """A ContainerStatusResponse, verbose."""
    found, own, more = answer.status, dict(answer.status.labels), details(answer.info)
    state = container_state(found.state)
    failed = found.reason in ("StartError", "ContainerCannotRun")
    return Status(
        id=found.id, kind=CONTAINER, pod=labels.pod_ref(own), name=found.metadata.name, attempt=found.metadata.attempt,
        state=state, labels=own, image=found.annotations.get(cri_create.IMAGE) or found.image.image,
        image_id=image_id(found.image_id or found.image_ref), created_at=_moment(found.created_at),
        started_at=_moment(found.started_at), finished_at=_moment(found.finished_at), exit_code=found.exit_code,
        oom_killed=found.reason == "OOMKilled", error=found.message if failed else "",
        pid=int(more.get("pid") or 0) if state == RUNNING else 0, limits=_limits(found, more),
    )  # fmt: skip


def image_id(reference: str) -> str:
    """With its algorithm, which some runtimes leave out."""
    return reference if ":" in reference or not reference else f"sha256:{reference}"


def _limits(found: Any, more: Obj) -> Resources | None:
    if found.HasField("resources"):
        linux = found.resources.linux
        return Resources(
            cpu_shares=linux.cpu_shares, cpu_quota=max(0, linux.cpu_quota), memory=linux.memory_limit_in_bytes,
            oom_score_adj=linux.oom_score_adj,
        )  # fmt: skip
    spec = more.get("runtimeSpec") or {}
    limits = (spec.get("linux") or {}).get("resources")
    if limits is None:
        return None
    cpu, memory = limits.get("cpu") or {}, limits.get("memory") or {}
    return Resources(
        cpu_shares=int(cpu.get("shares") or 0), cpu_quota=max(0, int(cpu.get("quota") or 0)),
        memory=max(0, int(memory.get("limit") or 0)), oom_score_adj=int((spec.get("process") or {}).get("oomScoreAdj") or 0),
    )  # fmt: skip


def image(found: Any) -> Image:
    user = str(found.uid.value) if found.HasField("uid") else found.username
    return Image(
        id=image_id(found.id), names=tuple(found.repo_tags), digests=tuple(found.repo_digests), size=found.size,
        user="" if user == "0" else user,
    )  # fmt: skip


def info(version: Any, status: Any, driver: int | None, root: str, host: Info) -> Info:
    """In: answers to Version and Status, the cgroup driver's number if the runtime tells it, what is known of the host."""
    runtimes = (_config(status).get("containerd") or {}).get("runtimes") or {}
    if driver is None:
        systemd = any((entry.get("options") or {}).get("SystemdCgroup") for entry in runtimes.values())
    else:
        systemd = driver == cri_schema.SYSTEMD
    return replace(
        host, name=version.runtime_name, version=version.runtime_version, api_version=version.runtime_api_version,
        cgroup_driver="systemd" if systemd else "cgroupfs", root_dir=root,
        runtimes=tuple(handler.name for handler in status.runtime_handlers if handler.name) or tuple(runtimes),
        recursive_read_only=any(handler.features.recursive_read_only_mounts for handler in status.runtime_handlers),
    )  # fmt: skip


def _config(status: Any) -> Obj:
    """The runtime's own configuration, which containerd shows."""
    return details({"info": status.info.get("config", "")})


def sandbox_image(status: Any) -> str:
    """The name of the image of all sandboxes, where the runtime shows it (containerd)."""
    return str(_config(status).get("sandboxImage") or "")


def stats(found: Any) -> Stats:
    memory = found.memory
    return Stats(
        found.attributes.id, found.cpu.usage_core_nano_seconds.value, memory.usage_bytes.value,
        memory.working_set_bytes.value, memory.rss_bytes.value, page_faults=memory.page_faults.value,
        major_page_faults=memory.major_page_faults.value,
    )  # fmt: skip
