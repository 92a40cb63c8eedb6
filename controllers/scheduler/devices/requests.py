"""What a claim asks for, request by request, in one shape for requests with and without alternatives.

Who calls it: the allocator and what writes its result. Invariant: pure; a request always has at least one alternative, and one
without `firstAvailable` has exactly one, under its own name.
Upstream: dynamic-resource-allocation/structured/internal/stable (requestAccessor, validateDeviceRequest).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from controllers.scheduler.devices.pools import Device
from minikube_py.api.meta import key_of
from minikube_py.api.tolerations import Taint, tolerates
from minikube_py.api.types import Obj

ALL, EXACT = "All", "ExactCount"


class AllocationError(ValueError):
    """The claim or its class is wrong, on whatever node; `str()` is what the pod's author reads."""


@dataclass(frozen=True, eq=False)
class Alternative:
    """One way to satisfy a request. `name` is what results are written under, `ask` the part of the request."""

    claim: str
    name: str
    request: str
    ask: Obj
    device_class: Obj

    @property
    def where(self) -> str:
        return f"claim {self.claim}, request {self.name}"

    @property
    def wants_all(self) -> bool:
        return bool(self.ask.get("allocationMode") == ALL)

    @property
    def count(self) -> int:
        return int(self.ask.get("count") or 1)

    @property
    def is_admin(self) -> bool:
        return bool(self.ask.get("adminAccess"))

    def tolerates(self, device: Obj) -> bool:
        """Whether the device's taints do not stand in the way."""
        taints = (Taint(t["key"], t.get("value") or "", t.get("effect", "")) for t in device.get("taints") or ())
        blocking = [taint for taint in taints if taint.effect in ("NoSchedule", "NoExecute")]
        return all(any(tolerates(one, taint) for one in self.ask.get("tolerations") or ()) for taint in blocking)


class Given(NamedTuple):
    """A device, and for which request of its claim."""

    alternative: Alternative
    device: Device


def classes_of(claim: Obj) -> Iterator[tuple[str, str]]:
    """(name of the request, of its class) for everything that a claim may be satisfied with."""
    for request in _requests(claim):
        for name, ask in _asks(request):
            yield name, ask.get("deviceClassName") or ""


def alternatives(claim: Obj, classes: Mapping[str, Obj]) -> list[list[Alternative]]:
    """For each request the ways to satisfy it, best first. Raises AllocationError."""
    return [
        [_alternative(claim, request["name"], name, ask, classes) for name, ask in _asks(request)]
        for request in _requests(claim)
    ]


def _alternative(claim: Obj, request: str, name: str, ask: Obj, classes: Mapping[str, Obj]) -> Alternative:
    where, wanted = f"claim {key_of(claim)}, request {name}", ask.get("deviceClassName") or ""
    if wanted not in classes:
        raise AllocationError(f"{where}: could not retrieve device class {wanted}")
    if ask.get("allocationMode", EXACT) not in (ALL, EXACT):
        raise AllocationError(f"{where}: unsupported count mode {ask['allocationMode']}")
    if ask.get("capacity"):
        raise AllocationError(f"{where}: asks for a share of a device's capacity, which is not supported")
    return Alternative(key_of(claim), name, request, ask, classes[wanted])


def _requests(claim: Obj) -> list[Obj]:
    return (claim["spec"].get("devices") or {}).get("requests") or []


def _asks(request: Obj) -> list[tuple[str, Obj]]:
    if request.get("exactly"):
        return [(request["name"], request["exactly"])]
    return [(f"{request['name']}/{one['name']}", one) for one in request.get("firstAvailable") or ()]


def is_meant(names: list[str] | None, alternative: Alternative) -> bool:
    """Whether a constraint or configuration for these requests is about this one; for none means for all."""
    return not names or alternative.request in names or alternative.name in names
