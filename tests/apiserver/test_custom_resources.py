"""Custom resources at the real API server: a kind is defined, and served like any other from the next request on."""

from collections.abc import Iterator
from typing import Any

import pytest

from minikube_py.api import errors
from minikube_py.api.clone import clone
from minikube_py.api.gvr import GVR, new_object
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.conftest import APIServer
from tests.harness import eventually

CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)
INGRESSES = GVR("networking.k8s.io", "v1", "ingresses", "Ingress", True)
SCHEMA: Obj = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 10},
                "color": {"type": "string", "default": "red", "enum": ["red", "green", "blue"]},
                "note": {"type": "string", "nullable": True},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "port": {"x-kubernetes-int-or-string": True},
                "parts": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string"}, "count": {"type": "integer", "default": 1}},
                    },
                },
                "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            },
        },
        "status": {"type": "object", "properties": {"size": {"type": "integer"}, "selector": {"type": "string"}}},
    },
}
VERSION: Obj = {
    "name": "v1",
    "served": True,
    "storage": True,
    "schema": {"openAPIV3Schema": SCHEMA},
    "subresources": {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.selector",
        },
    },
    "selectableFields": [{"jsonPath": ".spec.color"}],
}  # fmt: skip


def definition(plural: str, group: str = "shop.example.com", **changes: Any) -> Obj:
    """A definition of the kind whose plural this is, with one version."""
    kind = plural.removesuffix("s").capitalize()
    spec: Obj = {
        "group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind, "shortNames": [plural[:3]]},
        "versions": [clone(VERSION)],
    }  # fmt: skip
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"}, "spec": {**spec, **changes},
    }  # fmt: skip


def gvr(crd: Obj, version: str = "v1") -> GVR:
    spec = crd["spec"]
    return GVR(spec["group"], version, spec["names"]["plural"], spec["names"]["kind"], spec["scope"] == "Namespaced")


def made(res: GVR, name: str, **spec: Any) -> Obj:
    return {
        "apiVersion": f"{res.group}/{res.version}",
        "kind": res.kind,
        "metadata": {"name": name},
        "spec": {"size": 3, **spec},
    }


@pytest.fixture
def shirts(client: Client) -> Iterator[GVR]:
    crd = client.create(CRDS, definition("shirts"))
    yield gvr(crd)
    client.delete(CRDS, crd["metadata"]["name"])
    eventually(lambda: not any(one["spec"]["names"]["plural"] == "shirts" for one in client.list(CRDS)["items"]))


def refused(error: pytest.ExceptionInfo[errors.APIError]) -> list[tuple[str, str]]:
    return [(cause["field"], cause["message"]) for cause in error.value.details["causes"]]


# ---- the definition itself -------------------------------------------------------------------------------------------


def test_a_definition_is_established_at_once(client: Client, shirts: GVR) -> None:
    status = client.get(CRDS, "shirts.shop.example.com")["status"]
    assert {one["type"]: one["status"] for one in status["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
    assert status["acceptedNames"]["singular"] == "shirt" and status["storedVersions"] == ["v1"]


def test_status_of_a_definition_keeps_conditions_of_others(client: Client, shirts: GVR) -> None:
    crd = client.get(CRDS, "shirts.shop.example.com")
    crd["status"]["conditions"].append({"type": "Mine", "status": "True", "reason": "r", "message": "m"})
    assert [one["type"] for one in client.update(CRDS, crd, subresource="status")["status"]["conditions"]][-1] == "Mine"
    patch = {"metadata": {"labels": {"a": "b"}}}
    assert (
        client.patch(CRDS, crd["metadata"]["name"], patch, kind="merge")["status"]["conditions"][-1]["type"] == "Mine"
    )


def test_conditions_of_others_may_be_odd(client: Client, shirts: GVR) -> None:
    """Nobody checks what is written into a definition's status: neither it nor others may suffer."""
    name = f"{shirts.plural}.{shirts.group}"
    odd = [{"op": "add", "path": "/status/conditions", "value": [{"message": "patched"}]}]
    patched = client.patch(CRDS, name, odd, kind="json", subresource="status")
    assert "patched" in [one.get("message") for one in patched["status"]["conditions"]]
    other = definition("odds")
    client.create(CRDS, other)
    try:
        eventually(lambda: client.list(gvr(other), "default"))
        eventually(lambda: "Established" in [one.get("type") for one in client.get(CRDS, name)["status"]["conditions"]])
    finally:
        client.delete(CRDS, other["metadata"]["name"])
    eventually(lambda: other["metadata"]["name"] not in [one["metadata"]["name"] for one in client.list(CRDS)["items"]])


def test_a_name_that_is_taken_waits_until_it_is_free(client: Client) -> None:
    first = client.create(CRDS, definition("hats"))
    second = definition("caps")
    second["spec"]["names"]["shortNames"] = ["hat"]
    try:
        status = client.create(CRDS, second)["status"]
        accepted = next(one for one in status["conditions"] if one["type"] == "NamesAccepted")
        assert (accepted["status"], accepted["reason"], accepted["message"]) == (
            "False", "ShortNamesConflict", '"hat" is already in use',
        )  # fmt: skip
        with pytest.raises(errors.NotFound):
            client.list(gvr(second))
    finally:
        client.delete(CRDS, first["metadata"]["name"])
    eventually(lambda: client.list(gvr(second)), what="the other's names")
    client.delete(CRDS, second["metadata"]["name"])


def test_a_definition_cannot_take_a_built_in_kind(client: Client, namespace: str) -> None:
    claim = client.create(INGRESSES, new_object(INGRESSES, "mine", namespace) | {"spec": {"ingressClassName": "x", "rules": []}
        | {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}})  # fmt: skip
    crd = definition("ingresses", "networking.k8s.io")
    crd["metadata"]["annotations"] = {"api-approved.kubernetes.io": "https://example.com"}
    status = client.create(CRDS, crd)["status"]
    assert {one["type"]: one["status"] for one in status["conditions"]} == {
        "NamesAccepted": "False",
        "Established": "False",
    }
    client.delete(CRDS, crd["metadata"]["name"])
    eventually(lambda: crd["metadata"]["name"] not in [one["metadata"]["name"] for one in client.list(CRDS)["items"]])
    assert client.get(INGRESSES, "mine", namespace)["metadata"]["uid"] == claim["metadata"]["uid"]


def test_a_restarted_server_serves_what_was_defined(fresh_apiserver: APIServer) -> None:
    client = fresh_apiserver.client()
    res = gvr(client.create(CRDS, definition("robes")))
    obj = made(res, "a")
    obj["metadata"]["finalizers"] = ["example.com/hold"]
    client.create(res, obj, "default")
    client.delete(CRDS, "robes.shop.example.com")
    fresh_apiserver.kill()
    fresh_apiserver.start()
    assert client.list(res, "default", field_selector="spec.color=red")["items"][0]["spec"]["size"] == 3
    client.patch(res, "a", {"metadata": {"finalizers": None}}, "default", kind="merge")
    eventually(lambda: not client.list(CRDS)["items"], what="what the server that was killed had begun")


def test_objects_go_before_their_definition(client: Client, namespace: str) -> None:
    crd = client.create(CRDS, definition("socks"))
    res, name = gvr(crd), crd["metadata"]["name"]
    obj = made(res, "held")
    obj["metadata"]["finalizers"] = ["example.com/hold"]
    client.create(res, obj, namespace)
    with client.watch(res, namespace, resource_version="0") as events:
        client.delete(CRDS, name)
        eventually(lambda: client.get(res, "held", namespace)["metadata"].get("deletionTimestamp"), what="the deletion")
        assert client.get(CRDS, name)["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
        with pytest.raises(
            errors.MethodNotAllowed, match="create not allowed while custom resource definition is terminating"
        ):
            client.create(res, made(res, "late"), namespace)
        client.patch(res, "held", {"metadata": {"finalizers": None}}, namespace, kind="merge")
        assert [kind for kind, _ in events][-1] == "DELETED", "the watch ends with the kind, after its last event"
    eventually(lambda: not any(one["metadata"]["name"] == name for one in client.list(CRDS)["items"]), what="its end")
    with pytest.raises(errors.NotFound):
        client.list(res)


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"type": "array", "items": {"type": "string"}}, "type", 'Invalid value: "array": must be object at the root'),
        ({"properties": {"a": {}}}, "properties[a].type", "Required value: must not be empty for specified object fields"),
        ({"properties": {"a": {"type": "array"}}}, "properties[a].items", "Required value: must be specified"),
        (
            {"properties": {"a": {"type": "string"}}, "anyOf": [{"properties": {"b": {"minLength": 1}}}]},
            "properties[b]", "Required value: because it is defined in "
            "spec.versions[0].schema.openAPIV3Schema.anyOf[0].properties[b]",
        ),
        (
            {"properties": {"a": {"type": "string", "oneOf": [{"type": "string"}]}}}, "properties[a].oneOf[0].type",
            "Forbidden: must be empty to be structural",
        ),
        (
            {"properties": {"a": {"type": "integer", "default": "x"}}}, "properties[a].default",
            'Invalid value: "string": spec.versions[0].schema.openAPIV3Schema.properties[a].default in body must be of type '
            'integer: "string"',
        ),
        (
            {"properties": {"a": {"type": "string", "x-kubernetes-list-type": "set"}}}, "properties[a].type",
            'Invalid value: "string": must be array if x-kubernetes-list-type is specified',
        ),
        (
            {"properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}},
            "properties[metadata]",
            "Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ),
    ],
)  # fmt: skip
def test_a_schema_that_is_not_structural_is_refused(client: Client, change: Obj, field: str, message: str) -> None:
    crd = definition("pants")
    crd["spec"]["versions"][0].pop("selectableFields")
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = {"type": "object", **change}
    with pytest.raises(errors.Invalid) as error:
        client.create(CRDS, crd)
    assert (f"spec.versions[0].schema.openAPIV3Schema.{field}", message) in refused(error)


# ---- the objects -----------------------------------------------------------------------------------------------------


def test_defaults_are_filled_in_and_unknown_fields_pruned(client: Client, shirts: GVR, namespace: str) -> None:
    obj = made(shirts, "a", unknown=1, free={"x": {"y": [1]}}, parts=[{"name": "p", "odd": 1}], note=None, color=None)
    spec = client.create(shirts, obj, namespace)["spec"]
    assert spec == {
        "size": 3, "color": "red", "free": {"x": {"y": [1]}}, "parts": [{"name": "p", "count": 1}], "note": None,
    }  # fmt: skip


def test_a_new_default_shows_in_what_is_stored_and_stays_with_the_next_write(client: Client, namespace: str) -> None:
    crd = client.create(CRDS, definition("coats"))
    res = gvr(crd)
    try:
        before = client.create(res, made(res, "a"), namespace)
        properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        properties["lining"] = {"type": "string", "default": "silk"}
        client.update(CRDS, crd)
        read = client.get(res, "a", namespace)
        assert (
            read["spec"]["lining"] == "silk"
            and read["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        )
        assert client.list(res, namespace)["items"][0]["spec"]["lining"] == "silk"
        written = client.update(res, read)
        assert written["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"], (
            "the default was written"
        )
        assert written["metadata"]["generation"] == 1, "and nobody changed the spec"
    finally:
        client.delete(CRDS, crd["metadata"]["name"])


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"size": 11}, "spec.size", "Invalid value: 11: spec.size in body should be less than or equal to 10"),
        ({"size": "x"}, "spec.size", 'Invalid value: "string": spec.size in body must be of type integer: "string"'),
        ({"size": None}, "spec.size", "Required value"),
        ({"color": "pink"}, "spec.color", 'Unsupported value: "pink": supported values: "red", "green", "blue"'),
        ({"parts": [{"count": 2}]}, "spec.parts[0].name", "Required value"),
        ({"parts": [{"name": "a"}, {"name": "a"}]}, "spec.parts[1]", 'Duplicate value: {"name":"a"}'),
        ({"tags": ["a", "a"]}, "spec.tags[1]", 'Duplicate value: "a"'),
        (
            {"port": True},
            "spec.port",
            'Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"',
        ),
    ],
)
def test_what_the_schema_does_not_allow_is_refused(
    client: Client, shirts: GVR, namespace: str, spec: Obj, field: str, message: str
) -> None:
    with pytest.raises(errors.Invalid) as error:
        client.create(shirts, made(shirts, "bad", **spec), namespace)
    assert refused(error) == [(field, message)]


def test_no_pattern_keeps_the_server_busy(client: Client, namespace: str) -> None:
    crd = definition("scarfs")
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["note"] = {
        "type": "string", "pattern": "^(a+)+$",
    }  # fmt: skip
    res = gvr(client.create(CRDS, crd))
    with pytest.raises(errors.Invalid, match=r"spec\.note in body should match"):
        client.create(res, made(res, "a", note="a" * 5000 + "b"), namespace)
    client.delete(CRDS, crd["metadata"]["name"])


def test_an_unchanged_part_is_not_judged_again(client: Client, namespace: str) -> None:
    crd = client.create(CRDS, definition("vests"))
    res = gvr(crd)
    try:
        obj = client.create(res, made(res, "a", size=9), namespace)
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"][
            "maximum"
        ] = 5
        client.update(CRDS, crd)
        obj = client.update(res, {**obj, "spec": {**obj["spec"], "color": "blue"}})
        with pytest.raises(errors.Invalid):
            client.update(res, {**obj, "spec": {**obj["spec"], "size": 8}})
    finally:
        client.delete(CRDS, crd["metadata"]["name"])


def test_generation_counts_the_spec_and_status_has_its_own_endpoint(
    client: Client, shirts: GVR, namespace: str
) -> None:
    obj = client.create(shirts, {**made(shirts, "a"), "status": {"size": 1}}, namespace)
    assert "status" not in obj and obj["metadata"]["generation"] == 1
    obj = client.patch(shirts, "a", {"metadata": {"labels": {"x": "y"}}}, namespace, kind="merge")
    assert obj["metadata"]["generation"] == 1
    obj["status"] = {"size": 2}
    obj["spec"]["size"] = 5
    obj["metadata"]["labels"] = {"not": "me"}
    obj = client.update(shirts, obj, subresource="status")
    assert (obj["status"], obj["spec"]["size"], obj["metadata"]["labels"]) == ({"size": 2}, 3, {"x": "y"})
    obj = client.patch(shirts, "a", [{"op": "replace", "path": "/spec/size", "value": 4}], namespace, kind="json")
    assert obj["metadata"]["generation"] == 2
    with pytest.raises(errors.UnsupportedMediaType):
        client.patch(shirts, "a", {"spec": {"size": 5}}, namespace, kind="strategic")
    del obj["metadata"]["resourceVersion"]
    with pytest.raises(errors.Invalid, match="must be specified for an update"):
        client.update(shirts, obj)


def test_scale(client: Client, shirts: GVR, namespace: str) -> None:
    client.create(shirts, made(shirts, "a"), namespace)
    client.patch(shirts, "a", {"status": {"size": 1, "selector": "a=b"}}, namespace, kind="merge", subresource="status")
    scale = client.get(shirts, "a", namespace, subresource="scale")
    assert (scale["spec"], scale["status"]) == ({"replicas": 3}, {"replicas": 1, "selector": "a=b"})
    client.patch(shirts, "a", {"spec": {"replicas": 7}}, namespace, kind="merge", subresource="scale")
    assert client.get(shirts, "a", namespace)["spec"]["size"] == 7


def test_apply_merges_keyed_lists_and_names_owners(client: Client, shirts: GVR, namespace: str) -> None:
    one = made(shirts, "a", parts=[{"name": "sleeve", "count": 2}])
    client.patch(shirts, "a", one, namespace, kind="apply", field_manager="one")
    two: Obj = {**one, "spec": {"parts": [{"name": "collar", "count": 1}]}}
    obj = client.patch(shirts, "a", two, namespace, kind="apply", field_manager="two")
    assert [part["name"] for part in obj["spec"]["parts"]] == ["sleeve", "collar"]
    with pytest.raises(errors.Conflict, match=r'conflict with "one": \.spec\.size'):
        client.patch(shirts, "a", {**one, "spec": {"size": 4}}, namespace, kind="apply", field_manager="two")
    obj = client.patch(shirts, "a", {**one, "spec": {"size": 3}}, namespace, kind="apply", field_manager="one")
    assert [part["name"] for part in obj["spec"]["parts"]] == ["collar"]
    with pytest.raises(errors.APIError, match=r"\.spec\.nothing: field not declared in schema"):
        client.patch(shirts, "a", made(shirts, "a", nothing=1), namespace, kind="apply", field_manager="one")


def test_strict_decoding_names_unknown_and_duplicate_fields(client: Client, shirts: GVR, namespace: str) -> None:
    body = (
        b'{"apiVersion":"shop.example.com/v1","kind":"Shirt","metadata":{"name":"a","odd":1},'
        b'"spec":{"size":1,"size":2,"zig":1,"free":{"k":1,"k":2}}}'
    )
    path, query = f"/apis/shop.example.com/v1/namespaces/{namespace}/shirts", {"fieldValidation": "Strict"}
    with pytest.raises(errors.BadRequest) as error:
        client.request("POST", path, query=query, body=body)
    assert error.value.message.endswith(
        'strict decoding error: duplicate field "spec.size", duplicate field "spec.free.k", unknown field "metadata.odd", '
        'unknown field "spec.zig"'
    )
    _, headers, _ = client.request("POST", path, query={"fieldValidation": "Warn"}, body=body)
    assert 'unknown field \\"spec.zig\\"' in headers["warning"]


def test_selectable_fields_select_lists_watches_and_deletes(client: Client, shirts: GVR, namespace: str) -> None:
    for name, color in (("a", "red"), ("b", "blue"), ("c", "blue")):
        client.create(shirts, made(shirts, name, color=color), namespace)
    blue = client.list(shirts, namespace, field_selector="spec.color=blue")
    assert [item["metadata"]["name"] for item in blue["items"]] == ["b", "c"]
    version = blue["metadata"]["resourceVersion"]
    with client.watch(shirts, namespace, resource_version=version, field_selector="spec.color=blue") as events:
        client.patch(shirts, "b", {"spec": {"color": "green"}}, namespace, kind="merge")
        client.patch(shirts, "a", {"spec": {"color": "blue"}}, namespace, kind="merge")
        seen = iter(events)
        assert [(kind, obj["metadata"]["name"]) for kind, obj in (next(seen), next(seen))] == [
            ("DELETED", "b"),
            ("ADDED", "a"),
        ]
    client.delete_collection(shirts, namespace, field_selector="spec.color=blue")
    assert [item["metadata"]["name"] for item in client.list(shirts, namespace)["items"]] == ["b"]
    with pytest.raises(errors.BadRequest, match=r"field label not supported: spec\.size"):
        client.list(shirts, namespace, field_selector="spec.size=3")


def test_several_versions_of_one_stored_form(client: Client, namespace: str) -> None:
    crd = definition("gloves")
    old: Obj = {**clone(VERSION), "name": "v1beta1", "storage": False}
    crd["spec"]["versions"] += [old, {**clone(old), "name": "v1alpha1", "served": False}]
    crd = client.create(CRDS, crd)
    v1, beta, alpha = (gvr(crd, version) for version in ("v1", "v1beta1", "v1alpha1"))
    try:
        obj = client.create(beta, made(beta, "a"), namespace)
        assert obj["apiVersion"] == "shop.example.com/v1beta1"
        assert client.get(v1, "a", namespace)["apiVersion"] == "shop.example.com/v1"
        assert {item["apiVersion"] for item in client.list(beta, namespace)["items"]} == {"shop.example.com/v1beta1"}
        with pytest.raises(errors.NotFound):
            client.list(alpha, namespace)
        _, _, data = client.request("GET", "/apis/shop.example.com")
        assert b'"preferredVersion":{"groupVersion":"shop.example.com/v1"' in data and b"v1alpha1" not in data
        crd["spec"]["versions"][0]["storage"], crd["spec"]["versions"][1]["storage"] = False, True
        crd = client.update(CRDS, crd)
        assert crd["status"]["storedVersions"] == ["v1", "v1beta1"]
        assert client.update(v1, client.get(v1, "a", namespace))["apiVersion"] == "shop.example.com/v1"
        crd["spec"]["versions"][1]["deprecated"] = True
        crd = client.update(CRDS, crd)
        assert (
            client.request("GET", beta.path(namespace))[1]["warning"]
            == '299 - "shop.example.com/v1beta1 Glove is deprecated"'
        )
        assert "warning" not in client.request("GET", v1.path(namespace))[1]
        crd["status"]["storedVersions"] = ["v1"]
        with pytest.raises(errors.Invalid, match="must have the storage version v1beta1"):
            client.update(CRDS, crd, subresource="status")
    finally:
        client.delete(CRDS, crd["metadata"]["name"])


def test_cluster_scope(client: Client) -> None:
    crd = client.create(CRDS, definition("mannequins", scope="Cluster"))
    res = gvr(crd)
    assert client.create(res, made(res, "a"))["metadata"].get("namespace") is None
    client.delete(res, "a")
    client.delete(CRDS, crd["metadata"]["name"])
