"""The volume plugins: where bound volumes let a pod go, what waiting claims get, and that no volume is promised twice."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.scheduler.diagnosis import NoFit
from controllers.scheduler.podinfo import PodInfo
from minikube_py.api import errors
from minikube_py.api import volumes as v
from minikube_py.api.gvr import NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES
from minikube_py.api.meta import annotations_of, name_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers import storage
from tests.controllers.play import CountingClient, running
from tests.controllers.test_faults import FAULTS, dies_after, every
from tests.harness import eventually
from tests.scheduler.build import Core, info, node
from tests.scheduler.test_scheduler import Cluster


def pinned(*nodes: str) -> Obj:
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": list(nodes)}]}
    return {"required": {"nodeSelectorTerms": [term]}}


def claim(name: str, *, volume: str = "", **spec: Any) -> Obj:
    made = storage.claim(name, "default", **{"storageClassName": "late", **spec})
    made["metadata"] |= {"uid": f"uid-{name}", "resourceVersion": "1"}
    made["status"] = {"phase": "Bound" if volume else "Pending"}
    if volume:
        made["spec"]["volumeName"] = volume
        made["metadata"]["annotations"] = {v.BIND_COMPLETED: "yes"}
    return made


def volume(name: str, **spec: Any) -> Obj:
    made = storage.volume(name, "late", **spec)
    made["status"] = {"phase": "Available"}
    return made


LATE = storage.storage_class("late", volumeBindingMode="WaitForFirstConsumer")
MADE = storage.storage_class("made", volumeBindingMode="WaitForFirstConsumer", provisioner="example.com/disk")
NOW = storage.storage_class("now", volumeBindingMode="Immediate")


def user(*claims: str, name: str = "p") -> PodInfo:
    return info(name, volumes=[{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims])


def core(claims: list[Obj], volumes: Sequence[Obj] = (), **objects: Any) -> Core:
    return Core(
        [node("n1", labels={"topology.kubernetes.io/zone": "a"}), node("n2", labels={"topology.kubernetes.io/zone": "b"})],
        persistentvolumeclaims=claims, persistentvolumes=list(volumes), storageclasses=[LATE, MADE, NOW], **objects,
    )  # fmt: skip


def refusal(one: Core, pod: PodInfo) -> str:
    with pytest.raises(NoFit) as caught:
        one.place(pod)
    return str(caught.value)


def test_bound_volumes_decide() -> None:
    one = core([claim("data", volume="v")], [volume("v", nodeAffinity=pinned("n2"))])
    assert one.place(user("data")) == "n2"
    away = core([claim("data", volume="v")], [volume("v", nodeAffinity=pinned("n3"))])
    assert refusal(away, user("data")).endswith("2 node(s) didn't match PersistentVolume's node affinity.")
    gone = core([claim("data", volume="v")])
    assert "bound to non-existent pv(s)" in refusal(gone, user("data"))


def test_what_stops_a_pod_everywhere() -> None:
    lost = claim("lost", volume="v")
    lost["status"]["phase"] = "Lost"
    doomed = claim("doomed")
    doomed["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    one = core([claim("now", storageClassName="now"), lost, doomed])
    assert "pod has unbound immediate PersistentVolumeClaims" in refusal(one, user("now"))
    assert 'persistentvolumeclaim "nowhere" not found' in refusal(one, user("nowhere"))
    assert 'persistentvolumeclaim "lost" bound to non-existent persistentvolume "v"' in refusal(one, user("lost"))
    assert 'persistentvolumeclaim "doomed" is being deleted' in refusal(one, user("doomed"))
    ephemeral = info("p", volumes=[{"name": "x", "ephemeral": {}}])
    assert "waiting for ephemeral volume controller to create" in refusal(one, ephemeral)


def test_waiting_claims_get_what_is_there_or_can_be_made() -> None:
    one = core([claim("data"), claim("more")], [volume("v", nodeAffinity=pinned("n1"))])
    assert one.place(user("data")) == "n1"
    assert "2 node(s) didn't find available persistent volumes to bind" in refusal(one, user("data", "more", name="q"))
    topology = [{"matchLabelExpressions": [{"key": "topology.kubernetes.io/zone", "values": ["b"]}]}]
    made = storage.storage_class("zoned", allowedTopologies=topology, **_fields(MADE))
    limited = Core([node("n1"), node("n2", labels={"topology.kubernetes.io/zone": "b"})],
                   persistentvolumeclaims=[claim("data", storageClassName="zoned")], storageclasses=[made])  # fmt: skip
    assert limited.place(user("data")) == "n2"
    decided = claim("data", storageClassName="made")
    decided["metadata"]["annotations"] = {v.SELECTED_NODE: "n2"}
    assert core([decided]).place(user("data")) == "n2"


def _fields(storage_class: Obj) -> Obj:
    return {key: storage_class[key] for key in ("provisioner", "volumeBindingMode")}


def test_storage_capacity() -> None:
    driver = {"metadata": {"name": "example.com/disk"}, "spec": {"storageCapacity": True}}
    room = {
        "metadata": {"name": "c", "namespace": "x"}, "storageClassName": "made", "capacity": "2Gi",
        "nodeTopology": {"matchLabels": {"kubernetes.io/hostname": "n2"}},
    }  # fmt: skip
    facts: Any = {"csidrivers": [driver], "csistoragecapacities": [room]}
    assert core([claim("data", storageClassName="made")], **facts).place(user("data")) == "n2"
    large = claim("data", storageClassName="made", resources={"requests": {"storage": "3Gi"}})
    assert "2 node(s) did not have enough free storage" in refusal(core([large], **facts), user("data"))


def test_zones() -> None:
    labelled = volume("v")
    labelled["metadata"]["labels"] = {"topology.kubernetes.io/zone": "b__c"}
    assert core([claim("data", volume="v")], [labelled]).place(user("data")) == "n2"
    labelled["metadata"]["labels"] = {"topology.kubernetes.io/zone": "c"}
    assert "2 node(s) had no available volume zone" in refusal(
        core([claim("data", volume="v")], [labelled]), user("data")
    )


def test_a_single_pod_claim_and_the_limit_of_a_driver() -> None:
    alone = claim("data", volume="v", accessModes=["ReadWriteOncePod"])
    one = core([alone], [volume("v", accessModes=["ReadWriteOncePod"])])
    one.place(user("data"))
    assert "ReadWriteOncePod access mode" in refusal(one, user("data", name="q"))
    disks = [volume(f"v{n}", hostPath=None, csi={"driver": "d", "volumeHandle": f"h{n}"}) for n in range(3)]
    limit = {
        "metadata": {"name": "n1"},
        "spec": {"drivers": [{"name": "d", "nodeID": "n1", "allocatable": {"count": 1}}]},
    }
    full = Core([node("n1")], persistentvolumeclaims=[claim(f"c{n}", volume=f"v{n}") for n in range(3)],
                persistentvolumes=disks, storageclasses=[LATE], csinodes=[limit])  # fmt: skip
    full.place(user("c0"))
    assert "node(s) exceed max volume count" in refusal(full, user("c1", name="q"))
    full.place(user("c0", name="shares"))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_no_volume_is_promised_twice(sizes: list[int], wanted: list[int]) -> None:
    volumes = [volume(f"v{n}", nodeAffinity=pinned("n1"), capacity={"storage": f"{s}Gi"}) for n, s in enumerate(sizes)]
    claims = [claim(f"c{n}", resources={"requests": {"storage": f"{s}Gi"}}) for n, s in enumerate(wanted)]
    one = core(claims, volumes)
    plugin = next(e.plugin for e in one.profile.at("pre_bind"))
    got: list[str] = []
    for number in range(len(claims)):
        pod = user(f"c{number}", name=f"p{number}")
        try:
            placement = one.search.place(one.snapshot, pod)
        except NoFit:
            continue
        plugin.reserve(placement.cycle, placement.node)
        chosen = placement.cycle.state["volumes"].chosen[placement.node]
        got += [choice.volume for choice in chosen.values()]
        index = int(got[-1][1:])
        assert sizes[index] >= wanted[number]
        if number % 2:
            plugin.unreserve(placement.cycle, placement.node)
            got.pop()
    assert len(got) == len(set(got))


# -- against the real API server, with the real binder ---------------------------------------------------------------------


@pytest.fixture
def cluster(client: Client, namespace: str) -> Iterator[Cluster]:
    made = Cluster(client, namespace)
    yield made
    made.stop()
    for res, names in (
        (NODES, made.nodes),
        (PERSISTENTVOLUMES, _mine(client, namespace)),
        (STORAGECLASSES, [namespace]),
    ):
        for name in names:
            with contextlib.suppress(errors.NotFound):
                client.patch(res, name, {"metadata": {"finalizers": None}})
                client.delete(res, name)


def _mine(client: Client, namespace: str) -> list[str]:
    return [name_of(o) for o in client.list(PERSISTENTVOLUMES)["items"] if name_of(o).startswith(namespace)]


def _prepare(cluster: Cluster) -> None:
    """A class that waits, one volume on each of two nodes, two pods with a claim each that may go to either."""
    client, namespace = cluster.client, cluster.namespace
    client.create(STORAGECLASSES, storage.storage_class(namespace, volumeBindingMode="WaitForFirstConsumer"))
    for name in ("a", "b"):
        there = cluster.add_node(name)
        made = storage.volume(f"{namespace}-{name}", namespace, nodeAffinity=pinned(there))
        client.create(PERSISTENTVOLUMES, made)
        client.create(PERSISTENTVOLUMECLAIMS, storage.claim(name, namespace))
        cluster.add_pod(name, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": name}}])


def _each_with_its_volume(cluster: Cluster) -> bool:
    client, namespace = cluster.client, cluster.namespace
    held = {name: storage.volume_of(client, name, namespace) for name in ("a", "b")}
    if sorted(held.values()) != [f"{namespace}-a", f"{namespace}-b"]:
        return False
    return all(cluster.where(name) == volume for name, volume in held.items())  # nodes are called like their volumes


@pytest.mark.parametrize("fault", ["", *FAULTS])
def test_pods_and_volumes_meet(cluster: Cluster, fault: str) -> None:
    client = CountingClient(cluster.client, every(2, fault)) if fault else cluster.client
    with running(client, *storage.BINDER):
        cluster.start(client)
        _prepare(cluster)
        eventually(lambda: _each_with_its_volume(cluster), 30)


@pytest.mark.parametrize("writes", range(0, 8, 2))
def test_pods_and_volumes_meet_after_the_end_of_the_process(cluster: Cluster, writes: int) -> None:
    dying = CountingClient(cluster.client, dies_after(writes))
    _prepare(cluster)
    with running(dying, *storage.BINDER):
        cluster.start(dying)
        eventually(lambda: len(dying.writes) > writes)
        cluster.stop()
    with running(cluster.client, *storage.BINDER):
        cluster.start()
        eventually(lambda: _each_with_its_volume(cluster), 30)


def test_a_provisioner_that_refuses_sends_the_pod_elsewhere(cluster: Cluster) -> None:
    client, namespace = cluster.client, cluster.namespace
    made = storage.storage_class(namespace, volumeBindingMode="WaitForFirstConsumer", provisioner="example.com/disk")
    client.create(STORAGECLASSES, made)
    for name in ("a", "b"):
        cluster.add_node(name)
    client.create(PERSISTENTVOLUMECLAIMS, storage.claim("data", namespace))

    def selected() -> str:
        found = client.get(PERSISTENTVOLUMECLAIMS, "data", namespace)
        return str(annotations_of(found).get(v.SELECTED_NODE, ""))

    with running(client, *storage.BINDER):
        cluster.start()
        cluster.add_pod("p", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}])
        first = eventually(selected)
        assert cluster.where("p") == "", "the pod waits for its volume"
        client.patch(PERSISTENTVOLUMECLAIMS, "data", {"metadata": {"annotations": {v.SELECTED_NODE: None}}}, namespace)
        eventually(lambda: "could not make a volume" in "".join(cluster.messages("p", "FailedScheduling")))
        client.patch(NODES, first, {"spec": {"unschedulable": True}})
        second = eventually(selected)
        found = client.get(PERSISTENTVOLUMECLAIMS, "data", namespace)
        ref = {"namespace": namespace, "name": "data", "uid": found["metadata"]["uid"]}
        volume = storage.volume(f"{namespace}-v", namespace, nodeAffinity=pinned(second), claimRef=ref)
        client.create(PERSISTENTVOLUMES, volume)
        assert eventually(lambda: cluster.where("p")) == second
