"""ResourceQuota status follows what is there."""

import contextlib
import time

from minikube_py.api import errors
from minikube_py.api.gvr import CONFIGMAPS, DEPLOYMENTS, PODS, RESOURCECLAIMS, RESOURCEQUOTAS, SERVICES, new_object
from minikube_py.client.rest import Client
from tests.controllers.play import CountingClient, deployment, pod_template, running
from tests.harness import eventually
from tests.scheduler.devices import claim, request


def test_counts_what_is_there_and_gives_back_what_goes(client: Client, namespace: str) -> None:
    counting = CountingClient(client)
    hard = {
        "pods": "5", "requests.cpu": "2", "limits.memory": "1Gi", "configmaps": "10", "services.nodeports": "3",
        "count/deployments.apps": "2", "count/unheards.example.com": "1", "gpu.deviceclass.resource.k8s.io/devices": "9",
    }  # fmt: skip

    def used() -> dict[str, str]:
        status = client.get(RESOURCEQUOTAS, "quota", namespace).get("status") or {}
        return {key: str(value) for key, value in (status.get("used") or {}).items()}

    with running(counting, "resourcequota"):
        client.create(RESOURCEQUOTAS, new_object(RESOURCEQUOTAS, "quota", namespace, spec={"hard": hard}))
        eventually(lambda: used() == dict.fromkeys(hard, "0"))
        spec = pod_template("x")["spec"]
        spec["containers"][0]["resources"] = {
            "requests": {"cpu": "250m", "memory": "1Mi"}, "limits": {"cpu": "1", "memory": "64Mi"},
        }  # fmt: skip
        for name in ("a", "b"):
            client.create(PODS, new_object(PODS, name, namespace, spec=spec))
        client.create(CONFIGMAPS, new_object(CONFIGMAPS, "c", namespace))
        client.create(
            SERVICES, new_object(SERVICES, "s", namespace, spec={"type": "NodePort", "ports": [{"port": 80}]})
        )
        client.create(DEPLOYMENTS, deployment("d", namespace, 0))
        client.create(RESOURCECLAIMS, claim("c", request(count=2), namespace=namespace))
        wanted = {
            "pods": "2", "requests.cpu": "500m", "limits.memory": "128Mi", "configmaps": "1", "services.nodeports": "1",
            "count/deployments.apps": "1", "count/unheards.example.com": "0",
            "gpu.deviceclass.resource.k8s.io/devices": "2",
        }  # fmt: skip
        eventually(lambda: used() == wanted)
        client.patch(PODS, "a", {"status": {"phase": "Succeeded"}}, namespace, subresource="status")
        client.delete(CONFIGMAPS, "c", namespace)
        wanted |= {"pods": "1", "requests.cpu": "250m", "limits.memory": "64Mi", "configmaps": "0"}
        eventually(lambda: used() == wanted)
        client.patch(RESOURCEQUOTAS, "quota", {"spec": {"hard": {"pods": "7"}}}, namespace)
        eventually(lambda: client.get(RESOURCEQUOTAS, "quota", namespace)["status"]["hard"]["pods"] == "7")
        time.sleep(0.5)
        before = len(counting.writes)
        time.sleep(1.5)
        assert not [write for write in counting.writes[before:] if namespace in write]


def test_counting_lets_nobody_past_the_limit(client: Client, namespace: str) -> None:
    """A charge is written before its object; a count made in between must not give the charge back."""
    with running(client, "resourcequota"):
        for turn in range(6):
            name = f"quota-{turn}"
            limit = 3 + len(client.list(CONFIGMAPS, namespace)["items"])
            hard = {"configmaps": str(limit), "count/deployments.apps": "1"}
            client.create(RESOURCEQUOTAS, new_object(RESOURCEQUOTAS, name, namespace, spec={"hard": hard}))
            eventually(lambda n=name: (client.get(RESOURCEQUOTAS, n, namespace).get("status") or {}).get("used"))  # type: ignore[misc]
            for number in range(12):
                with contextlib.suppress(errors.Forbidden):
                    client.create(CONFIGMAPS, new_object(CONFIGMAPS, f"c-{turn}-{number}", namespace))
            assert len(client.list(CONFIGMAPS, namespace)["items"]) == limit
            client.delete(RESOURCEQUOTAS, name, namespace)


def test_a_charge_whose_object_never_came_is_given_back(client: Client, namespace: str) -> None:
    def used() -> str:
        return str(
            ((client.get(RESOURCEQUOTAS, "q", namespace).get("status") or {}).get("used") or {}).get("configmaps")
        )

    with running(client, "resourcequota"):
        client.create(RESOURCEQUOTAS, new_object(RESOURCEQUOTAS, "q", namespace, spec={"hard": {"configmaps": "9"}}))
        eventually(lambda: used() == "0")
        client.patch(RESOURCEQUOTAS, "q", {"status": {"used": {"configmaps": "4"}}}, namespace, subresource="status")
        eventually(lambda: used() == "0")
