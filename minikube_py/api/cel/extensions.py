"""Functions with types of their own: named formats, semantic versions, and the formatting of texts.

Who uses it: `library.py`. Invariant: pure; what a function cannot take raises ValueError.
Upstream: apiserver/pkg/cel/library/{format,semverlib}.go, cel-go/ext/formatting.go.
"""

import re
from collections.abc import Callable
from functools import total_ordering
from typing import Any

from minikube_py.api import formats, names
from minikube_py.api.cel.optional import Optional

METHODS = ("validate", "major", "minor", "patch", "compareTo", "isGreaterThan", "isLessThan")
_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:[0-9A-Za-z-]+)(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?"
)


class Format:
    """A named format. `check` says what is wrong with a text, "" for nothing."""

    def __init__(self, name: str, check: Callable[[str], str]) -> None:
        self.name, self._check = name, check
        self.cel_methods = {"validate": self.validate}

    def validate(self, text: str) -> Optional:
        wrong = self._check(str(text))
        return Optional(True, [wrong]) if wrong else Optional(False)


def _prefix(check: Callable[[str], str]) -> Callable[[str], str]:
    """The rule for what a name may begin with: the dash at the end is for what follows."""
    return lambda text: check(text[:-1] + "a" if text.endswith("-") else text)


def _json_format(name: str) -> Callable[[str], str]:
    return lambda text: "" if formats.FORMATS[name](text) else f"does not validate as {name}"


FORMATS: dict[str, Format] = {
    name: Format(name, check)
    for name, check in {
        "dns1123Label": names.label, "dns1123Subdomain": names.subdomain, "dns1035Label": names.label_1035,
        "qualifiedName": names.qualified, "dns1123LabelPrefix": _prefix(names.label),
        "dns1123SubdomainPrefix": _prefix(names.subdomain), "dns1035LabelPrefix": _prefix(names.label_1035),
        "labelValue": names.label_value, **{one: _json_format(one) for one in ("uri", "uuid", "byte", "date", "datetime")},
    }.items()
}  # fmt: skip


@total_ordering
class Semver:
    """A semantic version, ordered by precedence. Raises ValueError. `normalize`: take "v1.2" for 1.2.0."""

    def __init__(self, text: str, normalize: bool = False) -> None:
        shown = str(text)
        if normalize:
            shown = shown.removeprefix("v")
            core, dash, rest = shown.partition("-")
            numbers = [str(int(part)) if part.isdecimal() else part for part in core.split(".")]
            shown = ".".join([*numbers, "0", "0"][:3] if len(numbers) < 3 else numbers) + dash + rest
        found = _SEMVER.fullmatch(shown)
        if not found:
            raise ValueError(f'semver parse error during conversion from string "{text}"')
        self.numbers = tuple(int(part) for part in found.groups()[:3])
        self.before = found[4]
        self.cel_methods: dict[str, Callable[..., Any]] = {
            "major": lambda: self.numbers[0], "minor": lambda: self.numbers[1], "patch": lambda: self.numbers[2],
            "compareTo": lambda other: (self > other) - (self < other), "isGreaterThan": lambda other: self > other,
            "isLessThan": lambda other: self < other,
        }  # fmt: skip

    def _key(self) -> tuple[Any, ...]:
        if self.before is None:
            return (*self.numbers, 1, ())
        parts = ((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in self.before.split("."))
        return (*self.numbers, 0, tuple(parts))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semver) and self._key() == other._key()

    def __lt__(self, other: "Semver") -> bool:
        return self._key() < other._key()

    __hash__ = None  # type: ignore[assignment]


def is_semver(text: str, normalize: bool = False) -> bool:
    try:
        Semver(text, normalize)
    except ValueError:
        return False
    return True


_CLAUSE = re.compile(r"%(?:\.(\d+))?(.)")


def format_text(text: str, arguments: list[Any]) -> str:
    """`"%s has %d".format([a, b])`: %s %d %f %e %b %x %X %o and %%."""
    left = list(arguments)

    def one(found: re.Match[str]) -> str:
        precision, verb = found.groups()
        if verb == "%":
            return "%"
        if not left:
            raise ValueError(f"index {len(arguments)} out of range")
        value = left.pop(0)
        match verb:
            case "s":
                return _shown(value)
            case "d":
                return str(int(value))
            case "f" | "e":
                return f"{float(value):.{precision or 6}{verb}}"
            case "b" | "o":
                return f"{int(value):{verb}}"
            case "x" | "X":
                raw = value if isinstance(value, bytes) else str(value).encode() if isinstance(value, str) else None
                return f"{int(value):{verb}}" if raw is None else raw.hex() if verb == "x" else raw.hex().upper()
        raise ValueError(f'could not parse formatting clause: unrecognized formatting clause "{verb}"')

    return _CLAUSE.sub(one, str(text))


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_shown(key)}: {_shown(one)}" for key, one in sorted(value.items())) + "}"
    if value.__class__.__name__ in ("BoolType", "bool"):
        return "true" if value else "false"
    return str(value)
