"""Validation rules of custom resources in CEL: the language as Kubernetes extends it, and the rules at the real API server."""

from collections.abc import Iterator
from typing import Any

import pytest

from minikube_py.api import errors
from minikube_py.api.cel import program, values
from minikube_py.api.cel.program import CompileError, EvaluationError
from minikube_py.api.gvr import GVR
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests import harness
from tests.apiserver.test_custom_resources import CRDS, definition, gvr, refused

SELF: Obj = {
    "replicas": 3, "text": "A,b", "url": "https://user@host:8/p?q=1", "numbers": [3, 1, 2],
    "items": [{"name": "abc"}, {"name": "b"}], "deep": {"a": {"b": 1}},
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "self.items.map(x, x.name).join(',') == 'abc,b'",
        "self.items.all(x, self.items.exists_one(y, x.name == y.name))",
        "self.items.filter(x, x.name.startsWith('a')).size() == 1",
        "url(self.url).getHost() == 'host:8' && url(self.url).getEscapedPath() == '/p' && !isURL('a')",
        "quantity('1Gi').isGreaterThan(quantity('1Mi')) && quantity('1Gi') == quantity('1024Mi') && !isQuantity('x')",
        "self.?nothing.orValue(3) == 3 && !optional.none().hasValue() && optional.of(1).value() == 1",
        "self.?deep.a.b.orValue(2) == 1 && !self.?deep.x.y.hasValue() && self.numbers[?7].orValue(0) == 0",
        "self.numbers.sum() == 6 && self.numbers.max() == 3 && self.numbers.min() == 1 && !self.numbers.isSorted()",
        "self.text.lowerAscii().split(',') == ['a', 'b'] && self.text.substring(2) == 'b' && self.text.indexOf(',') == 1",
        "self.text.find('[a-z]') == 'b' && self.text.matches('^[A-Z],') && self.text.replace('A', 'B') == 'B,b'",
        "ip('1.2.3.4').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.1.1') && !isIP('1.2.3')",
        "has(self.deep.a) && !has(self.deep.z) && self.deep['a'].b == 1",
        "'a.?b' == 'a.' + '?b'",
    ],
)
def test_the_language(text: str) -> None:
    assert program.compile(text).evaluate({"self": values.to_cel(SELF)})


def test_errors_are_short() -> None:
    with pytest.raises(CompileError, match=r"ERROR: <input>:1:7: Syntax error"):
        program.compile("self. (")
    with pytest.raises(EvaluationError, match=r"^no such key: nothing$"):
        program.compile("self.nothing > 1").evaluate({"self": values.to_cel(SELF)})
    with pytest.raises(EvaluationError, match=r"^no such overload$"):
        program.compile("self.replicas + 'x'").evaluate({"self": values.to_cel(SELF)})


def test_values_have_the_types_of_their_schema() -> None:
    schema = {
        "type": "object",
        "properties": {
            "ratio": {"type": "number"}, "at": {"type": "string", "format": "date-time"}, "my-name": {"type": "string"},
            "namespace": {"type": "string"}, "for": {"type": "string", "format": "duration"},
        },
    }  # fmt: skip
    obj = {"ratio": 1, "at": "2020-01-01T00:00:00Z", "my-name": "x", "namespace": "n", "for": "90m"}
    text = (
        "self.ratio < 1.5 && self.at < timestamp('2021-01-01T00:00:00Z') && self.my__dash__name == 'x' && "
        "self.__namespace__ == 'n' && self.__for__ > duration('1h')"
    )
    assert program.compile(text).evaluate({"self": values.to_cel(obj, schema)})


def _schema(*rules: Obj) -> Obj:
    properties: Obj = {
        "min": {"type": "integer"}, "max": {"type": "integer"},
        "name": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "is immutable"}]},
        "parts": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object", "required": ["name"],
                "properties": {"name": {"type": "string"}, "count": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.count >= oldSelf.count", "message": "may not shrink"}],
            },
        },
    }  # fmt: skip
    spec: Obj = {"type": "object", "properties": properties, "x-kubernetes-validations": list(rules)}
    return {"type": "object", "properties": {"spec": spec}}


def _crd(plural: str, *rules: Obj) -> Obj:
    version: Obj = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": _schema(*rules)}}
    return definition(plural, versions=[version])


@pytest.fixture
def ranges(client: Client) -> Iterator[GVR]:
    crd = _crd(
        "ranges",
        {"rule": "!has(self.min) || self.min <= self.max", "messageExpression": "'min ' + string(self.min) + ' is too large'",
         "fieldPath": ".min"},
        {"rule": "!has(self.max) || self.max < 100", "reason": "FieldValueForbidden", "message": "too far"},
    )  # fmt: skip
    client.create(CRDS, crd)
    yield gvr(crd)
    client.delete(CRDS, crd["metadata"]["name"])
    harness.eventually(lambda: _gone(client, crd["metadata"]["name"]), what="the definition gone")


def _gone(client: Client, name: str) -> bool:
    """Deletion is asynchronous: the objects of a definition go first."""
    try:
        client.get(CRDS, name)
    except errors.NotFound:
        return True
    return False


def _made(res: GVR, called: str, /, **spec: Any) -> Obj:
    return {"apiVersion": "shop.example.com/v1", "kind": res.kind, "metadata": {"name": called}, "spec": spec}


def test_rules_judge_what_is_written(client: Client, ranges: GVR, namespace: str) -> None:
    with pytest.raises(errors.Invalid) as error:
        client.create(ranges, _made(ranges, "a", min=2, max=1), namespace)
    assert refused(error) == [("spec.min", 'Invalid value: "object": min 2 is too large')]
    with pytest.raises(errors.Invalid) as error:
        client.create(ranges, _made(ranges, "a", max=200), namespace)
    assert refused(error) == [("spec", "Forbidden: too far")]
    with pytest.raises(errors.Invalid) as error:
        client.create(ranges, _made(ranges, "a", min=2), namespace)
    assert refused(error)[0][1].startswith('Invalid value: "object": no such key: max evaluating rule: ')
    assert client.create(ranges, _made(ranges, "a", min=1, max=2), namespace)["spec"] == {"min": 1, "max": 2}


def test_rules_about_changes_compare_with_what_was(client: Client, ranges: GVR, namespace: str) -> None:
    client.create(
        ranges, _made(ranges, "a", name="x", parts=[{"name": "p", "count": 2}, {"name": "q", "count": 1}]), namespace
    )
    with pytest.raises(errors.Invalid) as error:
        client.patch(ranges, "a", {"spec": {"name": "y"}}, namespace, kind="merge")
    assert refused(error) == [("spec.name", 'Invalid value: "string": is immutable')]
    shrunk = {"spec": {"parts": [{"name": "q", "count": 0}, {"name": "p", "count": 3}]}}
    with pytest.raises(errors.Invalid) as error:
        client.patch(ranges, "a", shrunk, namespace, kind="merge")
    assert refused(error) == [("spec.parts[0]", 'Invalid value: "object": may not shrink')]
    grown = {"spec": {"parts": [{"name": "q", "count": 1}, {"name": "new", "count": 0}]}}
    client.patch(ranges, "a", grown, namespace, kind="merge")


@pytest.mark.parametrize(
    ("rule", "field", "message"),
    [
        ({"rule": "self.min <="}, "rule", "compilation failed: ERROR: <input>:1:"),
        ({"rule": "self.mini > 1"}, "rule", "undefined field 'mini'"),
        ({"rule": " "}, "rule", "Required value: rule is not specified"),
        ({"rule": "true", "reason": "No"}, "reason", 'Unsupported value: "No"'),
        (
            {"rule": "true", "messageExpression": "self.none"},
            "messageExpression",
            "messageExpression compilation failed",
        ),
    ],
)
def test_a_rule_that_is_none_is_refused_with_its_definition(
    client: Client, rule: Obj, field: str, message: str
) -> None:
    with pytest.raises(errors.Invalid) as error:
        client.create(CRDS, _crd("rules", rule))
    [(path, said)] = refused(error)
    assert path == f"spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].{field}"
    assert message in said
