"""The CRI runtime: `base.Runtime` over the Container Runtime Interface v1, as containerd and CRI-O serve it on a Unix socket.

Who calls it: `kubelet.main` makes one per node for `--runtime cri`. Invariants: only what carries our profile's and node's
labels is ever listed or reported; every failure leaves here as a `RuntimeFault`; gRPC is imported with the first runtime made.
The pod network is ours: the runtime's CNI makes an empty network namespace (`cni.py`) and the kubelet wires it.
Stop of the data path: 10. Upstream: pkg/kubelet/kuberuntime, staging/src/k8s.io/cri-client.
"""

import contextlib
import hashlib
import logging
import math
import platform
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kubelet import grpc_messages
from kubelet.runtime import cgroup_stats, cri_create, cri_export, cri_logs, cri_read, cri_schema, disk, labels, netns
from kubelet.runtime.base import (
    CREATED,
    EXITED,
    RUNNING,
    ContainerConfig,
    ContainerNotFound,
    DiskUsage,
    ExecResult,
    Image,
    ImageNotFound,
    Info,
    LogOptions,
    LogStream,
    NameConflict,
    Resources,
    RuntimeFault,
    RuntimeUnavailable,
    SandboxConfig,
    Session,
    StartFailed,
    Stats,
    Status,
    Summary,
)
from kubelet.runtime.cri_events import GONE, CriEvents
from kubelet.runtime.cri_stream import SpdySession
from minikube_py.api.clock import Clock

_log = logging.getLogger("kubelet.cri")
DEFAULT_ENDPOINT = "unix:///run/containerd/containerd.sock"
_UNANSWERED = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "")
_ROTATION_PERIOD, _PULL_SECONDS = 10.0, 3600.0


def _fault(error: grpc_messages.CallFailed) -> RuntimeFault:
    text = error.details
    if error.code in _UNANSWERED:
        return RuntimeUnavailable(f"the container runtime does not answer: {text}")
    if error.code == "ALREADY_EXISTS" or "reserved for" in text:
        return NameConflict(text)
    return ContainerNotFound(text) if error.code == "NOT_FOUND" else RuntimeFault(text)


class CriRuntime:
    """One container runtime, seen through one node's labels. `directory` holds the logs of this node's containers.

    `name` is the runtime's own ("containerd", "cri-o") once it has answered `info`.
    """

    name = "cri"

    def __init__(
        self, profile: str, node: str, endpoint: str, directory: Path, clock: Clock, timeout: float = 120.0
    ) -> None:
        self._profile, self._node, self._clock, self._timeout = profile, node, clock, timeout
        self._logs, self._profiles = str(directory / "pod-logs"), directory / "seccomp"
        self._connection = grpc_messages.Connection((endpoint or DEFAULT_ENDPOINT).removeprefix("unix://"))
        self._streams: list[CriEvents] = []
        self._oom_floor = -1000 if netns.may_lower_oom_score() else 0
        self._closed = threading.Event()
        threading.Thread(target=self._rotate, name="log-rotation", daemon=True).start()

    def _call(self, method: str, seconds: float = 0.0, **fields: Any) -> Any:
        """Call a method of the CRI by its name. Raises RuntimeFault."""
        messages = cri_schema.messages()
        service = "ImageService" if method in cri_schema.IMAGE_SERVICE else "RuntimeService"
        try:
            return self._connection.call(
                f"/{cri_schema.PACKAGE}.{service}/{method}", messages[f"{method}Request"](**fields),
                messages[f"{method}Response"], seconds or self._timeout,
            )  # fmt: skip
        except grpc_messages.CallFailed as error:
            raise _fault(error) from error

    def info(self) -> Info:
        version, status, driver = self._call("Version"), self._call("Status", verbose=True), None
        for condition in status.status.conditions:
            if not condition.status and condition.type in ("RuntimeReady", "NetworkReady"):
                raise RuntimeUnavailable(f"the container runtime is not ready: {condition.message or condition.reason}")
        with contextlib.suppress(RuntimeFault):  # unknown before containerd 2.0
            driver = self._call("RuntimeConfig").linux.cgroup_driver
        systems = self._call("ImageFsInfo").image_filesystems
        root = next((system.fs_id.mountpoint for system in systems), "")
        version2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        self.name = version.runtime_name
        host = Info(
            "", "", operating_system=_os_name(), kernel=platform.release(), cgroup_version="2" if version2 else "1"
        )
        return cri_read.info(version, status, driver, root, host)

    # --- sandboxes and containers

    def run_sandbox(self, config: SandboxConfig) -> Status:
        body = cri_create.sandbox(config, self._logs)
        try:
            made = self._call("RunPodSandbox", 2 * self._timeout, config=body, runtime_handler=config.runtime_handler)
        except (NameConflict, RuntimeUnavailable, ImageNotFound):
            raise
        except RuntimeFault as error:
            raise StartFailed(str(error)) from error
        self._saw(made.pod_sandbox_id, RUNNING, config.pod.uid)
        return self._sandbox(made.pod_sandbox_id)

    def stop_sandbox(self, sandbox_id: str) -> None:
        with contextlib.suppress(ContainerNotFound):
            self._call("StopPodSandbox", pod_sandbox_id=sandbox_id)
            self._saw(sandbox_id, EXITED)

    def list_all(self, pod_uid: str = "") -> list[Summary]:
        wanted = {"label_selector": cri_create.labels_of_node(self._profile, self._node, pod_uid)}
        sandboxes = self._call("ListPodSandbox", filter=wanted).items
        containers = self._call("ListContainers", filter=wanted).containers
        return [
            *(Summary(item.id, cri_read.sandbox_state(item.state), dict(item.labels)) for item in sandboxes),
            *(Summary(item.id, cri_read.container_state(item.state), dict(item.labels)) for item in containers),
        ]

    def inspect(self, container_id: str) -> Status:
        try:
            return cri_read.container(self._status(container_id, verbose=True))
        except ContainerNotFound:
            return self._sandbox(container_id)

    def _status(self, container_id: str, verbose: bool = False) -> Any:
        return self._call("ContainerStatus", container_id=container_id, verbose=verbose)

    def _sandbox(self, sandbox_id: str) -> Status:
        return cri_read.sandbox(self._call("PodSandboxStatus", pod_sandbox_id=sandbox_id, verbose=True))

    def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        if config.device_requests:
            raise RuntimeFault("a CRI runtime takes no device requests; describe the devices of this node one by one")
        found = self._call("PodSandboxStatus", pod_sandbox_id=sandbox_id).status
        if self.image_status(config.image) is None:
            raise ImageNotFound(f"No such image: {config.image}")
        body = cri_create.container(sandbox_id, config, self._logs, self._seccomp_file(config))
        limits = body["linux"]["resources"]
        limits["oom_score_adj"] = max(limits["oom_score_adj"], self._oom_floor)
        sandbox = cri_create.sandbox_of(config, found.metadata.attempt, found.annotations, self._logs)
        made = self._call("CreateContainer", pod_sandbox_id=sandbox_id, config=body, sandbox_config=sandbox)
        self._saw(made.container_id, CREATED, config.pod.uid)
        return str(made.container_id)

    def _seccomp_file(self, config: ContainerConfig) -> str:
        if not cri_create.own_seccomp(config.security):
            return ""
        text = config.security.seccomp.encode()
        path = self._profiles / f"{hashlib.sha256(text).hexdigest()}.json"
        try:
            self._profiles.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
        except OSError as error:
            raise RuntimeFault(f"cannot keep the seccomp profile of container {config.name}: {error}") from error
        return str(path)

    def start_container(self, container_id: str) -> None:
        found = self._status(container_id).status
        if cri_read.container_state(found.state) == RUNNING:
            return
        try:
            self._call("StartContainer", container_id=container_id)
        except (ContainerNotFound, RuntimeUnavailable):
            raise
        except RuntimeFault as error:
            self._saw(container_id, EXITED)
            raise StartFailed(str(error)) from error
        self._saw(container_id, RUNNING)

    def stop_container(self, container_id: str, timeout: int) -> None:
        with contextlib.suppress(ContainerNotFound):
            self._call("StopContainer", timeout + self._timeout, container_id=container_id, timeout=timeout)
            self._saw(container_id, EXITED)

    def remove(self, container_id: str) -> None:
        try:
            log = self._log_path(self._status(container_id).status)
        except ContainerNotFound:
            with contextlib.suppress(ContainerNotFound):
                self._call("StopPodSandbox", pod_sandbox_id=container_id)
                self._call("RemovePodSandbox", pod_sandbox_id=container_id)
        else:
            with contextlib.suppress(ContainerNotFound):
                self._call("StopContainer", container_id=container_id, timeout=0)
                self._call("RemoveContainer", container_id=container_id)
            cri_logs.remove(log)
        self._saw(container_id, GONE)

    def update_resources(self, container_id: str, resources: Resources) -> None:
        limits = cri_create.resources(resources)
        del limits["oom_score_adj"]
        self._call("UpdateContainerResources", container_id=container_id, linux=limits)

    # --- streams

    def exec_sync(self, container_id: str, command: Sequence[str], timeout: float) -> ExecResult:
        seconds = math.ceil(timeout)
        limit = seconds + self._timeout
        try:
            answer = self._call("ExecSync", limit, container_id=container_id, cmd=list(command), timeout=seconds)
        except RuntimeUnavailable as error:
            if "timeout" not in str(error) and "timed out" not in str(error):
                raise
            return ExecResult(-1, b"", timed_out=True)
        return ExecResult(answer.exit_code, answer.stdout + answer.stderr)

    def exec(self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool) -> Session:
        return self._session("Exec", tty, stdin, container_id=container_id, cmd=list(command))

    def attach(self, container_id: str, *, tty: bool, stdin: bool) -> Session:
        return self._session("Attach", tty, stdin, container_id=container_id)

    def _session(self, method: str, tty: bool, stdin: bool, **fields: Any) -> SpdySession:
        url = self._call(method, tty=tty, stdin=stdin, stdout=True, stderr=not tty, **fields).url
        return SpdySession(url, tty=tty, stdin=stdin, execs=method == "Exec")

    def logs(self, container_id: str, options: LogOptions) -> LogStream:
        path = self._log_path(self._status(container_id).status)

        def running() -> bool:
            try:
                return cri_read.container_state(self._status(container_id).status.state) != EXITED
            except RuntimeFault:
                return False

        return cri_logs.CriLogs(path, options, running, self._clock)

    @staticmethod
    def _log_path(status: Any) -> str:
        return str(status.annotations.get(cri_create.LOG_PATH) or status.log_path)

    def _rotate(self) -> None:
        while not self._clock.wait(self._closed, _ROTATION_PERIOD):
            try:
                for summary in self.list_all():
                    if summary.state == RUNNING and labels.SANDBOX_ID in summary.labels:
                        self._rotate_one(summary.id)
            except RuntimeFault as error:
                _log.debug("logs are not rotated: %s", error)

    def _rotate_one(self, container_id: str) -> None:
        stamp = self._clock.now().strftime("%Y%m%d-%H%M%S")
        with contextlib.suppress(ContainerNotFound):
            path = self._log_path(self._status(container_id).status)
            cri_logs.rotate(path, lambda: self._reopen(container_id), stamp)

    def _reopen(self, container_id: str) -> None:
        self._call("ReopenContainerLog", container_id=container_id)

    def dial(self, sandbox_id: str, port: int) -> socket.socket:
        status = self._sandbox(sandbox_id)
        if not status.running:
            raise RuntimeFault("the pod sandbox is not running")
        return netns.dial(status.pid, port)

    # --- images

    def image_status(self, reference: str) -> Image | None:
        answer = self._call("ImageStatus", image={"image": reference})
        return cri_read.image(answer.image) if answer.HasField("image") else None

    def pull_image(self, reference: str, auth: Mapping[str, str] | None = None) -> Image:
        login = {name: text for name, text in (auth or {}).items() if name in ("username", "password")}
        try:
            self._call("PullImage", _PULL_SECONDS, image={"image": reference}, auth=login)
        except RuntimeUnavailable:
            raise
        except RuntimeFault as error:
            raise ImageNotFound(str(error)) from error
        found = self.image_status(reference)
        if found is None:
            raise ImageNotFound(f"image {reference} is missing after it was pulled")
        return found

    def list_images(self) -> list[Image]:
        return [cri_read.image(item) for item in self._call("ListImages").images]

    def images_in_use(self) -> set[str]:
        containers = self._call("ListContainers").containers
        named = {cri_read.image_id(name) for item in containers for name in (item.image_id, item.image_ref) if name}
        sandboxes = self.image_status(cri_read.sandbox_image(self._call("Status", verbose=True)) or "-")
        named.add(sandboxes.id if sandboxes else "")
        found = [(item.pinned, cri_read.image(item)) for item in self._call("ListImages").images]
        return {image.id for pinned, image in found if pinned or named & {image.id, *image.names, *image.digests}}

    def remove_image(self, reference: str) -> None:
        found = self.image_status(reference)
        if found is None:
            return
        if found.id in self.images_in_use():  # the runtime would take it away under its containers
            raise RuntimeFault(f"image {reference} is used by a container")
        with contextlib.suppress(ContainerNotFound):
            self._call("RemoveImage", image={"image": reference})

    def export_image(self, image_id: str) -> Iterator[bytes]:
        return cri_export.files(self, image_id, self._profile)

    # --- observation

    def stats(self, container_ids: Sequence[str]) -> list[Stats]:
        found: list[Stats] = []
        for container_id in container_ids:
            with contextlib.suppress(ContainerNotFound):
                pid = self.inspect(container_id).pid
                stats = cgroup_stats.read(container_id, pid) if pid else None
                # Where the runtime's processes are not ours to see, it is asked.
                found += [stats] if stats else [cri_read.stats(item) for item in self._list_stats({"id": container_id})]
        return found

    def _list_stats(self, wanted: Mapping[str, Any]) -> list[Any]:
        return list(self._call("ListContainerStats", filter=wanted).stats)

    def disk_usage(self, container_ids: Sequence[str]) -> list[DiskUsage]:
        layers = {
            item.attributes.id: item.writable_layer
            for item in self._list_stats({"label_selector": cri_create.labels_of_node(self._profile, self._node)})
        }
        found: list[DiskUsage] = []
        for container_id in container_ids:
            with contextlib.suppress(ContainerNotFound):
                log = disk.logs(self._log_path(self._status(container_id).status))
                layer = layers.get(container_id)
                sizes = (layer.used_bytes.value, log, layer.inodes_used.value) if layer else (0, log, 0)
                found.append(DiskUsage(container_id, *sizes))
        return found

    def events(self) -> CriEvents:
        stream = CriEvents(self.list_all, self._hint, self._clock, self._streams.remove)
        self._streams.append(stream)
        return stream

    def _hint(self) -> Iterator[object]:
        for method, request, fields, metadata in cri_schema.HINTS:
            body = cri_schema.messages()[request](**fields).SerializeToString()
            try:
                yield from self._connection.stream(method, body, metadata)
            except grpc_messages.CallFailed as error:
                if error.code != "UNIMPLEMENTED":
                    raise _fault(error) from error

    def _saw(self, container_id: str, state: str, pod_uid: str = "") -> None:
        for stream in list(self._streams):
            stream.saw(container_id, state, pod_uid)

    def close(self) -> None:
        self._closed.set()
        for stream in list(self._streams):
            stream.close()
        self._connection.close()


def _os_name() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    return ""
