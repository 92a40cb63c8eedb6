"""Validation rules of a schema (x-kubernetes-validations): CEL expressions about a value, and about what it was before.

Who calls it: `version.py` after the schema itself found nothing wrong; `schema_checks.py` when a definition is written.
Invariant: pure; a part of an object that an update leaves as it was is not judged again; rules that mention oldSelf are about
changes, so they have nothing to say about what is new.
Upstream: apiextensions-apiserver/pkg/apiserver/schema/cel/{compilation,validation}.go.
"""

import re
from typing import Any

from apiserver.customresources.values import ABSENT
from apiserver.strategies.checks import forbidden, invalid, required, unsupported
from minikube_py.api.cel import cost, program, typecheck
from minikube_py.api.cel.optional import Optional
from minikube_py.api.cel.program import Budget
from minikube_py.api.cel.types import BOOL, DYN, STRING, of_schema
from minikube_py.api.cel.values import to_cel
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_KEY = "x-kubernetes-validations"
_BUDGET = 10_000_000
_REASONS = {
    "FieldValueInvalid": "Invalid value", "FieldValueForbidden": "Forbidden", "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
}  # fmt: skip
_OLD = re.compile(r"\boldSelf\b")


class Rules:
    """The rules of a schema and of those inside it, without the parts that have none."""

    def __init__(self, schema: Obj, *, root: bool = False) -> None:
        self.schema = _with_meta(schema) if root or schema.get("x-kubernetes-embedded-resource") else schema
        self.own: list[Obj] = schema.get(_KEY) or []
        inner = {name: Rules(one) for name, one in (schema.get("properties") or {}).items()}
        self.properties = {name: rules for name, rules in inner.items() if rules}
        self.items, self.additional = (
            found if isinstance(schema.get(key), dict) and (found := Rules(schema[key])) else None
            for key in ("items", "additionalProperties")
        )

    def __bool__(self) -> bool:
        return bool(self.own or self.properties or self.items or self.additional)


def _with_meta(schema: Obj) -> Obj:
    """Of an object that is a resource, rules see its type, its name and its generateName."""
    text: Obj = {"type": "string"}
    meta = {"type": "object", "properties": {"name": text, "generateName": text}}
    properties = {**(schema.get("properties") or {}), "apiVersion": text, "kind": text, "metadata": meta}
    return {**schema, "properties": properties}


def check(rules: Rules, value: Any, old: Any = ABSENT, path: str = "") -> list[Cause]:
    """What the rules say against a value; `old` is what it was before."""
    found: list[Cause] = []
    try:
        _walk(rules, value, old, path, found, Budget(_BUDGET))
    except _Enough as end:
        found.append(end.cause)
    return found


class _Enough(Exception):
    """What may be spent on one object is spent; `cause` says so."""

    def __init__(self, cause: Cause) -> None:
        super().__init__()
        self.cause = cause


def _walk(rules: Rules, value: Any, old: Any, path: str, found: list[Cause], budget: Budget) -> None:
    if value is None or (old is not ABSENT and old == value):
        return
    for rule in rules.own:
        found += _judge(rule, rules.schema, value, old, path, budget)
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for key, item in value.items():
            if (inner := rules.properties.get(key) or rules.additional) is not None:
                _walk(inner, item, before.get(key, ABSENT), f"{path}.{key}" if path else key, found, budget)
    elif isinstance(value, list) and rules.items is not None:
        before_items = _by_keys(old, rules.schema)
        for index, item in enumerate(value):
            _walk(
                rules.items,
                item,
                before_items.get(_keys(item, rules.schema), ABSENT),
                f"{path}[{index}]",
                found,
                budget,
            )


def _keys(item: Any, schema: Obj) -> str:
    names = schema.get("x-kubernetes-list-map-keys") or ()
    return repr([item.get(name) for name in names]) if names and isinstance(item, dict) else ""


def _by_keys(old: Any, schema: Obj) -> dict[str, Any]:
    """The former entries of a keyed list; entries of other lists cannot be told apart."""
    if not isinstance(old, list) or not schema.get("x-kubernetes-list-map-keys"):
        return {}
    return {_keys(item, schema): item for item in old}


def _judge(rule: Obj, schema: Obj, value: Any, old: Any, path: str, budget: Budget) -> list[Cause]:
    text: str = rule["rule"]
    variables = {"self": to_cel(value, schema)}
    if _OLD.search(text):
        if rule.get("optionalOldSelf"):
            variables["oldSelf"] = Optional(False) if old is ABSENT else Optional(True, to_cel(old, schema))
        elif old is ABSENT:
            return []
        else:
            variables["oldSelf"] = to_cel(old, schema)
    message = rule.get("message") or f"failed rule: {text.strip()}"
    shown = schema.get("type") or "object"
    try:
        if program.compile(text).evaluate(variables, budget):
            return []
        if rule.get("messageExpression"):
            made = program.compile(rule["messageExpression"]).evaluate(variables, budget)
            message = str(made).strip() or message
    except program.Overspent as error:
        raise _Enough(invalid(path, shown, str(error))) from None
    except (program.EvaluationError, program.CompileError) as error:
        if str(error) == program.OVERSPENT:
            why = "no further validation rules will be run due to call cost exceeds limit for rule"
            raise _Enough(invalid(path, shown, f"'{error}': {why}: {message}")) from None
        return [invalid(path, shown, f"{error} evaluating rule: {message}")]
    at = _field(path, rule.get("fieldPath") or "")
    reason = rule.get("reason") or "FieldValueInvalid"
    value_shown = f' "{shown}":' if reason in ("FieldValueInvalid", "FieldValueDuplicate") else ""
    text = f"{_REASONS[reason]}:{value_shown} {message}"
    return [Cause(reason, text if reason != "FieldValueDuplicate" else f'{_REASONS[reason]}: "{shown}"', at)]


def _field(path: str, below: str) -> str:
    return path + below if path else below.removeprefix(".")


# ---- when a definition is written ------------------------------------------------------------------------------------


def problems(schema: Obj, path: str, count: int | None, *, root: bool = False) -> tuple[list[Cause], int]:
    """What is wrong with the rules of one schema themselves (not of those inside it), and what they may cost.

    In: `count` how many such values an object can have; None when nothing but its size limits it.
    """
    total, count = 0, cost.cardinality(schema) if count is None else count
    found: list[Cause] = []
    typed = _with_meta(schema) if root or schema.get("x-kubernetes-embedded-resource") else schema
    for index, rule in enumerate(schema.get(_KEY) or ()):
        at, text = f"{path}.{_KEY}[{index}]", rule.get("rule") or ""
        if not text.strip():
            found.append(required(f"{at}.rule", "rule is not specified"))
            continue
        if rule.get("reason") and rule["reason"] not in _REASONS:
            found.append(unsupported(f"{at}.reason", rule["reason"], _REASONS))
        if "message" in rule and not rule["message"].strip():
            found.append(invalid(f"{at}.message", rule["message"], "message must be non-empty if specified"))
        for key in ("rule", "messageExpression"):
            if rule.get(key):
                wrong = _compiles(rule, key, f"{at}.{key}", typed)
                found += wrong
                if not wrong:
                    estimated = cost.estimate(program.compile(rule[key]).tree, typed) * count
                    total += estimated
                    if estimated > cost.PER_RULE:
                        found.append(
                            forbidden(f"{at}.{key}", cost.too_much("estimated rule cost", estimated, cost.PER_RULE))
                        )
    return found, total


def _compiles(rule: Obj, key: str, path: str, schema: Obj) -> list[Cause]:
    """What is wrong with the rule's expression under this key."""
    failed, result = ("compilation failed", BOOL) if key == "rule" else ("messageExpression compilation failed", STRING)
    seen = of_schema(schema)
    try:
        typecheck.check(rule[key], {"self": seen, "oldSelf": DYN if rule.get("optionalOldSelf") else seen}, (result,))
    except program.CompileError as error:
        return [invalid(path, rule[key], f"{failed}: {error}")]
    return []
