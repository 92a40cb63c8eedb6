"""The columns a definition prescribes for tables, and the JSON paths by which it names fields.

Who calls it: `version.py` (columns, selectable fields). Invariant: a path never fails on an object, it finds nothing; a
column without a value is null, which kubectl prints as <none>.
Upstream: apiextensions-apiserver/pkg/registry/customresource/tableconvertor, client-go/util/jsonpath (the part in use there).
"""

import operator as op
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import orjson

from apiserver.printers.columns import AGE, NAME, Column, since
from minikube_py.api.types import Obj

_STEP = re.compile(
    r"""\.(?P<name>(?:[^.\[\]\\]|\\.)+)      # .name, with \\. for a dot in it
      | \['(?P<quoted>(?:[^'\\]|\\.)*)'\]    # ['name']
      | \["(?P<double>(?:[^"\\]|\\.)*)"\]
      | \[(?P<index>-?\d+)\]
      | (?P<all>\[\*\]|\.\*)
      | \[\?\((?P<filter>.+?)\)\]
    """, re.X)  # fmt: skip
_FILTER = re.compile(r"""\s*@(?P<path>[^=!<>]*?)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>.+?))?\s*""")

Path = tuple[tuple[str, Any], ...]
"""Steps: ("name", key), ("index", n), ("all", None), ("filter", (path, operator, value))."""


def parse(text: str) -> Path:
    """A JSON path such as `.status.conditions[?(@.type=="Ready")].status`. Raises ValueError."""
    text = text.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    steps: list[tuple[str, Any]] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if not found:
            raise ValueError(f"unrecognized JSON path {text!r} at {text[at:]!r}")
        at = found.end()
        steps.append(_step(found))
    return tuple(steps)


def _step(found: re.Match[str]) -> tuple[str, Any]:
    kind = found.lastgroup
    value = found[kind] if kind else ""
    if kind == "all" or value == "*":
        return "all", None
    if kind == "index":
        return "index", int(value)
    if kind == "filter":
        parts = _FILTER.fullmatch(value)
        if not parts:
            raise ValueError(f"unrecognized filter {value!r}")
        return "filter", (parse(parts["path"]), parts["op"], _literal(parts["value"]))
    return "name", re.sub(r"\\(.)", r"\1", value)


def _literal(text: str | None) -> Any:
    if text is None:
        return None
    if text[:1] in "'\"":
        return text[1:-1]
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def find(path: Path, value: Any) -> list[Any]:
    """Everything a path leads to, in order."""
    found = [value]
    for kind, what in path:
        found = [inner for item in found for inner in _take(kind, what, item)]
    return found


def first(path: Path, value: Any) -> Any:
    """The first of `find`, None when there is nothing."""
    found = find(path, value)
    return found[0] if found else None


def _take(kind: str, what: Any, value: Any) -> Iterable[Any]:
    if kind == "name":
        return [value[what]] if isinstance(value, dict) and what in value else []
    if kind == "index":
        return [value[what]] if isinstance(value, list) and -len(value) <= what < len(value) else []
    items = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    return items if kind == "all" else [item for item in items if _holds(item, *what)]


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": op.eq, "!=": op.ne, "<": op.lt, "<=": op.le, ">": op.gt, ">=": op.ge,
}  # fmt: skip


def _holds(item: Any, path: Path, operator: str | None, wanted: Any) -> bool:
    found = find(path, item)
    if not operator or not found:
        return bool(found) and operator is None
    has = found[0]
    try:
        return _COMPARE[operator](has, wanted)
    except TypeError:
        return False


def text(value: Any) -> str:
    """A value as selectors and string columns show it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def columns(prescribed: Iterable[Obj]) -> tuple[Column, ...]:
    """The columns of `additionalPrinterColumns`; none prescribed: name and age."""
    made = [_column(one) for one in prescribed]
    return (NAME, *made) if made else (NAME, AGE)


def _column(one: Obj) -> Column:
    path, kind = parse(one["jsonPath"]), one["type"]

    def cell(obj: Obj, now: datetime) -> Any:
        found = find(path, obj)
        return _cell(kind, found[0], now) if found else None

    return Column(
        one["name"], cell, kind, one.get("priority") or 0, one.get("format") or "",
        one.get("description") or f"Custom resource definition column (in JSONPath format): {one['jsonPath']}",
    )  # fmt: skip


def _cell(kind: str, value: Any, now: datetime) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "integer":
            return int(value) if number else None
        case "number":
            return value if number else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return since(value, now, "<unknown>") if isinstance(value, str) else None
    return text(value)
