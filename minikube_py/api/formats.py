"""The formats of strings that schemas may ask for: each a predicate. A format that is not here is not checked.

Who uses it: the values of custom resources, CEL. Invariant: pure.
Upstream: kube-openapi/pkg/validation/strfmt (default.go, duration.go, time.go),
apiextensions-apiserver/pkg/apiserver/validation/formats.go (the list).
"""

import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlsplit

_HEX = "[0-9a-fA-F]"
_HOST = r"([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*\.?"
_DATE_TIME = r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)"


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: compiled.fullmatch(value) is not None


def _address(version: int) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        try:
            return ipaddress.ip_address(value).version == version
        except ValueError:
            return False

    return check


def _cidr(value: str) -> bool:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return False
    return "/" in value


def _uri(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return bool(parts.scheme) or value.startswith("/")


def _byte(value: str) -> bool:
    try:
        binascii.a2b_base64(value.encode(), strict_mode=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _date(value: str) -> bool:
    try:
        datetime.strptime(value, "%Y-%m-%d")
    except ValueError:
        return False
    return len(value) == 10


def _date_time(value: str) -> bool:
    found = re.fullmatch(_DATE_TIME, value, re.ASCII)
    if not found:
        return False
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    try:
        datetime(year, month, day, hour, minute, min(second, 59))
    except ValueError:
        return False
    return second <= 60


_UNIT = (
    "(ns|us|µs|μs|ms|s|m|h|d|w|nanos?|nanoseconds?|micros?|microseconds?|millis?|milliseconds?|secs?|seconds?|mins?|"
    "minutes?|hrs?|hours?|days?|weeks?|wks?)"
)
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"

FORMATS: dict[str, Callable[[str], bool]] = {
    "byte": _byte,
    "date": _date,
    "date-time": _date_time,
    "datetime": _date_time,
    "duration": _matches(rf"0|[-+]?(\d+(\.\d*)?|\.\d+) ?{_UNIT}((\d+(\.\d*)?|\.\d+) ?{_UNIT})*"),
    "email": _matches(r"[^@\s]+@[^@\s]+"),
    "hostname": lambda value: len(value) <= 253 and _matches(_HOST)(value),
    "ipv4": _address(4),
    "ipv6": _address(6),
    "cidr": _cidr,
    "mac": _matches(
        f"{_HEX}{{2}}([:-]{_HEX}{{2}}){{5}}|({_HEX}{{2}}[:-]){{7}}{_HEX}{{2}}|{_HEX}{{4}}(\\.{_HEX}{{4}}){{2}}"
    ),
    "uri": _uri,
    "uuid": _matches(f"{_HEX}{{8}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{12}}"),
    "uuid3": _matches(f"{_HEX}{{8}}-?{_HEX}{{4}}-?3{_HEX}{{3}}-?{_HEX}{{4}}-?{_HEX}{{12}}"),
    "uuid4": _matches(f"{_HEX}{{8}}-?{_HEX}{{4}}-?4{_HEX}{{3}}-?[89abAB]{_HEX}{{3}}-?{_HEX}{{12}}"),
    "uuid5": _matches(f"{_HEX}{{8}}-?{_HEX}{{4}}-?5{_HEX}{{3}}-?[89abAB]{_HEX}{{3}}-?{_HEX}{{12}}"),
    "isbn10": _matches(r"(?:\d[- ]?){9}[\dX]"),
    "isbn13": _matches(r"(?:\d[- ]?){13}"),
    "hexcolor": _matches(f"#({_HEX}{{3}}|{_HEX}{{6}})"),
    "rgbcolor": _matches(r"rgb\((\d{1,3}),\s*(\d{1,3}),\s*(\d{1,3})\)"),
    "ssn": _matches(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "creditcard": _matches(r"(?:\d[- ]?){13,16}"),
    "k8s-short-name": lambda value: len(value) <= 63 and _matches(_LABEL)(value),
    "k8s-long-name": lambda value: len(value) <= 253 and _matches(rf"{_LABEL}(\.{_LABEL})*")(value),
}
