"""Constraints between the devices of one claim: the same value of an attribute everywhere, or a different one everywhere.

Who calls it: the allocator, which enters devices and takes them out again in any order. Invariant: once a constraint refuses a
device, it also refuses it when more devices are in, so the search may stop early.
Upstream: dynamic-resource-allocation/structured/internal/incubating/{allocator_incubating,constraint}.go. Differs:
distinctAttribute also holds among the devices of one request, as the API says.
"""

from collections import Counter

from controllers.scheduler.devices.requests import AllocationError, Given, is_meant
from minikube_py.api.meta import key_of
from minikube_py.api.types import Obj


class Constraint:
    """One entry of `spec.devices.constraints`."""

    def __init__(self, requests: list[str], attribute: str, distinct: bool) -> None:
        self._requests, self._attribute, self._distinct = requests, attribute, distinct
        self._values: Counter[tuple[str, object]] = Counter()

    def enter(self, given: Given) -> bool:
        """Count the device in, unless that breaks the constraint. Out: whether it is in."""
        if not is_meant(self._requests, given.alternative):
            return True
        value = given.device.attribute(self._attribute)
        if value is None or (value in self._values if self._distinct else self._values and value not in self._values):
            return False
        self._values[value] += 1
        return True

    def leave(self, given: Given) -> None:
        """Undo an `enter` that said yes."""
        if is_meant(self._requests, given.alternative):
            value = given.device.attribute(self._attribute)
            assert value is not None
            self._values[value] -= 1
            if not self._values[value]:
                del self._values[value]


def constraints_of(claim: Obj) -> list[Constraint]:
    """Raises AllocationError for a constraint of a kind we do not know."""
    found = []
    for number, one in enumerate((claim["spec"].get("devices") or {}).get("constraints") or ()):
        attribute = one.get("matchAttribute") or one.get("distinctAttribute")
        if not attribute:
            raise AllocationError(
                f"claim {key_of(claim)}, constraint #{number}: empty constraint (unsupported constraint type?)"
            )
        found.append(Constraint(one.get("requests") or [], attribute, not one.get("matchAttribute")))
    return found
