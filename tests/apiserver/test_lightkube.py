"""lightkube, a client that nobody here wrote: typed objects, apply with conflicts, watch, wait, custom kinds, chunked lists."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from lightkube import ApiError, Client, KubeConfig
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.apps_v1 import DeploymentSpec
from lightkube.models.autoscaling_v1 import ScaleSpec
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap
from lightkube.types import CascadeType, PatchType

from minikube_py.client.rest import Client as OurClient
from tests.apiserver.test_custom_resources import CRDS, definition
from tests.conftest import APIServer


@pytest.fixture
def light(apiserver: APIServer, ns: str) -> Iterator[Any]:
    yield Client(config=KubeConfig.from_file(apiserver.kubeconfig), namespace=ns, field_manager="lightkube-tests")


def _map(name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name), data=data)


def test_crud_and_patches(light: Any) -> None:
    made = light.create(_map("a", k="v"))
    assert made.metadata.uid and made.metadata.creationTimestamp.tzinfo
    made.data["k"] = "w"
    newer = light.replace(made)
    with pytest.raises(ApiError) as conflict:
        light.replace(made)
    assert (conflict.value.status.code, conflict.value.status.reason) == (409, "Conflict")
    assert newer.data == {"k": "w"}
    assert light.patch(ConfigMap, "a", {"data": {"x": "y"}}).data == {"k": "w", "x": "y"}
    removal = [{"op": "remove", "path": "/data/x"}]
    assert light.patch(ConfigMap, "a", removal, patch_type=PatchType.JSON).data == {"k": "w"}
    light.delete(ConfigMap, "a", cascade=CascadeType.BACKGROUND)
    with pytest.raises(ApiError) as missing:
        light.get(ConfigMap, "a")
    assert missing.value.status.reason == "NotFound"


def test_apply_names_the_owner_of_a_field(light: Any) -> None:
    light.apply(_map("a", k="v"), field_manager="one")
    with pytest.raises(ApiError, match='conflict with "one"'):
        light.apply(_map("a", k="w"), field_manager="two")
    assert light.apply(_map("a", k="w"), field_manager="two", force=True).data == {"k": "w"}


def test_scale_and_lists_in_chunks(light: Any) -> None:
    template = PodTemplateSpec(
        metadata=ObjectMeta(labels={"app": "d"}), spec=PodSpec(containers=[Container(name="c", image="busybox")])
    )
    spec = DeploymentSpec(replicas=1, selector=LabelSelector(matchLabels={"app": "d"}), template=template)
    light.create(Deployment(metadata=ObjectMeta(name="d"), spec=spec))
    scale = light.get(Deployment.Scale, "d")
    scale.spec = ScaleSpec(replicas=3)
    assert light.replace(scale, "d").spec.replicas == 3
    for number in range(25):
        light.create(_map(f"m{number:02}", even=str(number % 2 == 0)))
    assert [m.metadata.name for m in light.list(ConfigMap, chunk_size=4)][:3] == ["m00", "m01", "m02"]
    assert list(light.list(ConfigMap, labels={"nobody": "has"})) == []


def test_watch_from_a_list_and_wait(light: Any, ns: str) -> None:
    listed = light.list(ConfigMap)
    assert list(listed) == []
    threading.Timer(0.2, lambda: light.create(_map("late"))).start()
    operation, seen = next(light.watch(ConfigMap, resource_version=listed.resourceVersion))
    assert (operation, seen.metadata.name) == ("ADDED", "late")
    done = {"conditions": [{"type": "Available", "status": "True", "reason": "r", "message": ""}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    light.create(Deployment.from_dict({"metadata": {"name": "d", "namespace": ns}, "spec": spec}))
    threading.Timer(0.2, lambda: light.patch(Deployment.Status, "d", {"status": done})).start()
    assert light.wait(Deployment, "d", for_conditions=["Available"]).metadata.name == "d"


def test_a_custom_kind(light: Any, client: OurClient) -> None:
    crd = client.create(CRDS, definition("jars"))
    try:
        jar = create_namespaced_resource("shop.example.com", "v1", crd["spec"]["names"]["kind"], "jars")
        light.create(jar(metadata=ObjectMeta(name="a"), spec={"size": 2}))
        assert light.get(jar, "a").spec["color"] == "red"
        with pytest.raises(ApiError, match="Unsupported value"):
            light.create(jar(metadata=ObjectMeta(name="b"), spec={"size": 2, "color": "pink"}))
    finally:
        client.delete(CRDS, crd["metadata"]["name"])
