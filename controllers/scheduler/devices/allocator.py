"""Finds devices for claims on one node: a search with backtracking over what could be given, one device at a time.

Who calls it: the plugin DynamicResources, for each node that a pod could go to.
Invariants: pure; the first solution in the order of claims, requests, alternatives and devices is the answer, so it is the
same every time; no device is given twice (except for admin access), no shared counter overdrawn, no constraint broken; if there
is a solution, it is found, unless that takes more than `STEPS` steps.
Upstream: dynamic-resource-allocation/structured/internal/stable/allocator_stable.go. Differs: the devices of one request are
chosen in ascending order only, as their order means nothing; the search is bounded in steps, not in time.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from controllers.scheduler.devices.constraints import Constraint, constraints_of
from controllers.scheduler.devices.counters import CounterBook
from controllers.scheduler.devices.pools import Device, DeviceID, Pool
from controllers.scheduler.devices.requests import AllocationError, Alternative, Given, alternatives
from controllers.scheduler.devices.selectors import SelectorError, Selectors
from minikube_py.api.meta import key_of
from minikube_py.api.types import Obj

MOST_DEVICES = 32
"""Of one claim."""
STEPS = 20_000


class _Slot(NamedTuple):
    """The next thing to decide: which alternative of a request (-1: not chosen yet), or its n-th device, not before `first`."""

    claim: int
    request: int
    alternative: int = -1
    number: int = 0
    first: int = 0


class InvalidPools(Exception):
    """Nothing was found, and some pools could not be looked at."""


def allocate(
    claims: Sequence[Obj], pools: Sequence[Pool], taken: Collection[DeviceID], classes: Mapping[str, Obj], selectors: Selectors
) -> list[list[Given]] | None:  # fmt: skip
    """Devices for each of the claims, None when there are not enough. In: the devices `taken` already, anywhere.

    Raises AllocationError when a claim or class is wrong, InvalidPools when nothing was found and a pool contradicts itself.
    """
    search = _Search(claims, pools, taken, classes, selectors)
    found = search.run()
    if found is None and any(pool.trouble and not pool.incomplete for pool in pools):
        raise InvalidPools("invalid resource pools were encountered")
    return found


class _Search:
    def __init__(
        self, claims: Sequence[Obj], pools: Sequence[Pool], taken: Collection[DeviceID], classes: Mapping[str, Obj],
        selectors: Selectors,
    ) -> None:  # fmt: skip
        self._pools, self._taken, self._selectors = pools, taken, selectors
        self._requests = [alternatives(claim, classes) for claim in claims]
        self._constraints: list[list[Constraint]] = [constraints_of(claim) for claim in claims]
        self._counters = CounterBook(pools, taken)
        self._given: list[list[Given]] = [[] for _ in claims]
        self._in_use: dict[DeviceID, list[int]] = {}  # by whom of the claims, admin access included
        self._candidates: dict[tuple[int, int, int], list[Device]] = {}
        self._claims = claims

    def run(self) -> list[list[Given]] | None:
        """Walk the tree of decisions: a level is a generator that makes a choice, and undoes it when asked for the next."""
        levels, steps = [self._choices(_Slot(0, 0))], 0
        while levels:
            if (steps := steps + 1) > STEPS:
                names = ", ".join(key_of(claim) for claim in self._claims)
                raise AllocationError(f"gave up trying to allocate devices for {names} after {STEPS} steps")
            following = next(levels[-1], None)
            if following is None:
                levels.pop()
            elif following.claim == len(self._claims):
                return self._given
            else:
                levels.append(self._choices(following))
        return None

    def _choices(self, slot: _Slot) -> Iterator[_Slot]:
        """What comes next after each choice that is possible here, with that choice made."""
        if slot.claim == len(self._claims):
            yield slot
            return
        requests = self._requests[slot.claim]
        if slot.request == len(requests):
            yield _Slot(slot.claim + 1, 0)
        elif slot.alternative < 0:
            for number, alternative in enumerate(requests[slot.request]):
                if self._can_be_enough(slot, number, alternative):
                    yield slot._replace(alternative=number)
        else:
            yield from self._devices(slot, requests[slot.request][slot.alternative])

    def _can_be_enough(self, slot: _Slot, number: int, alternative: Alternative) -> bool:
        found = len(self._candidates_of(slot.claim, slot.request, number))
        wanted = found if alternative.wants_all else alternative.count
        return 0 < wanted <= found and len(self._given[slot.claim]) + wanted <= MOST_DEVICES

    def _devices(self, slot: _Slot, alternative: Alternative) -> Iterator[_Slot]:
        candidates = self._candidates_of(slot.claim, slot.request, slot.alternative)
        wanted = len(candidates) if alternative.wants_all else alternative.count
        if slot.number == wanted:
            yield _Slot(slot.claim, slot.request + 1)
            return
        last = len(candidates) - (wanted - slot.number) + 1  # so that enough are left for the rest
        for at in range(slot.first, last):
            given = Given(alternative, candidates[at])
            if self._take(slot.claim, given):
                yield slot._replace(number=slot.number + 1, first=at + 1)
                self._give_back(slot.claim, given)

    # -- one device ---------------------------------------------------------------------------------------------------

    def _take(self, claim: int, given: Given) -> bool:
        device, admin = given.device, given.alternative.is_admin
        users = self._in_use.get(device.id, [])
        if claim in users if admin else users or device.id in self._taken:
            return False
        if not given.alternative.tolerates(device.spec):
            return False
        if not admin and not self._counters.take(device):
            return False
        entered: list[Constraint] = []
        for constraint in self._constraints[claim]:
            if not constraint.enter(given):
                for one in entered:
                    one.leave(given)
                if not admin:
                    self._counters.give_back(device)
                if given.alternative.wants_all:
                    raise AllocationError(
                        f"{given.alternative.where}: cannot add device {device.id} because a claim constraint would not be "
                        "satisfied"
                    )
                return False
            entered.append(constraint)
        self._in_use.setdefault(device.id, []).append(claim)
        self._given[claim].append(given)
        return True

    def _give_back(self, claim: int, given: Given) -> None:
        self._given[claim].pop()
        self._in_use[given.device.id].remove(claim)
        for constraint in self._constraints[claim]:
            constraint.leave(given)
        if not given.alternative.is_admin:
            self._counters.give_back(given.device)

    def _candidates_of(self, claim: int, request: int, number: int) -> list[Device]:
        """The devices that the class and the request mean; unless all are wanted, without those that are certainly not free."""
        key = (claim, request, number)
        if key not in self._candidates:
            self._candidates[key] = self._find(self._requests[claim][request][number])
        return self._candidates[key]

    def _find(self, wanted: Alternative) -> list[Device]:
        for pool in self._pools if wanted.wants_all else ():
            if pool.trouble:
                raise AllocationError(
                    f"{wanted.where}: asks for all devices, but resource pool {pool} is {pool.trouble}"
                )
        found = []
        for device in (device for pool in self._pools for device in pool.devices):
            free = wanted.is_admin or device.id not in self._taken
            if device.spec.get("bindingConditions") or not (wanted.wants_all or free):
                continue
            if self._is_meant(wanted, device):
                found.append(device)
        return found

    def _is_meant(self, wanted: Alternative, device: Device) -> bool:
        name = wanted.device_class["metadata"]["name"]
        for who, spec in (
            (f"class {name}", wanted.device_class.get("spec") or {}),
            (f"claim {wanted.claim}", wanted.ask),
        ):
            try:
                if not self._selectors.match(spec.get("selectors") or [], device):
                    return False
            except SelectorError as error:
                raise AllocationError(f"{who}: {error}") from None
        return True
