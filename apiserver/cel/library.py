"""The functions that Kubernetes adds to CEL: strings, lists, regular expressions, URLs, quantities, addresses, optionals.

Who uses it: `program.py`. Invariant: a function raises ValueError (or TypeError) for what it cannot take, which becomes an
evaluation error; nothing has a side effect.
Upstream: apiserver/pkg/cel/library, cel-go/ext/strings.go.
"""

import ipaddress
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from apiserver import regex
from minikube_py.api import quantity


class Optional:
    """The value of optional access: there, or not. Fields of it are optional again."""

    def __init__(self, present: bool, value: Any = None) -> None:
        self.present, self.value = present, value

    def get(self, key: Any, default: Any = None) -> "Optional":
        return optional_field(self, key)

    def __getitem__(self, key: Any) -> "Optional":
        return optional_field(self, key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Optional) and (self.present, self.value) == (other.present, other.value)

    __hash__ = None  # type: ignore[assignment]


class Namespace:
    """What stands before the dot in `optional.of(x)`."""


def optional_field(target: Any, key: Any) -> Optional:
    if isinstance(target, Optional):
        return optional_field(target.value, key) if target.present else target
    try:
        return Optional(True, target[key])
    except (KeyError, IndexError, TypeError):
        return Optional(False)


def _or_value(target: Optional, other: Any) -> Any:
    return target.value if target.present else other


def _value(target: Optional) -> Any:
    if not target.present:
        raise ValueError("optional.none() dereference")
    return target.value


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if separator == "":
        return list(text) if limit < 0 else [*text[: limit - 1], text[limit - 1 :]]
    return text.split(separator, limit - 1 if limit > 0 else -1)


def _replace(text: str, old: str, new: str, limit: int = -1) -> str:
    return str(text).replace(str(old), str(new), int(limit))


def _substring(text: str, start: int, end: int | None = None) -> str:
    if not 0 <= start <= len(text) or (end is not None and not start <= end <= len(text)):
        raise ValueError("index out of range")
    return text[start:end]


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise ValueError(f"index out of range: {index}")
    return text[index : index + 1]


def _index_of(target: Any, item: Any, start: int = 0) -> int:
    if isinstance(target, str):
        return target.find(item, start)
    return next((at for at, one in enumerate(target) if one == item), -1)


def _last_index_of(target: Any, item: Any) -> int:
    if isinstance(target, str):
        return target.rfind(item)
    return next((at for at in range(len(target) - 1, -1, -1) if target[at] == item), -1)


def _is_sorted(items: list[Any]) -> bool:
    return all(bool(items[at] <= items[at + 1]) for at in range(len(items) - 1))


def _extreme(choose: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
    def function(items: Any) -> Any:
        if not items:
            raise ValueError(f"{name} called on empty list")
        return choose(items)

    return function


def _find(text: str, pattern: str) -> str:
    found = regex.compile(str(pattern)).search(str(text))
    return found[0] if found else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [one[0] for one in regex.compile(str(pattern)).finditer(str(text))]
    return found if limit < 0 else found[:limit]


def _is_url(text: str) -> bool:
    parts = urlsplit(text)
    return bool(parts.scheme) or text.startswith("/")


def _url(text: str) -> Any:
    if not _is_url(text):
        raise ValueError(f"URL parse error during conversion from string: {text}")
    return urlsplit(text)


def _is_quantity(text: str) -> bool:
    try:
        quantity.parse(str(text))
    except ValueError:
        return False
    return True


class Quantity:
    """A quantity, compared by value."""

    def __init__(self, text: str) -> None:
        self.value = quantity.parse(str(text))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.value == other.value

    def __lt__(self, other: "Quantity") -> bool:
        return self.value < other.value

    __hash__ = None  # type: ignore[assignment]


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def _contains_ip(network: Any, address: Any) -> bool:
    return (ipaddress.ip_address(address) if isinstance(address, str) else address) in network


def namespaces() -> dict[str, Any]:
    """Variables every expression has."""
    return {"optional": Namespace()}


@cache
def functions() -> dict[str, Callable[..., Any]]:
    """Name → function, results as CEL values; methods get what stands before the dot first."""
    return {name: _answering(function) for name, function in _FUNCTIONS.items()}


def _answering(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        return _typed(function(*arguments))

    return call


def _typed(value: Any) -> Any:
    """Python's plain types as CEL's."""
    from celpy import celtypes

    plain = {bool: celtypes.BoolType, int: celtypes.IntType, float: celtypes.DoubleType, str: celtypes.StringType}
    if value.__class__ in plain:
        return plain[value.__class__](value)
    if value.__class__ is list:
        return celtypes.ListType([_typed(item) for item in value])
    return value


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "optionalField": optional_field, "orValue": _or_value, "value": _value,
    "hasValue": lambda target: target.present, "or": lambda target, other: target if target.present else other,
    "of": lambda _, value: Optional(True, value), "none": lambda _: Optional(False),
    "ofNonZeroValue": lambda _, value: Optional(bool(value), value),
    "split": _split, "replace": _replace, "substring": _substring, "charAt": _char_at,
    "join": lambda items, separator="": str(separator).join(map(str, items)),
    "lowerAscii": lambda text: str(text).lower(), "upperAscii": lambda text: str(text).upper(),
    "trim": lambda text: str(text).strip(), "reverse": lambda value: value[::-1],
    "indexOf": _index_of, "lastIndexOf": _last_index_of, "isSorted": _is_sorted,
    "sum": lambda items: sum(items[1:], items[0]) if items else 0,
    "max": _extreme(max, "max"), "min": _extreme(min, "min"),
    "find": _find, "findAll": _find_all,
    "isURL": _is_url, "url": _url, "getScheme": lambda url: url.scheme, "getHost": lambda url: url.netloc.rpartition("@")[2],
    "getHostname": lambda url: url.hostname or "", "getPort": lambda url: str(url.port or ""),
    "getEscapedPath": lambda url: url.path, "getQuery": lambda url: parse_qs(url.query),
    "isQuantity": _is_quantity, "quantity": Quantity,
    "isGreaterThan": lambda a, b: b < a, "isLessThan": lambda a, b: a < b,
    "compareTo": lambda a, b: (b < a) - (a < b), "sign": lambda a: (a.value > 0) - (a.value < 0),
    "isInteger": lambda a: a.value == a.value.to_integral_value(), "asInteger": lambda a: int(a.value),
    "asApproximateFloat": lambda a: float(a.value),
    "isIP": _address, "ip": lambda text: ipaddress.ip_address(str(text)), "family": lambda address: address.version,
    "isLoopback": lambda address: address.is_loopback, "isUnspecified": lambda address: address.is_unspecified,
    "isCIDR": _network, "cidr": lambda text: ipaddress.ip_network(str(text), strict=False),
    "containsIP": _contains_ip, "prefixLength": lambda network: network.prefixlen,
    "masked": lambda network: network,
}  # fmt: skip
