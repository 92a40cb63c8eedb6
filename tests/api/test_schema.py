"""Schemas: what is compiled, what decoding does to an object, and the words of its refusals."""

import copy
from pathlib import Path
from typing import Any

import pytest

from minikube_py.api import schema, schema_cache
from minikube_py.api.types import Obj

SCHEMAS = schema.load()


def node(group: str, version: str, kind: str) -> schema.Node:
    found = SCHEMAS.for_gvk(group, version, kind)
    assert found is not None
    return found


DEPLOYMENT = node("apps", "v1", "Deployment")


def deployment() -> Obj:
    container = {"name": "a", "image": "b", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}, "args": ["x"]}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x", "labels": {"a": "b"}},
        "spec": {"replicas": 3, "selector": {}, "template": {"spec": {"containers": [container]}}},
    }  # fmt: skip


def test_every_definition_compiles() -> None:
    assert len([SCHEMAS.definition(name) for name in SCHEMAS.names()]) > 700


def test_merge_keys_and_gvks() -> None:
    spec = DEPLOYMENT.properties["spec"]
    assert spec.properties["strategy"].strategy == ("retainKeys",)
    assert SCHEMAS.definition("io.k8s.api.apps.v1.DeploymentStrategy").strategy == ()
    containers = spec.properties["template"].properties["spec"].properties["containers"]
    assert (containers.merge_key, containers.map_keys, containers.list_type) == ("name", ("name",), "map")
    ports = node("", "v1", "Service").properties["spec"].properties["ports"]
    assert (ports.merge_key, ports.map_keys) == ("port", ("port", "protocol"))
    assert DEPLOYMENT.gvks == (("apps", "v1", "Deployment"),)
    assert SCHEMAS.for_gvk("apps", "v1", "Nothing") is None
    assert node("apps", "v1", "DeleteOptions") is node("", "v1", "DeleteOptions")


def test_coerce_canonicalises_drops_and_reports() -> None:
    given = deployment()
    given["metadata"] |= {"annotations": {}, "creationTimestamp": None, "unknownMeta": 1}
    given["spec"]["unknown"] = {"a": {"b": 1}}
    before = copy.deepcopy(given)
    made, unknown = schema.coerce(DEPLOYMENT, given)
    assert given == before
    assert unknown == ["metadata.unknownMeta", "spec.unknown"]
    assert unknown == schema.unknown_fields(DEPLOYMENT, given)
    expected = deployment()
    expected["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] = {"cpu": "500m", "memory": "1Gi"}
    assert made == expected
    assert schema.coerce(DEPLOYMENT, made) == (expected, [])
    assert schema.prune(DEPLOYMENT, {"spec": {"a": 1, "replicas": "as it is"}}) == {"spec": {"replicas": "as it is"}}


def test_times_and_nulls_inside() -> None:
    event = node("", "v1", "Event")
    made, _ = schema.coerce(
        event, {"eventTime": "2026-01-02T03:04:05Z", "firstTimestamp": "2026-01-02T03:04:05.9+02:00"}
    )
    assert made == {"eventTime": "2026-01-02T03:04:05.000000Z", "firstTimestamp": "2026-01-02T01:04:05Z"}
    for bad in ("2026-01-02T03:04:05", "2026-01-02", "20260102T030405Z", "2026-13-01T00:00:00Z", ""):
        with pytest.raises(schema.DecodeError, match="parsing time"):
            schema.coerce(event, {"firstTimestamp": bad})
    made, _ = schema.coerce(node("", "v1", "ConfigMap"), {"data": {"a": None}, "immutable": None})
    assert made == {"data": {"a": ""}}
    limits = node("", "v1", "LimitRange")
    assert schema.coerce(limits, {"spec": {"limits": None}})[0] == {"spec": {"limits": []}}
    assert schema.validate(limits, {"spec": {}}) == []


FIELD = "json: cannot unmarshal {} into Go struct field {} of type {}"
TEMPLATE = ("spec", "template", "spec")
WRONG: list[tuple[tuple[str | int, ...], Any, str]] = [
    (("spec", "replicas"), "x", FIELD.format("string", "DeploymentSpec.spec.replicas", "int32")),
    (("spec", "replicas"), 1.5, FIELD.format("number 1.5", "DeploymentSpec.spec.replicas", "int32")),
    (("spec", "replicas"), 2**31, FIELD.format("number 2147483648", "DeploymentSpec.spec.replicas", "int32")),
    (("spec",), [], FIELD.format("array", "Deployment.spec", "v1.DeploymentSpec")),
    (("spec", "paused"), "yes", FIELD.format("string", "DeploymentSpec.spec.paused", "bool")),
    (("metadata", "labels", "a"), 1, FIELD.format("number", "ObjectMeta.metadata.labels", "string")),
    (("metadata", "labels"), "a", FIELD.format("string", "ObjectMeta.metadata.labels", "map[string]string")),
    ((*TEMPLATE, "containers"), {}, FIELD.format("object", "PodSpec.spec.template.spec.containers", "[]v1.Container")),
    (
        (*TEMPLATE, "containers", 0, "args", 0),
        True,
        FIELD.format("bool", "Container.spec.template.spec.containers.args", "string"),
    ),
    ((*TEMPLATE, "containers", 0, "resources", "limits", "cpu"), "x", "quantities must match the regular expression"),
    (("metadata", "creationTimestamp"), "soon", 'parsing time "soon" as "2006-01-02T15:04:05Z07:00": cannot parse'),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_wrong_types_in_upstreams_words(path: tuple[str | int, ...], value: Any, message: str) -> None:
    obj = deployment()
    inner: Any = obj
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(schema.DecodeError) as caught:
        schema.coerce(DEPLOYMENT, obj)
    assert str(caught.value).startswith(message)


def test_base64_and_int_or_string() -> None:
    secret = node("", "v1", "Secret")
    assert schema.coerce(secret, {"data": {"a": "YWI="}})[0] == {"data": {"a": "YWI="}}
    with pytest.raises(schema.DecodeError, match="illegal base64 data at input byte 0"):
        schema.coerce(secret, {"data": {"a": "!!"}})
    service = node("", "v1", "Service")
    for good in (80, "http"):
        assert schema.coerce(service, {"spec": {"ports": [{"port": 1, "targetPort": good}]}})[1] == []
    with pytest.raises(schema.DecodeError, match=r"number 1\.5 into Go value of type int32"):
        schema.coerce(service, {"spec": {"ports": [{"port": 1, "targetPort": 1.5}]}})


def test_required_fields() -> None:
    obj = deployment()
    del obj["spec"]["selector"]
    obj["spec"]["template"]["spec"]["containers"][0].pop("name")
    obj["status"] = {"conditions": [{"type": "Available"}]}
    fields = [cause.field for cause in schema.validate(DEPLOYMENT, obj)]
    assert sorted(fields) == ["spec.selector", "spec.template.spec.containers[0].name"]
    assert schema.validate(DEPLOYMENT, deployment()) == []


def test_recursive_kinds_compile() -> None:
    crd = node("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
    inner = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string", "zz": 1}}}},
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": inner}}
    _, unknown = schema.coerce(crd, {"spec": {"versions": [version]}})
    assert unknown == ["spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.a.zz"]


def test_derived_file_is_made_used_and_survives_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = schema_cache.compact()
    [file] = (tmp_path / "minikube-py").iterdir()
    assert schema_cache.compact() == first
    file.write_bytes(b"rubbish")
    assert schema_cache.compact() == first
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert schema_cache.compact() == first
