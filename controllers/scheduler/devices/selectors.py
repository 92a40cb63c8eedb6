"""Which devices a class or a request means: CEL expressions over `device`.

Who calls it: the allocator. Invariants: CEL is imported when the first expression is evaluated; a verdict on a device as it
stands in its slice is never computed twice while it is remembered; an expression that fails on a device fails the claim.
Upstream: dynamic-resource-allocation/cel/compile.go.
"""

from collections import OrderedDict, defaultdict
from functools import cache
from typing import Any

from controllers.scheduler.devices.pools import Device
from minikube_py.api.types import Obj

_REMEMBERED = 50_000


class SelectorError(ValueError):
    """The expression cannot be compiled, or has no value for a device; `str()` says which."""


class Selectors:
    """Evaluates, and remembers. Used by one thread at a time."""

    def __init__(self) -> None:
        # (expression, the device's dict) → that dict, so that its identity stays its own, and the verdict
        self._known: OrderedDict[tuple[str, int], tuple[Obj, bool]] = OrderedDict()

    def match(self, selectors: list[Obj], device: Device) -> bool:
        """Whether all of a class' or request's selectors accept the device. Raises SelectorError."""
        for number, selector in enumerate(selectors):
            expression = (selector.get("cel") or {}).get("expression")
            if not expression:
                raise SelectorError(f"selector #{number}: CEL expression empty (unsupported selector type?)")
            try:
                if not self._accepts(expression, device):
                    return False
            except ValueError as error:
                raise SelectorError(f"selector #{number}: {error}") from None
        return True

    def _accepts(self, expression: str, device: Device) -> bool:
        key = (expression, id(device.spec))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = (device.spec, _evaluate(expression, device))
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known[1]


def _evaluate(expression: str, device: Device) -> bool:
    """Raises ValueError."""
    from minikube_py.api.cel import program

    try:
        compiled = program.compile(expression)
    except program.CompileError as error:
        raise ValueError(f"CEL compile error: {error}") from None
    try:
        value = compiled.evaluate({"device": _variable(device)})
    except program.EvaluationError as error:
        raise ValueError(f"CEL runtime error: {error}") from None
    if value.__class__.__name__ not in ("BoolType", "bool"):
        raise ValueError(f"CEL runtime error: the expression is a {value.__class__.__name__}, not a bool")
    return bool(value)


@cache
def _domains() -> Any:
    """A map of maps; a domain that no attribute has is an empty one."""
    from celpy import celtypes

    class Domains(celtypes.MapType):
        def __missing__(self, _: Any) -> Any:
            return celtypes.MapType({})

    return Domains


def _variable(device: Device) -> Any:
    from celpy import celtypes

    from minikube_py.api.cel import library
    from minikube_py.api.cel.extensions import Semver

    make = {"string": celtypes.StringType, "int": celtypes.IntType, "bool": celtypes.BoolType, "version": Semver}
    attributes: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for name, typed in (device.spec.get("attributes") or {}).items():
        (kind, value), (domain, own) = next(iter(typed.items())), _split(name, device.id.driver)
        if kind not in make:
            raise ValueError(f"CEL runtime error: attribute {name}: unsupported attribute value")
        attributes[domain][own] = make[kind](value)
    capacity: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for name, entry in (device.spec.get("capacity") or {}).items():
        domain, own = _split(name, device.id.driver)
        capacity[domain][own] = library.Quantity(entry["value"])
    fields = {
        "driver": celtypes.StringType(device.id.driver),
        "allowMultipleAllocations": celtypes.BoolType(bool(device.spec.get("allowMultipleAllocations"))),
        "attributes": _domains()(_map(attributes)), "capacity": _domains()(_map(capacity)),
    }  # fmt: skip
    return _map(fields)


def _split(name: str, driver: str) -> tuple[str, str]:
    domain, slash, own = name.partition("/")
    return (domain, own) if slash else (driver, name)


def _map(entries: Any) -> Any:
    from celpy import celtypes

    made = [(celtypes.StringType(key), _map(one) if type(one) is dict else one) for key, one in entries.items()]
    return celtypes.MapType(made)
