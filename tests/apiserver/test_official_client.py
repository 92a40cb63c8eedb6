"""The official Python client, which nobody here wrote: CRUD, patches, watch, typed errors."""

import importlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import APIServer

kubernetes: Any = importlib.import_module("kubernetes")  # half typed: as if it were not typed at all
ApiException: Any = kubernetes.client.exceptions.ApiException


@pytest.fixture
def api(apiserver: APIServer) -> Iterator[Any]:
    with kubernetes.config.new_client_from_config(apiserver.kubeconfig) as client:
        yield client


def _map(name: str, **data: str) -> Any:
    return kubernetes.client.V1ConfigMap(metadata=kubernetes.client.V1ObjectMeta(name=name), data=data)


def test_crud(api: Any, ns: str) -> None:
    core = kubernetes.client.CoreV1Api(api)
    made = core.create_namespaced_config_map(ns, _map("a", k="v"))
    assert made.metadata.uid
    assert core.read_namespaced_config_map("a", ns).data == {"k": "v"}
    made.data["k"] = "w"
    assert core.replace_namespaced_config_map("a", ns, made).data == {"k": "w"}
    with pytest.raises(ApiException) as conflict:
        core.replace_namespaced_config_map("a", ns, made)
    assert conflict.value.status == 409
    assert core.patch_namespaced_config_map("a", ns, {"data": {"x": "y"}}).data == {"k": "w", "x": "y"}
    assert [item.metadata.name for item in core.list_namespaced_config_map(ns).items] == ["a"]
    core.delete_namespaced_config_map("a", ns)
    with pytest.raises(ApiException) as missing:
        core.read_namespaced_config_map("a", ns)
    assert missing.value.status == 404


def test_workloads(api: Any, ns: str) -> None:
    apps, client = kubernetes.client.AppsV1Api(api), kubernetes.client
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"app": "d"}),
        spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="busybox")]),
    )
    spec = client.V1DeploymentSpec(
        replicas=2, selector=client.V1LabelSelector(match_labels={"app": "d"}), template=template
    )
    apps.create_namespaced_deployment(ns, client.V1Deployment(metadata=client.V1ObjectMeta(name="d"), spec=spec))
    assert apps.read_namespaced_deployment_scale("d", ns).spec.replicas == 2
    apps.patch_namespaced_deployment_scale("d", ns, {"spec": {"replicas": 4}})
    assert apps.read_namespaced_deployment("d", ns).spec.replicas == 4
    assert apps.patch_namespaced_deployment_status("d", ns, {"status": {"replicas": 4}}).status.replicas == 4
    with pytest.raises(ApiException) as invalid:
        apps.patch_namespaced_deployment("d", ns, {"spec": {"replicas": -1}})
    assert invalid.value.status == 422


def test_watch(api: Any, ns: str) -> None:
    core = kubernetes.client.CoreV1Api(api)
    start = core.list_namespaced_config_map(ns).metadata.resource_version

    def change() -> None:
        core.create_namespaced_config_map(ns, _map("a", k="1"))
        core.patch_namespaced_config_map("a", ns, {"data": {"k": "2"}})
        core.delete_namespaced_config_map("a", ns)

    thread = threading.Thread(target=change)
    thread.start()
    seen = []
    watch = kubernetes.watch.Watch()
    for event in watch.stream(core.list_namespaced_config_map, ns, resource_version=start, timeout_seconds=20):
        seen.append((event["type"], event["object"].data["k"]))
        if event["type"] == "DELETED":
            watch.stop()
    thread.join()
    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


def test_the_dynamic_client_finds_everything(api: Any, ns: str, tmp_path: Any) -> None:
    dynamic = kubernetes.dynamic.DynamicClient(api, cache_file=str(tmp_path / "discovery.json"))
    secrets = dynamic.resources.get(api_version="v1", kind="Secret")
    secrets.create(namespace=ns, body={"metadata": {"name": "s"}, "stringData": {"k": "v"}})
    assert secrets.get(name="s", namespace=ns).data.k == "dg=="
    apply = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ssa"}, "data": {"a": "b"}}
    maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    made = maps.server_side_apply(namespace=ns, body=apply, name="ssa", field_manager="test")
    assert made.data.a == "b"


def test_tokens_and_reviews(api: Any, ns: str) -> None:
    core, authorization = kubernetes.client.CoreV1Api(api), kubernetes.client.AuthorizationV1Api(api)
    client = kubernetes.client
    core.create_namespaced_service_account(ns, client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="robot")))
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    assert core.create_namespaced_service_account_token("robot", ns, request).status.token
    attributes = client.V1ResourceAttributes(verb="get", resource="pods")
    spec = client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
    review = client.V1SelfSubjectAccessReview(spec=spec)
    assert authorization.create_self_subject_access_review(review).status.allowed
