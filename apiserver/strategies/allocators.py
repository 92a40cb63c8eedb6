"""Who holds which cluster IP and which node port: claims in the store, one key per address or port.

Who calls it: the Service strategy (`service.py`) while a write is under way; `main` once at start (`repair`).
Invariant: a claim is taken by creating its key, which only one of any number of API servers on one store can do, so an
address is never handed out twice; no memory of our own. A claim is taken before its Service is stored and given back when
that fails; a crash in between leaves a claim without a Service, which `repair` frees at the next start once it is old.
Cluster IPs are IPAddress objects, as upstream's; a node port's claim is private to this server.
Upstream: pkg/registry/core/service/ipallocator (IPAddress objects, lower band kept for explicit addresses), portallocator.
"""

import ipaddress
import random
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

from apiserver.storage.base import KeyExists, RevisionMismatch
from minikube_py.api.clock import Clock, parse_rfc3339, rfc3339
from minikube_py.api.types import Obj

_IP_PREFIX = "/registry/ipaddresses.networking.k8s.io/"
_PORT_PREFIX = "/registry/servicenodeports/"
_SERVICES = "/registry/services/"
_RANDOM_TRIES = 16
_ABANDONED = timedelta(minutes=5)
_MANAGED_BY = "ipallocator.k8s.io"


class Full(Exception):
    """No address or port is left in the range."""


class Taken(Exception):
    """The address or port that was asked for belongs to another Service."""


class OutOfRange(Exception):
    """The address or port that was asked for is none this cluster hands out; `valid` is the range."""

    def __init__(self, valid: str) -> None:
        super().__init__(valid)
        self.valid = valid


class Claims(Protocol):
    """What of the store is needed (`apiserver/storage/cache.py`)."""

    def get(self, key: str) -> Any: ...
    def list(self, prefix: str, labels: Any, fields: Any) -> Any: ...
    def create(self, key: str, obj: Obj) -> Any: ...
    def delete(self, key: str, expected_revision: int) -> Any: ...


@dataclass(frozen=True)
class Allocators:
    """Cluster IPs and node ports of one cluster. Thread-safe, and safe among several API servers on one store."""

    store: Claims
    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    ports: range
    clock: Clock

    @property
    def family(self) -> str:
        """The one IP family this cluster has: "IPv4" or "IPv6"."""
        return f"IPv{self.network.version}"

    # ---- cluster IPs -------------------------------------------------------------------------------------------------

    def take_ip(self, service: Obj, wanted: str = "", *, dry_run: bool = False) -> str:
        """Claim this address, or any when `wanted` is "". Raises Full, Taken, OutOfRange."""
        if wanted:
            address = ipaddress.ip_address(wanted)
            if address not in self.network or address in (self.network[0], self.network[-1]):
                raise OutOfRange(str(self.network))
            self._claim(_IP_PREFIX + str(address), self._address(str(address), service), dry_run)
            return str(address)
        for free in self._free_ips():
            try:
                self._claim(_IP_PREFIX + free, self._address(free, service), dry_run)
                return free
            except Taken:
                continue
        raise Full("range is full")

    def give_ip(self, address: str, service: Obj) -> None:
        """Free an address that this Service holds; any other's claim stays."""
        self._free(_IP_PREFIX + address, service)

    def _free_ips(self) -> Iterator[str]:
        """Addresses that look free: at random from the upper band first, then every one, the lower band last."""
        size = self.network.num_addresses
        lower = min(max(16, size // 16), 256) if size > 32 else 1
        picks = [random.randrange(lower, size - 1) for _ in range(_RANDOM_TRIES)]
        for offset in (*picks, *range(lower, size - 1), *range(1, lower)):
            address = str(self.network[offset])
            if self.store.get(_IP_PREFIX + address) is None:
                yield address

    def _address(self, address: str, service: Obj) -> Obj:
        meta = service["metadata"]
        labels = {"ipaddress.kubernetes.io/ip-family": self.family, "ipaddress.kubernetes.io/managed-by": _MANAGED_BY}
        parent = {"group": "", "resource": "services", "namespace": meta.get("namespace", ""), "name": meta["name"]}
        return {
            "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
            "metadata": self._metadata(address, labels), "spec": {"parentRef": parent},
        }  # fmt: skip

    # ---- node ports --------------------------------------------------------------------------------------------------

    def take_port(self, service: Obj, wanted: int = 0, *, dry_run: bool = False) -> int:
        """Claim this port, or any when `wanted` is 0. Raises Full, Taken, OutOfRange."""
        if wanted:
            if wanted not in self.ports:
                raise OutOfRange(f"{self.ports[0]}-{self.ports[-1]}")
            self._claim(_PORT_PREFIX + str(wanted), self._port(wanted, service), dry_run)
            return wanted
        picks = [random.choice(self.ports) for _ in range(_RANDOM_TRIES)]
        port: int
        for port in (*picks, *self.ports):
            key = _PORT_PREFIX + str(port)
            if self.store.get(key) is None:
                try:
                    self._claim(key, self._port(port, service), dry_run)
                    return port
                except Taken:
                    continue
        raise Full("range is full")

    def give_port(self, port: int, service: Obj) -> None:
        """Free a port that this Service holds; any other's claim stays."""
        self._free(_PORT_PREFIX + str(port), service)

    def _port(self, port: int, service: Obj) -> Obj:
        meta = service["metadata"]
        parent = {"group": "", "resource": "services", "namespace": meta.get("namespace", ""), "name": meta["name"]}
        return {
            "apiVersion": "v1", "kind": "RangeAllocation",
            "metadata": self._metadata(str(port), {}), "spec": {"parentRef": parent},
        }  # fmt: skip

    # ---- claims ------------------------------------------------------------------------------------------------------

    def _metadata(self, name: str, labels: dict[str, str]) -> Obj:
        meta: Obj = {
            "name": name,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": rfc3339(self.clock.now()),
            "generation": 1,
        }
        return {**meta, "labels": labels} if labels else meta

    def _claim(self, key: str, claim: Obj, dry_run: bool) -> None:
        if dry_run:
            if self.store.get(key) is not None:
                raise Taken(key)
            return
        try:
            self.store.create(key, claim)
        except KeyExists:
            raise Taken(key) from None

    def _free(self, key: str, service: Obj) -> None:
        stored = self.store.get(key)
        if stored is None or not _holds(service, stored.obj()):
            return
        try:
            self.store.delete(key, stored.revision)
        except RevisionMismatch:
            return  # somebody freed it first

    def repair(self) -> None:
        """Make claims and Services agree: claim what a Service uses, free what no Service uses and nobody is taking."""
        services = [stored.obj() for stored in self.store.list(_SERVICES, None, None).items]
        used: set[str] = set()
        for service in services:
            for key, take in self._uses(service):
                used.add(key)
                if self.store.get(key) is None:
                    try:
                        take(service)
                    except (Taken, OutOfRange):
                        continue  # taken by a server beside us meanwhile, or kept from before the range was changed
        oldest = self.clock.now() - _ABANDONED
        for prefix in (_IP_PREFIX, _PORT_PREFIX):
            for stored in self.store.list(prefix, None, None).items:
                claim = stored.obj()
                ours = prefix == _PORT_PREFIX or _managed(claim)
                if stored.key not in used and ours and parse_rfc3339(claim["metadata"]["creationTimestamp"]) < oldest:
                    self._free(stored.key, _parent_as_service(claim))

    def _uses(self, service: Obj) -> Iterable[tuple[str, Callable[[Obj], Any]]]:
        for address in service["spec"].get("clusterIPs") or ():
            if address not in ("None", ""):
                yield _IP_PREFIX + address, partial(self.take_ip, wanted=address)
        for port in node_ports(service["spec"]):
            yield _PORT_PREFIX + str(port), partial(self.take_port, wanted=port)


def node_ports(spec: Obj) -> list[int]:
    """Every node port the spec names, each once, the health check's included."""
    ports = [port.get("nodePort") or 0 for port in spec.get("ports") or ()] + [spec.get("healthCheckNodePort") or 0]
    return list(dict.fromkeys(port for port in ports if port))


def _holds(service: Obj, claim: Obj) -> bool:
    parent, meta = claim["spec"]["parentRef"], service["metadata"]
    return bool(parent.get("name") == meta["name"] and parent.get("namespace", "") == meta.get("namespace", ""))


def _managed(claim: Obj) -> bool:
    return bool((claim["metadata"].get("labels") or {}).get("ipaddress.kubernetes.io/managed-by") == _MANAGED_BY)


def _parent_as_service(claim: Obj) -> Obj:
    parent = claim["spec"]["parentRef"]
    return {"metadata": {"name": parent.get("name"), "namespace": parent.get("namespace", "")}}
