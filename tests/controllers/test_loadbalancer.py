"""Services of type LoadBalancer get addresses: at once, each its own, only ours, and they give them back."""

from typing import Any

from controllers.options import Options
from minikube_py.api.gvr import EVENTS, SERVICES, new_object
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers.play import running
from tests.harness import eventually

RANGE = Options(load_balancer_range="10.244.250.0/30")  # two addresses


def _service(client: Client, namespace: str, name: str, **spec: Any) -> Obj:
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}], **spec}
    return client.create(SERVICES, new_object(SERVICES, name, namespace, spec=spec))


def _ingress(client: Client, namespace: str, name: str) -> list[Obj]:
    found: list[Obj] = client.get(SERVICES, name, namespace)["status"].get("loadBalancer", {}).get("ingress", [])
    return found


def test_addresses_come_and_go(client: Client, namespace: str) -> None:
    _service(client, namespace, "mine", allocateLoadBalancerNodePorts=False)
    _service(client, namespace, "theirs", loadBalancerClass="example.com/other")
    with running(client, "service-lb", options=RANGE):
        first = eventually(lambda: _ingress(client, namespace, "mine"))
        assert first[0]["ip"] in ("10.244.250.1", "10.244.250.2") and first[0]["ipMode"] == "VIP"
        second = "10.244.250.2" if first[0]["ip"] == "10.244.250.1" else "10.244.250.1"
        _service(client, namespace, "wish", loadBalancerIP=second)
        assert eventually(lambda: _ingress(client, namespace, "wish"))[0]["ip"] == second
        _service(client, namespace, "late")
        _service(client, namespace, "greedy", loadBalancerIP=second)

        def complaints() -> list[str]:
            listed = client.list(EVENTS, namespace)["items"]
            return sorted(e["message"] for e in listed if e["reason"] == "SyncLoadBalancerFailed")

        assert eventually(lambda: len(found := complaints()) == 2 and found) == [
            f"no address for the load balancer: {second} is taken or not of 10.244.250.0/30",
            "no address for the load balancer: every address of 10.244.250.0/30 is in use",
        ]
        assert not _ingress(client, namespace, "theirs")
    with running(client, "service-lb", options=RANGE):  # a restart changes nothing
        client.patch(SERVICES, "mine", {"spec": {"type": "ClusterIP"}}, namespace)
        eventually(lambda: not _ingress(client, namespace, "mine"))
        eventually(lambda: _ingress(client, namespace, "late") == first, timeout=30, what="the address is used again")
        assert _ingress(client, namespace, "wish")[0]["ip"] == second
