"""DynamicResources: where claims let a pod go, that no device is promised twice, and the way through the real API server."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.scheduler.config import ProfileConfig
from controllers.scheduler.diagnosis import NoFit
from controllers.scheduler.framework import Cycle
from controllers.scheduler.podinfo import PodInfo
from minikube_py.api import errors
from minikube_py.api import resourceclaims as rc
from minikube_py.api.gvr import DEVICECLASSES, NODES, PODS, RESOURCECLAIMS, RESOURCECLAIMTEMPLATES, RESOURCESLICES
from minikube_py.api.meta import name_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers.play import CountingClient, running
from tests.controllers.test_faults import FAULTS, dies_after, every
from tests.harness import eventually
from tests.scheduler.build import Core, info, node
from tests.scheduler.devices import claim, device, device_class, request, resource_slice, template
from tests.scheduler.test_scheduler import Cluster


def held(name: str, *requests: Obj, **status: Any) -> Obj:
    made = claim(name, *requests)
    made["metadata"] |= {"uid": f"uid-{name}", "resourceVersion": "1"}
    return {**made, "status": status} if status else made


def user(*claims: str, name: str = "p", **spec: Any) -> PodInfo:
    return info(name, resourceClaims=[{"name": c, "resourceClaimName": c} for c in claims], **spec)


def core(claims: Sequence[Obj], *slices: Obj, classes: Sequence[Obj] = (device_class(),)) -> Core:
    return Core(
        [node("n1"), node("n2")], resourceclaims=list(claims), resourceslices=list(slices), deviceclasses=list(classes)
    )


def refusal(one: Core, pod: PodInfo) -> str:
    with pytest.raises(NoFit) as caught:
        one.place(pod)
    return str(caught.value)


def allocated(node_name: str, device_name: str = "a") -> Obj:
    field = {"key": "metadata.name", "operator": "In", "values": [node_name]}
    result = {"request": "r", "driver": "gpu.example.com", "pool": node_name, "device": device_name}
    return {"devices": {"results": [result]}, "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [field]}]}}


ON_2 = resource_slice("n2", [device("a")], node="n2")


def test_a_pod_goes_where_its_devices_are() -> None:
    assert core([held("c")], ON_2).place(user("c")) == "n2"
    assert core([held("c", allocation=allocated("n1"))], ON_2).place(user("c")) == "n1"
    assert core([held("c", request(count=2))], ON_2).place(info("plain")) in ("n1", "n2")


def test_what_stops_a_pod() -> None:
    two, both = (
        held("two", request(count=2)),
        [held("x", allocation=allocated("n1")), held("y", allocation=allocated("n2"))],
    )
    doomed = held("doomed")
    doomed["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    most = [{"resource": "pods", "name": str(n), "uid": str(n)} for n in range(256)]
    used = held("used", allocation=allocated("n1"), reservedFor=most)
    odd = held("odd", request("r", wanted="nothing"))
    wrong = held("wrong", request("r", "device.attributes['x'].y == 1"))
    one = core([two, *both, doomed, used, odd, wrong], ON_2)
    assert refusal(one, user("two")) == "0/2 nodes are available: 2 cannot allocate all claims."
    assert refusal(one, user("x", "y")) == "0/2 nodes are available: 2 resourceclaim not available on the node."
    assert 'resourceclaim "doomed" is being deleted' in refusal(one, user("doomed"))
    assert "resourceclaim in use" in refusal(one, user("used"))
    assert "request r: device class nothing does not exist" in refusal(one, user("odd"))
    assert 'resourceclaim.resource.k8s.io "nowhere" not found' in refusal(one, user("nowhere"))
    waiting = info("p", resourceClaims=[{"name": "c", "resourceClaimTemplateName": "t"}])
    assert one.profile.pre_enqueue(waiting) == 'pod "default/p": ResourceClaim not created yet'
    assert "CEL runtime error: no such key: y" in refusal(core([wrong], ON_2), user("wrong"))
    foreign = info("p", resourceClaims=[{"name": "c", "resourceClaimTemplateName": "t"}])
    foreign.pod["status"]["resourceClaimStatuses"] = [{"name": "c", "resourceClaimName": "two"}]
    assert "ResourceClaim default/two was not created for Pod default/p (Pod is not owner)" in refusal(one, foreign)


def test_a_node_with_the_preferred_alternative_is_liked_more() -> None:
    either = {"name": "r", "firstAvailable": [
        {"name": "big", "deviceClassName": "big", "allocationMode": "ExactCount"},
        {"name": "small", "deviceClassName": "gpu", "allocationMode": "ExactCount"},
    ]}  # fmt: skip
    small = resource_slice("n1", [device("a")], node="n1")
    large = resource_slice("n2", [device("a", {"big": True})], node="n2")
    big = device_class("big", "has(device.attributes['gpu.example.com'].big)")
    for seed in range(3):
        one = Core([node("n1"), node("n2")], seed=seed, resourceclaims=[held("c", either)],
                   resourceslices=[small, large], deviceclasses=[device_class(), big])  # fmt: skip
        assert one.place(user("c")) == "n2"


def test_an_unused_allocation_elsewhere_is_given_up() -> None:
    one = core([held("c", allocation=allocated("n1"))], ON_2)
    pod = user("c", nodeSelector={"kubernetes.io/hostname": "n2"})
    with pytest.raises(NoFit) as caught:
        one.place(pod)
    plugin = next(entry.plugin for entry in one.profile.at("post_filter"))
    done = plugin.post_filter(Cycle(pod, one.snapshot), one.profile, caught.value.rejected)
    assert done is not None and done.write is not None and done.message == "deallocation of ResourceClaim completed"


@given(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.lists(st.integers(1, 2), min_size=1, max_size=6))
def test_no_device_is_promised_twice(devices: list[int], wanted: list[int]) -> None:
    slices = [
        resource_slice(f"s{n}", [device(f"d{k}") for k in range(size)], node="n1") for n, size in enumerate(devices)
    ]
    one = core([held(f"c{n}", request(count=count)) for n, count in enumerate(wanted)], *slices)
    plugin = next(e.plugin for e in one.profile.at("pre_bind") if e.plugin.name == "DynamicResources")
    got: list[tuple[str, str]] = []
    for number in range(len(wanted)):
        try:
            placement = one.search.place(one.snapshot, user(f"c{number}", name=f"p{number}"))
        except NoFit:
            assert len(got) + wanted[number] > sum(devices)
            continue
        plugin.reserve(placement.cycle, placement.node)
        if number % 2:
            plugin.unreserve(placement.cycle, placement.node)
        else:
            results = placement.cycle.state["claims"].chosen[placement.node][0]["devices"]["results"]
            got += [(result["pool"], result["device"]) for result in results]
    assert len(got) == len(set(got))


# -- against the real API server, with the real controller -----------------------------------------------------------------


@pytest.fixture
def cluster(client: Client, namespace: str) -> Iterator[Cluster]:
    made = Cluster(client, namespace)
    client.create(DEVICECLASSES, device_class(namespace, f"device.driver == '{namespace}.example.com'"))
    yield made
    made.stop()
    for resource, names in ((NODES, made.nodes), (DEVICECLASSES, [namespace]), (RESOURCESLICES, _slices(made))):
        for name in names:
            with contextlib.suppress(errors.NotFound):
                client.delete(resource, name)


def _slices(cluster: Cluster) -> list[str]:
    return [
        name_of(s) for s in cluster.client.list(RESOURCESLICES)["items"] if name_of(s).startswith(cluster.namespace)
    ]


def _add_gpus(cluster: Cluster, name: str, count: int) -> str:
    there = cluster.add_node(name)
    devices = [device(f"gpu-{n}") for n in range(count)]
    driver = f"{cluster.namespace}.example.com"
    cluster.client.create(RESOURCESLICES, resource_slice(there, devices, node=there, driver=driver))
    return there


def _prepare(cluster: Cluster) -> None:
    """Two nodes with one device each; two pods that get a claim each from a template."""
    _add_gpus(cluster, "a", 1), _add_gpus(cluster, "b", 1)
    made = template("t", request(wanted=cluster.namespace), namespace=cluster.namespace)
    cluster.client.create(RESOURCECLAIMTEMPLATES, made)
    for name in ("p", "q"):
        cluster.add_pod(name, resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "t"}])


def _claims(cluster: Cluster) -> list[Obj]:
    return list(cluster.client.list(RESOURCECLAIMS, cluster.namespace)["items"])


def _each_with_its_device(cluster: Cluster) -> bool:
    if not all(cluster.where(name) for name in ("p", "q")):
        return False
    claims = _claims(cluster)
    pools = [result["pool"] for c in claims for result in (rc.allocation_of(c) or {})["devices"]["results"]]
    assert sorted(pools) == sorted(cluster.nodes), "one claim per pod, one device per claim"
    for one in claims:
        (reference,) = rc.reserved_for(one)
        assert cluster.where(reference["name"]) == (rc.allocation_of(one) or {})["devices"]["results"][0]["pool"]
        assert rc.FINALIZER in one["metadata"]["finalizers"]
    return True


@pytest.mark.parametrize("fault", ["", *FAULTS])
def test_pods_and_devices_meet(cluster: Cluster, fault: str) -> None:
    client = CountingClient(cluster.client, every(3, fault)) if fault else cluster.client
    with running(client, "resource-claim"):
        cluster.start(client)
        _prepare(cluster)
        eventually(lambda: _each_with_its_device(cluster), 30)


@pytest.mark.parametrize("writes", range(0, 10, 2))
def test_pods_and_devices_meet_after_the_end_of_the_process(cluster: Cluster, writes: int) -> None:
    dying = CountingClient(cluster.client, dies_after(writes))
    _prepare(cluster)
    with running(dying, "resource-claim"):
        cluster.start(dying)
        eventually(lambda: len(dying.writes) > writes)
        cluster.stop()
    with running(cluster.client, "resource-claim"):
        cluster.start()
        eventually(lambda: _each_with_its_device(cluster), 30)


def test_pods_share_a_claim_and_the_next_one_waits_for_its_end(cluster: Cluster) -> None:
    """Two schedulers' profiles, one claim of the only device; when both pods are gone, another claim gets it."""
    client, namespace = cluster.client, cluster.namespace
    with running(client, "resource-claim"):
        cluster.start(None, ProfileConfig(f"{namespace}-2"))
        _add_gpus(cluster, "a", 1)
        for name in ("first", "second"):
            client.create(RESOURCECLAIMS, claim(name, request(wanted=namespace), namespace=namespace))
        shared = [{"name": "gpu", "resourceClaimName": "first"}]
        cluster.add_pod("p", resourceClaims=shared)
        cluster.add_pod("q", resourceClaims=shared, schedulerName=f"{namespace}-2")
        eventually(lambda: cluster.where("p") and cluster.where("q"))
        assert len(rc.reserved_for(client.get(RESOURCECLAIMS, "first", namespace))) == 2
        cluster.add_pod("r", resourceClaims=[{"name": "gpu", "resourceClaimName": "second"}])
        eventually(lambda: "cannot allocate all claims" in "".join(cluster.messages("r", "FailedScheduling")))
        for name in ("p", "q"):
            client.delete(PODS, name, namespace, grace_period_seconds=0)
        eventually(lambda: cluster.where("r"))
        client.delete(RESOURCECLAIMS, "first", namespace)
        eventually(lambda: [name_of(c) for c in _claims(cluster)] == ["second"], what="free, so it may go")


def test_a_class_that_comes_late(cluster: Cluster) -> None:
    client, namespace = cluster.client, cluster.namespace
    client.delete(DEVICECLASSES, namespace)
    with running(client, "resource-claim"):
        cluster.start()
        _add_gpus(cluster, "a", 1)
        client.create(RESOURCECLAIMS, claim("c", request(wanted=namespace), namespace=namespace))
        cluster.add_pod("p", resourceClaims=[{"name": "gpu", "resourceClaimName": "c"}])
        wanted = f"request r: device class {namespace} does not exist"
        eventually(lambda: wanted in "".join(cluster.messages("p", "FailedScheduling")))
        client.create(DEVICECLASSES, device_class(namespace))
        eventually(lambda: cluster.where("p"))


def test_a_template_that_gives_no_claim(cluster: Cluster) -> None:
    """It is noted in the pod that the entry stands for nothing: no claim is made, and nobody waits for one."""
    client, namespace = cluster.client, cluster.namespace
    cluster.add_node("a")
    with running(client, "resource-claim"):
        cluster.start()
        made = cluster.add_pod("p", resourceClaims=[{"name": "c", "resourceClaimTemplateName": "t"}])
        eventually(lambda: cluster.messages("p", "FailedResourceClaimCreation"), what="there is no such template")
        noted = {"status": {"resourceClaimStatuses": [{"name": "c"}]}}
        client.patch(PODS, name_of(made), noted, namespace, subresource="status")
        eventually(lambda: cluster.where("p"))
        assert not _claims(cluster)
