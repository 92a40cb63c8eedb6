"""Custom resources through programs that nobody here wrote: kubectl, the official client, kr8s, a kopf operator; and kctl."""

import asyncio
import contextlib
import importlib
import json
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from minikube_py.api import errors
from minikube_py.api.gvr import CONFIGMAPS, GVR, NAMESPACES, new_object
from minikube_py.client.rest import Client
from tests import harness
from tests.apiserver.test_custom_resources import CRDS, SCHEMA, definition, gvr, made
from tests.conftest import APIServer
from tests.harness import eventually

KUBECTL = shutil.which("kubectl")
Run = Callable[..., str]
COLUMNS = [
    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
]


def _runner(command: list[str]) -> Run:
    def run(*arguments: str, stdin: str = "", fails: bool = False) -> str:
        done = subprocess.run(
            [*command, *arguments], input=stdin, capture_output=True, text=True, timeout=60, cwd=harness.ROOT
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return (done.stderr if fails else done.stdout).strip()

    return run


@pytest.fixture
def kubectl(apiserver: APIServer, namespace: str, tmp_path: Path) -> Run:
    assert KUBECTL, "kubectl is not installed (make test installs it)"
    return _runner(
        [KUBECTL, "--kubeconfig", apiserver.kubeconfig, "--cache-dir", str(tmp_path / "cache"), "-n", namespace]
    )


@pytest.fixture
def bags(client: Client) -> Iterator[dict[str, Any]]:
    crd = definition("bags")
    version = crd["spec"]["versions"][0]
    version["additionalPrinterColumns"] = COLUMNS
    version["schema"]["openAPIV3Schema"]["description"] = "Something to put things in."
    crd["spec"]["names"]["categories"] = ["luggage"]
    yield client.create(CRDS, crd)
    client.delete(CRDS, "bags.shop.example.com")
    eventually(lambda: not any(one["metadata"]["name"].startswith("bags.") for one in client.list(CRDS)["items"]))


def test_kubectl_defines_a_kind_and_uses_it(kubectl: Run) -> None:
    crd = definition("boots")
    assert kubectl("create", "-f", "-", stdin=json.dumps(crd)).endswith("boots.shop.example.com created")
    assert "condition met" in kubectl("wait", "--for=condition=Established", "crd/boots.shop.example.com")
    boot = json.dumps(made(gvr(crd), "left"))
    assert kubectl("apply", "-f", "-", stdin=boot) == "boot.shop.example.com/left created"
    assert kubectl("apply", "-f", "-", stdin=boot) == "boot.shop.example.com/left unchanged"
    assert kubectl("apply", "-f", "-", stdin=boot.replace("3", "4")) == "boot.shop.example.com/left configured"
    assert kubectl("scale", "boot/left", "--replicas=5") == "boot.shop.example.com/left scaled"
    assert kubectl("patch", "boo", "left", "--type=merge", "-p", '{"spec":{"note":"x"}}').endswith("left patched")
    assert kubectl("get", "boots", "left", "-o", "jsonpath={.spec}") == '{"color":"red","note":"x","size":5}'
    assert kubectl("delete", "boots", "--all") == 'boot.shop.example.com "left" deleted'
    assert kubectl("delete", "crd", "boots.shop.example.com").endswith("deleted")
    assert "the server could not find the requested resource" in kubectl("get", "boots", fails=True)


def test_kubectl_prints_the_columns_of_the_definition(
    client: Client, kubectl: Run, bags: dict[str, Any], namespace: str
) -> None:
    bag = {**made(gvr(bags), "a"), "status": {}}
    client.create(gvr(bags), bag, namespace)
    lines = [line.split() for line in kubectl("get", "bag", "-o", "wide").splitlines()]
    assert lines[0] == ["NAME", "SIZE", "READY", "AGE", "COLOR"]
    assert lines[1][:2] == ["a", "3"] and lines[1][-1] == "red"
    assert "bag.shop.example.com/a" in kubectl("get", "luggage", "-o", "name")
    assert "bags" in kubectl("api-resources", "--api-group=shop.example.com")


def test_kubectl_explains_and_refuses(kubectl: Run, bags: dict[str, Any]) -> None:
    assert "Something to put things in." in kubectl("explain", "bag")
    assert "color\t<string>" in kubectl("explain", "bag.spec") and "enum: red, green, blue" in kubectl(
        "explain", "bag.spec"
    )
    assert 'field "wheels" does not exist' in kubectl("explain", "bag.spec.wheels", fails=True)
    unknown = json.dumps(made(gvr(bags), "a", wheels=2))
    assert 'unknown field "spec.wheels"' in kubectl("create", "-f", "-", stdin=unknown, fails=True)
    missing = json.dumps({**made(gvr(bags), "a"), "spec": {}})
    assert "spec.size: Required value" in kubectl("create", "-f", "-", stdin=missing, fails=True)
    wrong = json.dumps(made(gvr(bags), "a", color="pink"))
    assert 'Unsupported value: "pink"' in kubectl("apply", "-f", "-", stdin=wrong, fails=True)


def test_documents_change_with_the_definition_and_keep_their_tags_otherwise(
    client: Client, bags: dict[str, Any]
) -> None:
    def index() -> Any:
        return json.loads(client.request("GET", "/openapi/v3")[2])["paths"]

    before, (_, headers, data) = index(), client.request("GET", "/openapi/v2")
    definitions = json.loads(data)["definitions"]
    assert definitions["com.example.shop.v1.Bag"]["x-kubernetes-group-version-kind"][0]["kind"] == "Bag"
    assert client.request("GET", "/openapi/v2")[1]["etag"] == headers["etag"]
    other = client.create(CRDS, definition("belts", "elsewhere.example.com"))
    after = index()
    assert set(after) - set(before) == {"apis/elsewhere.example.com/v1"}
    assert all(after[name] == before[name] for name in before), "nobody has to fetch again what did not change"
    schemas = json.loads(client.request("GET", "/openapi/v3/apis/elsewhere.example.com/v1")[2])["components"]["schemas"]
    assert schemas["com.example.elsewhere.v1.Belt"]["properties"]["spec"] == SCHEMA["properties"]["spec"]
    assert client.request("GET", "/openapi/v2")[1]["etag"] != headers["etag"]
    client.delete(CRDS, other["metadata"]["name"])


def test_a_kind_that_takes_anything_names_no_property_to_old_clients(client: Client) -> None:
    """kubectl refuses what version 2 does not name as soon as it names something."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    crd = definition("boxes", group="anything.example.com")
    crd["spec"]["versions"] = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}]
    client.create(CRDS, crd)
    try:
        found = json.loads(client.request("GET", "/openapi/v2")[2])["definitions"]["com.example.anything.v1.Boxe"]
        assert found.keys() == {"type", "x-kubernetes-group-version-kind"}
        three = json.loads(client.request("GET", "/openapi/v3/apis/anything.example.com/v1")[2])
        described = three["components"]["schemas"]["com.example.anything.v1.Boxe"]["properties"]
        assert described["apiVersion"]["description"].startswith("APIVersion defines")
        assert described["metadata"]["description"].startswith("Standard object's metadata")
    finally:
        client.delete(CRDS, crd["metadata"]["name"])


def test_the_official_dynamic_client(apiserver: APIServer, bags: dict[str, Any], namespace: str) -> None:
    kubernetes: Any = importlib.import_module("kubernetes")
    dynamic: Any = importlib.import_module("kubernetes.dynamic")
    with kubernetes.config.new_client_from_config(apiserver.kubeconfig) as api:
        resource = dynamic.DynamicClient(api).resources.get(api_version="shop.example.com/v1", kind="Bag")
        resource.create(body=made(gvr(bags), "a"), namespace=namespace)
        body = {"spec": {"size": 4}}
        patched = resource.patch(body=body, name="a", namespace=namespace, content_type="application/merge-patch+json")
        assert patched.spec.size == 4
        assert [item.metadata.name for item in resource.get(namespace=namespace).items] == ["a"]
        event = next(iter(resource.watch(namespace=namespace, timeout=5)))
        assert (event["type"], event["object"].spec.color) == ("ADDED", "red")
        resource.delete(name="a", namespace=namespace)
        custom = kubernetes.client.CustomObjectsApi(api)
        assert custom.list_namespaced_custom_object("shop.example.com", "v1", namespace, "bags")["items"] == []


def test_kr8s(apiserver: APIServer, bags: dict[str, Any], namespace: str) -> None:
    kr8s: Any = importlib.import_module("kr8s.asyncio")
    objects: Any = importlib.import_module("kr8s.asyncio.objects")

    async def use() -> None:
        api = await kr8s.api(kubeconfig=apiserver.kubeconfig)
        bag_class = objects.new_class(kind="Bag", version="shop.example.com/v1", namespaced=True, plural="bags")
        bag = await bag_class({**made(gvr(bags), "a"), "metadata": {"name": "a", "namespace": namespace}}, api=api)
        await bag.create()
        await bag.patch({"spec": {"color": "blue"}})
        assert [one.raw["spec"]["color"] async for one in api.get("bags", namespace=namespace)] == ["blue"]
        await bag.delete()

    asyncio.run(use())


def test_kctl_works_on_a_kind_it_has_never_heard_of(apiserver: APIServer, bags: dict[str, Any], namespace: str) -> None:
    kctl = _runner(
        [sys.executable, "-m", "minikube_py.cli.kctl", "--kubeconfig", apiserver.kubeconfig, "-n", namespace]
    )
    assert "a" in kctl("apply", "-f", "-", stdin=json.dumps(made(gvr(bags), "a")))
    lines = [line.split() for line in kctl("get", "bag").splitlines()]
    assert lines[0] == ["NAME", "SIZE", "READY", "AGE"] and lines[1][:2] == ["a", "3"]
    assert json.loads(kctl("get", "bags", "a", "-o", "json"))["spec"]["color"] == "red"
    assert "size" in kctl("explain", "bag.spec")
    kctl("delete", "bag", "a")


OPERATOR = '''
import os
import kopf

@kopf.on.startup()
def configure(settings, **_):
    pki = os.environ["WEBHOOK_PKI"]
    settings.admission.server = kopf.WebhookServer(
        addr="127.0.0.1", host="127.0.0.1", certfile=f"{pki}/apiserver.crt", pkeyfile=f"{pki}/apiserver.key",
        cafile=f"{pki}/ca.crt",
    )
    settings.admission.managed = "bags.shop.example.com"

@kopf.on.mutate("shop.example.com", "v1", "bags")
def labelled(spec, patch, **_):
    if not spec.get("note"):
        patch.spec["note"] = f"{spec['color']} bag"

@kopf.on.validate("shop.example.com", "v1", "bags", operations=["CREATE", "UPDATE"])
def visible(spec, warnings, **_):
    if spec.get("color") == "green":
        raise kopf.AdmissionError("nobody would see it on the meadow", code=409)

@kopf.on.create("shop.example.com", "v1", "bags")
def packed(spec, **_):
    return {"items": spec["size"] * 2}

@kopf.on.delete("shop.example.com", "v1", "bags")
def emptied(**_):
    print("emptied", flush=True)
'''  # fmt: skip


def _webhooks(client: Client, kind: GVR) -> Any:
    return client.get(kind, "bags.shop.example.com")["webhooks"]


WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")


def test_a_kopf_operator(
    apiserver: APIServer, client: Client, bags: dict[str, Any], namespace: str, tmp_path: Path
) -> None:
    pytest.importorskip("kopf")
    crd = client.get(CRDS, "bags.shop.example.com")
    status = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    status["x-kubernetes-preserve-unknown-fields"] = True
    client.update(CRDS, crd)
    (tmp_path / "operator.py").write_text(textwrap.dedent(OPERATOR))
    log = (tmp_path / "kopf.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "kopf", "run", "--standalone", "-n", namespace, str(tmp_path / "operator.py")],
        env={**harness.environment(), "KUBECONFIG": apiserver.kubeconfig, "WEBHOOK_PKI": str(apiserver.pki)}, stdout=log,
        stderr=log,
    )  # fmt: skip
    hooks = [GVR("admissionregistration.k8s.io", "v1", f"{kind.lower()}s", kind, False) for kind in WEBHOOKS]
    try:
        for kind in hooks:
            eventually(partial(_webhooks, client, kind), what="the operator's webhooks")
        with pytest.raises(errors.Conflict, match="denied the request: nobody would see it on the meadow"):
            client.create(gvr(bags), made(gvr(bags), "b", color="green"), namespace)
        assert client.create(gvr(bags), made(gvr(bags), "a"), namespace)["spec"]["note"] == "red bag"
        packed = eventually(
            lambda: (client.get(gvr(bags), "a", namespace).get("status") or {}).get("packed"),
            what="the operator's status",
        )
        assert packed == {"items": 6}
        assert client.get(gvr(bags), "a", namespace)["metadata"]["finalizers"], "it wants to see the end"
        client.delete(gvr(bags), "a", namespace)
        eventually(lambda: not client.list(gvr(bags), namespace)["items"], what="the end of the bag")
        assert b"emptied" in (tmp_path / "kopf.log").read_bytes()
    finally:
        harness.stop(process)
        log.close()
        for kind in hooks:
            with contextlib.suppress(errors.NotFound):
                client.delete(kind, "bags.shop.example.com")


def test_garbage_collection_and_namespace_deletion_take_in_new_kinds(
    fresh_apiserver: APIServer, tmp_path: Path
) -> None:
    client = fresh_apiserver.client()
    process = harness.python_component(
        "controllers.main", "--kubeconfig", fresh_apiserver.kubeconfig, "--no-leader-elect", "--no-scheduler",
        "--controllers", "garbage-collector,namespace", log=tmp_path / "controllers.log",
    )  # fmt: skip
    try:
        client.create(NAMESPACES, new_object(NAMESPACES, "room"))
        crd = client.create(CRDS, definition("chairs"))
        res = gvr(crd)
        owner = client.create(res, made(res, "owner"), "room")["metadata"]
        child = new_object(CONFIGMAPS, "child", "room")
        child["metadata"]["ownerReferences"] = [
            {"apiVersion": "shop.example.com/v1", "kind": "Chair", "name": "owner", "uid": owner["uid"]}
        ]
        client.create(CONFIGMAPS, child, "room")
        client.create(res, made(res, "left-behind"), "room")
        client.delete(res, "owner", "room")
        eventually(lambda: not client.list(CONFIGMAPS, "room")["items"], timeout=60, what="the child's end")
        client.delete(NAMESPACES, "room")
        eventually(lambda: "room" not in [n["metadata"]["name"] for n in client.list(NAMESPACES)["items"]], timeout=60)
        assert client.list(res)["items"] == []
    finally:
        harness.stop(process)


def test_another_server_on_the_same_store_serves_it_too(etcd: str, tmp_path: Path) -> None:
    store, servers = f"etcd://{etcd}?prefix=custom-{time.time_ns()}", list[APIServer]()
    try:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            servers.append(APIServer(tmp_path / name, "--store", store))
            servers[-1].start()
        one, two = (server.client() for server in servers)
        crd = one.create(CRDS, definition("lamps"))
        res = gvr(crd)
        eventually(lambda: two.list(res), timeout=5, what="the kind at the other server")
        two.create(res, made(res, "a"), "default")
        assert one.get(res, "a", "default")["spec"]["color"] == "red"
        two.delete(CRDS, crd["metadata"]["name"])
        eventually(lambda: not one.list(CRDS)["items"], what="its end")
    finally:
        for server in servers:
            server.stop()
