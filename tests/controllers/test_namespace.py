"""Namespaces: what every one holds, and how they go."""

import time

from minikube_py.api import errors
from minikube_py.api.gvr import (
    CONFIGMAPS,
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    SECRETS,
    SERVICEACCOUNTS,
    SERVICES,
    new_object,
)
from minikube_py.api.meta import condition_of
from minikube_py.client.rest import Client
from tests.controllers.play import CountingClient, deployment, pod_template, running
from tests.harness import eventually


def _namespace(client: Client, name: str) -> str:
    client.create(NAMESPACES, new_object(NAMESPACES, name))
    return name


def _absent(client: Client, name: str) -> bool:
    try:
        client.get(NAMESPACES, name)
    except errors.NotFound:
        return True
    return False


def test_every_namespace_has_its_account_and_the_root_ca(client: Client, namespace: str) -> None:
    with running(client, "serviceaccount", "root-ca"):
        eventually(lambda: client.get(SERVICEACCOUNTS, "default", namespace))
        published = eventually(lambda: client.get(CONFIGMAPS, "kube-root-ca.crt", namespace))
        assert published["data"]["ca.crt"].startswith("-----BEGIN CERTIFICATE-----")
        client.delete(SERVICEACCOUNTS, "default", namespace)
        client.delete(CONFIGMAPS, "kube-root-ca.crt", namespace)
        eventually(lambda: client.get(SERVICEACCOUNTS, "default", namespace))
        eventually(lambda: client.get(CONFIGMAPS, "kube-root-ca.crt", namespace)["data"] == published["data"])
        client.patch(CONFIGMAPS, "kube-root-ca.crt", {"data": {"ca.crt": "forged", "more": "x"}}, namespace)
        eventually(lambda: client.get(CONFIGMAPS, "kube-root-ca.crt", namespace)["data"] == published["data"])


def test_a_deleted_namespace_takes_everything_inside_and_nothing_outside(client: Client, namespace: str) -> None:
    doomed = _namespace(client, f"{namespace}-doomed")
    for at in (namespace, doomed):
        client.create(CONFIGMAPS, new_object(CONFIGMAPS, "config", at))
        client.create(SECRETS, new_object(SECRETS, "secret", at))
        client.create(SERVICES, new_object(SERVICES, "service", at, spec={"ports": [{"port": 80}]}))
        client.create(DEPLOYMENTS, deployment("web", at, 1))
        client.create(PODS, new_object(PODS, "pod", at, spec=pod_template("x")["spec"]))
    with running(client, "namespace"):
        client.delete(NAMESPACES, doomed)
        eventually(lambda: _absent(client, doomed))
        _namespace(client, doomed)
        for res in (CONFIGMAPS, SECRETS, SERVICES, DEPLOYMENTS, PODS):
            assert client.list(res, doomed)["items"] == [] and len(client.list(res, namespace)["items"]) == 1
        client.delete(NAMESPACES, doomed)
        eventually(lambda: _absent(client, doomed))


def test_pods_go_first_and_what_holds_them_is_told(client: Client, namespace: str) -> None:
    doomed = _namespace(client, f"{namespace}-held")
    pod = new_object(PODS, "held", doomed, spec=pod_template("x")["spec"])
    pod["metadata"]["finalizers"] = ["example.com/hold"]
    client.create(PODS, pod)
    client.create(CONFIGMAPS, new_object(CONFIGMAPS, "config", doomed))
    with running(client, "namespace"):
        client.delete(NAMESPACES, doomed)
        remaining = eventually(lambda: condition_of(client.get(NAMESPACES, doomed), "NamespaceFinalizersRemaining"))
        assert remaining["status"] == "True" and "example.com/hold in 1 resource instances" in remaining["message"]
        held = client.get(NAMESPACES, doomed)
        assert held["status"]["phase"] == "Terminating"
        content = condition_of(held, "NamespaceDeletionContentFailure")
        assert content and content["status"] == "False", "what goes well is told too, beside what does not"
        assert client.get(CONFIGMAPS, "config", doomed)
        client.patch(PODS, "held", {"metadata": {"finalizers": None}}, doomed)
        eventually(lambda: _absent(client, doomed))


def test_settled_namespaces_are_not_written(client: Client, namespace: str) -> None:
    counting = CountingClient(client)
    with running(counting, "serviceaccount", "root-ca", "namespace"):
        eventually(lambda: client.get(CONFIGMAPS, "kube-root-ca.crt", namespace))
        time.sleep(1)
        before = len(counting.writes)
        time.sleep(2)
        assert not [write for write in counting.writes[before:] if namespace in write]
