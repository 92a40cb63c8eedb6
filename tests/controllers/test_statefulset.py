"""StatefulSets: identity that stays, order that is kept, updates in reverse, with a partition and back."""

import time
from typing import Any

import pytest

from controllers.statefulset_claims import wanted_owners
from minikube_py.api.gvr import CONTROLLERREVISIONS, PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS, new_object
from minikube_py.api.meta import is_terminating, labels_of, name_of, owners_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers.play import CountingClient, Kubelet, live_pods, pod_template, running, set_ready
from tests.harness import eventually


def _set(namespace: str, replicas: int, **spec: Any) -> Obj:
    claims = [{"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    }}]  # fmt: skip
    spec = {
        "replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
        "template": pod_template("db"), "volumeClaimTemplates": claims, **spec,
    }  # fmt: skip
    return new_object(STATEFULSETS, "db", namespace, spec=spec)


def _status(client: Client, namespace: str) -> Obj:
    status: Obj = client.get(STATEFULSETS, "db", namespace).get("status") or {}
    return status


def _names(client: Client, namespace: str) -> list[str]:
    return [name_of(p) for p in live_pods(client, namespace)]


def _images(client: Client, namespace: str) -> list[str]:
    return [p["spec"]["containers"][0]["image"].removeprefix("busybox:") for p in live_pods(client, namespace)]


def _patch(client: Client, namespace: str, **spec: Any) -> None:
    client.patch(STATEFULSETS, "db", {"spec": spec}, namespace)


def _image(client: Client, namespace: str, tag: str) -> None:
    _patch(client, namespace, template={"spec": {"containers": [{"name": "main", "image": f"busybox:{tag}"}]}})


def test_identity_and_order(client: Client, namespace: str) -> None:
    with (
        running(client, "statefulset"),
        Kubelet(client, namespace, healthy=lambda pod: name_of(pod) != "db-1") as kubelet,
    ):
        client.create(STATEFULSETS, _set(namespace, 3))
        eventually(lambda: _names(client, namespace) == ["db-0", "db-1"])
        time.sleep(0.5)
        assert _names(client, namespace) == ["db-0", "db-1"], "db-2 waits for db-1"
        kubelet.healthy = lambda pod: True
        kubelet.look_again()
        eventually(lambda: _status(client, namespace).get("availableReplicas") == 3)
        pod = client.get(PODS, "db-2", namespace)
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-2", "db")
        assert labels_of(pod)["statefulset.kubernetes.io/pod-name"] == "db-2"
        assert labels_of(pod)["apps.kubernetes.io/pod-index"] == "2"
        assert labels_of(pod)["controller-revision-hash"] == _status(client, namespace)["updateRevision"]
        volume = next(v for v in pod["spec"]["volumes"] if v["name"] == "data")
        assert volume["persistentVolumeClaim"] == {"claimName": "data-db-2"}
        assert _status(client, namespace)["currentRevision"] == _status(client, namespace)["updateRevision"]
        before = uid_of(pod)
        client.delete(PODS, "db-2", namespace)
        eventually(lambda: uid_of(client.get(PODS, "db-2", namespace)) != before, what="it comes back under its name")
        eventually(lambda: _status(client, namespace).get("readyReplicas") == 3)
        _patch(client, namespace, replicas=1)
        eventually(lambda: _names(client, namespace) == ["db-0"])
        claims = [name_of(c) for c in client.list(PERSISTENTVOLUMECLAIMS, namespace)["items"]]
        assert claims == ["data-db-0", "data-db-1", "data-db-2"], "volumes outlive their pods"


def test_scaling_down_halts_while_a_pod_is_not_ready(client: Client, namespace: str) -> None:
    with running(client, "statefulset"), Kubelet(client, namespace) as kubelet:
        client.create(STATEFULSETS, _set(namespace, 3))
        eventually(lambda: _status(client, namespace).get("readyReplicas") == 3)
        kubelet.healthy = lambda pod: False
        set_ready(client, client.get(PODS, "db-0", namespace), False)
        eventually(lambda: _status(client, namespace).get("readyReplicas") == 2)
        _patch(client, namespace, replicas=0)
        time.sleep(1)
        assert _names(client, namespace) == ["db-0", "db-1", "db-2"]
        set_ready(client, client.get(PODS, "db-0", namespace), True)
        eventually(lambda: _names(client, namespace) == [])


def test_parallel_and_failed_pods(client: Client, namespace: str) -> None:
    with running(client, "statefulset"), Kubelet(client, namespace, healthy=lambda pod: False):
        client.create(STATEFULSETS, _set(namespace, 3, podManagementPolicy="Parallel", ordinals={"start": 5}))
        eventually(lambda: _names(client, namespace) == ["db-5", "db-6", "db-7"], what="nobody waits for anybody")
        before = uid_of(client.get(PODS, "db-6", namespace))
        client.patch(PODS, "db-6", {"status": {"phase": "Failed"}}, namespace, subresource="status")
        eventually(lambda: uid_of(client.get(PODS, "db-6", namespace)) != before)


def test_rolling_update_partition_and_rollback(client: Client, namespace: str) -> None:
    with running(client, "statefulset"), Kubelet(client, namespace) as kubelet:
        client.create(STATEFULSETS, _set(namespace, 3))
        eventually(lambda: _status(client, namespace).get("readyReplicas") == 3)
        first = _status(client, namespace)["currentRevision"]
        order: list[str] = []
        kubelet.pods.add_handler(
            lambda old, new: order.append(name_of(old)) if old is not None and new is None else None
        )
        _patch(client, namespace, updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}})
        _image(client, namespace, "2")
        eventually(lambda: _images(client, namespace) == ["1", "1", "2"])
        eventually(lambda: _status(client, namespace).get("readyReplicas") == 3)
        time.sleep(0.5)
        assert _images(client, namespace) == ["1", "1", "2"] and _status(client, namespace)["currentRevision"] == first
        client.delete(PODS, "db-0", namespace)
        eventually(lambda: len(_names(client, namespace)) == 3)
        assert _images(client, namespace) == ["1", "1", "2"], "below the partition the old revision comes back"
        eventually(lambda: _status(client, namespace).get("readyReplicas") == 3)
        order.clear()
        _patch(client, namespace, updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
        eventually(lambda: _images(client, namespace) == ["2", "2", "2"])
        eventually(lambda: _status(client, namespace).get("currentRevision") != first)
        assert order == ["db-1", "db-0"], "the highest first"
        _image(client, namespace, "1")
        eventually(lambda: _images(client, namespace) == ["1", "1", "1"])
        eventually(lambda: _status(client, namespace).get("currentRevision") == first, what="the first revision again")
        assert len(client.list(CONTROLLERREVISIONS, namespace)["items"]) == 2


def test_settled_sets_are_not_written(client: Client, namespace: str) -> None:
    counting = CountingClient(client)
    with running(counting, "statefulset"), Kubelet(client, namespace):
        client.create(STATEFULSETS, _set(namespace, 2))
        eventually(lambda: _status(client, namespace).get("availableReplicas") == 2)
        time.sleep(1)
        before = len(counting.writes)
        time.sleep(2)
        assert not [write for write in counting.writes[before:] if namespace in write]


def _claims(client: Client, namespace: str) -> dict[str, list[str]]:
    found = client.list(PERSISTENTVOLUMECLAIMS, namespace)["items"]
    return {name_of(c): [f"{r['kind']}/{r['name']}" for r in owners_of(c)] for c in found if not is_terminating(c)}


@pytest.mark.parametrize(("scaled", "deleted"), [("Retain", "Delete"), ("Delete", "Retain"), ("Delete", "Delete")])
def test_claims_follow_the_retention_policy(client: Client, namespace: str, scaled: str, deleted: str) -> None:
    with running(client, "statefulset", "garbage-collector", "pvc-protection"), Kubelet(client, namespace):
        policy = {"whenScaled": scaled, "whenDeleted": deleted}
        client.create(STATEFULSETS, _set(namespace, 2, persistentVolumeClaimRetentionPolicy=policy))
        owners = ["StatefulSet/db"] if deleted == "Delete" else []
        both = {"data-db-0": owners, "data-db-1": owners}
        eventually(lambda: _claims(client, namespace) == both and _status(client, namespace)["readyReplicas"] == 2)
        _patch(client, namespace, replicas=1)
        left = {"data-db-0": owners} if scaled == "Delete" else both
        eventually(lambda: _names(client, namespace) == ["db-0"] and _claims(client, namespace) == left)
        _patch(client, namespace, replicas=2)
        eventually(lambda: _status(client, namespace).get("readyReplicas") == 2 and _claims(client, namespace) == both)
        client.delete(STATEFULSETS, "db", namespace)
        gone: dict[str, list[str]] = {} if deleted == "Delete" else both
        eventually(lambda: _names(client, namespace) == [] and _claims(client, namespace) == gone)


def test_a_claim_somebody_else_controls_is_left_alone() -> None:
    sts: Obj = {"kind": "StatefulSet", "apiVersion": "apps/v1", "metadata": {"name": "db", "uid": "s"}, "spec": {
        "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Delete"}}}  # fmt: skip
    pod: Obj = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "db-0", "uid": "p"}}
    other = {"kind": "Backup", "apiVersion": "x/v1", "name": "b", "uid": "o", "controller": True}
    mine = {"kind": "StatefulSet", "apiVersion": "apps/v1", "name": "db", "uid": "s", "controller": True}
    earlier = {**mine, "uid": "of an earlier set"}

    def owners(*refs: Obj, scaled_away: bool = False) -> list[str]:
        claim = {"metadata": {"ownerReferences": list(refs)}}
        return [ref["uid"] for ref in wanted_owners(claim, sts, pod, scaled_away=scaled_away)]

    assert owners() == ["s"] and owners(scaled_away=True) == ["p"]
    assert owners(mine, scaled_away=True) == ["p"]
    assert owners(other) == ["o"] and owners(other, mine) == ["o"]
    assert owners(earlier) == ["of an earlier set"]
    sts["spec"] = {}
    assert owners(mine) == []
