"""Whatever a definition or an object of a custom kind looks like, the answer is a verdict, never a 500."""

import random
from typing import Any

import pytest

from minikube_py.api import schema
from minikube_py.api.types import Obj
from tests.apiserver.test_custom_resources import definition
from tests.apiserver.test_fuzz import Maker
from tests.apiserver.wire import APPLY, MERGE, Wire

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_TYPES = ["object", "array", "string", "integer", "number", "boolean"]
_JUNK: list[Any] = [None, {}, [], "", 0, -1, True, "x", 1.5, {"a": None}, [{}], "2026-01-01T00:00:00Z", {"b": [1, "2"]}]


def _schema(pick: random.Random, depth: int = 0) -> Any:
    """A random schema: mostly structural."""
    if pick.random() < 0.02:
        return pick.choice(_JUNK)
    kind = "object" if depth == 0 else pick.choice(_TYPES if depth < 4 else _TYPES[2:])
    made: Obj = {"type": kind}
    if kind == "object" and pick.random() < 0.8:
        made["properties"] = {name: _schema(pick, depth + 1) for name in "abc" if pick.random() < 0.7}
    elif kind == "object":
        made["additionalProperties"] = pick.choice([True, _schema(pick, depth + 1)])
    elif kind == "array":
        made["items"] = _schema(pick, depth + 1)
        if pick.random() < 0.5:
            made["x-kubernetes-list-type"] = pick.choice(["atomic", "set", "map"])
            made["x-kubernetes-list-map-keys"] = ["a"]
    extras: list[Obj] = [
        {"nullable": True}, {"default": pick.choice(_JUNK)}, {"enum": [1, "x", None]}, {"pattern": "^a"}, {"pattern": "("},
        {"minimum": 1, "exclusiveMinimum": True}, {"maxLength": 2}, {"format": "date-time"}, {"required": ["a"]},
        {"anyOf": [{"required": ["a"]}, {"minLength": 1}]}, {"not": {"enum": ["x"]}}, {"oneOf": [_schema(pick, 4)]},
        {"x-kubernetes-preserve-unknown-fields": True}, {"x-kubernetes-embedded-resource": True},
        {"x-kubernetes-int-or-string": True}, {"multipleOf": pick.choice([0, 2, -1])}, {"maxItems": 1}, {"minProperties": 1},
        {"x-kubernetes-validations": [{"rule": pick.choice(["self == oldSelf", "self.a > 1", "size(self) > 0", "("])}]},
    ]  # fmt: skip
    for extra in extras:
        if pick.random() < 0.06:
            made |= extra
    return made


def _value(pick: random.Random, at: Any, depth: int = 0) -> Any:
    """A value that mostly fits a schema."""
    if not isinstance(at, dict) or pick.random() < 0.08 or depth > 6:
        return pick.choice(_JUNK)
    match at.get("type"):
        case "object":
            properties = at.get("properties") or {"a": at.get("additionalProperties"), "z": None}
            return {name: _value(pick, inner, depth + 1) for name, inner in properties.items() if pick.random() < 0.8}
        case "array":
            return [_value(pick, at.get("items"), depth + 1) for _ in range(pick.randrange(3))]
        case "integer" | "number":
            return pick.choice([0, 1, 2, 2**40, 1.5])
        case "boolean":
            return pick.choice([True, False])
    return pick.choice(["a", "abc", "", "2026-01-01T00:00:00Z"])


@pytest.mark.parametrize("seed", range(4))
def test_no_definition_breaks_the_server(wire: Wire, seed: int) -> None:
    maker = Maker(seed)
    node = schema.load().for_gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
    assert node is not None
    for _ in range(60):
        made = maker.value(node)
        obj: Obj = {
            **(made if isinstance(made, dict) else {}),
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
        }
        obj["metadata"] = {"name": "fuzzes.fuzz.example.com"}
        if maker.random.random() < 0.8 and isinstance(obj.get("spec"), dict):
            sound = definition("fuzzes", "fuzz.example.com")["spec"]
            obj["spec"] = {**obj["spec"], "group": sound["group"], "names": sound["names"], "scope": "Namespaced"}
        answer = wire("POST", CRDS, obj)
        assert answer.status < 500, f"{answer.body}\n{obj}"
        if answer.status < 300:
            for path in ("/apis/fuzz.example.com/v1/fuzzes", "/openapi/v2", "/apis"):
                assert wire("GET", path).status in (200, 404)
            wire("DELETE", f"{CRDS}/fuzzes.fuzz.example.com")


@pytest.mark.parametrize("seed", range(5))
def test_no_object_of_a_custom_kind_breaks_the_server(wire: Wire, ns: str, seed: int) -> None:
    pick = random.Random(seed)
    accepted = 0
    for number in range(12):
        plural = f"odd{seed}x{number}s"
        crd = definition(plural, "odd.example.com")
        version = crd["spec"]["versions"][0]
        del version["selectableFields"], crd["spec"]["names"]["shortNames"]
        version["schema"]["openAPIV3Schema"] = shape = _schema(pick)
        answer = wire("POST", CRDS, crd)
        assert answer.status < 500, f"{answer.body}\n{shape}"
        if answer.status >= 300:
            continue
        accepted += 1
        path = f"/apis/odd.example.com/v1/namespaces/{ns}/{plural}"
        for _ in range(12):
            made = _value(pick, shape)
            obj: Obj = {
                **(made if isinstance(made, dict) else {}),
                "apiVersion": "odd.example.com/v1",
                "kind": crd["spec"]["names"]["kind"],
            }
            obj["metadata"] = {"name": f"f{pick.randrange(3)}"}
            where = f"{path}/{obj['metadata']['name']}"
            found = [
                wire("POST", path, obj), wire("PATCH", where, obj, content_type=MERGE),
                wire("PATCH", where, obj, content_type=APPLY, fieldManager=f"f{pick.randrange(2)}"),
                wire("PATCH", f"{where}/status", obj, content_type=MERGE),
                wire("GET", path, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}),
            ]  # fmt: skip
            assert all(one.status < 500 or "not declared" in one.body["message"] for one in found), (
                f"{[one.body for one in found]}\n{obj}\n{shape}"
            )
        wire("DELETE", f"{CRDS}/{plural}.odd.example.com")
    assert accepted
