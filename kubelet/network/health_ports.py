"""Where an outer load balancer asks whether this node has endpoints of a Service: `healthCheckNodePort`.

Who calls it: the kubelet, on its node's address. Invariant: a Service has a listener exactly while its spec names the port;
endpoints are counted when somebody asks, so an answer is never older than the informers. A port that is taken is logged, and
tried again when the Service changes.
Upstream: pkg/proxy/healthcheck/service_health.go.
"""

import json
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kubelet.network.services import BY_SERVICE, service_of
from minikube_py.api.gvr import ENDPOINTSLICES, SERVICES
from minikube_py.api.meta import key_of
from minikube_py.api.types import Obj
from minikube_py.client.informer import SharedInformers

log = logging.getLogger(__name__)
_SILENCE = 5.0


class HealthPorts:
    """The listeners of one node."""

    def __init__(self, informers: SharedInformers, node: str, address: str) -> None:
        self._slices, self._node, self._address = informers.of(ENDPOINTSLICES), node, address
        self._servers: dict[str, _Server] = {}
        self._lock = threading.Lock()
        self._stopped = False
        self._slices.add_index(BY_SERVICE, service_of)
        informers.of(SERVICES).add_handler(self._changed)

    def start(self) -> None:
        """Nothing to do: listeners come with their Services."""

    def stop(self) -> None:
        """Close all listeners."""
        with self._lock:
            self._stopped = True
            for key in list(self._servers):
                self._close(key)

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        if obj is None:
            return
        key, port = key_of(obj), int((new or {}).get("spec", {}).get("healthCheckNodePort") or 0)
        with self._lock:
            held = self._servers.get(key)
            if self._stopped or (held.port if held else 0) == port:
                return
            self._close(key)
            if port:
                self._open(key, port)

    def _open(self, key: str, port: int) -> None:
        try:
            server = self._servers[key] = _Server(self._address, port, lambda: self._report(key))
        except OSError as error:
            log.warning("Service %s: nobody answers its health check at %s:%d: %s", key, self._address, port, error)
            return
        threading.Thread(target=server.serve, name=f"health-check-{port}", daemon=True).start()

    def _close(self, key: str) -> None:
        if server := self._servers.pop(key, None):
            server.end()

    def _report(self, key: str) -> Obj:
        ready = {
            address
            for entry in self._slices.by_index(BY_SERVICE, key)
            for endpoint in entry.get("endpoints") or []
            if endpoint.get("nodeName") == self._node and (endpoint.get("conditions") or {}).get("ready") is not False
            for address in endpoint["addresses"][:1]
        }
        namespace, _, name = key.partition("/")
        return {
            "service": {"namespace": namespace, "name": name},
            "localEndpoints": len(ready),
            "serviceProxyHealthy": True,  # the proxy is this process
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: str, port: int, report: Callable[[], Obj]) -> None:
        super().__init__((address, port), _Handler)
        self.port, self.report = port, report

    def serve(self) -> None:
        """Until `end`, which does not wait as `shutdown` does: an informer calls it."""
        with suppress(OSError):
            while True:
                self.process_request(*self.get_request())

    def end(self) -> None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    timeout = _SILENCE
    server: _Server

    def do_GET(self) -> None:
        report = self.server.report()
        body = json.dumps(report, indent="\t").encode()
        self.send_response(HTTPStatus.OK if report["localEndpoints"] else HTTPStatus.SERVICE_UNAVAILABLE)
        for name, value in (
            ("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff"),
            ("X-Load-Balancing-Endpoint-Weight", str(report["localEndpoints"])), ("Content-Length", str(len(body))),
        ):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)
