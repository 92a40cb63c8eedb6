"""Where a Service leads: one of its ready endpoints, and a TLS connection to it under the name the Service has.

Who calls it: webhooks and the aggregation layer, which dial Services themselves instead of through a node's rules. Invariant:
reads the watch cache only, so it never waits; an endpoint that is not ready is never chosen.
Upstream: apiserver/pkg/util/proxy/proxy.go (ResolveEndpoint).
"""

import http.client
import random
import ssl

from apiserver.storage.cache import Store
from minikube_py.api.types import Obj

SLICES = "/registry/endpointslices.discovery.k8s.io/"
_SERVICE_NAME = "kubernetes.io/service-name"


class NoEndpoint(Exception):
    """The Service leads nowhere now; `str()` says why."""


def find(store: Store, namespace: str, name: str) -> Obj | None:
    """A Service."""
    stored = store.get(f"/registry/services/{namespace}/{name}", fresh=False)
    return stored.obj() if stored else None


def slices(store: Store, namespace: str, name: str) -> list[Obj]:
    """The EndpointSlices of a Service."""
    items = store.list(f"{SLICES}{namespace}/", fresh=False).items
    return [item.obj() for item in items if item.labels.get(_SERVICE_NAME) == name]


def port_name(service: Obj, port: int) -> str | None:
    """The name by which endpoints know a Service's port, None when it has no such port."""
    ports = (service.get("spec") or {}).get("ports") or ()
    return next((one.get("name") or "" for one in ports if one.get("port") == port), None)


def endpoint(store: Store, namespace: str, name: str, port: int) -> tuple[str, int]:
    """(address, port) of one ready endpoint behind a Service's port, chosen at random. Raises NoEndpoint."""
    service = find(store, namespace, name)
    if service is None:
        raise NoEndpoint(f'service "{name}" not found')
    if service["spec"].get("type") == "ExternalName":
        return str(service["spec"]["externalName"]), port
    wanted = port_name(service, port)
    if wanted is None:
        raise NoEndpoint(f'no service port {port} found for service "{name}"')
    found = [place for piece in slices(store, namespace, name) for place in ready(piece, wanted)]
    if not found:
        raise NoEndpoint(f'no endpoints available for service "{name}"')
    return random.choice(found)


def ready(endpoints: Obj, name: str) -> list[tuple[str, int]]:
    """The (address, port) pairs of a slice that may be used, for the port of this name."""
    ports = [one["port"] for one in endpoints.get("ports") or () if (one.get("name") or "") == name and one.get("port")]
    return [
        (address, port)
        for one in endpoints.get("endpoints") or ()
        if (one.get("conditions") or {}).get("ready", True) is not False
        for address in one.get("addresses") or ()
        for port in ports
    ]


class Connection(http.client.HTTPSConnection):
    """Connects to one host and expects the certificate of another name."""

    def __init__(self, host: str, port: int, name: str, tls: ssl.SSLContext, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout, context=tls)
        self._name, self._tls = name, tls

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)
