"""Constructors of field errors, in upstream's words, and the few loops that every validation needs.

Who calls it: every validation in this package. Invariant: a message here is what upstream's clients and scripts expect to
read, character for character; a path is written as `spec.containers[0].name` or `metadata.labels[key]`.
Upstream: staging/src/k8s.io/apimachinery/pkg/util/validation/field/errors.go.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj


def shown(value: Any) -> str:
    """A value as Go's error text shows it: strings quoted, numbers and true/false bare, the rest as JSON."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def required(path: str, why: str = "") -> Cause:
    return Cause("FieldValueRequired", f"Required value: {why}" if why else "Required value", path)


def invalid(path: str, value: Any, why: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {shown(value)}: {why}", path)


def unsupported(path: str, value: Any, allowed: Iterable[str]) -> Cause:
    listed = ", ".join(f'"{item}"' for item in sorted(allowed))
    return Cause("FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {listed}", path)


def forbidden(path: str, why: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", path)


def duplicate(path: str, value: Any) -> Cause:
    return Cause("FieldValueDuplicate", f"Duplicate value: {shown(value)}", path)


def missing(path: str, value: Any) -> Cause:
    return Cause("FieldValueNotFound", f"Not found: {shown(value)}", path)


def too_long(path: str, limit: int) -> Cause:
    return Cause("FieldValueTooLong", f"Too long: may not be more than {limit} bytes", path)


def too_many(path: str, count: int, limit: int) -> Cause:
    return Cause("FieldValueTooMany", f"Too many: {count}: must have at most {limit} items", path)


def one_of(path: str, value: Any, allowed: Sequence[str]) -> list[Cause]:
    """An enumeration: missing is `Required value`, anything else outside it `Unsupported value`."""
    if value in (None, ""):
        return [required(path)]
    return [] if value in allowed else [unsupported(path, value, allowed)]


def optional_one_of(path: str, value: Any, allowed: Sequence[str]) -> list[Cause]:
    return [] if value in (None, "") else one_of(path, value, allowed)


def syntax(path: str, value: Any, rule: Callable[[Any], str]) -> list[Cause]:
    """A value against one of the rules of `names.py`."""
    problem = rule(value)
    return [invalid(path, value, problem)] if problem else []


def required_syntax(path: str, value: Any, rule: Callable[[Any], str]) -> list[Cause]:
    return [required(path)] if value in (None, "") else syntax(path, value, rule)


def not_negative(path: str, value: int | None) -> list[Cause]:
    return [] if value is None or value >= 0 else [invalid(path, value, "must be greater than or equal to 0")]


def immutable(path: str, new: Any, old: Any) -> list[Cause]:
    return [] if new == old else [invalid(path, new, "field is immutable")]


def unique(path: str, items: Sequence[Obj], *keys: str, leaf: str = "") -> list[Cause]:
    """Entries of a list must differ in `keys`; the error names the later one (`leaf`: under this field of it)."""
    causes, seen = [], set()
    for index, item in enumerate(items):
        value = tuple(item.get(key) for key in keys)
        if value in seen:
            at = f"{path}[{index}]" + (f".{leaf}" if leaf else "")
            causes.append(duplicate(at, value[0] if len(value) == 1 else dict(zip(keys, value, strict=True))))
        seen.add(value)
    return causes


def each(path: str, items: Any, check: Callable[[Obj, str], list[Cause]]) -> list[Cause]:
    """Run a check over a list of objects, with each one's path."""
    return [cause for index, item in enumerate(items or ()) for cause in check(item, f"{path}[{index}]")]
