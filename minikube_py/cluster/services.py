"""Where a Service answers for whoever sits at this machine.

Who calls it: `minikube-py service`. Invariant: what is named can be dialled from here without further rights or tunnels, as
pods, Services and load balancers are routed on the machine that runs the cluster; the address best known outside comes first.
"""

from typing import NamedTuple

from minikube_py.api import errors
from minikube_py.api.gvr import ENDPOINTSLICES, SERVICES
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from minikube_py.cluster.errors import ClusterError

_SECURE = ("https", "tls", "kubernetes.io/tls")


class Place(NamedTuple):
    """One port of a Service at one address. `kind` says what the address is: load balancer, node port, cluster IP, pod."""

    port: str
    kind: str
    address: str
    number: int
    protocol: str
    secure: bool

    @property
    def url(self) -> str:
        """Something to click for TCP, "address:port" for the rest."""
        where = f"{self.address}:{self.number}"
        if self.protocol != "TCP":
            return where
        return f"{'https' if self.secure else 'http'}://{where}"


def places(client: Client, name: str, namespace: str) -> list[Place]:
    """Every port of the Service at the best address it has. Raises ClusterError when there is none, or no such Service."""
    try:
        service = client.get(SERVICES, name, namespace)
    except errors.NotFound:
        known = ", ".join(sorted(s["metadata"]["name"] for s in client.list(SERVICES, namespace)["items"])) or "none"
        raise ClusterError(f"no Service {name!r} in namespace {namespace!r} (there are: {known})") from None
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        raise ClusterError(f"Service {name!r} is only another name for {spec['externalName']}")
    found = [place for port in spec.get("ports") or [] for place in _of_port(client, service, port)]
    if not found:
        raise ClusterError(f"Service {name!r} has no address yet (kubectl -n {namespace} describe service {name})")
    return found


def _of_port(client: Client, service: Obj, port: Obj) -> list[Place]:
    spec, protocol = service["spec"], port.get("protocol", "TCP")
    called = port.get("name") or str(port["port"])
    secure = (port.get("appProtocol") or called) in _SECURE or port["port"] in (443, 8443)

    def at(kind: str, address: str, number: int) -> Place:
        return Place(called, kind, address, number, protocol, secure)

    balancers = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    if balancers:
        return [at("load balancer", b.get("ip") or b["hostname"], port["port"]) for b in balancers]
    if port.get("nodePort"):
        return [at("node port", "127.0.0.1", port["nodePort"])]
    if spec.get("clusterIP") != "None":
        return [at("cluster IP", spec["clusterIP"], port["port"])]
    selector = f"kubernetes.io/service-name={service['metadata']['name']}"
    slices = client.list(ENDPOINTSLICES, service["metadata"]["namespace"], label_selector=selector)["items"]
    return [
        at("pod", address, number["port"]) for entry in slices for number in entry.get("ports") or []
        if (number.get("name") or "") == (port.get("name") or "")
        for endpoint in entry.get("endpoints") or [] if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint["addresses"]
    ]  # fmt: skip
