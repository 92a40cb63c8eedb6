"""Names of the cluster domain -> records, read from Services and EndpointSlices as they are now.

Who calls it: dns.py, for every question inside the cluster domain. Invariant: a name that exists without a record of the asked
type answers NOERROR with nothing (so a resolver stops asking for its other type), a name that does not exist NXDOMAIN (so it
goes on with its search list); names are compared without case.
Upstream: the Kubernetes DNS-Based Service Discovery specification 1.1.0; CoreDNS plugin/kubernetes.
"""

import ipaddress
import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kubelet.network.services import BY_SERVICE, SERVICE_NAME, service_of
from minikube_py.api.gvr import ENDPOINTSLICES, SERVICES
from minikube_py.api.meta import labels_of, name_of, namespace_of
from minikube_py.api.types import Obj
from minikube_py.client.informer import SharedInformers

NOERROR, NXDOMAIN = 0, 3
_BY_ADDRESS, _BY_CLUSTER_IP = "dns-address", "dns-cluster-ip"


class Record(NamedTuple):
    """One resource record; `value` is the address, the target name or the text; `port` belongs to SRV."""

    name: str
    type: str
    value: str
    port: int = 0


class Answer(NamedTuple):
    """`rcode` NOERROR or NXDOMAIN; `additional` holds the addresses of SRV targets."""

    rcode: int
    records: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()


_NODATA, _NO_NAME = Answer(NOERROR), Answer(NXDOMAIN)


class Records:
    """Answers from the shared informers of this process (it adds indexes to them)."""

    def __init__(self, informers: SharedInformers, domain: str) -> None:
        self.domain = domain.strip(".").lower()
        self._services, self._slices = informers.of(SERVICES), informers.of(ENDPOINTSLICES)
        self._services.add_index(_BY_CLUSTER_IP, _cluster_ips)
        self._slices.add_index(BY_SERVICE, service_of)
        self._slices.add_index(_BY_ADDRESS, lambda s: [a for e in _endpoints(s) for a in e["addresses"]])

    def owns(self, name: str) -> bool:
        """Whether this name (lower case, no final dot) is the cluster domain's to answer."""
        return name == self.domain or name.endswith(f".{self.domain}")

    def answer(self, name: str, kind: str) -> Answer:
        """In: a name that `owns`, in lower case without its final dot; `kind` as "A", "SRV", …"""
        if name == self.domain:
            return _NODATA
        labels = name[: -len(self.domain) - 1].split(".")
        match labels[::-1]:
            case ["dns-version"]:
                return _only(kind, Record(name, "TXT", "1.1.0"))
            case ["svc"] | ["pod"]:
                return _NODATA
            case ["svc", namespace]:
                return _NODATA if self._services.list(namespace) else _NO_NAME
            case ["svc", namespace, service, *rest]:
                return self._service(name, kind, namespace, service, rest[::-1])
            case ["pod", namespace, dashed]:
                return _pod(name, kind, dashed)
        return _NO_NAME

    def reverse(self, address: str) -> str:
        """The cluster's name for an address, "" when it has none."""
        for service in self._services.by_index(_BY_CLUSTER_IP, address):
            return self._name(service)
        for entry in self._slices.by_index(_BY_ADDRESS, address):
            owner = self._services.get(namespace_of(entry), labels_of(entry).get(SERVICE_NAME, ""))
            endpoint = next((e for e in _endpoints(entry) if address in e["addresses"]), None)
            if owner is not None and endpoint is not None:
                return f"{_hostname(endpoint)}.{self._name(owner)}"
        return ""

    def _name(self, service: Obj) -> str:
        return f"{name_of(service)}.{namespace_of(service)}.svc.{self.domain}"

    def _service(self, name: str, kind: str, namespace: str, service_name: str, rest: list[str]) -> Answer:
        service = self._services.get(namespace, service_name)
        if service is None:
            return _NO_NAME
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            return Answer(NOERROR, (Record(name, "CNAME", spec["externalName"].rstrip(".")),)) if not rest else _NO_NAME
        slices = self._slices.by_index(BY_SERVICE, f"{namespace}/{service_name}")
        headless = spec.get("clusterIP") == "None"
        if rest and rest[-1].startswith("_") and len(rest) <= 2:
            return self._srv(name, kind, service, slices, rest)
        if not rest and not headless:
            return _only(kind, *(Record(name, "A", ip) for ip in _cluster_ips(service)))
        if headless and len(rest) < 2:
            ready = [e for s in slices for e in _ready(s) if not rest or _hostname(e) == rest[0]]
            addresses = sorted({a for e in ready for a in e["addresses"]})
            random.shuffle(addresses)  # clients take the first
            if not addresses:
                return _NO_NAME
            return _only(kind, *(Record(name, "A", address) for address in addresses))
        return _NO_NAME

    def _srv(self, name: str, kind: str, service: Obj, slices: Sequence[Obj], rest: list[str]) -> Answer:
        """`_port._protocol.service`; `_protocol.service` alone exists and has no records."""
        protocol = rest[-1][1:].upper()
        ports = [p for p in service["spec"].get("ports") or [] if p.get("protocol", "TCP") == protocol]
        if len(rest) == 1:
            return _NODATA if ports else _NO_NAME
        wanted = rest[0].removeprefix("_")
        named = [p for p in ports if rest[0].startswith("_") and p.get("name", "") == wanted]
        base = self._name(service)
        found: set[tuple[int, str, str]] = set()
        if service["spec"].get("clusterIP") != "None":
            found = {(port["port"], base, ip) for port in named for ip in _cluster_ips(service)}
        else:
            found = {
                (port["port"], f"{_hostname(endpoint)}.{base}", address)
                for entry in slices for port in entry.get("ports") or []
                if (port.get("name") or "") == wanted and port.get("protocol", "TCP") == protocol and port.get("port")
                for endpoint in _ready(entry) for address in endpoint["addresses"]
            }  # fmt: skip
        if not found:
            return _NO_NAME
        if kind not in ("SRV", "ANY"):
            return _NODATA
        targets = sorted({(number, target) for number, target, _ in found})
        addresses = sorted({(target, address) for _, target, address in found})
        return Answer(
            NOERROR, tuple(Record(name, "SRV", target, number) for number, target in targets),
            tuple(Record(target, "A", address) for target, address in addresses),
        )  # fmt: skip


def _pod(name: str, kind: str, dashed: str) -> Answer:
    """`10-244-1-2.namespace.pod`: the address is in the name."""
    try:
        address = str(ipaddress.IPv4Address(dashed.replace("-", ".")))
    except ValueError:
        return _NO_NAME
    return _only(kind, Record(name, "A", address))


def _only(kind: str, *records: Record) -> Answer:
    """The records of the asked type: the name exists either way."""
    return Answer(NOERROR, tuple(r for r in records if kind in (r.type, "ANY")))


def _cluster_ips(service: Obj) -> list[str]:
    spec = service["spec"]
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") in (None, "", "None"):
        return []
    return [ip for ip in spec.get("clusterIPs") or [spec["clusterIP"]] if ":" not in ip]


def _endpoints(entry: Obj) -> Iterable[Obj]:
    return (entry.get("endpoints") or []) if entry.get("addressType") == "IPv4" else []


def _ready(entry: Obj) -> list[Obj]:
    return [e for e in _endpoints(entry) if (e.get("conditions") or {}).get("ready") is not False]


def _hostname(endpoint: Obj) -> str:
    """What an endpoint is called under its headless Service: its hostname, else its address with dashes."""
    return str(endpoint.get("hostname") or endpoint["addresses"][0].replace(".", "-"))
