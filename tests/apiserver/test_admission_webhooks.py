"""Admission webhooks: who is asked about what, what their answers do, and what happens when they fail."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from minikube_py.api import errors
from minikube_py.api.gvr import CONFIGMAPS, DEPLOYMENTS, GVR, NAMESPACES, PODS, new_object
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.apiserver.test_custom_resources import CRDS, definition, gvr
from tests.apiserver.webhook_server import WebhookServer, denied, patched, serving
from tests.conftest import APIServer
from tests.harness import eventually

MUTATING = GVR(
    "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False
)
VALIDATING = GVR(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False
)
_serial = itertools.count(1)
Register = Callable[..., Obj]
CONFIGMAP_RULE = {
    "operations": ["CREATE", "UPDATE"],
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "resources": ["configmaps"],
}


@pytest.fixture
def hooks(apiserver: APIServer) -> Iterator[WebhookServer]:
    yield from serving(apiserver)


@pytest.fixture
def register(client: Client, hooks: WebhookServer, namespace: str) -> Iterator[Register]:
    """Registers a webhook for the test's namespace: (kind, path, answer, **fields). The server follows at once."""
    made: list[tuple[GVR, str]] = []

    def register(kind: GVR, path: str, answer: Callable[[Obj], Any] = lambda _: {}, **fields: Any) -> Obj:
        hooks.answers[path] = answer
        configuration = new_object(kind, f"hook-{next(_serial):03}-{namespace}")
        hook = {
            "name": f"{path.strip('/')}.example.com", "clientConfig": hooks.client(path), "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "rules": [CONFIGMAP_RULE],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}, **fields,
        }  # fmt: skip
        created = client.create(kind, {**configuration, "webhooks": [hook]})
        made.append((kind, created["metadata"]["name"]))
        return created

    yield register
    for kind, name in made:
        client.delete(kind, name)


def configmap(name: str = "a", labels: dict[str, str] | None = None, **data: str) -> Obj:
    obj = new_object(CONFIGMAPS, name)
    obj["metadata"]["labels"] = labels or {}
    return {**obj, "data": data}


# ---- what a webhook sees and says ----------------------------------------------------------------------------------------


def test_a_refusal_names_the_webhook(client: Client, register: Register, namespace: str) -> None:
    register(VALIDATING, "/no", lambda _: denied("I do not like it", code=418, reason="Teapot"))
    with pytest.raises(errors.APIError) as refused:
        client.create(CONFIGMAPS, configmap(), namespace)
    assert refused.value.message == 'admission webhook "no.example.com" denied the request: I do not like it'
    assert (refused.value.code, refused.value.reason) == (418, "Teapot")


def test_a_refusal_without_explanation(client: Client, register: Register, namespace: str) -> None:
    register(VALIDATING, "/no", lambda _: {"allowed": False})
    with pytest.raises(
        errors.APIError, match=r'admission webhook "no.example.com" denied the request without explanation'
    ):
        client.create(CONFIGMAPS, configmap(), namespace)


def test_the_review(client: Client, register: Register, hooks: WebhookServer, namespace: str) -> None:
    register(VALIDATING, "/see")
    client.create(CONFIGMAPS, configmap(x="1"), namespace)
    seen = hooks.asked[-1]
    kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert seen["kind"] == seen["requestKind"] == kind
    assert seen["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (seen["name"], seen["namespace"], seen["operation"], seen["dryRun"]) == ("a", namespace, "CREATE", False)
    assert seen["object"]["data"] == {"x": "1"}
    assert seen["object"]["metadata"]["uid"]
    assert seen["object"]["apiVersion"] == "v1"
    assert seen["oldObject"] is None
    assert seen["options"]["kind"] == "CreateOptions"
    assert "system:masters" in seen["userInfo"]["groups"]
    client.patch(CONFIGMAPS, "a", {"data": {"x": "2"}}, namespace)
    seen = hooks.asked[-1]
    assert (seen["object"]["data"], seen["oldObject"]["data"]) == ({"x": "2"}, {"x": "1"})
    assert (seen["operation"], seen["options"]["kind"]) == ("UPDATE", "PatchOptions")
    assert hooks.paths[-1] == "/see?timeout=10s"


def test_a_mutation(client: Client, register: Register, namespace: str) -> None:
    register(MUTATING, "/add", lambda _: patched({"op": "add", "path": "/data/added", "value": "yes"}))
    assert client.create(CONFIGMAPS, configmap(x="1"), namespace)["data"] == {"x": "1", "added": "yes"}
    assert client.get(CONFIGMAPS, "a", namespace)["data"] == {"x": "1", "added": "yes"}


def test_defaults_come_after_a_mutation(client: Client, register: Register, namespace: str) -> None:
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    container = {"name": "more", "image": "x:1"}
    register(
        MUTATING,
        "/pod",
        lambda _: patched({"op": "add", "path": "/spec/initContainers", "value": [container]}),
        rules=[rule],
    )
    pod = {**new_object(PODS, "p"), "spec": {"containers": [{"name": "c", "image": "y:1"}]}}
    added = client.create(PODS, pod, namespace)["spec"]["initContainers"][0]
    assert (added["terminationMessagePolicy"], added["imagePullPolicy"]) == ("File", "IfNotPresent")


def test_a_deletion_can_be_refused(client: Client, register: Register, hooks: WebhookServer, namespace: str) -> None:
    rule = {**CONFIGMAP_RULE, "operations": ["DELETE"]}
    register(VALIDATING, "/keep", lambda asked: {"allowed": asked["oldObject"]["data"]["x"] != "keep"}, rules=[rule])
    client.create(CONFIGMAPS, configmap("a", x="keep"), namespace)
    client.create(CONFIGMAPS, configmap("b", x="go"), namespace)
    with pytest.raises(errors.APIError, match=r"admission webhook .keep"):
        client.delete(CONFIGMAPS, "a", namespace)
    assert hooks.asked[-1]["object"] is None
    assert hooks.asked[-1]["options"]["kind"] == "DeleteOptions"
    client.delete(CONFIGMAPS, "b", namespace)
    assert client.get(CONFIGMAPS, "a", namespace)


def test_warnings_and_audit_annotations(
    client: Client, register: Register, apiserver: APIServer, namespace: str, wire: Any
) -> None:
    register(VALIDATING, "/warn", lambda _: {"warnings": ["mind the gap"], "auditAnnotations": {"why": "because"}})
    answer = wire("POST", f"/api/v1/namespaces/{namespace}/configmaps", configmap("warned"))
    assert answer.status == 201
    assert answer.headers["warning"] == '299 - "mind the gap"'
    eventually(lambda: '"warn.example.com/why":"because"' in (apiserver.directory / "audit.log").read_text())


def test_dry_run(client: Client, register: Register, hooks: WebhookServer, namespace: str, wire: Any) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps?dryRun=All"
    register(VALIDATING, "/dry")
    assert wire("POST", path, configmap()).status == 201
    assert hooks.asked[-1]["dryRun"] is True
    assert hooks.asked[-1]["options"]["dryRun"] == ["All"]
    hooks.answers["/wet"] = lambda _: {}
    register(VALIDATING, "/wet", sideEffects="None")
    found = client.list(VALIDATING)["items"]
    assert all(hook["sideEffects"] in ("None", "NoneOnDryRun") for one in found for hook in one["webhooks"])


# ---- who is asked --------------------------------------------------------------------------------------------------------


def test_selectors(client: Client, register: Register, hooks: WebhookServer, namespace: str) -> None:
    register(VALIDATING, "/red", objectSelector={"matchLabels": {"color": "red"}})
    client.create(CONFIGMAPS, configmap("green", {"color": "green"}), namespace)
    assert not hooks.asked
    client.create(CONFIGMAPS, configmap("red", {"color": "red"}), namespace)
    assert len(hooks.asked) == 1
    client.create(CONFIGMAPS, configmap("red", {"color": "red"}), "default")
    client.delete(CONFIGMAPS, "red", "default")
    assert len(hooks.asked) == 1, "the namespaceSelector leaves other namespaces alone"
    client.patch(CONFIGMAPS, "red", {"metadata": {"labels": {"color": "blue"}}}, namespace)
    assert len(hooks.asked) == 2, "the old object still has the label"


def test_match_conditions(client: Client, register: Register, hooks: WebhookServer, namespace: str) -> None:
    conditions = [
        {"name": "big", "expression": "size(object.data) > 1"},
        {"name": "new", "expression": "request.operation == 'CREATE'"},
        {
            "name": "mine",
            "expression": "authorizer.group('').resource('pods').namespace('default').check('create').allowed()",
        },
    ]
    register(VALIDATING, "/big", lambda _: denied("too big"), matchConditions=conditions)
    client.create(CONFIGMAPS, configmap("small", x="1"), namespace)
    with pytest.raises(errors.APIError, match="too big"):
        client.create(CONFIGMAPS, configmap("big", x="1", y="2"), namespace)
    assert len(hooks.asked) == 1


def test_a_match_condition_that_fails_is_a_refusal(client: Client, register: Register, namespace: str) -> None:
    register(VALIDATING, "/x", matchConditions=[{"name": "wrong", "expression": "object.nothing.here == 1"}])
    with pytest.raises(errors.Forbidden, match=r'configmaps "a" is forbidden: .*no such key: nothing'):
        client.create(CONFIGMAPS, configmap(), namespace)


def test_a_match_condition_that_fails_open(
    client: Client, register: Register, hooks: WebhookServer, namespace: str
) -> None:
    wrong = [{"name": "wrong", "expression": "object.nothing.here == 1"}]
    register(VALIDATING, "/x", lambda _: denied("no"), matchConditions=wrong, failurePolicy="Ignore")
    client.create(CONFIGMAPS, configmap(), namespace)
    assert not hooks.asked


@pytest.mark.parametrize("text", ["object.x == ", "nosuchvariable == 1", "nosuchfunction(object)"])
def test_a_match_condition_that_is_none_is_not_taken(register: Register, text: str) -> None:
    with pytest.raises(errors.Invalid, match="compilation failed"):
        register(VALIDATING, "/x", matchConditions=[{"name": "wrong", "expression": text}])


def test_equivalent_versions(client: Client, register: Register, hooks: WebhookServer, namespace: str) -> None:
    """A rule about autoscaling/v1 is meant for objects that come as autoscaling/v2, and sees them as v1."""
    rule = {
        "operations": ["*"],
        "apiGroups": ["autoscaling"],
        "apiVersions": ["v1"],
        "resources": ["horizontalpodautoscalers"],
    }
    register(
        MUTATING, "/old", lambda _: patched({"op": "replace", "path": "/spec/maxReplicas", "value": 7}), rules=[rule]
    )
    register(VALIDATING, "/exact", lambda _: denied("never"), rules=[rule], matchPolicy="Exact")
    v2 = GVR("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    made = client.create(
        v2,
        {**new_object(v2, "h"), "spec": {"scaleTargetRef": target, "maxReplicas": 3, "metrics": [metric]}},
        namespace,
    )
    assert made["spec"]["maxReplicas"] == 7
    assert made["spec"]["metrics"] == [metric]
    seen = hooks.asked[-1]
    assert (seen["kind"]["version"], seen["requestKind"]["version"]) == ("v1", "v2")
    assert seen["object"]["spec"]["targetCPUUtilizationPercentage"] == 50


def test_a_scale(client: Client, register: Register, hooks: WebhookServer, namespace: str) -> None:
    """A subresource is seen as what it speaks, and its parent's webhooks are not asked."""
    rule = {"operations": ["*"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"]}
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}
    deployment = {**new_object(DEPLOYMENTS, "d"), "spec": {"selector": {"matchLabels": labels}, "template": template}}
    client.create(DEPLOYMENTS, deployment, namespace)
    register(VALIDATING, "/whole", rules=[{**rule, "resources": ["deployments"]}])
    register(
        MUTATING, "/scale", lambda _: patched({"op": "replace", "path": "/spec/replicas", "value": 5}), rules=[rule]
    )
    client.patch(DEPLOYMENTS, "d", {"spec": {"replicas": 3}}, namespace, subresource="scale")
    assert client.get(DEPLOYMENTS, "d", namespace)["spec"]["replicas"] == 5
    assert [one["kind"]["kind"] for one in hooks.asked] == ["Scale"]
    assert (hooks.asked[0]["subResource"], hooks.asked[0]["oldObject"]["spec"]["replicas"]) == ("scale", 1)


def test_namespaces_are_in_themselves(client: Client, register: Register, hooks: WebhookServer) -> None:
    rule = {
        "operations": ["CREATE"],
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": ["namespaces"],
        "scope": "Cluster",
    }
    name = f"labelled-{time.monotonic_ns() % 10**8}"
    register(VALIDATING, "/ns", rules=[rule], namespaceSelector={"matchLabels": {"color": name}})
    client.create(NAMESPACES, new_object(NAMESPACES, f"{name}-plain"))
    assert not hooks.asked
    labelled = new_object(NAMESPACES, name)
    labelled["metadata"]["labels"] = {"color": name}
    client.create(NAMESPACES, labelled)
    assert (hooks.asked[0]["name"], hooks.asked[0]["namespace"]) == (name, name)


def test_configurations_are_exempt(client: Client, register: Register, hooks: WebhookServer) -> None:
    rule = {
        "operations": ["*"],
        "apiGroups": ["admissionregistration.k8s.io"],
        "apiVersions": ["*"],
        "resources": ["*/*"],
    }
    made = register(VALIDATING, "/all", lambda _: denied("never"), rules=[rule], namespaceSelector={})
    client.patch(VALIDATING, made["metadata"]["name"], {"metadata": {"labels": {"a": "b"}}})
    assert not hooks.asked


def test_custom_resources_and_their_status(
    client: Client, register: Register, hooks: WebhookServer, namespace: str
) -> None:
    text = {"type": "string"}
    properties = {
        "spec": {"type": "object", "properties": {"a": text}},
        "status": {"type": "object", "properties": {"b": text}},
    }
    versions: list[Obj] = [
        {
            "name": name, "served": True, "storage": name == "v2", "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
        }
        for name in ("v1", "v2")
    ]  # fmt: skip
    crd = client.create(CRDS, definition("gates", versions=versions))
    try:
        kind = gvr(crd, "v2")
        rule = {
            "operations": ["*"],
            "apiGroups": [kind.group],
            "apiVersions": ["v1"],
            "resources": ["gates", "gates/status"],
        }
        operations: list[Obj] = [
            {"op": "add", "path": "/spec/a", "value": "mutated"},
            {"op": "add", "path": "/spec/unknown", "value": 1},
        ]
        register(
            MUTATING, "/gate", lambda asked: {} if asked.get("subResource") else patched(*operations), rules=[rule]
        )
        made = client.create(kind, {**new_object(kind, "g"), "spec": {"a": "x"}}, namespace)
        assert made["apiVersion"].endswith("/v2")
        assert made["spec"] == {"a": "mutated"}, "what the schema does not know is pruned"
        assert hooks.asked[-1]["object"]["apiVersion"].endswith("/v1")
        client.patch(kind, "g", {"status": {"b": "y"}}, namespace, subresource="status")
        assert (hooks.asked[-1]["subResource"], hooks.asked[-1]["kind"]["kind"]) == ("status", kind.kind)
    finally:
        client.delete(CRDS, crd["metadata"]["name"])


def test_connections(client: Client, register: Register, hooks: WebhookServer, namespace: str, wire: Any) -> None:
    rule = {
        "operations": ["CONNECT"],
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": ["pods/exec", "pods/proxy"],
    }
    register(VALIDATING, "/exec", lambda asked: denied(f"not into {asked['name']}"), rules=[rule])
    path = f"/api/v1/namespaces/{namespace}/pods/p"
    answer = wire("POST", f"{path}/exec?command=a&command=b&stdout=true&container=c")
    assert "not into p" in answer.body["message"]
    options = hooks.asked[-1]["object"]
    assert options == {
        "kind": "PodExecOptions", "apiVersion": "v1", "command": ["a", "b"], "stdout": True, "container": "c",
    }  # fmt: skip
    assert "not into p" in wire("GET", f"{path}/proxy/index.html").body["message"]
    assert hooks.asked[-1]["object"]["path"] == "/index.html"


# ---- order ---------------------------------------------------------------------------------------------------------------


def test_an_earlier_webhook_is_asked_again(
    client: Client, register: Register, hooks: WebhookServer, namespace: str
) -> None:
    def first(asked: Obj) -> Obj:
        size = str(len(asked["object"]["data"]))
        return patched({"op": "add", "path": "/metadata/labels", "value": {"size": size}})

    register(MUTATING, "/first", first, reinvocationPolicy="IfNeeded")
    register(MUTATING, "/second", lambda _: patched({"op": "add", "path": "/data/more", "value": "y"}))
    made = client.create(CONFIGMAPS, configmap(x="1"), namespace)
    assert [path.partition("?")[0] for path in hooks.paths] == ["/first", "/second", "/first"]
    assert made["metadata"]["labels"]["size"] == "2"


# ---- failures ------------------------------------------------------------------------------------------------------------


def _garbage(_: Obj) -> tuple[int, bytes]:
    return 200, b"<html>not what you think</html>"


FAULTS: dict[str, tuple[Callable[[Obj], Any], str]] = {
    "error": (lambda _: (500, b"boom"), r'an error on the server \("boom"\) has prevented the request from succeeding'),
    "missing": (lambda _: (404, b""), "the server could not find the requested resource"),
    "rubbish": (_garbage, "couldn't decode the answer"),
    "list": (lambda _: (200, b"[]"), "couldn't decode the answer"),
    "empty": (lambda _: (200, b"{}"), "received invalid webhook response: webhook response was absent"),
    "wrong-uid": (lambda _: {"uid": "x"}, r'expected response.uid="[-0-9a-f]+", got "x"'),
    "patching": (lambda _: patched(), "validating webhook may not return response.patch"),
    "huge": (lambda _: (200, b'"' + b"x" * (20 * 1024 * 1024) + b'"'), "the answer is longer than"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_webhook_that_fails(client: Client, register: Register, namespace: str, fault: str) -> None:
    answer, why = FAULTS[fault]
    made = register(VALIDATING, f"/{fault}", answer)
    with pytest.raises(errors.InternalError, match=f'failed calling webhook "{fault}.example.com": .*{why}') as failed:
        client.create(CONFIGMAPS, configmap(), namespace)
    assert failed.value.code == 500
    made["webhooks"][0]["failurePolicy"] = "Ignore"
    client.update(VALIDATING, made)
    assert client.create(CONFIGMAPS, configmap(), namespace)


def test_nobody_listens(client: Client, register: Register, hooks: WebhookServer, namespace: str) -> None:
    register(VALIDATING, "/dead", clientConfig={**hooks.client("/"), "url": "https://127.0.0.1:1/dead"})
    said = r'failed calling webhook "dead.example.com": failed to call webhook: Post "https://127.0.0.1:1/dead\?timeout=10s": '
    with pytest.raises(errors.InternalError, match=said + "dial tcp 127.0.0.1:1: connect: connection refused"):
        client.create(CONFIGMAPS, configmap(), namespace)


def test_a_service_that_is_not_there(client: Client, register: Register, hooks: WebhookServer, namespace: str) -> None:
    service = {"namespace": namespace, "name": "gone", "path": "/x"}
    register(VALIDATING, "/gone", clientConfig={"service": service})
    wanted = rf'Post "https://gone.{namespace}.svc:443/x\?timeout=10s": service "gone" not found'
    with pytest.raises(errors.InternalError, match=wanted):
        client.create(CONFIGMAPS, configmap(), namespace)


def test_a_certificate_of_somebody_else(
    client: Client, register: Register, hooks: WebhookServer, namespace: str
) -> None:
    config = {key: value for key, value in hooks.client("/odd").items() if key == "url"}
    register(VALIDATING, "/odd", clientConfig=config)
    with pytest.raises(errors.InternalError, match="tls: failed to verify certificate: x509"):
        client.create(CONFIGMAPS, configmap(), namespace)


def test_a_webhook_that_hangs_holds_up_nobody_else(
    client: Client, register: Register, apiserver: APIServer, namespace: str
) -> None:
    let_go = threading.Event()

    def hang(_: Obj) -> Obj:
        let_go.wait(20)
        return {}

    register(VALIDATING, "/hang", hang, timeoutSeconds=2, objectSelector={"matchLabels": {"slow": "yes"}})
    failures: list[str] = []

    def write(name: str) -> None:
        try:
            apiserver.client().create(CONFIGMAPS, configmap(name, {"slow": "yes"}), namespace)
        except errors.InternalError as error:
            failures.append(error.message)

    threads = [threading.Thread(target=write, args=(f"slow-{at}",)) for at in range(20)]
    for thread in threads:
        thread.start()
    for at in range(20):
        client.create(CONFIGMAPS, configmap(f"quick-{at}"), namespace)
    assert not failures, "twenty other writes were answered before the first of them lost its patience"
    for thread in threads:
        thread.join(10)
    let_go.set()
    assert len(failures) == 20
    assert all("context deadline exceeded" in text and "?timeout=2s" in text for text in failures)


def test_metrics(client: Client, register: Register, namespace: str, wire: Any) -> None:
    register(VALIDATING, "/counted", lambda _: denied("no"))
    with pytest.raises(errors.APIError):
        client.create(CONFIGMAPS, configmap(), namespace)
    text = str(wire("GET", "/metrics").body)
    labels = 'name="counted.example.com",type="validating",operation="CREATE"'
    assert (
        f'apiserver_admission_webhook_rejection_count{{rejection_code="400",{labels},error_type="no_error"}} 1' in text
    )


# ---- what may be written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client_config", "why"),
    [
        ({}, "exactly one of url or service is required"),
        ({"url": "http://host/"}, "'https' is the only allowed URL scheme"),
        ({"url": "https:///path"}, "host must be specified"),
        ({"url": "https://me@host/"}, "user information is not permitted in the URL"),
        ({"url": "https://host/?a=b"}, "query parameters are not permitted in the URL"),
        ({"url": "https://host/#a"}, "fragments are not permitted in the URL"),
        ({"url": "https://host:port/"}, "url must be a valid URL"),
        ({"url": "https://host/", "caBundle": "bm9uZQ=="}, "unable to load root certificates"),
        ({"service": {"name": "a"}}, "clientConfig.service.namespace"),
        ({"service": {"name": "a", "namespace": "b", "port": 70000}}, "port is not valid"),
        ({"service": {"name": "a", "namespace": "b", "path": "a"}}, "must start with a '/'"),
        ({"service": {"name": "a", "namespace": "b", "path": "/a//b"}}, r"segment\[1\] may not be empty"),
    ],
)
def test_clients_that_are_not_taken(register: Register, client_config: Obj, why: str) -> None:
    with pytest.raises(errors.Invalid, match=why):
        register(VALIDATING, "/x", clientConfig=client_config)


def test_a_collection_is_deleted_one_by_one(client: Client, register: Register, namespace: str, wire: Any) -> None:
    rule = {**CONFIGMAP_RULE, "operations": ["DELETE"]}
    register(VALIDATING, "/keep", lambda asked: {"allowed": asked["name"] != "kept"}, rules=[rule])
    for name in ("a", "b", "kept"):
        client.create(CONFIGMAPS, configmap(name), namespace)
    answer = wire("DELETE", f"/api/v1/namespaces/{namespace}/configmaps")
    assert answer.status == 400
    assert "keep.example.com" in answer.body["message"]
    assert [one["metadata"]["name"] for one in client.list(CONFIGMAPS, namespace)["items"]] == ["kept"]
