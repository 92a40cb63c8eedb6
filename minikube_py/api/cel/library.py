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

from minikube_py.api import quantity, regex
from minikube_py.api.cel import extensions
from minikube_py.api.cel.optional import Optional, optional_field


class Namespace:
    """What stands before the dot in `optional.of(x)`."""

    def __init__(self, **methods: Callable[..., Any]) -> None:
        self.cel_methods = methods


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

    def plus(self, other: Any, sign: int = 1) -> "Quantity":
        made = Quantity("0")
        made.value = self.value + sign * (other.value if isinstance(other, Quantity) else int(other))
        return made

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


def _network_of(value: Any) -> Any:
    return ipaddress.ip_network(str(value), strict=False)


def _string(value: Any) -> Any:
    """The conversion, for what the package does not convert."""
    from celpy import celtypes

    if isinstance(value, (ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return str(value)
    if isinstance(value, celtypes.BoolType):
        return "true" if value else "false"
    return celtypes.StringType(value)


TYPES = frozenset((
    "bool", "bytes", "double", "duration", "google", "int", "list", "map", "null_type", "string", "timestamp", "type", "uint",
))  # fmt: skip

AUTHORIZER_METHODS = (
    "path", "check", "group", "resource", "subresource", "namespace", "name", "serviceAccount", "allowed", "reason", "error",
    "errored", "fieldSelector", "labelSelector",
)  # fmt: skip
"""What the API server's variable `authorizer` can be asked, so that a call of it is none of a function nobody knows."""


def namespaces() -> dict[str, Any]:
    """What stands for no value of the request: `optional`, `sets`, and the names of types."""
    return _NAMESPACES


@cache
def function_names() -> frozenset[str]:
    """Everything that may be called, by function or method."""
    from celpy.evaluation import base_functions

    from minikube_py.api.cel.evaluator import MACROS

    own = (name for one in _NAMESPACES.values() for name in one.cel_methods)
    return frozenset(
        (*_FUNCTIONS, *base_functions, *own, *AUTHORIZER_METHODS, *MACROS, *extensions.METHODS, "has", "dyn")
    )


@cache
def functions() -> dict[str, Callable[..., Any]]:
    """Name → function, results as CEL values; methods get what stands before the dot first."""
    return {name: _answering(function) for name, function in _FUNCTIONS.items()}


def _answering(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        return typed(function(*arguments))

    return call


def typed(value: Any) -> Any:
    """Python's plain types as CEL's."""
    from celpy import celtypes

    plain = {bool: celtypes.BoolType, int: celtypes.IntType, float: celtypes.DoubleType, str: celtypes.StringType}
    if value.__class__ in plain:
        return plain[value.__class__](value)
    if value.__class__ is list:
        return celtypes.ListType([typed(item) for item in value])
    if value.__class__ is dict:
        return celtypes.MapType([(typed(key), typed(item)) for key, item in value.items()])
    if value.__class__ is Optional and value.present:
        return Optional(True, typed(value.value))
    return value


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "optionalField": optional_field, "orValue": _or_value, "value": _value,
    "hasValue": lambda target: target.present, "or": lambda target, other: target if target.present else other,
    "format": extensions.format_text, "semver": extensions.Semver, "isSemver": extensions.is_semver,
    "add": lambda a, b: a.plus(b), "sub": lambda a, b: a.plus(b, -1), "string": _string,
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
    "masked": lambda network: network, "containsCIDR": lambda network, other: _network_of(other).subnet_of(network),
    "isGlobalUnicast": lambda address: not (address.is_multicast or address.is_unspecified or address.is_loopback),
    "isLinkLocalUnicast": lambda address: address.is_link_local,
    "isLinkLocalMulticast": lambda address: address in _LINK_LOCAL_MULTICAST[address.version],
}  # fmt: skip

_LINK_LOCAL_MULTICAST: dict[int, Any] = {
    4: ipaddress.ip_network("224.0.0.0/24"), 6: ipaddress.ip_network("ff02::/16"),
}  # fmt: skip

_NAMESPACES: dict[str, Namespace] = {
    "optional": Namespace(
        of=lambda value: Optional(True, value), none=lambda: Optional(False),
        ofNonZeroValue=lambda value: Optional(bool(value), value),
    ),
    "sets": Namespace(
        contains=lambda a, b: all(one in a for one in b), intersects=lambda a, b: any(one in a for one in b),
        equivalent=lambda a, b: all(one in a for one in b) and all(one in b for one in a),
    ),
    "ip": Namespace(isCanonical=lambda text: str(ipaddress.ip_address(str(text))) == str(text)),
    "jsonpatch": Namespace(escapeKey=lambda text: str(text).replace("~", "~0").replace("/", "~1")),
    "format": Namespace(
        named=lambda name: Optional(str(name) in extensions.FORMATS, extensions.FORMATS.get(str(name))),
        **{name: (lambda made=made: made) for name, made in extensions.FORMATS.items()},
    ),
}  # fmt: skip
