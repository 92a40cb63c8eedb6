"""Addresses for Services of type LoadBalancer: one of a range that this machine routes, at once.

Who calls it: `controllers.main`; the service proxies lead the address to the Service's endpoints, so nothing else balances.
Invariant: no two Services hold the same address, and a Service keeps its own; `spec.loadBalancerIP` is honoured where it is
free and of the range. A Service with a `loadBalancerClass` is somebody else's. State is the Services' status alone.
Upstream: staging/src/k8s.io/cloud-provider/controllers/service/controller.go (which asks a cloud).
"""

import ipaddress
from collections.abc import Iterable

from controllers.context import Context
from minikube_py.api.gvr import SERVICES
from minikube_py.api.meta import is_terminating, key_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_RETRY = 10.0


def build(context: Context) -> Controller:
    """Watches Services; without a range (`--load-balancer-range`) it gives out nothing."""
    reconciler = LoadBalancer(context)
    return Controller(reconciler, clock=context.clock).watch(reconciler.services)


class LoadBalancer:
    """The reconciler. One worker: allocations come one after another."""

    name = "service-load-balancer"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self.services = context.informers.of(SERVICES)
        self._events = context.recorder("service-controller")
        text = context.options.load_balancer_range
        self._range = ipaddress.IPv4Network(text) if text else None
        self._given: dict[str, str] = {}  # what was written and may not be in the informer yet, by key

    def reconcile(self, key: str) -> float | None:
        service = self.services.get_key(key)
        if service is None or self._range is None or is_terminating(service):
            self._given.pop(key, None)
            return None
        held = list(self._ours(service))
        if not wants_address(service):
            if held:
                self._write(service, [])
            self._given.pop(key, None)
            return None
        wanted = service["spec"].get("loadBalancerIP") or ""
        if held and wanted in ("", held[0]):
            return None
        address = self._free(key, wanted or self._given.get(key, ""))
        if not address:
            why = (
                f"{wanted} is taken or not of {self._range}" if wanted else f"every address of {self._range} is in use"
            )
            self._events.event(service, "Warning", "SyncLoadBalancerFailed", f"no address for the load balancer: {why}")
            return _RETRY
        self._given[key] = address
        self._write(service, [{"ip": address, "ipMode": "VIP"}])
        self._events.event(service, "Normal", "EnsuredLoadBalancer", f"The load balancer answers at {address}")
        return None

    def _write(self, service: Obj, ingress: list[Obj]) -> None:
        status = {**(service.get("status") or {}), "loadBalancer": {"ingress": ingress} if ingress else {}}
        self._client.update(SERVICES, {**service, "status": status}, subresource="status")

    def _free(self, key: str, wanted: str) -> str:
        """The wanted address or, without a wish, the first free one; "" when there is none."""
        assert self._range is not None
        held = {
            other: set(self._ours(service)) for service in self.services.list() if (other := key_of(service)) != key
        }
        taken = {ip for ips in held.values() for ip in ips} | {ip for other, ip in self._given.items() if other in held}
        candidates: Iterable[object] = (wanted,) if wanted else self._range.hosts()
        return next((text for ip in candidates if (text := str(ip)) not in taken and self._contains(text)), "")

    def _ours(self, service: Obj) -> Iterable[str]:
        entries = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        return (entry["ip"] for entry in entries if entry.get("ip") and self._contains(entry["ip"]))

    def _contains(self, ip: str) -> bool:
        address = ipaddress.ip_address(ip)
        return self._range is not None and address.version == 4 and address in self._range


def wants_address(service: Obj) -> bool:
    """Whether we shall give it one."""
    return service["spec"].get("type") == "LoadBalancer" and not service["spec"].get("loadBalancerClass")
