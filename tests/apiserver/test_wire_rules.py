"""The wire rules as a table: request → status and reason. Nothing here may change anything."""

from typing import Any

import pytest

from tests.apiserver.wire import APPLY, JSON_PATCH, MERGE, STRATEGIC, Wire, config_map, deployment

NS = "/api/v1/namespaces/default"
MAPS, SECRETS = f"{NS}/configmaps", f"{NS}/secrets"
DEPLOYS = "/apis/apps/v1/namespaces/default/deployments"
JSON, YAML = "application/json", "application/yaml"

# method, path, body, content type → status, reason, part of the message
RULES: list[tuple[str, str, Any, str, int, str, str]] = [
    # paths and methods
    ("GET", "/nowhere", None, JSON, 404, "NotFound", "could not find the requested resource"),
    ("GET", "/api/v1/nothings", None, JSON, 404, "NotFound", "could not find the requested resource"),
    ("GET", "/apis/apps/v2/deployments", None, JSON, 404, "NotFound", "could not find the requested resource"),
    ("GET", "/apis/no.such.group/v1/things", None, JSON, 404, "NotFound", ""),
    ("GET", f"{MAPS}/absent", None, JSON, 404, "NotFound", 'configmaps "absent" not found'),
    ("GET", f"{DEPLOYS}/absent", None, JSON, 404, "NotFound", 'deployments.apps "absent" not found'),
    ("GET", f"{MAPS}/absent/status", None, JSON, 404, "NotFound", ""),
    ("GET", f"{DEPLOYS}/absent/scale", None, JSON, 404, "NotFound", 'deployments.apps "absent" not found'),
    ("DELETE", f"{MAPS}/absent", None, JSON, 404, "NotFound", 'configmaps "absent" not found'),
    ("PUT", f"{MAPS}/absent", config_map("absent"), JSON, 404, "NotFound", 'configmaps "absent" not found'),
    ("PATCH", f"{MAPS}/absent", {}, MERGE, 404, "NotFound", 'configmaps "absent" not found'),
    ("POST", f"{MAPS}/absent", config_map("absent"), JSON, 405, "MethodNotAllowed", ""),
    ("POST", "/api/v1/configmaps", config_map("a"), JSON, 405, "MethodNotAllowed", ""),
    ("DELETE", "/api/v1/namespaces", None, JSON, 405, "MethodNotAllowed", ""),
    ("PUT", "/api/v1/componentstatuses/x", {}, JSON, 405, "MethodNotAllowed", ""),
    ("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", None, JSON, 405, "MethodNotAllowed", ""),
    # bodies
    ("POST", MAPS, "", JSON, 400, "BadRequest", ""),
    ("POST", MAPS, "{", JSON, 400, "BadRequest", ""),
    ("POST", MAPS, "[]", JSON, 400, "BadRequest", ""),
    ("POST", MAPS, "null", JSON, 400, "BadRequest", ""),
    ("POST", MAPS, "\xff\xfe", JSON, 400, "BadRequest", ""),
    ("POST", MAPS, "a: [b", YAML, 400, "BadRequest", ""),
    ("POST", MAPS, "[" * 100_000, JSON, 400, "BadRequest", ""),
    ("POST", MAPS, b"\0\1\2", JSON, 400, "BadRequest", ""),
    ("POST", MAPS, b"k8s\0garbage", "application/vnd.kubernetes.protobuf", 400, "BadRequest", ""),
    ("POST", MAPS, config_map("a"), "text/plain", 415, "UnsupportedMediaType", "unknown format"),
    ("POST", MAPS, deployment("a"), JSON, 400, "BadRequest", "Deployment"),
    ("POST", MAPS, {**config_map("a"), "apiVersion": "v2"}, JSON, 400, "BadRequest", ""),
    ("POST", MAPS, {**config_map("a"), "data": {"k": 1}}, JSON, 400, "BadRequest", "cannot unmarshal number"),
    ("POST", MAPS, {**config_map("a"), "data": []}, JSON, 400, "BadRequest", "cannot unmarshal array"),
    ("POST", MAPS, {**config_map("a"), "metadata": "x"}, JSON, 400, "BadRequest", "cannot unmarshal string"),
    ("POST", DEPLOYS, {**deployment("a"), "spec": {"replicas": "three"}}, JSON, 400, "BadRequest", "cannot unmarshal"),
    ("POST", f"{MAPS}?fieldValidation=Strict", {**config_map("a"), "dada": {}}, JSON, 400, "BadRequest",
     'strict decoding error: unknown field "dada"'),
    ("POST", f"{MAPS}?fieldValidation=Loose", config_map("a"), JSON, 422, "Invalid", "fieldValidation"),
    ("POST", f"{MAPS}?dryRun=Some", config_map("a"), JSON, 422, "Invalid", "dryRun"),
    # metadata
    ("POST", MAPS, config_map(), JSON, 422, "Invalid", "name or generateName is required"),
    ("POST", MAPS, config_map("Upper"), JSON, 422, "Invalid", 'metadata.name: Invalid value: "Upper"'),
    ("POST", MAPS, config_map("x" * 254), JSON, 422, "Invalid", "no more than 253 characters"),
    ("POST", MAPS, {**config_map("a"), "metadata": {"name": "a", "namespace": "kube-system"}}, JSON, 400, "BadRequest",
     "the namespace of the provided object does not match the namespace sent on the request"),
    ("POST", MAPS, {**config_map("a"), "metadata": {"name": "a", "resourceVersion": "5"}}, JSON, 400, "BadRequest",
     "resourceVersion should not be set on objects to be created"),
    ("POST", MAPS, {**config_map("a"), "metadata": {"name": "a", "labels": {"x y": "z"}}}, JSON, 422, "Invalid",
     "metadata.labels"),
    ("POST", MAPS, {**config_map("a"), "metadata": {"name": "a", "finalizers": ["nope"]}}, JSON, 422, "Invalid",
     "metadata.finalizers"),
    ("POST", DEPLOYS, {**deployment("a"), "spec": {}}, JSON, 422, "Invalid", "spec.selector: Required value"),
    ("POST", "/api/v1/namespaces", {"metadata": {"name": "default"}}, JSON, 409, "AlreadyExists",
     'namespaces "default" already exists'),
    # queries
    ("GET", f"{MAPS}?labelSelector=a%20b", None, JSON, 400, "BadRequest", ""),
    ("GET", f"{MAPS}?fieldSelector=data.x%3Dy", None, JSON, 400, "BadRequest", "data.x"),
    ("GET", f"{NS}/pods?fieldSelector=spec.colour%3Dred", None, JSON, 400, "BadRequest",
     "field label not supported: spec.colour"),
    ("GET", f"{MAPS}?limit=x", None, JSON, 400, "BadRequest", ""),
    ("GET", f"{MAPS}?continue=x", None, JSON, 400, "BadRequest", "continue"),
    ("GET", f"{MAPS}?resourceVersion=abc", None, JSON, 422, "Invalid", ""),
    ("GET", f"{MAPS}?resourceVersion=999999999", None, JSON, 504, "Timeout", "Too large resource version"),
    ("GET", f"{MAPS}/absent?resourceVersion=999999999", None, JSON, 504, "Timeout", "Too large resource version"),
    ("GET", f"{MAPS}?resourceVersionMatch=Exact", None, JSON, 422, "Invalid", "forbidden unless resourceVersion is provided"),
    ("GET", f"{MAPS}?resourceVersion=0&resourceVersionMatch=Exact", None, JSON, 422, "Invalid", "forbidden"),
    ("GET", f"{MAPS}?resourceVersion=1&resourceVersionMatch=Maybe", None, JSON, 422, "Invalid", "Unsupported value"),
    ("GET", f"{MAPS}?watch=true&sendInitialEvents=true", None, JSON, 422, "Invalid", "resourceVersionMatch"),
    ("GET", f"{MAPS}?watch=true&resourceVersion=abc", None, JSON, 400, "BadRequest", "resource version"),
    ("DELETE", f"{MAPS}/kube-root?gracePeriodSeconds=x", None, JSON, 400, "BadRequest", "gracePeriodSeconds"),
    ("DELETE", f"{MAPS}/absent?propagationPolicy=Nope", None, JSON, 422, "Invalid", "propagationPolicy"),
    # patches
    ("PATCH", "/api/v1/namespaces/default", {}, JSON, 415, "UnsupportedMediaType", "accepted media types include"),
    ("PATCH", "/api/v1/namespaces/default", "{", MERGE, 400, "BadRequest", "error decoding patch"),
    ("PATCH", "/api/v1/namespaces/default", [], MERGE, 400, "BadRequest", ""),
    ("PATCH", "/api/v1/namespaces/default", {}, JSON_PATCH, 400, "BadRequest", ""),
    ("PATCH", "/api/v1/namespaces/default", [{"op": "remove", "path": "/no/such"}], JSON_PATCH, 422, "Invalid", ""),
    ("PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": {"a": 1}}}, MERGE, 422, "Invalid",
     "cannot unmarshal number"),
    ("PATCH", "/api/v1/namespaces/default", {"metadata": {"name": "other"}}, STRATEGIC, 400, "BadRequest",
     "does not match the name on the URL"),
    ("PATCH", "/api/v1/namespaces/default?fieldManager=t", "a: [", APPLY, 400, "BadRequest", ""),
    # what is not acceptable
    ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": {}}, JSON, 422, "Invalid",
     "exactly one of nonResourceAttributes or resourceAttributes"),
    ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {"resourceAttributes": {}}}, JSON, 422, "Invalid",
     "at least one of user or group"),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule[0]} {rule[1][:60]} {rule[4]}")
def test_refusals(wire: Wire, rule: tuple[str, str, Any, str, int, str, str]) -> None:
    method, path, body, content_type, status, reason, part = rule
    before = wire.ok("GET", "/api/v1/namespaces")["metadata"]["resourceVersion"]
    answer = wire(method, path, body, content_type=content_type)
    assert (answer.status, answer.reason) == (status, reason), answer.body
    assert answer.body["kind"] == "Status"
    assert answer.body["status"] == "Failure"
    assert answer.body["code"] == status
    assert part in answer.body["message"]
    after = wire.ok("GET", "/api/v1/namespaces")["metadata"]["resourceVersion"]
    assert int(after) >= int(before)


def test_nothing_was_left_behind(wire: Wire) -> None:
    names = [item["metadata"]["name"] for item in wire.ok("GET", MAPS)["items"]]
    assert "a" not in names
    assert not wire.ok("GET", DEPLOYS)["items"]


def test_a_body_over_the_limit_is_refused(wire: Wire) -> None:
    answer = wire("POST", MAPS, config_map("big", data={"x": "y" * (3 * 1024 * 1024)}))
    assert (answer.status, answer.reason) == (413, "RequestEntityTooLarge")


def test_a_review_is_no_table(wire: Wire) -> None:
    table = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    body = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    answer = wire("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body, headers=table)
    assert (answer.status, answer.reason) == (406, "NotAcceptable")


def test_an_accept_header_that_nothing_fits(wire: Wire) -> None:
    answer = wire("GET", MAPS, headers={"Accept": "image/png"})
    assert (answer.status, answer.reason) == (406, "NotAcceptable")


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/version"])
def test_anybody_may_ask_for_health_and_version(wire: Wire, path: str) -> None:
    assert wire("GET", path, headers={"Authorization": ""}).status == 200


@pytest.mark.parametrize("path", ["/api", "/apis", "/openapi/v2", "/metrics", "/api/v1/namespaces", "/", "/nowhere"])
def test_nothing_else_is_open_to_anonymous_users(apiserver: Any, path: str) -> None:
    answer = Wire(apiserver.url, apiserver.ca_file)("GET", path)
    assert (answer.status, answer.reason) == (403, "Forbidden")
    assert 'User "system:anonymous"' in answer.body["message"]


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer a.b.c", "Basic dTpw", "Nonsense"])
def test_a_bad_credential_is_401(apiserver: Any, header: str) -> None:
    answer = Wire(apiserver.url, apiserver.ca_file)("GET", "/api/v1/namespaces", headers={"Authorization": header})
    assert (answer.status, answer.reason) == (401, "Unauthorized")
