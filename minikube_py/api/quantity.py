"""Resource quantities: "500m", "1Gi", "1e3", as exact decimals and back to upstream's canonical text.

Who uses it: the scheduler, the kubelet, admission (limits, quotas), printers, and the schema, which brings every quantity of
a request into canonical form. Invariant: exact arithmetic, never floats; what `format` writes, `parse` reads as the same
value, and canonical text stays as it is.
Upstream: apimachinery/pkg/api/resource (quantity.go, suffix.go).
"""

import re
from decimal import ROUND_CEILING, ROUND_UP, Context, Decimal
from functools import lru_cache

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIX = {power: suffix for suffix, power in _BINARY.items()}
_SYNTAX = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([eE][+-]?\d+)|(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?))", re.ASCII)
_NANO = Decimal("1e-9")
_EXACT = Context(prec=80)
_MAX = Decimal(2**63 - 1)

BAD_FORMAT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def parse(q: str | int | float) -> Decimal:
    """The exact value. Raises ValueError with upstream's words when the text is no quantity.

    As upstream: finer than nano rounds away from zero, larger than 2^63-1 is cut to that.
    """
    if isinstance(q, bool) or not isinstance(q, str | int | float):
        raise ValueError(BAD_FORMAT)
    return _parse(q if isinstance(q, str) else repr(q))[0]


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[Decimal, str]:
    """(value, notation), notation one of "binary", "decimal", "exponent"."""
    found = _SYNTAX.fullmatch(text)
    if not found:
        raise ValueError(BAD_FORMAT)
    number, exponent, suffix = found.groups()
    if exponent and abs(int(exponent[1:])) > 64:
        raise ValueError("unable to parse quantity's suffix")
    value = Decimal(number)
    if exponent:
        value, notation = _EXACT.scaleb(value, int(exponent[1:])), "exponent"
    elif suffix in _BINARY:
        value, notation = _EXACT.multiply(value, Decimal(1024 ** _BINARY[suffix])), "binary"
    else:
        value, notation = _EXACT.scaleb(value, _DECIMAL[suffix]), "decimal"
    value = max(-_MAX, min(_MAX, value))
    if value.as_tuple().exponent < -9:  # type: ignore[operator]  # only NaN and infinity have letters here
        value = value.quantize(_NANO, rounding=ROUND_UP, context=_EXACT)
    return value, notation


def value(q: str | int | float) -> int:
    """Whole units, rounded up: "1500m" → 2."""
    return int(parse(q).to_integral_value(rounding=ROUND_CEILING))


def milli(q: str | int | float) -> int:
    """Thousandths, rounded up: "1.5" → 1500."""
    return int((parse(q) * 1000).to_integral_value(rounding=ROUND_CEILING))


def format(d: Decimal | int, like: str | int | float = "", *, binary: bool = False) -> str:
    """Canonical text of a value, in the notation of `like` ("1Gi", "2", "1e3"), or with binary suffixes when `binary`.

    Out: the largest suffix that needs no fraction: 1500m, 1536Mi, 12k. Raises ValueError when `like` is no quantity.
    """
    notation = "binary" if binary else "decimal"
    if like != "":
        notation = _parse(like if isinstance(like, str) else repr(like))[1]
    return _format(Decimal(d), notation)


def _format(d: Decimal, notation: str) -> str:
    if not d:
        return "0"
    if notation == "binary" and abs(d) >= 1024 and d == d.to_integral_value():
        whole, power = int(d), 0
        while whole % 1024 == 0 and power < 6:
            whole, power = whole // 1024, power + 1
        return f"{whole}{_BINARY_SUFFIX.get(power, '')}"
    sign, digits, exponent = d.normalize(_EXACT).as_tuple()
    assert isinstance(exponent, int)
    mantissa = int("".join(map(str, digits)))
    while exponent % 3 or (notation != "exponent" and exponent > 18):
        mantissa, exponent = mantissa * 10, exponent - 1
    suffix = (f"e{exponent}" if exponent else "") if notation == "exponent" else _DECIMAL_SUFFIX[exponent]
    return f"{'-' if sign else ''}{mantissa}{suffix}"


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    d, notation = _parse(text)
    return _format(d, notation)


def canonical(q: str | int | float) -> str:
    """What the API server stores and shows for it: "0.5" → "500m", "1024Mi" → "1Gi", 2 → "2". Raises ValueError."""
    if isinstance(q, bool) or not isinstance(q, str | int | float):
        raise ValueError(BAD_FORMAT)
    return _canonical(q if isinstance(q, str) else repr(q))


def add(a: str | int | float, b: str | int | float) -> str:
    """The sum, canonical, in the notation of the first that is not zero."""
    total = parse(a) + parse(b)
    return format(total, a if parse(a) else b)


def subtract(a: str | int | float, b: str | int | float) -> str:
    """The difference a - b, canonical, in the notation of the first that is not zero."""
    return format(parse(a) - parse(b), a if parse(a) else b)


def compare(a: str | int | float, b: str | int | float) -> int:
    """-1, 0 or 1 as a is less than, equal to or greater than b."""
    left, right = parse(a), parse(b)
    return (left > right) - (left < right)
