"""The REST client against the real API server: verbs, errors, watches, and what happens when the server is away."""

import threading
import time

import pytest

from minikube_py.api import errors
from minikube_py.api.gvr import CONFIGMAPS, NAMESPACES, PODS, new_object
from minikube_py.client.cause import because
from minikube_py.client.config import Config
from minikube_py.client.discovery import discover
from minikube_py.client.rest import Client
from tests.conftest import APIServer
from tests.harness import eventually, free_port


def test_verbs(client: Client, namespace: str) -> None:
    made = client.create(CONFIGMAPS, new_object(CONFIGMAPS, "a", namespace, data={"x": "1"}))
    assert client.get(CONFIGMAPS, "a", namespace) == made
    with pytest.raises(errors.AlreadyExists):
        client.create(CONFIGMAPS, new_object(CONFIGMAPS, "a", namespace))
    patched = client.patch(CONFIGMAPS, "a", {"data": {"y": "2"}}, namespace)
    assert patched["data"] == {"x": "1", "y": "2"}
    with pytest.raises(errors.Conflict):
        client.update(CONFIGMAPS, {**made, "data": {}})
    assert client.update(CONFIGMAPS, {**patched, "data": {"z": "3"}})["data"] == {"z": "3"}
    replaced = client.patch(
        CONFIGMAPS, "a", [{"op": "replace", "path": "/data/z", "value": "4"}], namespace, kind="json"
    )
    assert replaced["data"] == {"z": "4"}
    assert (
        client.create(CONFIGMAPS, new_object(CONFIGMAPS, "dry", namespace), dry_run=True)["metadata"]["name"] == "dry"
    )
    for number in range(5):
        labelled = new_object(CONFIGMAPS, f"many-{number}", namespace)
        labelled["metadata"]["labels"] = {"even": str(number % 2 == 0)}
        client.create(CONFIGMAPS, labelled)
    page = client.list(CONFIGMAPS, namespace, limit=4)
    rest = client.list(CONFIGMAPS, namespace, limit=4, continue_=page["metadata"]["continue"])
    names = [item["metadata"]["name"] for item in page["items"] + rest["items"]]
    assert names == ["a", "many-0", "many-1", "many-2", "many-3", "many-4"]
    assert len(client.list(CONFIGMAPS, namespace, label_selector="even=True")["items"]) == 3
    with pytest.raises(errors.Conflict):
        client.delete(CONFIGMAPS, "a", namespace, uid="another")
    client.delete(CONFIGMAPS, "a", namespace, uid=made["metadata"]["uid"])
    with pytest.raises(errors.NotFound) as caught:
        client.get(CONFIGMAPS, "a", namespace)
    assert caught.value.message == 'configmaps "a" not found'
    client.delete_collection(CONFIGMAPS, namespace, label_selector="even=True")
    assert len(client.list(CONFIGMAPS, namespace)["items"]) == 2


def test_a_watch_tells_changes_and_can_be_closed_from_another_thread(client: Client, namespace: str) -> None:
    revision = client.list(CONFIGMAPS, namespace)["metadata"]["resourceVersion"]
    watch = client.watch(CONFIGMAPS, namespace, resource_version=revision)
    seen: list[tuple[str, str]] = []
    ended = threading.Event()

    def read() -> None:
        with watch:
            for kind, obj in watch:
                seen.append((kind, obj["metadata"].get("name", "")))
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    client.create(CONFIGMAPS, new_object(CONFIGMAPS, "a", namespace, data={"text": "Zeile\n…" * 5000}))
    client.patch(CONFIGMAPS, "a", {"data": {"x": "1"}}, namespace)
    client.delete(CONFIGMAPS, "a", namespace)
    eventually(lambda: seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")])
    watch.close()
    assert ended.wait(2), "closing ends a blocked read"
    watch.close()


def test_an_absent_server_is_one_clear_error() -> None:
    client = Client(Config(f"http://127.0.0.1:{free_port()}"))
    for call in (lambda: client.list(PODS), lambda: client.watch(PODS), lambda: client.delete(PODS, "a", "b")):
        with pytest.raises(errors.ServiceUnavailable, match="no answer from the API server at http://127"):
            call()
    with pytest.raises(ValueError, match="is not the URL of an API server"):
        Client(Config("nonsense"))


def test_an_unknown_identity_is_refused(apiserver: APIServer) -> None:
    for token, refusal in (("", (errors.Unauthorized, errors.Forbidden)), ("wrong", errors.Unauthorized)):
        config = Config(apiserver.url, ca_file=apiserver.ca_file, token=token)
        with pytest.raises(refusal):
            Client(config).list(NAMESPACES)
    assert Client(Config(apiserver.url, ca_file=apiserver.ca_file, token=apiserver.token)).list(NAMESPACES)["items"]
    with pytest.raises(errors.ServiceUnavailable, match=r"(?i)certificate verify failed"):
        Client(Config(apiserver.url, token=apiserver.token)).list(NAMESPACES)


def test_a_restart_between_requests_goes_unnoticed_by_reads(apiserver_marker: None, fresh_apiserver: APIServer) -> None:
    client = fresh_apiserver.client()
    client.list(NAMESPACES)
    for graceful in (True, False):
        fresh_apiserver.stop() if graceful else fresh_apiserver.kill()
        fresh_apiserver.start()
        assert client.list(NAMESPACES)["items"], "the kept-alive connection is dead, and is replaced"


def test_writes_carry_their_cause(apiserver: APIServer, client: Client, namespace: str) -> None:
    with because("tester ConfigMap x/y@7"):
        client.create(CONFIGMAPS, new_object(CONFIGMAPS, "caused", namespace))
    audit = apiserver.directory / "audit.log"
    lines = eventually(lambda: [line for line in audit.read_text().splitlines() if "tester ConfigMap x/y@7" in line])
    assert len(lines) == 1 and namespace in lines[0]


def test_discovery_lists_what_is_served(client: Client) -> None:
    found = discover(client)
    assert found.failed == []
    by_name = {(r.gvr.group, r.gvr.plural): r for r in found.resources}
    pods, deployments = by_name["", "pods"], by_name["apps", "deployments"]
    assert pods.gvr == PODS and "log" in pods.subresources and "po" in pods.short_names
    assert deployments.gvr.namespaced and {"list", "watch", "deletecollection"} <= deployments.verbs
    assert not by_name["", "nodes"].gvr.namespaced
    assert len(by_name) == len(found.resources), "every kind once"
    assert found.by_kind("apps/v1", "Deployment") == deployments.gvr and found.by_kind("no/v1", "Deployment") is None


def test_metadata_only(client: Client, namespace: str) -> None:
    client.create(CONFIGMAPS, new_object(CONFIGMAPS, "a", namespace, data={"x": "1"}))
    [item] = client.list(CONFIGMAPS, namespace, metadata_only=True)["items"]
    assert item["metadata"]["name"] == "a" and "data" not in item
    with client.watch(CONFIGMAPS, namespace, resource_version="0", metadata_only=True) as watch:
        client.patch(CONFIGMAPS, "a", {"data": {"x": "2"}}, namespace)
        kind, obj = next(iter(watch))
    assert obj["metadata"]["name"] == "a" and "data" not in obj and kind in ("ADDED", "MODIFIED")


def test_with_timeout_bounds_the_wait() -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client = Client(Config(f"http://127.0.0.1:{silent.getsockname()[1]}")).with_timeout(0.3)
        began = time.monotonic()
        with pytest.raises(errors.ServiceUnavailable):
            client.list(PODS)
        assert time.monotonic() - began < 5
