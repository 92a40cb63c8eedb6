"""What a rule may cost at most, from the sizes that its schema allows, before there is any object.

Who calls it: validation of CustomResourceDefinitions. Invariant: pure; the estimate is never above upstream's, so no rule
is refused that upstream takes: what is not understood costs nothing.
Upstream: cel-go/checker/cost.go, apiserver/pkg/cel/common/schemas.go, apiextensions-apiserver/pkg/apis/apiextensions/
validation.
"""

from collections.abc import Mapping
from typing import Any

from minikube_py.api.cel.program import BINDERS
from minikube_py.api.cel.values import escape
from minikube_py.api.types import Obj

PER_RULE, PER_DEFINITION = 10_000_000, 100_000_000
_REQUEST = 3 * 1024 * 1024
_SMALLEST = {"string": 2, "boolean": 4, "array": 2, "object": 2}
_SMALLEST_FORMATS = {"date-time": 22, "date": 12, "duration": 4}


def estimate(tree: Any, schema: Obj) -> int:
    """The cost of a parsed rule about one value of this schema, in units."""
    return _cost(tree, {"self": schema, "oldSelf": schema})[0]


def too_much(what: str, cost: int, limit: int) -> str:
    """What is said about a cost above its limit."""
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{what} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, and "
        "maxLength where arrays, maps, and strings are declared)"
    )


def smallest(schema: Obj) -> int:
    """The bytes that a value of this schema takes at least."""
    kind = schema.get("type")
    size = _SMALLEST_FORMATS.get(schema.get("format") or "") or _SMALLEST.get(kind or "", 1)
    properties = schema.get("properties") or {}
    for name in schema.get("required") or ():
        if name in properties and "default" not in properties[name]:
            size += len(name) + 4 + smallest(properties[name])
    return int(size)


def cardinality(schema: Obj) -> int:
    """How many values of this schema one object can hold, where nothing limits it but the size of a request."""
    return _REQUEST // (smallest(schema) + 1)


def most(schema: Obj) -> int | None:
    """How many entries a list or map may have, as the schema says; None when it does not say."""
    found = schema.get("maxItems" if schema.get("type") == "array" else "maxProperties")
    return max(int(found), 0) if found is not None else None


def _entries(schema: Obj | None) -> tuple[int, Obj | None]:
    """(the most entries, their schema) of what a macro walks over."""
    schema = schema or {}
    inner = schema.get("items") or schema.get("additionalProperties")
    if not isinstance(inner, dict):
        return 0, None
    overhead = 1 if "items" in schema else 6
    limit = most(schema)
    return (_REQUEST - 2) // (smallest(inner) + overhead) if limit is None else limit, inner


Scope = Mapping[str, Obj | None]


def _cost(tree: Any, scope: Scope) -> tuple[int, Obj | None]:
    """(cost, schema of the value as far as that is plain)."""
    children = [child for child in tree.children if hasattr(child, "data")]
    match tree.data:
        case "ident":
            return 1, scope.get(str(tree.children[0]))
        case "member_dot":
            cost, holder = _cost(children[0], scope)
            return cost + 1, _property(holder, str(tree.children[1]))
        case "member_index":
            cost, holder = _cost(children[0], scope)
            return cost + 1 + _cost(children[1], scope)[0], _entries(holder)[1]
        case "member_dot_arg":
            return _called(tree, scope)
    costs = [_cost(child, scope) for child in children]
    total = sum(cost for cost, _ in costs) + (len(children) > 1)
    return total, costs[0][1] if len(costs) == 1 else None


def _called(tree: Any, scope: Scope) -> tuple[int, Obj | None]:
    """A method, or a macro, whose body is paid for once per entry."""
    cost, target = _cost(tree.children[0], scope)
    arguments = tree.children[2].children if len(tree.children) > 2 else []
    bound = BINDERS.get((str(tree.children[1]), len(arguments)), 0)
    if not bound or str(tree.children[1]) in ("bind", "optMap", "optFlatMap"):
        return cost + 1 + sum(_cost(one, scope)[0] for one in arguments[bound:]), None
    count, inner = _entries(target)
    names = [str(next(iter(name.scan_values(lambda _: True)), "")) for name in arguments[:bound]]
    is_list = (target or {}).get("type") == "array"
    values = [inner if is_list else {"type": "string"}] if bound == 1 else [None, inner]
    body = {**scope, **dict(zip(names, values, strict=True))}
    return cost + 1 + count * (1 + sum(_cost(one, body)[0] for one in arguments[bound:])), None


def _property(schema: Obj | None, name: str) -> Obj | None:
    properties = (schema or {}).get("properties") or {}
    found = next((inner for key, inner in properties.items() if escape(key) == name), None)
    if found is None and isinstance((schema or {}).get("additionalProperties"), dict):
        found = (schema or {})["additionalProperties"]
    return found
