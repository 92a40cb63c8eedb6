"""The Docker runtime: `base.Runtime` over the engine's HTTP API (20.10 to 28 and later, negotiated), with docker-py.

Who calls it: `kubelet.main` makes one per node. Invariant: only containers labelled with our profile and node are ever
listed or reported; every failure of the library leaves here as a `RuntimeFault`.
Stop of the data path: 10. Upstream: the behaviour of the former pkg/kubelet/dockershim.
"""

import contextlib
import functools
import logging
import os
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import docker
import requests
from docker import errors as docker_errors
from docker.utils import parse_repository_tag

from kubelet.runtime import cgroup_stats, disk, docker_create, docker_read, labels, netns
from kubelet.runtime.base import (
    ContainerConfig,
    ContainerNotFound,
    DiskUsage,
    Event,
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
from kubelet.runtime.docker_stream import DockerLogs, HijackedSession
from kubelet.runtime.pull_progress import PullProgress
from minikube_py.api.clock import REAL
from minikube_py.api.types import Obj

_log = logging.getLogger("kubelet.docker")
P = ParamSpec("P")
R = TypeVar("R")
DEFAULT_HOST = "unix:///var/run/docker.sock"
_EVENTS = ["create", "start", "die", "oom", "destroy"]


def _classified(error: docker_errors.APIError) -> RuntimeFault:
    text = str(error.explanation or error)
    if isinstance(error, docker_errors.ImageNotFound) or "No such image" in text:
        return ImageNotFound(text)
    if error.status_code == 409 and "is already in use by container" in text:
        return NameConflict(text)
    if error.status_code == 404:
        return ContainerNotFound(text)
    return RuntimeFault(text)


def _faults(method: Callable[P, R]) -> Callable[P, R]:
    """Every exception of the library becomes one of ours."""

    @functools.wraps(method)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except docker_errors.APIError as error:
            raise _classified(error) from error
        except (docker_errors.DockerException, requests.exceptions.RequestException, OSError) as error:
            raise RuntimeUnavailable(f"the Docker Engine does not answer: {error}") from error

    return wrapper


class DockerRuntime:
    """One engine, seen through one node's labels."""

    name = "docker"

    @_faults
    def __init__(self, profile: str, node: str, host: str = "", pool_size: int = 64, timeout: int = 120) -> None:
        self.host = host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
        self._profile = profile
        self._filter = [f"{labels.PROFILE}={profile}", f"{labels.NODE}={node}"]
        self._api: Any = docker.APIClient(
            self.host, version="auto", timeout=timeout, max_pool_size=pool_size, num_pools=8, user_agent="minikube-py"
        )
        self._places: dict[str, tuple[str, str]] = {}
        self._oom_floor = -1000 if netns.may_lower_oom_score() else 0

    @_faults
    def info(self) -> Info:
        return docker_read.info(self._api.info(), self._api._version)

    # --- sandboxes and containers

    def run_sandbox(self, config: SandboxConfig) -> Status:
        name = labels.engine_name(labels.SANDBOX_NAME, config.pod, config.attempt)
        created = self._create(name, docker_create.sandbox_body(config, self._oom_floor))
        try:
            self.start_container(created)
        except StartFailed as error:
            self.remove(created)
            if not self._learn_oom_floor(error):
                raise
            created = self._create(name, docker_create.sandbox_body(config, self._oom_floor))
            self.start_container(created)
        return self.inspect(created)

    @_faults
    def _create(self, name: str, body: Obj) -> str:
        return str(self._api.create_container_from_config(body, name)["Id"])

    def _learn_oom_floor(self, error: StartFailed) -> bool:
        """True when the start failed because the engine may not lower oom_score_adj: from now on it is not asked to."""
        if "oom_score_adj" not in str(error) or self._oom_floor >= 0:
            return False
        _log.warning("this engine may not set a negative oom_score_adj: using 0 instead")
        self._oom_floor = 0
        return True

    def stop_sandbox(self, sandbox_id: str) -> None:
        self._kill(sandbox_id)

    @_faults
    def _kill(self, container_id: str) -> None:
        try:
            self._api.kill(container_id)
        except docker_errors.APIError as error:
            if error.status_code not in (404, 409):  # gone, or not running: that is what we want
                raise

    @_faults
    def list_all(self, pod_uid: str = "") -> list[Summary]:
        wanted = [*self._filter, *([f"{labels.POD_UID}={pod_uid}"] if pod_uid else [])]
        found: list[Obj] = self._api.containers(all=True, filters={"label": wanted})
        return [Summary(item["Id"], docker_read.state_of(item["State"]), item["Labels"]) for item in found]

    @_faults
    def inspect(self, container_id: str) -> Status:
        return docker_read.status(self._api.inspect_container(container_id))

    def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        name = labels.engine_name(config.name, config.pod, config.attempt)
        return self._create(name, docker_create.container_body(sandbox_id, config, self._oom_floor))

    @_faults
    def start_container(self, container_id: str) -> None:
        try:
            self._api.start(container_id)
        except docker_errors.APIError as error:
            text = str(error.explanation or error)
            if "No such container" in text:
                raise ContainerNotFound(text) from error
            failure = StartFailed(text)
            self._learn_oom_floor(failure)  # the pod worker tries again, then with the value that is allowed
            raise failure from error

    @_faults
    def stop_container(self, container_id: str, timeout: int) -> None:
        try:
            self._api.stop(container_id, timeout=timeout)
        except docker_errors.APIError as error:
            if error.status_code not in (304, 404, 409):
                raise

    @_faults
    def remove(self, container_id: str) -> None:
        try:
            self._api.remove_container(container_id, force=True, v=True)
        except docker_errors.APIError as error:
            in_progress = error.status_code == 409 and "already in progress" in str(error.explanation)
            if error.status_code != 404 and not in_progress:
                raise

    @_faults
    def update_resources(self, container_id: str, resources: Resources) -> None:
        api = self._api
        answer = api._post_json(
            api._url("/containers/{0}/update", container_id), data=docker_create.update_body(resources)
        )
        api._raise_for_status(answer)

    # --- streams

    def _path(self, path: str) -> str:
        return f"/v{self._api._version}{path}"

    @_faults
    def _create_exec(self, container_id: str, command: Sequence[str], tty: bool, stdin: bool) -> str:
        return str(self._api.exec_create(container_id, list(command), tty=tty, stdin=stdin)["Id"])

    def exec(self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool) -> HijackedSession:
        exec_id = self._create_exec(container_id, command, tty, stdin)
        return HijackedSession(
            self.host, self._path(f"/exec/{exec_id}/start"), {"Detach": False, "Tty": tty}, tty=tty,
            resize=lambda width, height: self._resize(f"/exec/{exec_id}/resize", width, height),
            exit_code=lambda: self._exec_inspect(exec_id).get("ExitCode"),
        )  # fmt: skip

    @_faults
    def _exec_inspect(self, exec_id: str) -> Obj:
        found: Obj = self._api.exec_inspect(exec_id)
        return found

    @_faults
    def _resize(self, path: str, width: int, height: int) -> None:
        api = self._api
        api._raise_for_status(api._post(api._url(path), params={"h": height, "w": width}))

    def exec_sync(self, container_id: str, command: Sequence[str], timeout: float) -> ExecResult:
        exec_id = self._create_exec(container_id, command, tty=False, stdin=False)
        session = HijackedSession(
            self.host, self._path(f"/exec/{exec_id}/start"), {"Detach": False, "Tty": False}, tty=False,
            resize=lambda width, height: None, exit_code=lambda: None,
        )  # fmt: skip
        with contextlib.closing(session):
            output, timed_out = docker_read.drain(session, timeout)
        found = self._exec_inspect(exec_id)
        if timed_out:
            netns.kill_process(int(found.get("Pid") or 0))
            return ExecResult(-1, output, timed_out=True)
        code = found.get("ExitCode")
        return ExecResult(-1 if code is None else int(code), output)

    def attach(self, container_id: str, *, tty: bool, stdin: bool) -> Session:
        query = f"stream=1&stdout=1&stderr=1&stdin={int(stdin)}"
        return HijackedSession(
            self.host, self._path(f"/containers/{container_id}/attach?{query}"), None, tty=tty,
            resize=lambda width, height: self._resize(f"/containers/{container_id}/resize", width, height),
            exit_code=lambda: None,
        )  # fmt: skip

    @_faults
    def logs(self, container_id: str, options: LogOptions) -> LogStream:
        api = self._api
        tty = bool(api.inspect_container(container_id)["Config"]["Tty"])
        params = {
            "stdout": 1, "stderr": 1, "follow": int(options.follow), "timestamps": int(options.timestamps),
            "tail": "all" if options.tail < 0 else str(options.tail),
            **({"since": f"{options.since:.9f}"} if options.since else {}),
        }  # fmt: skip
        response = api._get(
            api._url("/containers/{0}/logs", container_id), params=params, stream=True, timeout=(60, None)
        )
        api._raise_for_status(response)
        return DockerLogs(response, docker_read.socket_of(response), tty)

    def dial(self, sandbox_id: str, port: int) -> socket.socket:
        status = self.inspect(sandbox_id)
        if not status.running:
            raise RuntimeFault("the pod sandbox is not running")
        return netns.dial(status.pid, port)

    # --- images

    @_faults
    def image_status(self, reference: str) -> Image | None:
        try:
            return docker_read.image(self._api.inspect_image(reference))
        except docker_errors.NotFound:
            return None

    @_faults
    def pull_image(self, reference: str, auth: Mapping[str, str] | None = None) -> Image:
        repository, tag = parse_repository_tag(reference)
        try:
            told = PullProgress(reference, REAL.monotonic, _log.info)
            for line in self._api.pull(repository, tag=tag or "latest", stream=True, decode=True, auth_config=auth):
                if line.get("error"):
                    raise ImageNotFound(str(line["error"]))
                told.line(line)
        except docker_errors.APIError as error:
            raise ImageNotFound(str(error.explanation or error)) from error
        found = self.image_status(reference)
        if found is None:
            raise ImageNotFound(f"image {reference} is missing after it was pulled")
        return found

    @_faults
    def list_images(self) -> list[Image]:
        return [docker_read.listed_image(item) for item in self._api.images()]

    @_faults
    def images_in_use(self) -> set[str]:
        return {str(item["ImageID"]) for item in self._api.containers(all=True)}

    @_faults
    def remove_image(self, reference: str) -> None:
        with contextlib.suppress(docker_errors.NotFound):
            self._api.remove_image(reference, force=False)  # the engine itself refuses what a container uses

    def export_image(self, image_id: str) -> Iterator[bytes]:
        # The engine exports containers only: this one is never started, and known by its profile so that it can be found.
        body = {"Image": image_id, "Cmd": ["-"], "Labels": {labels.PROFILE: self._profile}}
        container_id = self._create(f"k8s_image-volume_{uuid.uuid4()}", body)
        try:
            yield from self._export(container_id)
        except requests.exceptions.RequestException as error:
            raise RuntimeUnavailable(f"the image's files did not arrive: {error}") from error
        finally:
            self.remove(container_id)

    @_faults
    def _export(self, container_id: str) -> Iterator[bytes]:
        pieces: Iterator[bytes] = self._api.export(container_id, chunk_size=1 << 20)
        return pieces

    # --- observation

    @_faults
    def stats(self, container_ids: Sequence[str]) -> list[Stats]:
        found: list[Stats] = []
        for container_id in container_ids:
            with contextlib.suppress(docker_errors.NotFound):
                pid = int(self._api.inspect_container(container_id)["State"]["Pid"] or 0)
                stats = cgroup_stats.read(container_id, pid) if pid else None
                if stats is None:  # the engine's processes are not ours to see
                    stats = docker_read.stats(container_id, self._api.stats(container_id, stream=False, one_shot=True))
                found.append(stats)
        return found

    @_faults
    def disk_usage(self, container_ids: Sequence[str]) -> list[DiskUsage]:
        found: list[DiskUsage] = []
        for container_id in container_ids:
            with contextlib.suppress(docker_errors.NotFound):
                found.append(self._disk_usage(container_id))
        return found

    def _disk_usage(self, container_id: str) -> DiskUsage:
        places = self._places.get(container_id)
        if places is None:
            places = docker_read.places(self._api.inspect_container(container_id))
            self._places[container_id] = places
            if len(self._places) > 4096:
                self._places.pop(next(iter(self._places)))
        layer, log = places
        if layer and os.path.isdir(layer):
            used, inodes = disk.used(layer)
            return DiskUsage(container_id, used, disk.logs(log), inodes)
        # Another storage driver, or an engine whose files are not ours to see: let it count.
        answer = self._api._get(self._api._url("/containers/{0}/json", container_id), params={"size": 1})
        return DiskUsage(container_id, int(self._api._result(answer, True).get("SizeRw") or 0), disk.logs(log))

    @_faults
    def events(self) -> "DockerEvents":
        stream = self._api.events(filters={"type": "container", "label": self._filter, "event": _EVENTS}, decode=True)
        return DockerEvents(stream)

    def close(self) -> None:
        self._api.close()


class DockerEvents:
    """One connection to the engine's event stream: see `base.EventStream`. It ends when the engine goes away."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[Event]:
        yield Event("relist")
        try:
            for item in self._stream:
                yield docker_read.event(item)
        except (docker_errors.DockerException, requests.exceptions.RequestException, OSError, ValueError) as error:
            _log.info("the event stream of the Docker Engine ended: %s", error)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._stream.close()
