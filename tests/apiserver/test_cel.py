"""Expressions: what cel-python does not know, what they cost, and what is seen to be wrong with them beforehand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apiserver.customresources import rules, schema_checks
from minikube_py.api.cel import program, typecheck
from minikube_py.api.cel.program import Budget, CompileError, EvaluationError, Overspent
from minikube_py.api.cel.types import BOOL, DYN, INT, STRING, List, Map, Type, struct
from minikube_py.api.cel.values import from_cel, to_cel
from minikube_py.api.types import Obj

OBJECT = {
    "name": "a",
    "count": 3,
    "list": [3, 1, 2],
    "map": {"x": 1, "y": 2},
    "text": "abc",
    "none": None,
    "a-b": {"c": 1},
}
VALUES = {
    "object.?name.orValue('x')": "a",
    "object.?gone.?deeper.orValue('x')": "x",
    "object.?gone.deeper.hasValue()": False,
    "object[?'name'].value()": "a",
    "optional.of(3).optMap(x, x + 1).value()": 4,
    "optional.none().optMap(x, x + 1).hasValue()": False,
    "optional.of(3).optFlatMap(x, optional.of(x * 2)).value()": 6,
    "{?'a': object.?name, ?'b': object.?gone, 'c': 1}": {"a": "a", "c": 1},
    "[?object.?gone, 1, ?object.?count,]": [1, 3],
    "object.`a-b`.c": 1,
    "cel.bind(n, object.count, n * n)": 9,
    "object.list.map(x, x > 1, x * 10)": [30, 20],
    "object.map.transformList(k, v, k + string(v))": ["x1", "y2"],
    "object.map.transformList(k, v, v > 1, k)": ["y"],
    "object.map.transformMap(k, v, v * 2)": {"x": 2, "y": 4},
    "object.list.transformMapEntry(i, v, {string(v): i})": {"3": 0, "1": 1, "2": 2},
    "object.list.all(i, v, v >= 1 && i < 3)": True,
    "object.list.exists(i, v, i == v)": True,
    "object.list.existsOne(i, v, v == 3)": True,
    "sets.equivalent([1, 2], [2, 1]) && sets.intersects([1], [1, 2]) && !sets.contains([1], [2])": True,
    "'%s is %d of %.2f (%b, %x)%%'.format(['a', 3, 1.5, 5, 255])": "a is 3 of 1.50 (101, ff)%",
    "'%s'.format([[1, 'a', true, null]])": "[1, a, true, null]",
    "object.count == 'three'": False,
    "object.count != 'three'": True,
    "object.none == null": True,
    "has(object.gone)": False,
    "has(object.map.x)": True,
    "semver('v1.2', true).major()": 1,
    "semver('1.0.0-alpha').isLessThan(semver('1.0.0'))": True,
    "isSemver('1.0')": False,
    "format.named('dns1123Label').value().validate('a b').hasValue()": True,
    "format.uuid().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()": False,
    "ip.isCanonical('::1') && !ip.isCanonical('0:0::1')": True,
    "string(ip('10.0.0.1'))": "10.0.0.1",
    "cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16'))": True,
    "quantity('1').add(quantity('500m')).sub(1).compareTo(quantity('0.5'))": 0,
    "type(1) == int": True,
    "true || object.gone == 1": True,
}  # fmt: skip


@pytest.mark.parametrize("text", VALUES)
def test_values(text: str) -> None:
    assert from_cel(program.compile(text).evaluate({"object": to_cel(OBJECT)})) == VALUES[text]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("object.gone", "no such key: gone"),
        ("object.gone == 1", "no such key: gone"),
        ("object.text.gone", "no such overload"),
        ("has(object.gone.deeper)", "no such key: gone"),
        ("optional.none().value()", "optional.none() dereference"),
        ("semver('x')", 'semver parse error during conversion from string "x"'),
        ("[1, 2].transformMap(i, v, v.gone)", "no such overload"),
    ],
)
def test_errors(text: str, why: str) -> None:
    with pytest.raises(EvaluationError, match=f"^{why.replace('(', '.').replace(')', '.')}"):
        program.compile(text).evaluate({"object": to_cel(OBJECT)})


def test_costs_are_shared() -> None:
    budget = Budget(1_000)
    program.compile("object.count == 3").evaluate({"object": to_cel(OBJECT)}, budget)
    spent = 1_000 - budget.left
    assert 0 < spent < 200
    with pytest.raises(Overspent, match="running out of cost budget"):
        for _ in range(100):
            program.compile("object.count == 3").evaluate({"object": to_cel(OBJECT)}, budget)


def test_long_texts_cost_more() -> None:
    budget = Budget(10_000_000)
    program.compile("object.text.contains('b')").evaluate({"object": to_cel({"text": "a" * 1_000_000})}, budget)
    assert 10_000_000 - budget.left > 100_000


SEEN: dict[str, Type] = {
    "object": struct("Thing", {"count": INT, "name": STRING, "list": List(INT), "map": Map(STRING, STRING), "any": DYN}),
    "x": INT,
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "object.count > x", "object.any > 'x'", "object.list.all(i, i > 1)", "object.map['a'] == 'b'", "object.map.a == 'b'",
        "object.list.exists(i, v, i + v == 1)", "cel.bind(y, object.name, y == 'a')", "object.?name.orValue('') == ''",
        "object.list.map(i, string(i)) == ['1']", "1.0 * 2.0 > 1.0", "object == null", "'a' + object.name == 'ab'",
        "object.list + [1] == [1]", "timestamp('2020-01-01T00:00:00Z') + duration('1h') > timestamp('2020-01-01T00:00:00Z')",
    ],
)  # fmt: skip
def test_good_types(text: str) -> None:
    typecheck.check(text, SEEN, (BOOL,))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("object.count > 'a'", "found no matching overload for '_>_' applied to '(int, string)'"),
        ("object.count + object.name == 1", "found no matching overload for '_+_' applied to '(int, string)'"),
        ("object.count == object.name", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("!object.count", "found no matching overload for '!_' applied to '(int)'"),
        ("object.gone == 1", "undefined field 'gone'"),
        ("object.list.all(i, i.gone)", "type 'int' does not support field selection"),
        ("y == 1", "undeclared reference to 'y'"),
        ("object.list.all(i, j > 1)", "undeclared reference to 'j'"),
        ("gone(x) == 1", "undeclared reference to 'gone'"),
        ("x.gone() == 1", "undeclared reference to 'gone'"),
        ("x in object.map", "found no matching overload for '@in' applied to '(int, map(string, string))'"),
        ("object.count", "must evaluate to bool"),
        ("object.count >", "Syntax error"),
    ],
)
def test_bad_types(text: str, why: str) -> None:
    with pytest.raises(CompileError) as refused:
        typecheck.check(text, SEEN, (BOOL,))
    assert why in str(refused.value)


TOKENS = """object . name ( ) [ ] { } ? : , + - == ! && || in 'a' 1 true all map has cel.bind optional of i `a` Object //
" \\ null 1.5 0x size x .? [? % < exists"""
PIECES = st.sampled_from(TOKENS.split())


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=14).map("".join) | st.text(max_size=30))
def test_any_text_is_judged(text: str) -> None:
    """Whatever somebody writes is an expression with a value, without one, or none; nothing else happens."""
    try:
        made = typecheck.check(text, SEEN)
        made.evaluate({"object": to_cel(OBJECT), "x": to_cel(1)}, Budget(100_000))
    except (CompileError, EvaluationError):
        pass


# ---- what rules of custom resources may cost -------------------------------------------------------------------------------


def _schema(rule: str, **limits: int) -> Obj:
    inner = {"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": [{"rule": rule}], **limits}
    spec = {"type": "object", "properties": {"x": {"type": "array", "items": inner, **limits}}}
    return {"type": "object", "properties": {"spec": spec}}


def _problems(schema: Obj) -> str:
    return "\n".join(cause.message for cause in schema_checks.validate(schema, "schema"))


def test_a_rule_over_lists_without_limits_costs_too_much() -> None:
    rule = "self.all(s, s == 'string constant')"
    assert "estimated rule cost exceeds budget by factor of more than 100x" in _problems(_schema(rule))
    assert not _problems(_schema(rule, maxItems=100))
    assert "estimated rule cost exceeds budget by factor of 2" in _problems(
        _schema("self.all(a, self.all(b, a == b))", maxItems=190)
    )


def test_usual_rules_cost_little() -> None:
    numbers = {"type": "array", "maxItems": 725, "items": {"type": "integer"}}
    rules = [
        {"rule": "self.large.all(x, self.large.all(y, y == x))"},
        {"rule": "!has(self.name) || self.name.startsWith('a')"},
    ]
    spec = {
        "type": "object",
        "properties": {"large": numbers, "name": {"type": "string"}},
        "x-kubernetes-validations": rules,
    }
    assert not _problems({"type": "object", "properties": {"spec": spec}})


def test_a_rule_that_costs_too_much_ends_the_judging() -> None:
    numbers = {"type": "array", "maxItems": 725, "items": {"type": "integer"}}
    rule = {"rule": "self.all(x, self.all(y, y == x))"}
    schema = {
        "type": "object",
        "properties": {"large": {**numbers, "x-kubernetes-validations": [rule, {"rule": "false"}]}},
    }
    found = rules.check(rules.Rules(schema, root=True), {"large": [20] * 725})
    assert len(found) == 1
    assert "call cost exceeds limit for rule" in found[0].message
