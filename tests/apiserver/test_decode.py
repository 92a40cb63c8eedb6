"""Bodies into objects, and the exact words of every refusal."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apiserver import decode
from apiserver.decode import Kind
from minikube_py.api import errors, schema

DEPLOYMENT = Kind("apps", "v1", "Deployment")
NODE = schema.load().for_gvk("apps", "v1", "Deployment")
HEAD = 'Deployment in version "v1" cannot be handled as a Deployment: '


def run(body: Any, content_type: str = "application/json", field_validation: str = "Warn") -> tuple[Any, list[str]]:
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return decode.decode(data, content_type, DEPLOYMENT, NODE, field_validation=field_validation)


def test_plain_object_gets_its_type_first() -> None:
    obj, warnings = run({"metadata": {"name": "x", "labels": None}, "spec": {"replicas": 1}})
    assert list(obj) == ["apiVersion", "kind", "metadata", "spec"]
    assert obj == {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": {"replicas": 1}}
    assert warnings == []
    assert run("metadata: {name: x}\nspec: {replicas: 1}\n", "application/yaml; charset=utf-8")[0] == obj


STRICT_BODY = '{"kind":"Deployment","apiVersion":"apps/v1","spec":{"unknownField":1,"replicas":1,"replicas":2,"template":{"spec":{"containers":[{"name":"a","name":"b","foo":{"x":1}}]}}},"metadata":{"unknownMeta":1}}'  # noqa: E501
STRICT_TEXTS = [
    'unknown field "spec.unknownField"',
    'duplicate field "spec.replicas"',
    'duplicate field "spec.template.spec.containers[0].name"',
    'unknown field "spec.template.spec.containers[0].foo"',
    'unknown field "metadata.unknownMeta"',
]


def test_strict_warn_and_ignore() -> None:
    obj, warnings = run(STRICT_BODY)
    assert warnings == STRICT_TEXTS
    assert obj["spec"]["replicas"] == 2
    assert "unknownField" not in obj["spec"]
    assert run(STRICT_BODY, field_validation="Ignore") == (obj, [])
    with pytest.raises(errors.BadRequest) as caught:
        run(STRICT_BODY, field_validation="Strict")
    assert caught.value.message == f"{HEAD}strict decoding error: {', '.join(STRICT_TEXTS)}"


def test_yaml_duplicates_name_the_line() -> None:
    body = "kind: Deployment\nspec:\n  replicas: 1\n  replicas: 2\n  foo: 1\n"
    assert run(body, "application/yaml")[1] == [
        'yaml: unmarshal errors:\n  line 4: key "replicas" already set in map',
        'unknown field "spec.foo"',
    ]


REFUSED: dict[str, tuple[Any, str]] = {
    "empty": ("", "the object provided is unrecognized (must be of type Deployment): couldn't get version/kind; "
                  "json parse error: unexpected end of JSON input (<empty>)"),
    "no JSON": ("<x>", "the object provided is unrecognized (must be of type Deployment): couldn't get version/kind; "
                       "json parse error: invalid character '<' looking for beginning of value (3c783e)"),
    "cut off": ('{"a": {"b": 1}, "cccccccccccccccccccc": ', "json parse error: unexpected end of JSON input "
                                                          '({"a": {"b": 1}, "ccccccccccccc ...)'),
    "key without quotes": ("{a: 1}", "invalid character 'a' looking for beginning of object key string"),
    "trailing": ("{} {}", "invalid character '{' after top-level value"),
    "list": ("[]", "json: cannot unmarshal array into Go value of type struct"),
    "null": ("null", "json: cannot unmarshal null into Go value"),
    "wrong type": ({"spec": {"replicas": "x"}}, f"{HEAD}json: cannot unmarshal string into Go struct field "
                                                "DeploymentSpec.spec.replicas of type int32"),
    "unknown kind": ({"apiVersion": "apps/v1", "kind": "Foo"}, 'Foo in version "v1" cannot be handled as a Deployment: '
                                                              'no kind "Foo" is registered for version "apps/v1"'),
    "unknown version": ({"apiVersion": "apps/v9", "kind": "Deployment"}, 'Deployment in version "v9" cannot be handled as a '
                        'Deployment: no kind "Deployment" is registered for version "apps/v9"'),
    "other kind": ({"apiVersion": "v1", "kind": "Pod"}, 'Pod in version "v1" cannot be handled as a Deployment: converting '
                                                        "(v1.Pod) to (apps.Deployment): unknown conversion"),
    "kind is a number": ({"kind": 1}, "must be of type Deployment"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    body, message = REFUSED[name]
    with pytest.raises(errors.BadRequest) as caught:
        run(body)
    assert message in caught.value.message
    assert "\n" not in caught.value.message


def test_another_version_of_the_same_kind() -> None:
    node = schema.load().for_gvk("autoscaling", "v2", "HorizontalPodAutoscaler")
    body = b'{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler"}'
    with pytest.raises(errors.BadRequest) as caught:
        decode.decode(body, "", Kind("autoscaling", "v2", "HorizontalPodAutoscaler"), node)
    expected = "the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)"
    assert caught.value.message == expected


def test_size_and_media_type() -> None:
    with pytest.raises(errors.RequestEntityTooLarge, match="limit is 3145728"):
        run(b" " * (decode.MAX_BODY + 1))
    with pytest.raises(errors.UnsupportedMediaType, match="in an unknown format - accepted media types include"):
        run({}, "text/html")
    with pytest.raises(errors.UnsupportedMediaType, match="json-patch"):
        decode.patch_kind("application/json")
    assert decode.patch_kind("application/apply-patch+yaml; x=y") == "apply"
    with pytest.raises(errors.Invalid, match="Unsupported value"):
        decode.field_validation("Lenient")
    assert decode.field_validation("") == "Warn"


def test_malformed_yaml_is_one_refusal() -> None:
    with pytest.raises(errors.BadRequest, match="error converting YAML to JSON: yaml: line 1"):
        run("a: b: c", "application/yaml")


def test_deep_json_is_refused() -> None:
    with pytest.raises(errors.BadRequest):
        run("[" * 100_000)
    with pytest.raises(errors.BadRequest):
        run('{"metadata":' + '{"a":' * 5000 + "1" + "}" * 5001)


def test_patches_and_delete_options() -> None:
    assert decode.parse_patch(b'[{"op": "remove"}]', "json") == ([{"op": "remove"}], [])
    assert decode.parse_patch(b'{"a": 1, "a": 2}', "merge") == ({"a": 2}, ['duplicate field "a"'])
    assert decode.parse_patch(b"a: 1\n", "apply") == ({"a": 1}, [])
    for body, kind in ((b"{", "merge"), (b"a: [", "apply")):
        with pytest.raises(errors.BadRequest, match="error decoding"):
            decode.parse_patch(body, kind)
    assert decode.delete_options(b"", None) == {}
    found = decode.delete_options(
        b'{"kind":"DeleteOptions","apiVersion":"apps/v1","gracePeriodSeconds":0}', "application/json"
    )
    assert found["gracePeriodSeconds"] == 0
    with pytest.raises(errors.BadRequest):
        decode.delete_options(b'{"kind":"Pod","apiVersion":"v1"}', "application/json")


BODY = json.dumps(
    {"metadata": {"name": "x"}, "spec": {"replicas": 1, "template": {"spec": {"containers": []}}}}
).encode()


@settings(max_examples=200)
@given(
    st.one_of(st.binary(max_size=40), st.tuples(st.integers(0, len(BODY)), st.binary(max_size=3), st.integers(0, 4)))
)
def test_damaged_bodies_are_read_or_refused(damage: bytes | tuple[int, bytes, int]) -> None:
    if isinstance(damage, bytes):
        body = damage
    else:
        at, put, cut = damage
        body = BODY[:at] + put + BODY[at + cut :]
    for content_type in ("application/json", "application/yaml"):
        with contextlib.suppress(errors.APIError):
            obj, _ = run(body, content_type)
            assert obj["kind"] == "Deployment"
        with contextlib.suppress(errors.APIError):
            decode.delete_options(body, content_type)
    for kind in ("json", "merge", "strategic", "apply"):
        with contextlib.suppress(errors.APIError):
            decode.parse_patch(body, kind)
