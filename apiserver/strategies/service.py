"""Services on their way to the store: addresses and ports claimed, kept, and freed as the type changes.

Who calls it: the strategy table. Invariant: whatever a stored Service names, it holds a claim on (`allocators.py`); a write
that fails gives back what it claimed, one that succeeds gives back what it no longer names.
Upstream: pkg/registry/core/service/storage (storage.go, alloc.go) and strategy.go.
"""

from typing import Any

from apiserver.strategies.allocators import Allocators, Full, OutOfRange, Taken, node_ports
from apiserver.strategies.base import Context, Finish
from apiserver.strategies.checks import invalid
from apiserver.strategies.validation.service import (
    is_headless,
    needs_cluster_ip,
    needs_health_port,
    needs_node_port,
)
from minikube_py.api import errors
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_RANGE_IP = "the provided IP ({}) is not in the valid range. The range of valid IPs is {}"
_RANGE_PORT = "provided port is not in the valid range. The range of valid ports is {}"


def on_create(obj: Obj, ctx: Context) -> None:
    """`clusterIP` and `clusterIPs[0]` are one thing; IP families follow from the cluster's range."""
    spec = obj.setdefault("spec", {})
    _same_first(spec)
    if ctx.allocators is not None:
        _families(spec, ctx.allocators)


def on_update(new: Obj, old: Obj, ctx: Context) -> None:
    """Keep what the client left out, drop what the new type has no use for."""
    spec, before = new.setdefault("spec", {}), old.get("spec") or {}
    _drop_unused(spec, before)
    _keep_allocated(spec, before)
    if spec.get("clusterIP") != before.get("clusterIP") and spec.get("clusterIPs") == before.get("clusterIPs"):
        spec.pop("clusterIPs", None)
    if not needs_cluster_ip(spec):
        return
    _same_first(spec)
    if ctx.allocators is not None:
        _families(spec, ctx.allocators)


def _same_first(spec: Obj) -> None:
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    elif spec.get("clusterIPs") and not spec.get("clusterIP"):
        spec["clusterIP"] = spec["clusterIPs"][0]


def _families(spec: Obj, allocators: Allocators) -> None:
    if not needs_cluster_ip(spec):
        return
    other = "IPv6" if allocators.family == "IPv4" else "IPv4"
    if is_headless(spec) and not spec.get("selector") and not spec.get("ipFamilyPolicy"):
        # nobody but its author knows the addresses behind it, so it may have both families
        spec["ipFamilyPolicy"] = "RequireDualStack"
        spec["ipFamilies"] = spec.get("ipFamilies") or [allocators.family, other]
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    spec["ipFamilies"] = spec.get("ipFamilies") or [allocators.family]


def _drop_unused(spec: Obj, before: Obj) -> None:
    """A field that only the old type used, and the client did not touch, goes with the old type."""
    gone: list[str] = []
    if needs_cluster_ip(before) and not needs_cluster_ip(spec):
        gone += ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]
    if before.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        gone += ["allocateLoadBalancerNodePorts", "loadBalancerClass"]
    if needs_health_port(before) and not needs_health_port(spec):
        gone.append("healthCheckNodePort")
    outside = ("NodePort", "LoadBalancer")
    if before.get("type") in outside and spec.get("type") not in outside:
        gone.append("externalTrafficPolicy")
    for name in gone:
        if spec.get(name) == before.get(name):
            spec.pop(name, None)
    unchanged = node_ports({"ports": spec.get("ports")}) == node_ports({"ports": before.get("ports")})
    if needs_node_port(before) and not needs_node_port(spec) and unchanged:
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)


def _keep_allocated(spec: Obj, before: Obj) -> None:
    """An update that says nothing about addresses and ports keeps those the Service has."""
    if needs_cluster_ip(spec) and needs_cluster_ip(before):
        if not spec.get("clusterIP") and before.get("clusterIP"):
            spec["clusterIP"] = before["clusterIP"]
        if not spec.get("clusterIPs") and spec.get("clusterIP") == before.get("clusterIP") and before.get("clusterIPs"):
            spec["clusterIPs"] = list(before["clusterIPs"])
        for name in ("ipFamilies", "ipFamilyPolicy"):
            if not spec.get(name) and before.get(name):
                spec[name] = before[name]
    if needs_node_port(spec) and needs_node_port(before):
        had = {port.get("name"): port.get("nodePort") for port in before.get("ports") or ()}
        used = {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
        for port in spec.get("ports") or ():
            number = had.get(port.get("name"))
            if not port.get("nodePort") and number and number not in used:
                port["nodePort"] = number
                used.add(number)
    if needs_health_port(spec) and needs_health_port(before) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = before.get("healthCheckNodePort")


class _Claiming:
    """The claims of one write: what was taken, to be given back if the write fails."""

    def __init__(self, service: Obj, ctx: Context) -> None:
        self.service, self.allocators, self.dry_run = service, ctx.allocators, ctx.dry_run
        self.addresses: list[str] = []
        self.ports: list[int] = []

    def claim(self, before: Obj) -> None:
        """Take what the spec needs beyond what `before` (the old spec) holds. Raises Invalid, having given all back."""
        spec = self.service["spec"]
        try:
            if needs_cluster_ip(spec) and not is_headless(spec):
                self._cluster_ip(spec, before)
            held = set(node_ports(before))
            if needs_node_port(spec):
                self._node_ports(spec, held)
            if needs_health_port(spec) and spec.get("healthCheckNodePort") not in held:
                port = self._port("spec.healthCheckNodePort", spec.get("healthCheckNodePort") or 0)
                spec["healthCheckNodePort"] = port
        except Exception:
            self.undo()
            raise

    def _cluster_ip(self, spec: Obj, before: Obj) -> None:
        allocators: Allocators = self.allocators
        if spec.get("ipFamilyPolicy") == "RequireDualStack":
            why = "this cluster is not configured for dual-stack services"
            raise self._invalid(invalid("spec.ipFamilyPolicy", "RequireDualStack", why))
        for index, family in enumerate(spec.get("ipFamilies") or ()):
            if family != allocators.family:
                raise self._invalid(invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster"))
        wanted = spec.get("clusterIP") or ""
        if wanted and wanted in (before.get("clusterIPs") or ()):
            return
        try:
            address = allocators.take_ip(self.service, wanted, dry_run=self.dry_run)
        except OutOfRange as error:
            why = f"failed to allocate IP {wanted}: " + _RANGE_IP.format(wanted, error.valid)
            raise self._invalid(invalid("spec.clusterIPs", spec["clusterIPs"], why)) from None
        except Taken:
            why = f"failed to allocate IP {wanted}: provided IP is already allocated"
            raise self._invalid(invalid("spec.clusterIPs", spec["clusterIPs"], why)) from None
        except Full as error:
            raise errors.InternalError(f"failed to allocate a serviceIP: {error}") from None
        if not self.dry_run:
            self.addresses.append(address)
        spec["clusterIP"], spec["clusterIPs"] = address, [address]

    def _node_ports(self, spec: Obj, held: set[int]) -> None:
        """One port number serves TCP and UDP of the same Service port, as upstream allows."""
        own = set(held)
        for index, port in enumerate(spec.get("ports") or ()):
            wanted = port.get("nodePort") or 0
            if not wanted:
                twins = [
                    p for p in spec["ports"][:index] if p["port"] == port["port"] and p["protocol"] != port["protocol"]
                ]
                wanted = next((p["nodePort"] for p in twins if p.get("nodePort")), 0)
            if not wanted or wanted not in own:
                wanted = self._port(f"spec.ports[{index}].nodePort", wanted)
                own.add(wanted)
            port["nodePort"] = wanted

    def _port(self, path: str, wanted: int) -> int:
        try:
            port: int = self.allocators.take_port(self.service, wanted, dry_run=self.dry_run)
        except OutOfRange as error:
            raise self._invalid(invalid(path, wanted, _RANGE_PORT.format(error.valid))) from None
        except Taken:
            raise self._invalid(invalid(path, wanted, "provided port is already allocated")) from None
        except Full as error:
            raise errors.InternalError(f"failed to allocate a nodePort: {error}") from None
        if not self.dry_run:
            self.ports.append(port)
        return port

    def _invalid(self, cause: Cause) -> errors.Invalid:
        return errors.invalid("Service", self.service["metadata"]["name"], [cause])

    def undo(self) -> None:
        for address in self.addresses:
            self.allocators.give_ip(address, self.service)
        for port in self.ports:
            self.allocators.give_port(port, self.service)


def begin_create(obj: Obj, ctx: Context) -> Finish | None:
    """Claim the addresses and ports of a new Service."""
    return begin_update(obj, {"metadata": obj["metadata"], "spec": {}}, ctx)


def begin_update(new: Obj, old: Obj, ctx: Context) -> Finish | None:
    """Claim what the new spec adds; what it no longer names is freed once the write is in the store."""
    if ctx.allocators is None:
        return None
    claiming = _Claiming(new, ctx)
    claiming.claim(old["spec"])

    def finish(stored: bool) -> None:
        if stored:
            _free(old["spec"], new["spec"], new, ctx.allocators)
        else:
            claiming.undo()

    return finish


def after_delete(obj: Obj, ctx: Context) -> None:
    """Free everything the Service held."""
    if ctx.allocators is not None:
        _free(obj.get("spec") or {}, {}, obj, ctx.allocators)


def _free(before: Obj, spec: Obj, service: Obj, allocators: Any) -> None:
    for address in before.get("clusterIPs") or ():
        if address not in ("None", "", *(spec.get("clusterIPs") or ())):
            allocators.give_ip(address, service)
    for port in set(node_ports(before)) - set(node_ports(spec)):
        allocators.give_port(port, service)
