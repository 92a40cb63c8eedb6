"""Carrying out one probe: exec, httpGet, tcpSocket, grpc.

Who calls it: `probes`, through the function `runner` makes. Invariant: an action always ends within its timeout and yields
success or failure, never an exception. Upstream: pkg/kubelet/prober/prober.go.
"""

import http.client
from collections.abc import Callable
from typing import NamedTuple

from kubelet import grpc_health, http_check
from kubelet.runtime.base import Runtime, RuntimeFault, RuntimeUnavailable, Status
from minikube_py.api.types import Obj

SUCCESS, FAILURE, UNKNOWN = "success", "failure", "unknown"


class Outcome(NamedTuple):
    """`text` says why it failed, for the event."""

    result: str
    text: str = ""


def runner(runtime: Runtime) -> Callable[[Obj, Obj, Obj, Status, str], Outcome]:
    """The action `probes.Probes` needs."""

    def run(pod: Obj, container: Obj, probe: Obj, status: Status, pod_ip: str) -> Outcome:
        timeout = float(probe.get("timeoutSeconds", 1))
        try:
            if action := probe.get("exec"):
                return _exec(runtime, status, action, timeout)
            if action := probe.get("httpGet"):
                return _http(container, action, pod_ip, timeout)
            if action := probe.get("tcpSocket"):
                http_check.tcp(action.get("host") or pod_ip, http_check.port_of(container, action["port"]), timeout)
                return Outcome(SUCCESS)
            if action := probe.get("grpc"):
                serving, text = grpc_health.check(pod_ip, int(action["port"]), action.get("service") or "", timeout)
                return Outcome(SUCCESS if serving else FAILURE, text)
        except RuntimeUnavailable:
            return Outcome(UNKNOWN)
        except (RuntimeFault, OSError, http.client.HTTPException, ValueError) as error:
            return Outcome(FAILURE, str(error))
        return Outcome(SUCCESS)

    return run


def _exec(runtime: Runtime, status: Status, action: Obj, timeout: float) -> Outcome:
    result = runtime.exec_sync(status.id, action.get("command") or [], timeout)
    if result.timed_out:
        return Outcome(FAILURE, f"command timed out: {action.get('command')} timed out after {timeout:g}s")
    text = result.output.decode(errors="replace")[:10_000]
    return Outcome(SUCCESS if result.exit_code == 0 else FAILURE, text)


def _http(container: Obj, action: Obj, pod_ip: str, timeout: float) -> Outcome:
    status, _ = http_check.get(container, action, pod_ip, timeout)
    if 200 <= status < 400:
        return Outcome(SUCCESS)
    return Outcome(FAILURE, f"HTTP probe failed with statuscode: {status}")
