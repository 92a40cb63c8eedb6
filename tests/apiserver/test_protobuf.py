"""Protobuf bodies become the JSON that Go would have written for the same object."""

import pytest

from apiserver import protobuf
from apiserver.protobuf.decode import _class, _closure, _table, message_of
from minikube_py.api import schema
from minikube_py.api.errors import BadRequest, UnsupportedMediaType

# A ConfigMap {metadata: {name: "x"}, data: {a: "b"}} as kubectl puts it on the wire, byte by byte.
CONFIG_MAP = (
    b"k8s\x00"
    b"\x0a\x0f\x0a\x02v1\x12\x09ConfigMap"  # Unknown.typeMeta
    b"\x12\x0f"  # Unknown.raw
    b"\x0a\x05\x0a\x01x\x12\x00"  # metadata: name, and generateName empty, as Go always writes it
    b"\x12\x06\x0a\x01a\x12\x01b"  # data
    b"\x1a\x00\x22\x00"  # contentEncoding, contentType
)


def test_the_bytes_kubectl_sends() -> None:
    expected = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "b"}}
    assert protobuf.decode(CONFIG_MAP) == expected


def _encoded(api_version: str, kind: str, message: object) -> bytes:
    envelope = _class("apimachinery.pkg.runtime.Unknown")()
    envelope.f1.f1, envelope.f1.f2 = api_version, kind
    envelope.f2 = message.SerializeToString()  # type: ignore[attr-defined]
    return b"k8s\0" + bytes(envelope.SerializeToString())


def test_special_types_and_inlined_fields() -> None:
    pod = _class("api.core.v1.Pod")()
    pod.f1.f1 = "p"
    pod.f1.f9.f1 = 1_700_000_000  # metadata.deletionTimestamp
    container = pod.f2.f2.add()
    container.f1 = "c"
    container.f8.f1["cpu"].f1 = "100m"  # resources.limits
    container.f10.f1.f2.f2.f1 = 1  # livenessProbe.(handler).httpGet.port, a string
    container.f10.f1.f2.f2.f3 = "http"
    volume = pod.f2.f1.add()
    volume.f1 = "v"
    volume.f2.f2.f1 = "Memory"  # (volumeSource).emptyDir.medium
    decoded = protobuf.decode(_encoded("v1", "Pod", pod))
    assert decoded["metadata"] == {"name": "p", "deletionTimestamp": "2023-11-14T22:13:20Z"}
    assert decoded["spec"]["volumes"] == [{"name": "v", "emptyDir": {"medium": "Memory"}}]
    assert decoded["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "100m"}}
    assert decoded["spec"]["containers"][0]["livenessProbe"] == {"httpGet": {"port": "http"}}


def test_a_zero_behind_a_pointer_stays_and_a_plain_zero_goes() -> None:
    deployment = _class("api.apps.v1.Deployment")()
    deployment.f2.f1 = 0  # replicas, a pointer in Go
    deployment.f2.f5 = 0  # minReadySeconds, omitted when zero
    assert protobuf.decode(_encoded("apps/v1", "Deployment", deployment))["spec"] == {"replicas": 0}


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("apiregistration.k8s.io/v1", "APIService"),
        ("apps/v1", "DeleteOptions"), ("v1", "Service"), ("apps/v1", "Deployment"), ("policy/v1", "Eviction"),
        ("authorization.k8s.io/v1", "SubjectAccessReview"), ("authentication.k8s.io/v1", "TokenReview"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole"), ("autoscaling/v1", "Scale"), ("batch/v1", "Job"),
    ],
)  # fmt: skip
def test_kinds_clients_send_have_a_row(api_version: str, kind: str) -> None:
    assert message_of(api_version, kind) in _table()


def test_every_message_can_be_made() -> None:
    assert all(_closure(name) <= set(_table()) for name in _table())


def test_fields_are_called_as_in_the_official_schemas() -> None:
    """The name in a message is not always the name in JSON: `Webhooks`, `xKubernetesValidations`."""
    schemas = schema.load()
    definitions, compared, wrong = set(schemas.names()), 0, []
    for message, fields in _table().items():
        package = message.replace("apiextensions_apiserver", "apiextensions-apiserver")
        name = f"io.k8s.{package.replace('kube_aggregator', 'kube-aggregator')}"
        properties = schemas.definition(name).properties if name in definitions else None
        if properties:
            compared += 1
            wrong += [(message, field.name) for field in fields if field.name not in (*properties, "-")]
    assert compared > 500 and wrong == []


def test_broken_bodies_get_a_sentence() -> None:
    with pytest.raises(BadRequest, match="k8s"):
        protobuf.decode(b"{}")
    with pytest.raises(BadRequest, match="well-formed"):
        protobuf.decode(CONFIG_MAP[:-6] + b"\xff")
    with pytest.raises(UnsupportedMediaType, match="Nothing cannot be decoded"):
        protobuf.decode(_encoded("v1", "Nothing", _class("api.core.v1.Pod")()))
