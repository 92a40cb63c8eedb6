"""Garbage collection against the real API server: background, foreground, orphan, two owners, circles."""

import time
from collections.abc import Iterator

import pytest

from minikube_py.api import errors
from minikube_py.api.gvr import (
    CONFIGMAPS,
    CUSTOMRESOURCEDEFINITIONS,
    GVR,
    NODES,
    REPLICASETS,
    SECRETS,
    new_object,
)
from minikube_py.api.meta import is_terminating, name_of, owners_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers.play import CountingClient, Kubelet, live_pods, replicaset, running
from tests.harness import eventually


@pytest.fixture
def collector(client: Client) -> Iterator[None]:
    with running(client, "garbage-collector"):
        yield


def _make(
    client: Client, namespace: str, name: str, *owners: Obj, finalizers: tuple[str, ...] = (), block: bool = True
) -> Obj:
    obj = new_object(CONFIGMAPS, name, namespace)
    obj["metadata"]["ownerReferences"] = [
        {
            "apiVersion": o["apiVersion"],
            "kind": o["kind"],
            "name": name_of(o),
            "uid": uid_of(o),
            "blockOwnerDeletion": block,
        }
        for o in owners
    ]
    obj["metadata"]["finalizers"] = list(finalizers)
    return client.create(CONFIGMAPS, obj)


def _find(client: Client, name: str, namespace: str, res: GVR = CONFIGMAPS) -> Obj | None:
    try:
        return client.get(res, name, namespace)
    except errors.NotFound:
        return None


def test_background(client: Client, namespace: str, collector: None) -> None:
    owner = _make(client, namespace, "owner")
    child = _make(client, namespace, "child", owner)
    _make(client, namespace, "grandchild", child)
    _make(client, namespace, "stranger")
    client.delete(CONFIGMAPS, "owner", namespace)
    eventually(lambda: not _find(client, "child", namespace) and not _find(client, "grandchild", namespace))
    assert _find(client, "stranger", namespace)


def test_foreground_waits_for_the_dependents_that_block(client: Client, namespace: str, collector: None) -> None:
    owner = _make(client, namespace, "owner")
    _make(client, namespace, "child", owner, finalizers=("example.com/hold",))
    _make(client, namespace, "loose", owner, block=False)
    time.sleep(0.3)
    client.delete(CONFIGMAPS, "owner", namespace, propagation_policy="Foreground")
    waiting = eventually(lambda: (o := _find(client, "child", namespace)) and is_terminating(o) and o)
    assert waiting["metadata"]["finalizers"] == ["example.com/hold"]
    owner = client.get(CONFIGMAPS, "owner", namespace)
    assert is_terminating(owner) and owner["metadata"]["finalizers"] == ["foregroundDeletion"]
    client.patch(CONFIGMAPS, "child", {"metadata": {"finalizers": None}}, namespace)
    eventually(lambda: not _find(client, "owner", namespace) and not _find(client, "child", namespace))
    eventually(lambda: not _find(client, "loose", namespace))


def test_orphan_lets_the_dependents_go(client: Client, namespace: str, collector: None) -> None:
    owner = _make(client, namespace, "owner")
    _make(client, namespace, "child", owner)
    time.sleep(0.3)
    client.delete(CONFIGMAPS, "owner", namespace, propagation_policy="Orphan")
    eventually(lambda: not _find(client, "owner", namespace))
    child = client.get(CONFIGMAPS, "child", namespace)
    assert owners_of(child) == [] and not is_terminating(child)


def test_a_second_owner_keeps_the_dependent(client: Client, namespace: str, collector: None) -> None:
    dying, living = _make(client, namespace, "dying"), _make(client, namespace, "living")
    _make(client, namespace, "child", dying, living)
    time.sleep(0.3)
    client.delete(CONFIGMAPS, "dying", namespace, propagation_policy="Foreground")
    eventually(lambda: not _find(client, "dying", namespace))
    eventually(lambda: [ref["name"] for ref in owners_of(client.get(CONFIGMAPS, "child", namespace))] == ["living"])
    client.delete(CONFIGMAPS, "living", namespace)
    eventually(lambda: not _find(client, "child", namespace))


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_a_circle_of_owners_goes_away(client: Client, namespace: str, collector: None, policy: str) -> None:
    first = _make(client, namespace, "a")
    second = _make(client, namespace, "b", first)
    third = _make(client, namespace, "c", second)
    ref = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": uid_of(third), "blockOwnerDeletion": True}
    client.patch(CONFIGMAPS, "a", {"metadata": {"ownerReferences": [ref]}}, namespace)
    time.sleep(0.3)
    client.delete(CONFIGMAPS, "a", namespace, propagation_policy=policy)
    eventually(lambda: not any(_find(client, name, namespace) for name in "abc"))


def test_what_never_had_a_living_owner_goes_and_what_cannot_be_judged_stays(
    client: Client, namespace: str, collector: None
) -> None:
    ghost = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ghost", "uid": "no-such-uid"}}
    namesake = _make(client, namespace, "namesake")
    reborn = {**namesake, "metadata": {**namesake["metadata"], "uid": "an-earlier-life"}}
    unknown = {"apiVersion": "example.com/v9", "kind": "Unheard", "metadata": {"name": "x", "uid": "u"}}
    for name, owner in (("of-ghost", ghost), ("of-reborn", reborn), ("of-unknown", unknown)):
        _make(client, namespace, name, owner)
    eventually(lambda: not _find(client, "of-ghost", namespace) and not _find(client, "of-reborn", namespace))
    time.sleep(0.5)
    assert _find(client, "of-unknown", namespace) and _find(client, "namesake", namespace)


def test_cluster_scoped_owners_count(client: Client, namespace: str, collector: None) -> None:
    node = client.create(NODES, new_object(NODES, f"{namespace}-node", spec={}))
    _make(client, namespace, "of-node", node)
    time.sleep(0.5)
    assert _find(client, "of-node", namespace)
    client.delete(NODES, name_of(node))
    eventually(lambda: not _find(client, "of-node", namespace))


def test_a_replicaset_takes_its_pods_or_leaves_them(client: Client, namespace: str) -> None:
    with running(client, "replicaset", "garbage-collector"), Kubelet(client, namespace):
        for name in ("goes", "leaves"):
            client.create(REPLICASETS, replicaset(name, namespace, 3))
        eventually(lambda: len(live_pods(client, namespace)) == 6)
        client.delete(REPLICASETS, "goes", namespace)
        client.delete(REPLICASETS, "leaves", namespace, propagation_policy="Orphan")
        eventually(lambda: client.list(REPLICASETS, namespace)["items"] == [])
        eventually(lambda: not live_pods(client, namespace, "goes"))
        assert len(live_pods(client, namespace, "leaves")) == 3


def test_a_settled_collector_writes_nothing(client: Client, namespace: str) -> None:
    counting = CountingClient(client)
    owner = client.create(SECRETS, new_object(SECRETS, "owner", namespace))
    _make(client, namespace, "child", {**owner, "apiVersion": "v1", "kind": "Secret"})
    with running(counting, "garbage-collector"):
        time.sleep(2)
    assert not [write for write in counting.writes if namespace in write] and _find(client, "child", namespace)


def test_a_new_kind_is_collected_at_once(client: Client, namespace: str, collector: None) -> None:
    """Its definition wakes the collector: nobody waits for the next look at discovery."""
    group = f"{namespace}.example.com"
    crates = GVR(group, "v1", "crates", "Crate")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "crates", "kind": "Crate", "singular": "crate", "listKind": "CrateList"}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    client.create(CUSTOMRESOURCEDEFINITIONS, new_object(CUSTOMRESOURCEDEFINITIONS, f"crates.{group}", spec=spec))
    crate = eventually(lambda: client.create(crates, new_object(crates, "c", namespace)))
    _make(client, namespace, "inside", crate)
    client.delete(crates, "c", namespace)
    eventually(lambda: _find(client, "inside", namespace) is None, timeout=10)
