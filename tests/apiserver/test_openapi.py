"""OpenAPI documents: complete in themselves, with what kubectl looks for, and stable under their ETag."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from apiserver import openapi
from apiserver.resources.table import ROWS
from minikube_py.api import errors, schema_cache


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield schema_cache.directory()


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def document(path: str) -> Any:
    return orjson.loads(openapi.answer(ROWS, path).body)


def test_version_2_is_complete() -> None:
    made = document("/openapi/v2")
    assert made["swagger"] == "2.0"
    missing = {name.removeprefix("#/definitions/") for name in references(made)} - set(made["definitions"])
    assert not missing
    assert made["definitions"]["io.k8s.apimachinery.pkg.api.resource.Quantity"]["type"] == "string"
    assert made["definitions"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["format"] == "int-or-string"
    pod = made["definitions"]["io.k8s.api.core.v1.Pod"]
    assert pod["properties"]["kind"]["type"] == "string"
    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "kind": "Pod", "version": "v1"}]


@pytest.mark.parametrize("name", openapi.group_versions(ROWS))
def test_version_3_is_complete_and_says_every_kind(name: str) -> None:
    made = document(f"/openapi/v3/{name}")
    schemas = made["components"]["schemas"]
    assert not {one.removeprefix("#/components/schemas/") for one in references(made)} - set(schemas)
    patched = {
        tuple(item["patch"]["x-kubernetes-group-version-kind"].values()): [
            one["name"] for one in item["patch"]["parameters"]
        ]
        for path, item in made["paths"].items()
        if "patch" in item and path.endswith("{name}")
    }
    for row in ROWS:
        if row.gvr.root.lstrip("/") != name:
            continue
        assert row.definition in schemas
        assert row.gvr.path("{namespace}").replace("%7B", "{").replace("%7D", "}") in made["paths"]
        if "patch" in row.verbs:
            assert "fieldValidation" in patched[row.group, row.kind, row.version]


def test_operation_names_are_unique_and_upstreams() -> None:
    names = [
        operation["operationId"]
        for item in document("/openapi/v2")["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert len(names) == len(set(names))
    assert {"createCoreV1NamespacedPod", "listAppsV1DeploymentForAllNamespaces", "readCoreV1NamespacedPodLog"} <= set(
        names
    )
    assert {"replaceCoreV1NodeStatus", "patchRbacAuthorizationV1ClusterRole"} <= set(names)


def test_index_names_every_document() -> None:
    index = document("/openapi/v3")["paths"]
    assert set(index) == set(openapi.group_versions(ROWS))
    assert index["apis/apps/v1"]["serverRelativeURL"].startswith("/openapi/v3/apis/apps/v1?hash=")


def test_etags_and_refusals() -> None:
    first = openapi.answer(ROWS, "/openapi/v2")
    assert openapi.answer(ROWS, "/openapi/v2") == first
    assert openapi.answer(ROWS, "/openapi/v2", if_none_match=f'"x", {first.etag}').body == b""
    assert openapi.answer(ROWS, "/openapi/v3/apis/apps/v1", if_none_match=first.etag).body
    assert openapi.answer(ROWS[:-1], "/openapi/v2").etag != first.etag
    with pytest.raises(errors.NotFound):
        openapi.answer(ROWS, "/openapi/v3/apis/nothing/v1")
    with pytest.raises(errors.NotAcceptable):
        openapi.answer(ROWS, "/openapi/v2", accept="application/com.github.proto-openapi.spec.v2@v1.0+protobuf")


def test_documents_are_kept_on_disk(cache: Path) -> None:
    openapi.v2(ROWS)
    kept = [file for file in cache.iterdir() if file.name.startswith("openapi-v2-")]
    assert kept
    assert kept[0].stat().st_size > 1_000_000
