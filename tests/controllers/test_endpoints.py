"""EndpointSlices and Endpoints follow the pods behind a Service."""

import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.endpointslice_plan import plan
from controllers.service_pods import Port
from minikube_py.api.gvr import ENDPOINTS, ENDPOINTSLICES, NODES, PODS, SERVICES, new_object
from minikube_py.api.meta import labels_of, name_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers.play import CountingClient, pod_template, running, set_ready
from tests.harness import eventually

BOTH = ("endpointslice", "endpoints")


def _service(client: Client, namespace: str, name: str = "web", **spec: Any) -> Obj:
    spec = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}], **spec}
    return client.create(SERVICES, new_object(SERVICES, name, namespace, spec=spec))


def _pod(client: Client, namespace: str, name: str, ip: str, port: int = 8080, ready: bool = True, **spec: Any) -> Obj:
    template = pod_template("web")
    template["spec"] |= {"nodeName": "node-1", **spec}
    template["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": port}]
    pod = new_object(PODS, name, namespace, spec=template["spec"])
    pod["metadata"]["labels"] = template["metadata"]["labels"]
    return set_ready(client, client.create(PODS, pod), ready, ip)


def _slices(client: Client, namespace: str, service: str = "web") -> list[Obj]:
    selector = f"kubernetes.io/service-name={service}"
    found: list[Obj] = client.list(ENDPOINTSLICES, namespace, label_selector=selector)["items"]
    return found


def _ready(client: Client, namespace: str, service: str = "web") -> dict[str, bool]:
    """address -> ready, over all slices."""
    return {
        endpoint["addresses"][0]: endpoint["conditions"]["ready"]
        for slice_ in _slices(client, namespace, service) for endpoint in slice_["endpoints"]
    }  # fmt: skip


def test_slices_follow_readiness(client: Client, namespace: str) -> None:
    with running(client, *BOTH):
        service = _service(client, namespace)
        [empty] = eventually(lambda: _slices(client, namespace))
        assert not empty["endpoints"] and labels_of(empty) == {
            "kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }  # fmt: skip
        eventually(lambda: not client.get(ENDPOINTS, "web", namespace).get("subsets"))
        pod = _pod(client, namespace, "one", "10.1.0.1")
        _pod(client, namespace, "two", "10.1.0.2", ready=False)
        eventually(lambda: _ready(client, namespace) == {"10.1.0.1": True, "10.1.0.2": False})
        [slice_] = _slices(client, namespace)
        endpoint = next(e for e in slice_["endpoints"] if e["addresses"] == ["10.1.0.1"])
        assert endpoint == {
            "addresses": ["10.1.0.1"], "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": "node-1", "targetRef": {"kind": "Pod", "namespace": namespace, "name": "one", "uid": uid_of(pod)},
        }  # fmt: skip
        assert slice_["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
        assert slice_["metadata"]["ownerReferences"][0]["uid"] == uid_of(service)
        classic = eventually(lambda: client.get(ENDPOINTS, "web", namespace).get("subsets"))
        assert [a["ip"] for a in classic[0]["addresses"]] == ["10.1.0.1"]
        assert [a["ip"] for a in classic[0]["notReadyAddresses"]] == ["10.1.0.2"]
        client.delete(PODS, "one", namespace)
        dying = eventually(lambda: [
            e["conditions"] for s in _slices(client, namespace) for e in s["endpoints"] if e["conditions"]["terminating"]
        ])  # fmt: skip
        assert dying == [{"ready": False, "serving": True, "terminating": True}]
        client.delete(PODS, "one", namespace, grace_period_seconds=0)
        eventually(lambda: list(_ready(client, namespace)) == ["10.1.0.2"])
        client.delete(SERVICES, "web", namespace)
        eventually(lambda: "web" not in [name_of(e) for e in client.list(ENDPOINTS, namespace)["items"]])


def test_named_ports_differ_by_pod_and_unready_may_be_published(client: Client, namespace: str) -> None:
    with running(client, *BOTH):
        _pod(client, namespace, "old", "10.1.0.1", port=8080)
        _pod(client, namespace, "new", "10.1.0.2", port=9090, ready=False, hostname="new", subdomain="web")
        _service(client, namespace, clusterIP="None", publishNotReadyAddresses=True)
        eventually(lambda: _ready(client, namespace) == {"10.1.0.1": True, "10.1.0.2": True})
        by_port = {s["ports"][0]["port"]: s for s in _slices(client, namespace)}
        assert sorted(by_port) == [8080, 9090]
        assert by_port[9090]["endpoints"][0]["hostname"] == "new"
        assert labels_of(by_port[9090])["service.kubernetes.io/headless"] == ""


def test_a_deleted_or_edited_slice_is_restored(client: Client, namespace: str) -> None:
    with running(client, *BOTH):
        _pod(client, namespace, "one", "10.1.0.1")
        _service(client, namespace)
        eventually(lambda: _ready(client, namespace) == {"10.1.0.1": True})
        client.delete(ENDPOINTSLICES, name_of(_slices(client, namespace)[0]), namespace)
        eventually(lambda: _ready(client, namespace) == {"10.1.0.1": True})
        client.patch(ENDPOINTSLICES, name_of(_slices(client, namespace)[0]), {"endpoints": []}, namespace)
        eventually(lambda: _ready(client, namespace) == {"10.1.0.1": True})


def test_services_without_a_selector_are_left_to_others(client: Client, namespace: str) -> None:
    with running(client, *BOTH):
        _service(client, namespace, "manual", selector=None)
        _service(client, namespace, "web")
        eventually(lambda: _slices(client, namespace))
        assert _slices(client, namespace, "manual") == []


def test_hand_written_endpoints_are_mirrored(client: Client, namespace: str) -> None:
    with running(client, *BOTH, "endpointslicemirroring"):
        _service(client, namespace, "manual", selector=None)
        ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
        written = new_object(
            ENDPOINTS, "manual", namespace, subsets=[{"addresses": [{"ip": "10.7.0.1"}], "ports": ports}]
        )
        client.create(ENDPOINTS, written)
        eventually(lambda: _ready(client, namespace, "manual") == {"10.7.0.1": True})
        [slice_] = _slices(client, namespace, "manual")
        assert labels_of(slice_)["endpointslice.kubernetes.io/managed-by"] == "endpointslicemirroring-controller.k8s.io"
        assert slice_["ports"] == ports
        client.patch(
            ENDPOINTS, "manual", {"subsets": [{"notReadyAddresses": [{"ip": "10.7.0.2"}], "ports": ports}]}, namespace
        )
        eventually(lambda: _ready(client, namespace, "manual") == {"10.7.0.2": False})
        assert [name_of(s) for s in _slices(client, namespace, "manual")] == [name_of(slice_)], (
            "the same slice, changed"
        )
        client.delete(ENDPOINTS, "manual", namespace)
        eventually(lambda: _slices(client, namespace, "manual") == [])


def test_settled_services_are_not_written(client: Client, namespace: str) -> None:
    counting = CountingClient(client)
    _pod(client, namespace, "one", "10.1.0.1")
    _service(client, namespace)
    with running(counting, *BOTH):
        eventually(lambda: _ready(client, namespace) == {"10.1.0.1": True})
        time.sleep(0.5)
        before = len(counting.writes)
        pod = client.get(PODS, "one", namespace)
        client.patch(PODS, name_of(pod), {"metadata": {"annotations": {"x": "y"}}}, namespace)
        time.sleep(2)
        late = [write for write in counting.writes[before:] if namespace in write]
        assert late == [], "a change that does not concern endpoints changes none"


PLACES = st.dictionaries(st.integers(0, 400), st.sampled_from([80, 81]), max_size=400)


@settings(deadline=None)
@given(PLACES, PLACES)
def test_plans_place_every_pod_once_and_settle(before: dict[int, int], after: dict[int, int]) -> None:
    service: Obj = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": "n", "uid": "u"},
        "spec": {},
    }

    def wanted(places: dict[int, int]) -> dict[tuple[Port, ...], list[Obj]]:
        groups: dict[tuple[Port, ...], list[Obj]] = {}
        for number, port in places.items():
            endpoint = {"addresses": [f"ip{number}"], "targetRef": {"uid": str(number)}, "conditions": {}}
            groups.setdefault((Port("", port, "TCP", ""),), []).append(endpoint)
        return groups

    world: dict[str, Obj] = {}
    for places in (before, after):
        changed, created, superfluous = plan(service, {}, wanted(places), list(world.values()))
        world |= {name_of(slice_): slice_ for slice_ in [*changed, *created]}
        for slice_ in superfluous:
            del world[name_of(slice_)]
        found = {
            int(e["targetRef"]["uid"]): s["ports"][0]["port"] for s in world.values() for e in s["endpoints"]
        }  # fmt: skip
        assert found == places
        assert sum(len(s["endpoints"]) for s in world.values()) == len(places), "each pod in one slice"
        assert all(len(s["endpoints"]) <= 100 for s in world.values()) and world
        assert plan(service, {}, wanted(places), list(world.values())) == ([], [], []), "settled"


def test_traffic_stays_near_where_the_service_wants_it(client: Client, namespace: str) -> None:
    node = new_object(NODES, f"near-{namespace}")
    node["metadata"]["labels"] = {"topology.kubernetes.io/zone": "here"}
    client.create(NODES, node)
    with running(client, *BOTH):
        _service(client, namespace, trafficDistribution="PreferSameZone")
        _service(client, namespace, "node", trafficDistribution="PreferSameNode")
        _pod(client, namespace, "one", "10.1.0.1", nodeName=name_of(node))
        _pod(client, namespace, "two", "10.1.0.2", ready=False, nodeName=name_of(node))

        def hints(service: str) -> list[Obj | None]:
            return [e.get("hints") for s in _slices(client, namespace, service) for e in s["endpoints"]]

        zone, own = {"forZones": [{"name": "here"}]}, {"forNodes": [{"name": name_of(node)}]}
        eventually(lambda: sorted(hints("web"), key=str) == [None, zone])
        eventually(lambda: sorted(hints("node"), key=str) == [None, {**zone, **own}])
        client.patch(SERVICES, "web", {"spec": {"trafficDistribution": None}}, namespace)
        eventually(lambda: hints("web") == [None, None])
    client.delete(NODES, name_of(node))


def test_a_hundred_endpoints_to_a_slice_and_unready_ones_published(client: Client, namespace: str) -> None:
    with running(client, *BOTH):
        service = _service(client, namespace, publishNotReadyAddresses=True)
        for number in range(101):
            _pod(client, namespace, f"p{number}", f"10.2.0.{number}", ready=number % 2 == 0)
        eventually(lambda: sum(_ready(client, namespace).values()) == 101, timeout=60)
        slices = _slices(client, namespace)
        assert sorted(len(s["endpoints"]) for s in slices) == [1, 100]
        assert {s["metadata"]["ownerReferences"][0]["uid"] for s in slices} == {uid_of(service)}
