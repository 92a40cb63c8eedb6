"""GET /containerLogs/NAMESPACE/POD/CONTAINER: what a container wrote, from the engine, in the part asked for.

Who calls it: `server`; `Place` also serves exec, attach and port-forward. Invariant: `previous` means the instance before the
newest one; a container that never started says so instead of answering with nothing.
Upstream: pkg/kubelet/server/server.go (getContainerLogs), validateContainerLogStatus in pkg/kubelet/kubelet_pods.go.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from kubelet.asgi import Call, HttpError, in_thread
from kubelet.observation import Observation, observe
from kubelet.pod_manager import PodManager
from kubelet.pod_spec import container_of
from kubelet.runtime.base import CREATED, LogOptions, LogStream, Runtime, RuntimeFault, Status
from minikube_py.api.clock import Clock, parse_rfc3339
from minikube_py.api.meta import uid_of
from minikube_py.api.types import Obj


@dataclass(frozen=True)
class Place:
    """Finds the container a path means. Blocking."""

    runtime: Runtime
    pods: PodManager

    def pod(self, namespace: str, name: str, uid: str = "") -> Obj:
        found = self.pods.pod(namespace, name, uid)
        if found is None:
            raise HttpError(404, f'pod "{name}" not found')
        return found

    def observe(self, pod: Obj) -> Observation:
        try:
            return observe(self.runtime.inspect(summary.id) for summary in self.runtime.list_all(uid_of(pod)))
        except RuntimeFault as error:
            raise HttpError(500, str(error)) from error

    def running(self, namespace: str, name: str, container: str) -> tuple[Obj, Status]:
        """The container's spec and its running instance. Raises HttpError."""
        pod = self.pod(namespace, name)
        spec = container_of(pod, container)
        status = self.observe(pod).newest(container)
        if spec is None or status is None or not status.running:
            raise HttpError(404, f'container not found ("{container}")')
        return spec, status

    def for_logs(self, namespace: str, name: str, container: str, previous: bool) -> Status:
        """The instance whose log is meant. Raises HttpError in upstream's words."""
        pod = self.pod(namespace, name)
        if container_of(pod, container) is None:
            raise HttpError(400, f"container {container} is not valid for pod {name}")
        instances = [s for s in self.observe(pod).containers.get(container, ()) if s.state != CREATED]
        if previous:
            ended = instances if instances and not instances[0].running and _waits(pod, container) else instances[1:]
            if not ended:
                raise HttpError(400, f'previous terminated container "{container}" in pod "{name}" not found')
            return ended[0]
        if not instances:
            reason = _waits(pod, container) or "ContainerCreating"
            raise HttpError(400, f'container "{container}" in pod "{name}" is waiting to start: {reason}')
        return instances[0]


def _waits(pod: Obj, container: str) -> str:
    status = pod.get("status") or {}
    entries = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    found: Obj = next((entry for entry in entries if entry["name"] == container), {})
    return str(found.get("state", {}).get("waiting", {}).get("reason", ""))


def handler(place: Place, clock: Clock) -> Callable[[Call], Awaitable[None]]:
    async def serve(call: Call) -> None:
        if len(call.parts) != 4:
            raise HttpError(404, "404 page not found")
        options, limit = _options(call, clock)
        stream: LogStream = await in_thread(_open, place, call, options)
        await call.begin(200, "text/plain; charset=utf-8")
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(64)
        reading = asyncio.ensure_future(in_thread(_pump, stream, queue, asyncio.get_running_loop(), limit))
        leaving = asyncio.ensure_future(call.gone())
        try:
            await _forward(call, queue, leaving)
        finally:
            leaving.cancel()
            stream.close()
            while not reading.done():  # the reader may wait for room
                if queue.full():
                    queue.get_nowait()
                await asyncio.sleep(0.01)

    return serve


def _open(place: Place, call: Call, options: LogOptions) -> LogStream:
    status = place.for_logs(call.parts[1], call.parts[2], call.parts[3], call.flag("previous"))
    try:
        return place.runtime.logs(status.id, options)
    except RuntimeFault as error:
        raise HttpError(500, str(error)) from error


async def _forward(call: Call, queue: "asyncio.Queue[bytes | None]", leaving: "asyncio.Future[None]") -> None:
    while True:
        getting = asyncio.ensure_future(queue.get())
        both: set[asyncio.Future[Any]] = {getting, leaving}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not getting.done():
            getting.cancel()
            return
        piece = getting.result()
        if piece is None:
            await call.write(b"", more=False)
            return
        await call.write(piece)


def _pump(
    stream: LogStream, queue: "asyncio.Queue[bytes | None]", loop: asyncio.AbstractEventLoop, limit: int | None
) -> None:
    """In a thread: from the engine to the loop, at most `limit` bytes."""
    left = limit
    for _, piece in stream:
        data = piece if left is None else piece[:left]
        if data:
            asyncio.run_coroutine_threadsafe(queue.put(data), loop).result()
        if left is not None:
            left -= len(data)
            if left <= 0:
                break
    asyncio.run_coroutine_threadsafe(queue.put(None), loop).result()


def _options(call: Call, clock: Clock) -> tuple[LogOptions, int | None]:
    tail, seconds, since_time = call.number("tailLines"), call.number("sinceSeconds"), call.value("sinceTime")
    since = 0.0
    if seconds is not None:
        since = clock.time() - seconds
    elif since_time:
        try:
            since = parse_rfc3339(since_time).timestamp()
        except ValueError:
            raise HttpError(400, f'invalid value "{since_time}" for sinceTime') from None
    options = LogOptions(
        follow=call.flag("follow"), timestamps=call.flag("timestamps"), since=since, tail=-1 if tail is None else tail
    )
    return options, call.number("limitBytes")
