"""HTTP, TCP and gRPC requests of probes and hooks, from the node to the pod.

Who calls it: `probes`, `lifecycle`. Invariants: a certificate is never checked (upstream does not either); at most 10 kB of a
body are read; redirects within the same host are followed, others count as success.
Upstream: pkg/probe/http, pkg/probe/tcp, pkg/kubelet/lifecycle/handlers.go.
"""

import http.client
import socket
import ssl
from urllib.parse import urlsplit

from minikube_py.api.types import Obj

_LIMIT = 10 * 1024
_AGENT = "kube-probe/1.36"


def port_of(container: Obj, port: int | str) -> int:
    """A probe's port as a number; names refer to the container's ports. Raises ValueError."""
    if isinstance(port, int) or port.isdigit():
        return int(port)
    for entry in container.get("ports") or []:
        if entry.get("name") == port:
            return int(entry["containerPort"])
    raise ValueError(f"couldn't find port: {port!r}")


def get(container: Obj, action: Obj, pod_ip: str, timeout: float, agent: str = _AGENT) -> tuple[int, str]:
    """`httpGet`: (status code, beginning of the body). Raises OSError, HTTPException or ValueError when there is no answer."""
    host = action.get("host") or pod_ip
    port = port_of(container, action["port"])
    https = (action.get("scheme") or "HTTP").upper() == "HTTPS"
    headers = {"User-Agent": agent, "Accept": "*/*", "Connection": "close"}
    for header in action.get("httpHeaders") or []:
        headers[header["name"]] = header["value"]
    path = action.get("path") or "/"
    for _ in range(10):
        status, location, body = _request(
            https, host, port, path if path.startswith("/") else f"/{path}", headers, timeout
        )
        if not 300 <= status < 400 or not location:
            return status, body
        url = urlsplit(location)
        if url.hostname and url.hostname != host:
            return status, body
        https = url.scheme == "https" if url.scheme else https
        port = url.port or port
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return status, body


def _request(
    https: bool, host: str, port: int, path: str, headers: dict[str, str], timeout: float
) -> tuple[int, str, str]:
    if https:
        context = ssl._create_unverified_context()
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=timeout, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location", "") or "", answer.read(_LIMIT).decode(errors="replace")
    finally:
        connection.close()


def tcp(host: str, port: int, timeout: float) -> None:
    """Open and close a connection. Raises OSError."""
    socket.create_connection((host, port), timeout).close()
