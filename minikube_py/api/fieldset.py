"""Sets of field paths, in the very form in which `managedFields` writes them, and their algebra.

Who uses it: `typed`, `managed_fields` and `apply`. Invariant: nothing here changes its arguments, and results share parts with
them, so that an unchanged entry costs nothing; a set holds no empty branches.
Upstream: sigs.k8s.io/structured-merge-diff/fieldpath (Set, PathElement), FieldsV1.

The form: {"f:spec": {"f:replicas": {}}} holds `.spec.replicas`; a branch that is itself a member has the key ".". A leaf
is written {} and means {".": {}}; `_branches` and `_node` go between the two.
"""

from functools import lru_cache
from typing import Any

import orjson

from minikube_py.api.types import Obj

Set = dict[str, Any]
_SELF = "."
_LEAF: Set = {_SELF: {}}


def _branches(node: Set) -> Set:
    return node or _LEAF


def _node(branches: Set) -> Set:
    return {} if len(branches) == 1 and _SELF in branches else branches


def union(a: Set, b: Set) -> Set:
    """Every path that is in either."""
    if not a or a is b:
        return b
    if not b:
        return a
    made = dict(a)
    for key, inner in b.items():
        if key not in made:
            made[key] = inner
        elif key != _SELF and made[key] is not inner:
            made[key] = _node(union(_branches(made[key]), _branches(inner)))
    return made


def difference(a: Set, b: Set) -> Set:
    """Every path of `a` that is not in `b`."""
    if not b:
        return a
    made: Set = {}
    for key, inner in a.items():
        if key not in b:
            made[key] = inner
        elif key != _SELF and (rest := difference(_branches(inner), _branches(b[key]))):
            made[key] = _node(rest)
    return made


def intersection(a: Set, b: Set) -> Set:
    """Every path that is in both."""
    made: Set = {}
    for key, inner in a.items():
        if key in b:
            if key == _SELF:
                made[key] = {}
            elif common := intersection(_branches(inner), _branches(b[key])):
                made[key] = _node(common)
    return made


def without(a: Set, b: Set) -> Set:
    """`a` without the members of `b` and everything below them."""
    made: Set = {}
    for key, inner in a.items():
        other = b.get(key)
        if other is None:
            made[key] = inner
        elif not is_member(other) and (rest := without(_branches(inner), other)):
            made[key] = _node(rest)
    return made


def is_member(node: Set) -> bool:
    """Whether the path that leads to this node is itself in the set."""
    return not node or _SELF in node


def contains(a: Set, b: Set) -> bool:
    """Whether every path of `b` is in `a`."""
    for key, inner in b.items():
        if key not in a:
            return False
        if key != _SELF and a[key] is not inner and not contains(_branches(a[key]), _branches(inner)):
            return False
    return True


def canonical(fields: Set) -> Set:
    """The same set with its members in order, which is how upstream writes sets; clients compare them byte by byte."""
    return {key: canonical(fields[key]) if fields[key] else fields[key] for key in sorted(fields)}


def paths(fields: Set, prefix: str = "") -> list[str]:
    """The members as texts, sorted: [".spec.containers[name=\"a\"].image", ".spec.replicas"]."""
    found = []
    for key, inner in sorted(fields.items()):
        if key == _SELF:
            found.append(prefix)
        elif not inner:
            found.append(prefix + _element_text(key))
        else:
            found += paths(inner, prefix + _element_text(key))
    return found


def _element_text(element: str) -> str:
    kind, _, rest = element.partition(":")
    match kind:
        case "f":
            return f".{rest}"
        case "k":
            pairs = orjson.loads(rest)
            return "[" + ",".join(f"{name}={orjson.dumps(pairs[name]).decode()}" for name in sorted(pairs)) + "]"
        case "v":
            return f"[={rest}]"
    return f"[{rest}]"


def value_element(value: Any) -> str:
    """The path element of an entry of a set-like list."""
    return "v:" + orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


_DEFAULT_KEYS = {"protocol": "TCP"}  # what an element that omits a key field is taken to have (ports)


def item_element(item: Obj, keys: tuple[str, ...]) -> str:
    """The path element of an entry of a keyed list; an entry without any of its keys counts as having an empty one."""
    if item.__class__ is not dict:  # of the wrong type, which validation is about to say
        return value_element(item)
    if len(keys) == 1:
        value = item.get(keys[0])
        if value.__class__ is str:
            return _one_key(keys[0], value)
    found = {key: item.get(key, _DEFAULT_KEYS.get(key)) for key in keys}
    found = {key: value for key, value in found.items() if value is not None}
    return "k:" + orjson.dumps(found or {keys[0]: ""}, option=orjson.OPT_SORT_KEYS).decode()


@lru_cache(maxsize=1024)
def _one_key(key: str, value: str) -> str:
    return "k:" + orjson.dumps({key: value}).decode()
