"""What Docker's API answers, translated into the types of the runtime seam. Pure, except `drain`.

Who calls it: `runtime.docker`. Invariant: a container that was created and could not be started reads as exited, with the
engine's error, so that the pod worker counts it as an attempt and backs off.
"""

import contextlib
import socket
import time
from datetime import datetime
from typing import Any

from kubelet.runtime import labels
from kubelet.runtime.base import CONTAINER, CREATED, EXITED, RUNNING, Event, Image, Info, Resources, Stats, Status
from kubelet.runtime.docker_stream import HijackedSession
from minikube_py.api.clock import parse_rfc3339
from minikube_py.api.types import Obj

_STATES = {"created": CREATED, "running": RUNNING, "paused": RUNNING, "restarting": RUNNING}
START_FAILED_CODE = 128


def state_of(text: str) -> str:
    return _STATES.get(text, EXITED)


def _moment(text: str | None) -> datetime | None:
    return None if not text or text.startswith("0001-") else parse_rfc3339(text)


def status(found: Obj) -> Status:
    """A `GET /containers/ID/json` answer."""
    state, config = found["State"], found["Config"]
    own = config.get("Labels") or {}
    networks = (found.get("NetworkSettings") or {}).get("Networks") or {}
    address = next((network.get("IPAddress") for network in networks.values() if network.get("IPAddress")), "")
    created = _moment(found.get("Created"))
    reading = state_of(state["Status"])
    exit_code, finished = int(state.get("ExitCode") or 0), _moment(state.get("FinishedAt"))
    if reading == CREATED and (state.get("Error") or exit_code):
        reading, exit_code, finished = EXITED, START_FAILED_CODE, finished or created
    return Status(
        id=found["Id"], kind=own.get(labels.TYPE, CONTAINER), pod=labels.pod_ref(own),
        name=own.get(labels.CONTAINER_NAME, ""), attempt=labels.attempt_of(own), state=reading, labels=own,
        image=config.get("Image", ""), image_id=found.get("Image", ""), created_at=created,
        started_at=_moment(state.get("StartedAt")), finished_at=finished, exit_code=exit_code,
        oom_killed=bool(state.get("OOMKilled")), error=state.get("Error") or "", pid=int(state.get("Pid") or 0),
        ip=own.get(labels.POD_IP) or address or "", limits=_limits(found.get("HostConfig") or {}),
    )  # fmt: skip


def _limits(host: Obj) -> Resources:
    quota = max(0, int(host.get("CpuQuota") or 0))
    return Resources(
        cpu_shares=int(host.get("CpuShares") or 0), cpu_quota=quota, memory=int(host.get("Memory") or 0),
        oom_score_adj=int(host.get("OomScoreAdj") or 0),
    )  # fmt: skip


def places(found: Obj) -> tuple[str, str]:
    """Where a container's writable layer and its log are, from a `GET /containers/ID/json` answer; "" for what it hides."""
    data = (found.get("GraphDriver") or {}).get("Data") or {}
    return data.get("UpperDir") or "", found.get("LogPath") or ""


def image(found: Obj) -> Image:
    """A `GET /images/NAME/json` answer."""
    config = found.get("Config") or {}
    return Image(
        id=found["Id"], names=tuple(found.get("RepoTags") or ()), digests=tuple(found.get("RepoDigests") or ()),
        size=int(found.get("Size") or 0), user=config.get("User") or "",
    )  # fmt: skip


def listed_image(found: Obj) -> Image:
    """One entry of `GET /images/json`; Docker says <none> for what has no name."""
    names = tuple(name for name in found.get("RepoTags") or () if "<none>" not in name)
    digests = tuple(name for name in found.get("RepoDigests") or () if "<none>" not in name)
    return Image(id=found["Id"], names=names, digests=digests, size=int(found.get("Size") or 0))


def info(found: Obj, api_version: str) -> Info:
    """A `GET /info` answer."""
    return Info(
        name="docker", version=found.get("ServerVersion", ""), api_version=api_version,
        operating_system=found.get("OperatingSystem", ""), kernel=found.get("KernelVersion", ""),
        cgroup_driver=found.get("CgroupDriver", ""), cgroup_version=str(found.get("CgroupVersion", "1")),
        runtimes=tuple(found.get("Runtimes") or ()), root_dir=found.get("DockerRootDir", ""),
        recursive_read_only=tuple(int(part) for part in api_version.split(".")) >= (1, 44),
    )  # fmt: skip


def stats(container_id: str, found: Obj) -> Stats:
    """A `GET /containers/ID/stats` answer; the working set is usage without what could be dropped from the page cache."""
    memory = found.get("memory_stats") or {}
    details = memory.get("stats") or {}
    usage = int(memory.get("usage") or 0)
    inactive = int(details.get("total_inactive_file", details.get("inactive_file", 0)))
    return Stats(
        container_id=container_id,
        cpu_nanoseconds=int(((found.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage") or 0),
        memory_usage=usage, memory_working_set=max(0, usage - inactive),
        memory_rss=int(details.get("total_rss", details.get("anon", 0))),
        pids=int((found.get("pids_stats") or {}).get("current") or 0),
    )  # fmt: skip


def event(found: Obj) -> Event:
    """One line of `GET /events`; the short names at the top went away with API 1.52."""
    actor = found.get("Actor") or {}
    kind, container_id = found.get("Action") or found.get("status") or "", actor.get("ID") or found.get("id") or ""
    return Event(str(kind), str(container_id), (actor.get("Attributes") or {}).get(labels.POD_UID, ""))


def drain(session: HijackedSession, timeout: float, limit: int = 10 << 20) -> tuple[bytes, bool]:
    """Read a session to its end, at most `timeout` seconds: (output, True when the time was up). Real time: it bounds I/O."""
    output = bytearray()
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return bytes(output), True
        session.settimeout(left)
        try:
            piece = session.read()
        except TimeoutError:
            return bytes(output), True
        if piece is None:
            return bytes(output), False
        output += piece[1][: max(0, limit - len(output))]


def socket_of(response: Any) -> socket.socket | None:
    """The socket under a streaming response, so that another thread can end the reading."""
    with contextlib.suppress(AttributeError):
        found: Any = response.raw._fp.fp.raw._sock
        return found if isinstance(found, socket.socket) else None
    return None
