"""The parts printers are made of: columns, and the texts that many kinds share (ages, selectors, images).

Who uses it: the column tables beside it; `apiserver/table.py`. Invariant: a cell function takes a complete object and the
present moment, never fails on a missing field, and gives a string, an integer or a boolean.
Upstream: pkg/printers/internalversion/printers.go, apimachinery/pkg/util/duration.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from minikube_py.api import clock, selectors
from minikube_py.api.types import Obj

Cell = Callable[[Obj, datetime], str | int | bool]
NONE, UNKNOWN, UNSET = "<none>", "<unknown>", "<unset>"


class Column(NamedTuple):
    """One column. `priority` 0 is always shown, 1 only with `-o wide`."""

    name: str
    cell: Cell
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""

    def definition(self) -> Obj:
        return {
            "name": self.name, "type": self.type, "format": self.format, "description": self.description or self.name,
            "priority": self.priority,
        }  # fmt: skip


def column(name: str, cell: Callable[[Obj], Any], type: str = "string", *, wide: bool = False) -> Column:
    """A column that does not depend on the time."""
    return Column(name, lambda obj, now: cell(obj), type, 1 if wide else 0)


def dig(obj: Any, *path: str) -> Any:
    """The value at a path of field names, None when any step is missing."""
    for step in path:
        obj = obj.get(step) if isinstance(obj, dict) else None
    return obj


def field(path: str, missing: str = "") -> Callable[[Obj], Any]:
    """The text at a dotted path, or `missing` when it is absent or empty."""
    steps = path.split(".")
    return lambda obj: dig(obj, *steps) or missing


def number(path: str) -> Callable[[Obj], int]:
    """The number at a dotted path, 0 when it is absent."""
    steps = path.split(".")
    return lambda obj: int(dig(obj, *steps) or 0)


def flag(path: str, missing: bool = False) -> Callable[[Obj], bool]:
    """The boolean at a dotted path."""
    steps = path.split(".")

    def read(obj: Obj) -> bool:
        value = dig(obj, *steps)
        return missing if value is None else bool(value)

    return read


def size(*paths: str) -> Callable[[Obj], int]:
    """How many entries the lists or maps at these paths have together."""
    split = [path.split(".") for path in paths]
    return lambda obj: sum(len(dig(obj, *steps) or ()) for steps in split)


def human_duration(seconds: float) -> str:
    """A length of time as kubectl shows it: 90s, 5m30s, 3h, 2d4h, 400d."""
    if seconds < -1:
        return "<invalid>"
    whole = max(0, int(seconds))
    minutes, hours = whole // 60, whole // 3600
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m" + (f"{whole % 60}s" if whole % 60 else "")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return f"{days}d" + (f"{hours % 24}h" if hours % 24 else "")
    if days < 730:
        return f"{days}d"
    if days < 365 * 8:
        return f"{days // 365}y" + (f"{days % 365}d" if days % 365 else "")
    return f"{days // 365}y"


def since(moment: str | None, now: datetime, missing: str = UNKNOWN) -> str:
    """How long ago an RFC 3339 moment was."""
    if not moment:
        return missing
    try:
        return human_duration((now - clock.parse_rfc3339(moment)).total_seconds())
    except ValueError:
        return UNKNOWN


def _age(obj: Obj, now: datetime) -> str:
    return since(dig(obj, "metadata", "creationTimestamp"), now)


NAME = Column(
    "Name", lambda obj, now: dig(obj, "metadata", "name") or "", format="name", description="The object's name"
)
AGE = Column("Age", _age, description="Time since the object was created")
CREATED_AT = Column("Created At", lambda obj, now: dig(obj, "metadata", "creationTimestamp") or UNKNOWN)


def labels_text(labels: Mapping[str, str] | None) -> str:
    """A map as "a=b,c=d"."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def selector_text(selector: Obj | None) -> str:
    """A LabelSelector as text; nothing selected, or everything, is "<none>"."""
    try:
        return str(selectors.from_label_selector(selector)) or NONE
    except ValueError:
        return "<error>"


def containers(*path: str) -> tuple[Column, Column]:
    """The two wide columns about the containers of the pod spec at this path."""

    def of(obj: Obj) -> Iterable[Obj]:
        return dig(obj, *path, "containers") or ()

    return (
        column("Containers", lambda obj: ",".join(one.get("name", "") for one in of(obj)), wide=True),
        column("Images", lambda obj: ",".join(one.get("image", "") for one in of(obj)), wide=True),
    )


def more(items: list[str], limit: int = 3, empty: str = NONE) -> str:
    """A list cut after `limit` entries, saying how many there are beyond."""
    if not items:
        return empty
    rest = f" + {len(items) - limit} more..." if len(items) > limit else ""
    return ",".join(items[:limit]) + rest


def condition(obj: Obj, kind: str) -> str:
    """The status of a condition: True, False, Unknown, or "" when there is none."""
    return next((str(c.get("status")) for c in dig(obj, "status", "conditions") or () if c.get("type") == kind), "")
