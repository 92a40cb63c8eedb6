"""Hooks, and the orderly end of a container: preStop, stop signal, patience, SIGKILL.

Who calls it: `start_container` (postStart), `pod_worker` (everything that stops containers).
Invariants: a preStop hook counts against the grace period, after it the container still has two seconds; main containers end
before sidecars, and those in reverse order; a failing hook never keeps a container alive.
Upstream: pkg/kubelet/lifecycle/handlers.go, killContainer and killContainersWithSyncResult in pkg/kubelet/kuberuntime.
"""

import contextlib
import http.client
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kubelet import http_check
from kubelet.pod_spec import container_of
from kubelet.qos import is_sidecar
from kubelet.runtime.base import Runtime, RuntimeFault, Status
from minikube_py.api.clock import Clock
from minikube_py.api.types import Obj

_log = logging.getLogger(__name__)
_MINIMUM_AFTER_HOOK = 2
Notify = Callable[[str, str, str, str], None]
"""(container, event type, reason, message)"""


class HookFailed(Exception):
    """A postStart or preStop hook did not succeed."""


def run_hook(
    runtime: Runtime, clock: Clock, container: Obj, container_id: str, hook: Obj, pod_ip: str, timeout: float
) -> None:
    """Run one hook to its end, at most `timeout` seconds. Raises HookFailed."""
    try:
        if action := hook.get("exec"):
            result = runtime.exec_sync(container_id, action.get("command") or [], timeout)
            if result.timed_out or result.exit_code != 0:
                text = result.output.decode(errors="replace").strip()
                raise HookFailed(f"command {action.get('command')} exited with {result.exit_code}: {text[:1000]}")
        elif action := hook.get("httpGet"):
            status, _ = http_check.get(container, action, pod_ip, timeout, "kube-lifecycle/1.36")
            if status >= 400:
                raise HookFailed(f"HTTP hook answered with status {status}")
        elif action := hook.get("sleep"):
            clock.sleep(min(float(action.get("seconds", 0)), timeout))
    except (RuntimeFault, OSError, http.client.HTTPException, ValueError) as error:
        raise HookFailed(str(error)) from error


class Terminator:
    """Stops containers of pods."""

    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        self._runtime, self._clock = runtime, clock

    def stop_all(self, pod: Obj, running: Sequence[Status], grace: int, pod_ip: str, notify: Notify) -> None:
        """Stop all of a pod's containers: main ones together, then sidecars one by one backwards. Raises RuntimeFault."""
        order = [container["name"] for container in pod["spec"].get("initContainers") or [] if is_sidecar(container)]
        sidecars = sorted((s for s in running if s.name in order), key=lambda s: order.index(s.name), reverse=True)
        began = self._clock.monotonic()
        together(lambda s: self.stop(pod, s, grace, pod_ip, notify), [s for s in running if s.name not in order])
        for status in sidecars:
            left = max(0, grace - round(self._clock.monotonic() - began))
            self.stop(pod, status, left, pod_ip, notify)

    def stop(self, pod: Obj, status: Status, grace: int, pod_ip: str, notify: Notify, why: str = "") -> None:
        """Stop one container. Raises RuntimeFault when the runtime cannot."""
        container = container_of(pod, status.name) or {"name": status.name}
        notify(status.name, "Normal", "Killing", why or f"Stopping container {status.name}")
        hook = (container.get("lifecycle") or {}).get("preStop")
        if hook and grace > 0:
            began = self._clock.monotonic()
            try:
                self._bounded_hook(container, status, hook, pod_ip, grace)
            except HookFailed as error:
                notify(status.name, "Warning", "FailedPreStopHook", f"PreStopHook failed: {error}")
            grace = max(_MINIMUM_AFTER_HOOK, grace - round(self._clock.monotonic() - began))
        self._runtime.stop_container(status.id, grace)

    def _bounded_hook(self, container: Obj, status: Status, hook: Obj, pod_ip: str, grace: int) -> None:
        run_hook(self._runtime, self._clock, container, status.id, hook, pod_ip, float(grace))


def together(action: Callable[[Any], None], items: Iterable[Any]) -> None:
    """Do something with all items at once; the first error is raised when all are done."""
    listed = list(items)
    if len(listed) == 1:
        action(listed[0])
        return
    problems: list[Exception] = []

    def run(item: Any) -> None:
        try:
            action(item)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=run, args=(item,), name="together", daemon=True) for item in listed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def read_message(runtime: Runtime, status: Status, file: str, policy: str) -> str:
    """The termination message of a container that ended: its file, or the end of its log where the policy says so."""
    text = ""
    with contextlib.suppress(OSError), open(file, "rb") as handle:
        text = handle.read(4096).decode(errors="replace")
    if text or policy != "FallbackToLogsOnError" or status.exit_code == 0:
        return text
    from kubelet.runtime.base import LogOptions

    data = b""
    with contextlib.suppress(RuntimeFault):
        for _, piece in runtime.logs(status.id, LogOptions(tail=80)):
            data = (data + piece)[-2048:]
    return data.decode(errors="replace")
