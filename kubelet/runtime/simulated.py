"""A runtime without containers: pods go through the stages of their lives on a clock, so that one process plays many nodes.

Who calls it: `kubelet.main` for `--runtime simulated`; most tests of the pod worker. Invariants: it holds the same contract as
the Docker runtime (one test suite for both), and a pod costs a few hundred bytes, no thread and no process.
How a simulated container behaves is said by its command where that is obvious: `sleep N` ends after N seconds,
`true`/`false`/`exit N` at once, anything else runs until it is stopped. What it uses is said by its environment:
SIMULATED_MEMORY and SIMULATED_DISK (quantities), SIMULATED_PIDS.
"""

import heapq
import itertools
import socket
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from kubelet.runtime import labels
from kubelet.runtime.base import (
    CONTAINER,
    CREATED,
    EXITED,
    RUNNING,
    SANDBOX,
    ContainerConfig,
    ContainerNotFound,
    DiskUsage,
    Event,
    ExecResult,
    Image,
    Info,
    LogOptions,
    LogStream,
    NameConflict,
    Resources,
    RuntimeFault,
    SandboxConfig,
    Session,
    Stats,
    Status,
    Summary,
)
from kubelet.runtime.simulated_streams import (
    Simulated,
    SimulatedEvents,
    SimulatedLogs,
    SimulatedSession,
    behaviour,
    echo,
    figures,
    stated,
)
from minikube_py.api.clock import Clock, rfc3339_micro

_SIGTERM_CODE, _SIGKILL_CODE, _LOST_CODE = 143, 137, 137


class SimulatedRuntime:
    """Everything in memory; it outlives a kubelet only where tests hand it to the next one."""

    name = "simulated"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._items: dict[str, Simulated] = {}
        self._names: dict[str, str] = {}
        self._by_pod: dict[str, set[str]] = {}
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._serial = itertools.count(1)
        self._streams: list[SimulatedEvents] = []
        self._ends: list[tuple[float, str, int]] = []
        self._timer: threading.Thread | None = None
        self._closed = False

    def info(self) -> Info:
        return Info(name=self.name, version="1.0.0", operating_system="simulated", cgroup_version="2")

    # --- sandboxes and containers

    def run_sandbox(self, config: SandboxConfig) -> Status:
        name = labels.engine_name(labels.SANDBOX_NAME, config.pod, config.attempt)
        sandbox_id = self._add(name, Status(
            id="", kind=SANDBOX, pod=config.pod, name=labels.SANDBOX_NAME, attempt=config.attempt, state=CREATED,
            labels=dict(config.labels), image=config.image, image_id=config.image, created_at=self._clock.now(),
            ip=config.labels.get(labels.POD_IP, ""),
        ))  # fmt: skip
        self.start_container(sandbox_id)
        return self.inspect(sandbox_id)

    def stop_sandbox(self, sandbox_id: str) -> None:
        self._end(sandbox_id, 0)

    def list_all(self, pod_uid: str = "") -> list[Summary]:
        with self._lock:
            ids = self._by_pod.get(pod_uid, set()) if pod_uid else self._items.keys()
            return [Summary(i, self._items[i].status.state, self._items[i].status.labels) for i in list(ids)]

    def inspect(self, container_id: str) -> Status:
        with self._lock:
            return self._item(container_id).status

    def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        with self._lock:
            sandbox = self._item(sandbox_id).status
            if not sandbox.running:
                raise RuntimeFault(f"cannot join the namespaces of a sandbox that does not run: {sandbox_id[:12]}")
            name = labels.engine_name(config.name, config.pod, config.attempt)
            container_id = self._add(name, Status(
                id="", kind=CONTAINER, pod=config.pod, name=config.name, attempt=config.attempt, state=CREATED,
                labels=dict(config.labels), image=config.image, image_id=f"sha256:{config.image}",
                created_at=self._clock.now(), ip="", limits=config.resources,
            ))  # fmt: skip
            self._items[container_id].config = config
            return container_id

    def start_container(self, container_id: str) -> None:
        with self._lock:
            item = self._item(container_id)
            if item.status.running:
                return
            item.status = replace(item.status, state=RUNNING, started_at=self._clock.now(), pid=next(self._serial))
            if item.config is not None:
                lasts, code = behaviour([*item.config.command, *item.config.args])
                self._print(item, f"{item.config.name} of {item.config.pod.name} started\n")
                if lasts is not None:
                    self._plan_end(container_id, lasts, code)
            self._emit("start", item)

    def stop_container(self, container_id: str, timeout: int) -> None:
        self._end(container_id, _SIGTERM_CODE)

    def kill(self, container_id: str) -> None:
        """For tests and labs: the container dies as by SIGKILL."""
        self._end(container_id, _SIGKILL_CODE)

    def remove(self, container_id: str) -> None:
        self._end(container_id, _LOST_CODE)
        with self._lock:
            item = self._items.pop(container_id, None)
            if item is None:
                return
            self._names.pop(item.key, None)
            self._by_pod[item.status.pod.uid].discard(container_id)
            if not self._by_pod[item.status.pod.uid]:
                del self._by_pod[item.status.pod.uid]
            self._emit("destroy", item)

    def update_resources(self, container_id: str, resources: Resources) -> None:
        with self._lock:
            item = self._item(container_id)
            item.status = replace(item.status, limits=resources)

    def _add(self, name: str, status: Status) -> str:
        with self._lock:
            if name in self._names:
                raise NameConflict(f"the name {name} is already in use by container {self._names[name]}")
            container_id = f"{next(self._serial):064x}"
            item = Simulated(replace(status, id=container_id), name)
            self._items[container_id] = item
            self._names[name] = container_id
            self._by_pod.setdefault(status.pod.uid, set()).add(container_id)
            self._emit("create", item)
        return container_id

    def _item(self, container_id: str) -> Simulated:
        try:
            return self._items[container_id]
        except KeyError:
            raise ContainerNotFound(f"No such container: {container_id}") from None

    def _end(self, container_id: str, code: int) -> None:
        with self._lock:
            item = self._items.get(container_id)
            if item is None or not item.status.running:
                return
            item.status = replace(item.status, state=EXITED, exit_code=code, finished_at=self._clock.now(), pid=0)
            self._changed.notify_all()
            members = [
                other for other in self._by_pod.get(item.status.pod.uid, ()) if other != container_id
            ] if item.status.kind == SANDBOX else []  # fmt: skip
            self._emit("die", item)
        for member in members:  # their network is gone; a real container would live on, and be stopped by the kubelet
            self._end(member, _LOST_CODE)

    def _print(self, item: Simulated, text: str) -> None:
        item.output.append((self._clock.time(), rfc3339_micro(self._clock.now()), text.encode()))
        self._changed.notify_all()

    # --- what happens by itself

    def _plan_end(self, container_id: str, seconds: float, code: int) -> None:
        heapq.heappush(self._ends, (self._clock.monotonic() + seconds, container_id, code))
        if self._timer is None:
            self._timer = threading.Thread(target=self._tick, name="simulated-runtime", daemon=True)
            self._timer.start()
        self._changed.notify_all()

    def _tick(self) -> None:
        while True:
            with self._lock:
                if self._closed:
                    return
                now = self._clock.monotonic()
                due = []
                while self._ends and self._ends[0][0] <= now:
                    due.append(heapq.heappop(self._ends))
                if not due:
                    self._clock.wait_on(self._changed, self._ends[0][0] - now if self._ends else None)
            for _, container_id, code in due:
                self._end(container_id, code)

    def _emit(self, kind: str, item: Simulated) -> None:
        """Tell everybody (lock held, so that events come in the order things happened)."""
        for stream in self._streams:
            stream.put(Event(kind, item.status.id, item.status.pod.uid))

    def events(self) -> "SimulatedEvents":
        stream = SimulatedEvents(self._forget_stream)
        with self._lock:
            self._streams.append(stream)
        return stream

    def _forget_stream(self, stream: "SimulatedEvents") -> None:
        with self._lock:
            if stream in self._streams:
                self._streams.remove(stream)

    # --- streams

    def exec_sync(self, container_id: str, command: Sequence[str], timeout: float) -> ExecResult:
        if not self.inspect(container_id).running:
            raise RuntimeFault(f"container {container_id[:12]} is not running")
        lasts, code = behaviour(command)
        output = echo(command)
        if lasts is not None and lasts > timeout:
            self._clock.sleep(timeout)
            return ExecResult(-1, output, timed_out=True)
        self._clock.sleep(lasts or 0)
        return ExecResult(code, output)

    def exec(self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool) -> Session:
        if not self.inspect(container_id).running:
            raise RuntimeFault(f"container {container_id[:12]} is not running")
        text = echo(command) or (b"" if stdin else b"this container is simulated: nothing runs in it\n")
        return SimulatedSession(text, behaviour(command)[1], echo=stdin)

    def attach(self, container_id: str, *, tty: bool, stdin: bool) -> Session:
        self.inspect(container_id)
        return SimulatedSession(b"", None, echo=stdin)

    def logs(self, container_id: str, options: LogOptions) -> LogStream:
        with self._lock:
            return SimulatedLogs(self._item(container_id), options, self._changed, self._clock)

    def dial(self, sandbox_id: str, port: int) -> socket.socket:
        raise RuntimeFault(f"failed to connect to localhost:{port} inside the pod: nothing runs in a simulated pod")

    # --- images and numbers

    def image_status(self, reference: str) -> Image | None:
        return Image(id=f"sha256:{reference}", names=(reference,))

    def pull_image(self, reference: str, auth: Mapping[str, str] | None = None) -> Image:
        return Image(id=f"sha256:{reference}", names=(reference,))

    def list_images(self) -> list[Image]:
        return []

    def images_in_use(self) -> set[str]:
        with self._lock:
            return {item.status.image_id for item in self._items.values()}

    def remove_image(self, reference: str) -> None:
        """Nothing is stored."""

    def export_image(self, image_id: str) -> Iterator[bytes]:
        yield bytes(tarfile.RECORDSIZE)  # an archive of nothing

    def stats(self, container_ids: Sequence[str]) -> list[Stats]:
        with self._lock:
            found = [self._items[container_id] for container_id in container_ids if container_id in self._items]
            return [figures(item, self._clock.now()) for item in found]

    def disk_usage(self, container_ids: Sequence[str]) -> list[DiskUsage]:
        with self._lock:
            found = [self._items[container_id] for container_id in container_ids if container_id in self._items]
            return [DiskUsage(item.status.id, stated(item, "SIMULATED_DISK", 0)) for item in found]

    def close(self) -> None:
        with self._lock:
            self._closed = True
            streams = list(self._streams)
            self._changed.notify_all()
        for stream in streams:
            stream.close()
