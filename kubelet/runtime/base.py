"""The `Runtime` seam: what a kubelet asks of whatever runs its containers, and the data that goes in and out.

Who calls it: the pod worker, image manager, probes, stats and the kubelet's HTTPS server. Implementations: `docker`, `cri`,
`simulated`.
Invariant: a runtime keeps no state of its own between calls. What exists is what `list_all` and `inspect` report, and every
sandbox and container carries the labels of `labels.py`, so that a restarted kubelet finds everything again.
Stop of the data path: 10 (from here on a pod is containers).
Upstream: staging/src/k8s.io/cri-api/pkg/apis/runtime/v1.
"""

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Protocol

CREATED, RUNNING, EXITED = "created", "running", "exited"
SANDBOX, CONTAINER = "podsandbox", "container"


class RuntimeFault(Exception):
    """Anything a runtime refuses or fails at; `str()` is one sentence for an event or a waiting message."""


class RuntimeUnavailable(RuntimeFault):
    """The engine does not answer: nothing is known about what happened, look again later."""


class ContainerNotFound(RuntimeFault):
    """No sandbox or container with this id."""


class ImageNotFound(RuntimeFault):
    """The image is not present, or a registry does not have it."""


class NameConflict(RuntimeFault):
    """A container with this name exists already: an earlier create call did succeed after all."""


class StartFailed(RuntimeFault):
    """The container exists and could not be started (no such executable, a mount that failed, …)."""


@dataclass(frozen=True)
class PodRef:
    """Whose container it is."""

    name: str
    namespace: str
    uid: str


@dataclass(frozen=True)
class Mount:
    """One bind mount. `propagation` is a pod's mountPropagation: None, HostToContainer or Bidirectional.

    `recursive_read_only`: what is mounted below is read-only, too, or the container does not start.
    """

    host_path: str
    container_path: str
    read_only: bool = False
    propagation: str = "None"
    recursive_read_only: bool = False


@dataclass(frozen=True)
class Device:
    """A device node of the host shown inside; `permissions` out of "rwm"."""

    host_path: str
    container_path: str
    permissions: str = "rwm"


@dataclass(frozen=True)
class Resources:
    """Limits of one container: CPU in shares and microseconds per period, memory in bytes; 0 = no limit."""

    cpu_shares: int = 2
    cpu_quota: int = 0
    cpu_period: int = 100_000
    memory: int = 0
    pids: int = 0
    oom_score_adj: int = 0


@dataclass(frozen=True)
class Security:
    """The merged securityContext of pod and container."""

    user: str = ""
    groups: tuple[int, ...] = ()
    privileged: bool = False
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    read_only_root: bool = False
    no_new_privileges: bool = False
    seccomp: str = "Unconfined"
    apparmor: str = ""
    unmasked_proc: bool = False


@dataclass(frozen=True)
class SandboxConfig:
    """A pod sandbox. `network`: "" = wired by us afterwards, "host", or the name of an engine network."""

    pod: PodRef
    attempt: int
    image: str
    labels: Mapping[str, str]
    hostname: str = ""
    network: str = ""
    host_pid: bool = False
    share_pid: bool = False
    host_ipc: bool = False
    privileged: bool = False  # some container of it is
    sysctls: Mapping[str, str] = field(default_factory=dict)
    cgroup_parent: str = ""
    mounts: tuple[Mount, ...] = ()
    runtime_handler: str = ""
    port_mappings: tuple[tuple[str, int, int, str], ...] = ()
    oom_score_adj: int = -998


@dataclass(frozen=True)
class ContainerConfig:
    """One container, every reference resolved: what the runtime gets is final."""

    pod: PodRef
    name: str
    attempt: int
    image: str
    labels: Mapping[str, str]
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    resources: Resources = Resources()
    security: Security = Security()
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    host_network: bool = False
    pid_container: str = ""  # the id of the sandbox or container whose process namespace it joins
    cgroup_parent: str = ""
    runtime_handler: str = ""
    device_requests: tuple[Mapping[str, Any], ...] = ()
    stop_signal: str = ""
    ulimits: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True)
class Summary:
    """One line of `list_all`: enough to see that something changed."""

    id: str
    state: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Status:
    """Everything known about one sandbox or container; `limits` as the engine enforces them, None when it does not say."""

    id: str
    kind: str
    pod: PodRef
    name: str
    attempt: int
    state: str
    labels: Mapping[str, str]
    image: str = ""
    image_id: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    pid: int = 0
    ip: str = ""
    limits: Resources | None = None

    @property
    def running(self) -> bool:
        return self.state == RUNNING


@dataclass(frozen=True)
class Image:
    """A local image: `user` as its configuration says ("", "1000", "app:app")."""

    id: str
    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    size: int = 0
    user: str = ""


@dataclass(frozen=True)
class Event:
    """Something happened to a container of this node; `type` is create, start, die, oom or destroy. "relist" = look at all."""

    type: str
    container_id: str = ""
    pod_uid: str = ""


@dataclass(frozen=True)
class ExecResult:
    exit_code: int
    output: bytes
    timed_out: bool = False


@dataclass(frozen=True)
class LogOptions:
    """What part of a log is asked for; `since` is an epoch time, `tail` −1 for all."""

    follow: bool = False
    timestamps: bool = False
    since: float = 0.0
    tail: int = -1


@dataclass(frozen=True)
class Stats:
    """Usage of one container: CPU in nanoseconds since its start, memory in bytes; what is not known is 0."""

    container_id: str
    cpu_nanoseconds: int = 0
    memory_usage: int = 0
    memory_working_set: int = 0
    memory_rss: int = 0
    pids: int = 0
    cpu_user: int = 0
    cpu_system: int = 0
    cfs_periods: int = 0
    cfs_throttled: int = 0
    cfs_throttled_nanoseconds: int = 0
    memory_cache: int = 0
    memory_mapped: int = 0
    memory_swap: int = 0
    memory_peak: int = 0
    memory_failures: int = 0
    active_file: int = 0
    inactive_file: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0

    @staticmethod
    def total(name: str, group: Iterable["Stats"]) -> "Stats":
        """All of them together."""
        found = list(group)
        numbers = [field.name for field in fields(Stats) if field.name != "container_id"]
        return Stats(name, **{number: sum(getattr(each, number) for each in found) for number in numbers})


@dataclass(frozen=True)
class DiskUsage:
    """What one container has on disk: its writable layer and its logs, in bytes, and how many files the layer has."""

    container_id: str
    layer: int = 0
    logs: int = 0
    inodes: int = 0


@dataclass(frozen=True)
class Info:
    """The engine itself."""

    name: str
    version: str
    api_version: str = ""
    operating_system: str = ""
    kernel: str = ""
    cgroup_driver: str = ""
    cgroup_version: str = ""
    runtimes: tuple[str, ...] = ()
    root_dir: str = ""
    recursive_read_only: bool = False


STDOUT, STDERR = 1, 2


class Session(Protocol):
    """A streaming exec or attach. Reading and writing may happen in different threads."""

    def read(self) -> tuple[int, bytes] | None:
        """The next piece: (STDOUT or STDERR, bytes); None when all output has ended."""

    def write(self, data: bytes) -> None: ...
    def close_stdin(self) -> None: ...
    def resize(self, width: int, height: int) -> None: ...

    def exit_code(self) -> int | None:
        """The exit code once the command ended; None for an attach."""

    def close(self) -> None: ...


class EventStream(Protocol):
    """Blocking iterator of events; `close` from another thread ends it."""

    def __iter__(self) -> Iterator[Event]: ...
    def close(self) -> None: ...


class LogStream(Protocol):
    """Iterator of (STDOUT or STDERR, bytes); `close` from another thread ends it."""

    def __iter__(self) -> Iterator[tuple[int, bytes]]: ...
    def close(self) -> None: ...


class Runtime(Protocol):
    """All calls block, are thread-safe, and raise `RuntimeFault`s only."""

    name: str

    def info(self) -> Info: ...

    def run_sandbox(self, config: SandboxConfig) -> Status:
        """Create and start a sandbox. Raises NameConflict, ImageNotFound, StartFailed."""

    def stop_sandbox(self, sandbox_id: str) -> None: ...

    def list_all(self, pod_uid: str = "") -> list[Summary]:
        """Every sandbox and container of this node (or of one pod) in any state, in one call."""

    def inspect(self, container_id: str) -> Status: ...

    def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Create without starting; returns the id. Raises NameConflict, ImageNotFound."""

    def start_container(self, container_id: str) -> None: ...

    def stop_container(self, container_id: str, timeout: int) -> None:
        """Stop signal, up to `timeout` seconds of patience, then SIGKILL; done already is fine. A second, shorter call wins."""

    def remove(self, container_id: str) -> None:
        """Remove a sandbox or container, running or not; gone already is fine."""

    def update_resources(self, container_id: str, resources: Resources) -> None: ...

    def exec_sync(self, container_id: str, command: Sequence[str], timeout: float) -> ExecResult: ...

    def exec(self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool) -> Session: ...

    def attach(self, container_id: str, *, tty: bool, stdin: bool) -> Session: ...

    def logs(self, container_id: str, options: LogOptions) -> LogStream: ...

    def dial(self, sandbox_id: str, port: int) -> socket.socket:
        """A TCP connection to 127.0.0.1:port inside the sandbox. Raises RuntimeFault when nobody listens."""

    def image_status(self, reference: str) -> Image | None: ...

    def pull_image(self, reference: str, auth: Mapping[str, str] | None = None) -> Image: ...

    def list_images(self) -> list[Image]: ...

    def images_in_use(self) -> set[str]:
        """The ids of all images that any container is made of, running or not, ours or not."""

    def remove_image(self, reference: str) -> None:
        """Take this name away, and the image with its last name; gone already is fine. Raises RuntimeFault while it is used."""

    def export_image(self, image_id: str) -> Iterator[bytes]:
        """All files of an image that is present, as the pieces of a tar. Raises ImageNotFound."""

    def stats(self, container_ids: Sequence[str]) -> list[Stats]: ...

    def disk_usage(self, container_ids: Sequence[str]) -> list[DiskUsage]:
        """What containers have on disk; those that are gone are left out."""

    def events(self) -> EventStream:
        """Events from now on. The first one delivered is always "relist", and again after every gap."""

    def close(self) -> None: ...
