"""Routing: what a method and a path ask for."""

import pytest

from apiserver.request import Query, parse

# method, path, query → verb, group, resource, subresource, namespace, name
CASES = [
    ("GET", "/api/v1/pods", "", "list", "", "pods", "", "", ""),
    ("GET", "/api/v1/namespaces/a/pods", "", "list", "", "pods", "", "a", ""),
    ("GET", "/api/v1/namespaces/a/pods", "watch=true", "watch", "", "pods", "", "a", ""),
    ("GET", "/api/v1/namespaces/a/pods", "watch=1&fieldSelector=metadata.name%3Dx", "watch", "", "pods", "", "a", "x"),
    ("GET", "/api/v1/watch/namespaces/a/pods/x", "", "watch", "", "pods", "", "a", "x"),
    ("GET", "/api/v1/namespaces/a/pods/x", "", "get", "", "pods", "", "a", "x"),
    ("HEAD", "/api/v1/namespaces/a/pods/x", "", "get", "", "pods", "", "a", "x"),
    ("POST", "/api/v1/namespaces/a/pods", "", "create", "", "pods", "", "a", ""),
    ("PUT", "/api/v1/namespaces/a/pods/x", "", "update", "", "pods", "", "a", "x"),
    ("PUT", "/api/v1/namespaces/a/pods/x/status", "", "update", "", "pods", "status", "a", "x"),
    ("PATCH", "/apis/apps/v1/namespaces/a/deployments/x/scale", "", "patch", "apps", "deployments", "scale", "a", "x"),
    ("DELETE", "/api/v1/namespaces/a/pods/x", "", "delete", "", "pods", "", "a", "x"),
    ("DELETE", "/api/v1/namespaces/a/pods", "", "deletecollection", "", "pods", "", "a", ""),
    ("GET", "/api/v1/namespaces", "", "list", "", "namespaces", "", "", ""),
    ("GET", "/api/v1/namespaces/a", "", "get", "", "namespaces", "", "a", "a"),
    ("PUT", "/api/v1/namespaces/a/finalize", "", "update", "", "namespaces", "finalize", "a", "a"),
    ("GET", "/api/v1/namespaces/a/status", "", "get", "", "namespaces", "status", "a", "a"),
    ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/x", "", "get", "rbac.authorization.k8s.io", "clusterroles", "",
     "", "x"),
    ("GET", "/api/v1/namespaces/a/services/x/proxy/a/b", "", "get", "", "services", "proxy", "a", "x"),
    ("GET", "/api/v1/nodes/n/proxy/logs", "", "get", "", "nodes", "proxy", "", "n"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {case[1]}")
def test_resource_paths(case: tuple[str, ...]) -> None:
    method, path, query, verb, group, resource, subresource, namespace, name = case
    info = parse(method, path, Query(query))
    assert info.is_resource
    found = (info.verb, info.group, info.resource, info.subresource, info.namespace, info.name)
    assert found == (verb, group, resource, subresource, namespace, name)
    assert info.row is not None


@pytest.mark.parametrize(
    "path", ["/", "/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1", "/version", "/openapi/v2"]
)
def test_other_paths(path: str) -> None:
    info = parse("GET", path, Query())
    assert not info.is_resource
    assert info.verb == "get"


def test_an_unknown_resource_keeps_its_names() -> None:
    info = parse("GET", "/apis/example.com/v1/namespaces/a/widgets/x", Query())
    assert (info.row, info.group, info.resource, info.name) == (None, "example.com", "widgets", "x")


def test_query_takes_the_first_value_and_keeps_all_pairs() -> None:
    query = Query("command=ls&command=-l&watch=true&x=")
    assert query["command"] == "ls"
    assert [value for key, value in query.all if key == "command"] == ["ls", "-l"]
    assert query.flag("watch")
    assert not query.flag("x")
