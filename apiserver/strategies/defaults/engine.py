"""The interpreter of the defaulting tables: paths with [] for lists, and the value or function that fills them.

Who calls it: the tables beside it, which `apiserver/strategies` puts into each kind's strategy.
Invariant: only what is absent is filled in (absent: no key, null, or the empty string, as upstream's zero values), so
running a table twice changes nothing. A table never creates the parents of what it fills: a rule for the parent stands
before it.
Upstream: pkg/apis/*/v1/defaults.go and zz_generated.defaults.go.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from minikube_py.api.types import Obj

Rules = tuple[tuple[str, Any], ...]
"""(path, value): `value` is constant, or a function of the object that holds the field, returning None for "leave it".
A path that ends in a dot ("spec.containers[].") names the object itself, and the function changes it."""


class NonZero(NamedTuple):
    """A default that also replaces 0, for upstream's plain (non-pointer) integers."""

    value: Any


class _Node:
    """One level of the compiled tree: what to set here, and where to go down."""

    __slots__ = ("below", "here")

    def __init__(self) -> None:
        self.here: list[tuple[str, Any, bool]] = []
        self.below: dict[tuple[str, bool], _Node] = {}

    def add(self, name: str, value: Any) -> None:
        zero = isinstance(value, NonZero)
        self.here.append((name, value.value if zero else value, zero))

    def child(self, part: str) -> "_Node":
        return self.below.setdefault((part.removesuffix("[]"), part.endswith("[]")), _Node())

    def run(self, obj: Obj) -> None:
        for name, value, zero in self.here:
            if not name:
                value(obj)
                continue
            present = obj.get(name)
            if present is None or present == "" or (zero and present == 0):
                filled = value(obj) if callable(value) else value
                if filled is not None:
                    obj[name] = copy.deepcopy(filled) if filled.__class__ in _CONTAINERS else filled
        for (name, many), node in self.below.items():
            inner = obj.get(name)
            if not inner and inner.__class__ is not dict:
                continue
            if many:
                for item in inner if inner.__class__ is list else ():
                    if item.__class__ is dict:
                        node.run(item)
            elif inner.__class__ is dict:
                node.run(inner)


_CONTAINERS = (dict, list)


def compiled(*tables: Iterable[tuple[str, Any]]) -> Callable[[Obj], None]:
    """Turn tables into one function that defaults an object in place. Parents are filled before children."""
    root = _Node()
    for table in tables:
        for path, value in table:
            node = root
            *parents, leaf = path.split(".")
            for part in parents:
                node = node.child(part)
            node.add(leaf, value)
    return root.run


def under(prefix: str, rules: Rules) -> Rules:
    """The same rules, for an object that lies at `prefix` of another."""
    return tuple((f"{prefix}.{path}", value) for path, value in rules)
