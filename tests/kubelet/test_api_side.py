"""What the kubelet does at the API server: tokens and objects it remembers, statuses it writes and those it leaves alone."""

import time

import pytest

from kubelet.objects import ObjectCache, TokenCache
from minikube_py.api.clock import FakeClock
from minikube_py.api.errors import ServiceUnavailable
from minikube_py.api.gvr import CONFIGMAPS, PODS, SERVICEACCOUNTS, new_object
from minikube_py.client.config import Config
from minikube_py.client.rest import Client
from tests import harness
from tests.kubelet.conftest import Nodes, container, is_ready


def test_tokens_are_renewed_at_four_fifths_of_their_life(simulated: Nodes, namespace: str) -> None:
    options = simulated.start(simulated.options())
    simulated.client.create(SERVICEACCOUNTS, new_object(SERVICEACCOUNTS, "robot", namespace))
    pod = simulated.wait(simulated.pod(namespace, options, serviceAccountName="robot"), is_ready)
    clock = FakeClock(time.time())
    tokens = TokenCache(simulated.client, clock)
    first = tokens.get(pod, "", 3600)
    clock.advance(3600 * 0.75)
    assert tokens.get(pod, "", 3600) == first
    clock.advance(3600 * 0.1)
    second = tokens.get(pod, "", 3600)
    assert second != first
    assert tokens.get(pod, "somebody", 3600) != second
    tokens.forget(pod["metadata"]["uid"])
    assert tokens.get(pod, "", 3600) != second
    simulated.stop(options)


def test_objects_are_remembered_for_a_while(simulated: Nodes, namespace: str) -> None:
    clock = FakeClock()
    cache = ObjectCache(simulated.client, clock, max_age=60)
    assert cache.get("configmaps", namespace, "cm") is None
    simulated.client.create(CONFIGMAPS, new_object(CONFIGMAPS, "cm", namespace, data={"a": "1"}))
    assert cache.get("configmaps", namespace, "cm") is None
    clock.advance(2.1)  # an absence is believed for two seconds only: a pod waits for what is missing
    found = cache.get("configmaps", namespace, "cm")
    assert found is not None and found["data"] == {"a": "1"}
    simulated.client.patch(CONFIGMAPS, "cm", {"data": {"a": "2"}}, namespace)
    clock.advance(59)
    assert (cache.get("configmaps", namespace, "cm") or {})["data"] == {"a": "1"}
    clock.advance(2)
    assert (cache.get("configmaps", namespace, "cm") or {})["data"] == {"a": "2"}


def test_a_pods_first_look_is_fresh(simulated: Nodes, namespace: str) -> None:
    clock = FakeClock()
    cache = ObjectCache(simulated.client, clock, max_age=60)
    simulated.client.create(CONFIGMAPS, new_object(CONFIGMAPS, "cm", namespace, data={"a": "1"}))
    assert (cache.get("configmaps", namespace, "cm") or {})["data"] == {"a": "1"}
    simulated.client.patch(CONFIGMAPS, "cm", {"data": {"a": "2"}}, namespace)
    found = cache.get("configmaps", namespace, "cm", newer_than=clock.time() + 1)
    assert found is not None and found["data"] == {"a": "2"}


def test_without_an_api_server_the_last_contents_serve() -> None:
    cache = ObjectCache(Client(Config(server=f"http://127.0.0.1:{harness.free_port()}")), FakeClock(), max_age=60)
    with pytest.raises(ServiceUnavailable):
        cache.get("configmaps", "default", "cm")


def test_an_idle_pod_is_not_written(simulated: Nodes, namespace: str) -> None:
    options = simulated.start(simulated.options())
    body = container("main", resources={"limits": {"cpu": "0.5", "memory": "1024Mi"}})
    pod = simulated.wait(simulated.pod(namespace, options, containers=[body]), is_ready)
    time.sleep(1.5)
    assert simulated.get(pod)["metadata"]["resourceVersion"] == pod["metadata"]["resourceVersion"]
    simulated.stop(options)


def test_what_others_write_into_a_status(simulated: Nodes, namespace: str) -> None:
    """A foreign condition stays; a phase Failed set by others ends the pod for good."""
    options = simulated.start(simulated.options())
    pod = simulated.wait(simulated.pod(namespace, options), is_ready)
    name = pod["metadata"]["name"]
    foreign = {"status": {"conditions": [{"type": "example.com/other", "status": "True"}]}}
    simulated.client.patch(PODS, name, foreign, namespace, kind="strategic", subresource="status")
    simulated.client.patch(PODS, name, {"metadata": {"annotations": {"touched": "yes"}}}, namespace)
    time.sleep(0.5)
    found = simulated.get(pod)
    assert any(c["type"] == "example.com/other" for c in found["status"]["conditions"]) and is_ready(found)
    simulated.client.patch(PODS, name, {"status": {"phase": "Failed"}}, namespace, subresource="status")
    final = simulated.wait(pod, lambda p: "terminated" in p["status"]["containerStatuses"][0]["state"])
    assert final["status"]["phase"] == "Failed"
    assert not is_ready(final)
    simulated.stop(options)
