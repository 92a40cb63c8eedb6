"""Validating- and MutatingAdmissionPolicies, on a real server: what they see, what they do, what may not be written."""

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from minikube_py.api import errors
from minikube_py.api.gvr import CONFIGMAPS, DEPLOYMENTS, GVR, new_object
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.apiserver.test_custom_resources import CRDS, definition, gvr
from tests.conftest import APIServer
from tests.harness import eventually

_GROUP = "admissionregistration.k8s.io"
VAP = GVR(_GROUP, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False)
VAP_BINDING = GVR(_GROUP, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", False)
MAP = GVR(_GROUP, "v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", False)
MAP_BINDING = GVR(_GROUP, "v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", False)
_serial = itertools.count(1)
CONFIGMAP_RULE = {
    "operations": ["CREATE", "UPDATE"],
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "resources": ["configmaps"],
}
DEPLOYMENT_RULE = {**CONFIGMAP_RULE, "apiGroups": ["apps"], "resources": ["deployments"]}
Bind = Callable[..., str]


@pytest.fixture
def bind(client: Client, namespace: str) -> Iterator[Bind]:
    """A policy and its binding to the test's namespace: (spec, rule, binding=…). Out: their name."""
    made: list[tuple[GVR, str]] = []

    def bind(spec: Obj, rule: Obj = CONFIGMAP_RULE, *, binding: Obj | None = None, **constraints: Any) -> str:
        name = f"policy-{next(_serial):03}-{namespace}"
        mutates = "mutations" in spec
        kinds = (MAP, MAP_BINDING) if mutates else (VAP, VAP_BINDING)
        only_here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
        whole = {"matchConstraints": {"resourceRules": [rule], **constraints}, **spec}
        if mutates:
            whole.setdefault("reinvocationPolicy", "Never")
        client.create(kinds[0], {**new_object(kinds[0], name), "spec": whole})
        made.append((kinds[0], name))
        bound = {"policyName": name, "matchResources": only_here, **(binding or {})}
        if not mutates:
            bound.setdefault("validationActions", ["Deny"])
        client.create(kinds[1], {**new_object(kinds[1], name), "spec": bound})
        made.append((kinds[1], name))
        return name

    yield bind
    for kind, name in reversed(made):
        client.delete(kind, name)


def configmap(name: str = "a", **data: str) -> Obj:
    return {**new_object(CONFIGMAPS, name), "data": data}


def deployment(name: str = "d", replicas: int = 1, **annotations: str) -> Obj:
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}
    made = {
        **new_object(DEPLOYMENTS, name),
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }
    made["metadata"]["annotations"] = annotations
    return made


def refusal(call: Callable[[], Any]) -> errors.APIError:
    with pytest.raises(errors.APIError) as refused:
        call()
    return refused.value


# ---- validating ----------------------------------------------------------------------------------------------------------


def test_a_denial(client: Client, bind: Bind, namespace: str) -> None:
    expression = {
        "expression": "object.spec.replicas > 1",
        "messageExpression": "'wants more than ' + string(object.spec.replicas)",
    }
    name = bind({"validations": [expression]}, DEPLOYMENT_RULE)
    error = refusal(lambda: client.create(DEPLOYMENTS, deployment(replicas=1), namespace))
    why = f"ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request: wants more than 1"
    assert error.message == f'deployments.apps "d" is forbidden: {why}'
    assert (error.code, error.reason, error.details["causes"]) == (422, "Invalid", [{"message": why}])
    assert client.create(DEPLOYMENTS, deployment(replicas=2), namespace)


@pytest.mark.parametrize(
    ("validation", "message", "code"),
    [
        ({"expression": "false"}, "failed expression: false", 422),
        ({"expression": "false", "message": "because"}, "because", 422),
        ({"expression": "false", "message": "because", "messageExpression": "object.gone.gone"}, "because", 422),
        ({"expression": "false", "message": "because", "messageExpression": "'a\\nb'"}, "because", 422),
        ({"expression": "false", "reason": "Forbidden"}, "failed expression: false", 403),
        ({"expression": "false", "reason": "RequestEntityTooLarge"}, "failed expression: false", 413),
        ({"expression": "object.gone == 1"}, "expression 'object.gone == 1' resulted in error: no such key: gone", 422),
    ],
)  # fmt: skip
def test_messages_and_reasons(
    client: Client, bind: Bind, namespace: str, validation: Obj, message: str, code: int
) -> None:
    bind({"validations": [validation]})
    error = refusal(lambda: client.create(CONFIGMAPS, configmap(), namespace))
    assert error.message.endswith(f"denied request: {message}")
    assert error.code == code


@pytest.mark.parametrize(
    "expression",
    [
        "request.operation == 'CREATE' && request.kind.kind == 'ConfigMap' && request.resource.resource == 'configmaps'",
        "request.namespace == namespaceObject.metadata.name && request.name == 'a'",
        "'system:masters' in request.userInfo.groups && !request.dryRun",
        "oldObject == null && object.apiVersion == 'v1'",
        "authorizer.group('').resource('pods').namespace('default').check('create').allowed()",
        "authorizer.requestResource.check('create').allowed() && authorizer.path('/healthz').check('get').allowed()",
        "!authorizer.serviceAccount('default', 'nobody').group('').resource('secrets').check('list').allowed()",
        "variables.size == 2 && variables.double == 4",
        "object.data.?missing.orValue('x') == 'x' && !has(object.data.missing)",
        "cel.bind(d, object.data, d.x + d.y == '12')",
        "object.data.transformList(k, v, k + v).size() == 2 && object.data.all(k, v, size(v) == 1)",
        "sets.contains(['a', 'b'], ['a']) && '%s-%d'.format(['x', 3]) == 'x-3'",
        "format.dns1123Label().validate('good') == optional.none() && format.dns1123Label().validate('Bad').hasValue()",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && quantity('1Gi').add(quantity('1Gi')).isGreaterThan(quantity('1Gi'))",
        "ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3') && jsonpatch.escapeKey('a/b') == 'a~1b'",
        "object.metadata.`name` == 'a' && object.data.exists(k, k == 'x')",
        "object.data.x == 1 ? false : object.data != 'text'",
    ],
)  # fmt: skip
def test_what_expressions_see(client: Client, bind: Bind, namespace: str, expression: str) -> None:
    variables = [
        {"name": "size", "expression": "object.data.size()"}, {"name": "double", "expression": "variables.size * 2"},
        {"name": "never", "expression": "object.nothing.here"},
    ]  # fmt: skip
    bind({"variables": variables, "validations": [{"expression": expression}]})
    assert client.create(CONFIGMAPS, configmap(x="1", y="2"), namespace)


def test_warnings_and_audit(bind: Bind, namespace: str, wire: Any, apiserver: APIServer) -> None:
    annotations = [
        {"key": "size", "valueExpression": "'size is ' + string(object.data.size())"},
        {"key": "none", "valueExpression": "null"},
    ]
    spec = {"validations": [{"expression": "false", "message": "mind"}], "auditAnnotations": annotations}
    name = bind(spec, binding={"validationActions": ["Warn", "Audit"]})
    answer = wire("POST", f"/api/v1/namespaces/{namespace}/configmaps", configmap("noted", x="1"))
    assert answer.status == 201
    said = f"Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{name}': mind"
    assert answer.headers["warning"] == f'299 - "{said}"'
    log = apiserver.directory / "audit.log"
    eventually(lambda: f'"{name}/size":"size is 1"' in log.read_text())
    assert "validation.policy.admission.k8s.io/validation_failure" in log.read_text()
    assert f"{name}/none" not in log.read_text()


def test_match_conditions_and_failure_policy(client: Client, bind: Bind, namespace: str) -> None:
    bind(
        {
            "matchConditions": [{"name": "big", "expression": "size(object.data) > 1"}],
            "validations": [{"expression": "false"}],
        }
    )
    bind({"failurePolicy": "Ignore", "validations": [{"expression": "object.gone.gone"}]})
    assert client.create(CONFIGMAPS, configmap("small", x="1"), namespace)
    assert refusal(lambda: client.create(CONFIGMAPS, configmap("big", x="1", y="2"), namespace)).code == 422


def test_parameters(client: Client, bind: Bind, namespace: str) -> None:
    """Every parameter that the selector finds is judged; none at all is what the binding says."""
    spec = {
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [
            {"expression": "object.spec.replicas <= int(params.data.most)",
             "messageExpression": "'at most ' + params.data.most"},
        ],
    }  # fmt: skip
    ref = {"selector": {"matchLabels": {"limit": namespace}}, "parameterNotFoundAction": "Deny"}
    bind(spec, DEPLOYMENT_RULE, binding={"paramRef": ref})
    error = refusal(lambda: client.create(DEPLOYMENTS, deployment("none"), namespace))
    assert error.message.endswith(
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    )
    for most in ("5", "3"):
        limit = configmap(f"limit-{most}", most=most)
        limit["metadata"]["labels"] = {"limit": namespace}
        client.create(CONFIGMAPS, limit, namespace)
    assert client.create(DEPLOYMENTS, deployment("three", 3), namespace)
    assert "at most 3" in refusal(lambda: client.create(DEPLOYMENTS, deployment("four", 4), namespace)).message


def test_parameters_that_may_be_missing(client: Client, bind: Bind, namespace: str) -> None:
    spec = {
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "params.data.open == 'yes'"}],
    }
    bind(spec, binding={"paramRef": {"name": "door", "parameterNotFoundAction": "Allow"}})
    assert client.create(CONFIGMAPS, configmap("door", open="no"), namespace)
    assert refusal(lambda: client.create(CONFIGMAPS, configmap("b"), namespace)).code == 422


def test_a_parameter_kind_that_there_is_not(client: Client, bind: Bind, namespace: str) -> None:
    spec = {
        "paramKind": {"apiVersion": "rules.example.com/v1", "kind": "Rule"},
        "validations": [{"expression": "true"}],
    }
    bind(spec, binding={"paramRef": {"name": "x", "parameterNotFoundAction": "Allow"}})
    error = refusal(lambda: client.create(CONFIGMAPS, configmap(), namespace))
    assert "failed to find resource referenced by paramKind: 'rules.example.com/v1, Kind=Rule'" in error.message


def test_excluded_resources_and_names(client: Client, bind: Bind, namespace: str) -> None:
    excluded = [{**CONFIGMAP_RULE, "resourceNames": ["spared"]}]
    bind({"validations": [{"expression": "false"}]}, excludeResourceRules=excluded)
    assert client.create(CONFIGMAPS, configmap("spared"), namespace)
    assert refusal(lambda: client.create(CONFIGMAPS, configmap("other"), namespace)).code == 422


def test_deletes(client: Client, bind: Bind, namespace: str) -> None:
    rule = {**CONFIGMAP_RULE, "operations": ["DELETE"]}
    bind({"validations": [{"expression": "object == null && oldObject.data.keep != 'yes'"}]}, rule)
    client.create(CONFIGMAPS, configmap("kept", keep="yes"), namespace)
    client.create(CONFIGMAPS, configmap("gone", keep="no"), namespace)
    assert refusal(lambda: client.delete(CONFIGMAPS, "kept", namespace)).code == 422
    client.delete(CONFIGMAPS, "gone", namespace)


def test_an_expression_without_end_runs_out_of_budget(client: Client, bind: Bind, namespace: str) -> None:
    """And other writes go on meanwhile."""
    spin = "[1,2,3,4,5,6,7,8,9,10]"
    nested = "true"
    for depth in range(8):
        nested = f"{spin}.all(x{depth}, {nested})"
    bind(
        {
            "validations": [{"expression": nested}],
            "matchConditions": [{"name": "slow", "expression": "object.metadata.name == 'slow'"}],
        }
    )
    failures: list[errors.APIError] = []
    thread = threading.Thread(
        target=lambda: failures.append(refusal(lambda: client.create(CONFIGMAPS, configmap("slow"), namespace)))
    )
    thread.start()
    for at in range(5):
        assert client.create(CONFIGMAPS, configmap(f"quick-{at}"), namespace)
    assert not failures
    thread.join(120)
    assert "operation cancelled: actual cost limit exceeded" in failures[0].message


# ---- mutating ------------------------------------------------------------------------------------------------------------


def applying(text: str) -> Obj:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}}


def patching(text: str) -> Obj:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": text}}


def test_apply_configurations(client: Client, bind: Bind, namespace: str) -> None:
    sidecar = "Object.spec.template.spec.containers{name: 'sidecar', image: 'proxy:1'}"
    pod = f"Object.spec.template.spec{{containers: [{sidecar}],}}"
    text = f"""Object{{
      metadata: Object.metadata{{
        annotations: {{"size": string(object.spec.replicas), "old": object.metadata.annotations.was}}
      }},
      spec: Object.spec{{replicas: 7, template: Object.spec.template{{spec: {pod}}}}},
    }}"""
    bind({"mutations": [applying(text)]}, DEPLOYMENT_RULE)
    made = client.create(DEPLOYMENTS, deployment(replicas=2, was="there"), namespace)
    assert made["spec"]["replicas"] == 7
    assert made["metadata"]["annotations"] == {"was": "there", "size": "2", "old": "there"}
    containers = made["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in containers] == ["c", "sidecar"]
    assert containers[1]["terminationMessagePolicy"] == "File", "defaults follow"


def test_json_patches(client: Client, bind: Bind, namespace: str) -> None:
    text = """[
      JSONPatch{op: "test", path: "/data/x", value: "1"},
      JSONPatch{op: "replace", path: "/data/x", value: "2"},
      JSONPatch{op: "add", path: "/metadata/labels", value: {"example.com/a": "c"}},
      JSONPatch{op: "copy", from: "/data/x", path: "/data/y"},
      JSONPatch{op: "remove", path: "/data/z"},
    ]"""
    bind({"mutations": [patching(text)]})
    made = client.create(CONFIGMAPS, configmap("a", x="1", z="0"), namespace)
    assert made["data"] == {"x": "2", "y": "2"}
    assert made["metadata"]["labels"] == {"example.com/a": "c"}
    untested = client.create(CONFIGMAPS, configmap("b", x="other", z="0"), namespace)
    assert untested["data"] == {"x": "other", "z": "0"}, "a test that fails leaves all as it was"


def test_mutations_follow_each_other(client: Client, bind: Bind, namespace: str) -> None:
    first = patching('[JSONPatch{op: "add", path: "/data/a", value: "1"}]')
    second = patching('[JSONPatch{op: "add", path: "/data/b", value: object.data.a + variables.suffix}]')
    bind({"variables": [{"name": "suffix", "expression": "'-' + request.name"}], "mutations": [first, second]})
    assert client.create(CONFIGMAPS, configmap(x="0"), namespace)["data"] == {"x": "0", "a": "1", "b": "1-a"}


def test_a_policy_is_asked_again(client: Client, bind: Bind, namespace: str) -> None:
    count = '[JSONPatch{op: "add", path: "/metadata/annotations", value: {"size": string(object.data.size())}}]'
    bind({"mutations": [patching(count)], "reinvocationPolicy": "IfNeeded"})
    bind({"mutations": [patching('[JSONPatch{op: "add", path: "/data/more", value: "y"}]')]})
    assert client.create(CONFIGMAPS, configmap(x="0"), namespace)["metadata"]["annotations"] == {"size": "2"}


@pytest.mark.parametrize(
    ("mutation", "why"),
    [
        (applying("Object{spec: Object.spec{wrong: 1}}"), ".spec.wrong: field not declared in schema"),
        (applying("Object{spec: Object.status{replicas: 1}}"), "type mismatch: unexpected type name"),
        (applying("Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'a': 'b'}}}}"),
         "may not mutate atomic arrays, maps or structs: .spec.selector"),
        (patching("[JSONPatch{op: 'remove', path: '/nothing/here'}]"), "JSON Patch: "),
        (patching("[JSONPatch{op: 'add', path: '/spec/replicas', value: object.gone}]"), "no such key: gone"),
    ],
)  # fmt: skip
def test_mutations_that_fail(client: Client, bind: Bind, namespace: str, mutation: Obj, why: str) -> None:
    name = bind({"mutations": [mutation]}, DEPLOYMENT_RULE)
    error = refusal(lambda: client.create(DEPLOYMENTS, deployment(), namespace))
    assert error.message.startswith(f"policy '{name}' with binding '{name}' denied request: ")
    assert why in error.message
    assert (error.code, error.reason) == (403, "Invalid")
    client.patch(MAP, name, {"spec": {"failurePolicy": "Ignore"}})
    assert client.create(DEPLOYMENTS, deployment(), namespace)["spec"]["replicas"] == 1


# ---- what may be written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"validations": []}, "validations or auditAnnotations must contain at least one item"),
        ({"validations": [{"expression": "object.x =="}]}, "compilation failed"),
        ({"validations": [{"expression": "params.x == 1"}]}, "undeclared reference to 'params'"),
        ({"validations": [{"expression": "request.nope == 1"}]}, "undefined field 'nope'"),
        ({"validations": [{"expression": "'text'"}]}, "must evaluate to bool"),
        ({"validations": [{"expression": "variables.x == 1"}]}, "undefined field 'x'"),
        ({"validations": [{"expression": "true", "messageExpression": "1"}]}, "must evaluate to string"),
        ({"validations": [{"expression": "true", "reason": "Whim"}]}, 'Unsupported value: "Whim"'),
        ({"variables": [{"name": "a-b", "expression": "1"}], "validations": [{"expression": "true"}]},
         "must be a valid CEL identifier"),
        ({"variables": [{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}],
          "validations": [{"expression": "true"}]}, "undefined field 'b'"),
        ({"mutations": [applying("1")], }, "must evaluate to Object"),
        ({"mutations": [{"patchType": "JSONPatch"}]}, "must be specified when patchType is JSONPatch"),
        ({"mutations": []}, "mutations must contain at least one item"),
    ],
)  # fmt: skip
def test_policies_that_are_not_taken(bind: Bind, spec: Obj, why: str) -> None:
    error = refusal(lambda: bind(spec))
    assert isinstance(error, errors.Invalid)
    assert why in error.message


@pytest.mark.parametrize(
    ("binding", "why"),
    [
        ({"validationActions": []}, "at least one validation action is required"),
        ({"validationActions": ["Deny", "Warn"]}, "must not contain both Deny and Warn"),
        ({"paramRef": {"parameterNotFoundAction": "Allow"}}, "one of name or selector must be specified"),
        ({"paramRef": {"name": "a", "selector": {}, "parameterNotFoundAction": "Allow"}}, "mutually exclusive"),
        ({"paramRef": {"name": "a"}}, "spec.paramRef.parameterNotFoundAction"),
    ],
)  # fmt: skip
def test_bindings_that_are_not_taken(bind: Bind, binding: Obj, why: str) -> None:
    error = refusal(lambda: bind({"validations": [{"expression": "true"}]}, binding=binding))
    assert isinstance(error, errors.Invalid)
    assert why in error.message


def test_type_checking_is_told_in_the_status(client: Client, bind: Bind) -> None:
    good = client.get(VAP, bind({"validations": [{"expression": "object.spec.replicas > 1"}]}, DEPLOYMENT_RULE))
    assert good["status"] == {"observedGeneration": 1, "typeChecking": {}}
    confused = {"expression": "object.spec.replicas > '1'", "messageExpression": "'got ' + object.spec.replicas"}
    name = bind({"validations": [confused]}, DEPLOYMENT_RULE)
    warnings = client.get(VAP, name)["status"]["typeChecking"]["expressionWarnings"]
    assert [one["fieldRef"] for one in warnings] == [
        "spec.validations[0].expression",
        "spec.validations[0].messageExpression",
    ]
    assert warnings[0]["warning"] == (
        "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n"
        " | object.spec.replicas > '1'\n | .....................^\n"
    )
    client.patch(VAP, name, {"spec": {"validations": [{"expression": "object.spec.replicas > 1"}]}})
    assert client.get(VAP, name)["status"] == {"observedGeneration": 2, "typeChecking": {}}


def test_custom_kinds_are_checked_and_judged(client: Client, bind: Bind, namespace: str) -> None:
    fields = {"replicas": {"type": "integer"}, "host": {"type": "string"}}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    crd = client.create(CRDS, definition("lamps", versions=[version]))
    try:
        kind = gvr(crd)
        rule = {**CONFIGMAP_RULE, "apiGroups": [kind.group], "apiVersions": [kind.version], "resources": ["lamps"]}
        validations = [{"expression": "object.spec.replicas > 1"}, {"expression": "object.spec.maxRetries < 10"}]
        name = bind({"validations": validations, "failurePolicy": "Ignore"}, rule)
        warnings = client.get(VAP, name)["status"]["typeChecking"]["expressionWarnings"]
        assert [one["fieldRef"] for one in warnings] == ["spec.validations[1].expression"]
        bind({"mutations": [applying("Object{spec: Object.spec{host: 'set'}}")]}, rule)
        made = client.create(kind, {**new_object(kind, "a"), "spec": {"replicas": 2}}, namespace)
        assert made["spec"] == {"replicas": 2, "host": "set"}
        assert (
            refusal(lambda: client.create(kind, {**new_object(kind, "b"), "spec": {"replicas": 1}}, namespace)).code
            == 422
        )
    finally:
        client.delete(CRDS, crd["metadata"]["name"])


def test_parameters_must_be_readable_by_who_names_them(
    client: Client, apiserver: APIServer, bind: Bind, wire: Any
) -> None:
    roles = GVR("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False)
    bindings = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False)
    rules = [{"apiGroups": [_GROUP], "resources": ["*"], "verbs": ["*"]}]
    client.create(roles, {**new_object(roles, "policy-writer"), "rules": rules})
    subject = {"kind": "User", "name": "writer", "apiGroup": "rbac.authorization.k8s.io"}
    ref = {"kind": "ClusterRole", "name": "policy-writer", "apiGroup": "rbac.authorization.k8s.io"}
    client.create(bindings, {**new_object(bindings, "policy-writer"), "subjects": [subject], "roleRef": ref})
    spec = {
        "paramKind": {"apiVersion": "v1", "kind": "Secret"}, "validations": [{"expression": "true"}],
        "matchConstraints": {"resourceRules": [CONFIGMAP_RULE]},
    }  # fmt: skip
    path, writer = f"/apis/{_GROUP}/v1", {"Impersonate-User": "writer"}
    answer = wire("POST", f"{path}/{VAP.plural}", {**new_object(VAP, "spy"), "spec": spec}, headers=writer)
    assert answer.status == 422
    assert 'user writer must have "get" permission on all objects of the referenced paramKind' in answer.body["message"]
    name = bind({key: value for key, value in spec.items() if key != "matchConstraints"})
    bound = {
        "policyName": name,
        "validationActions": ["Deny"],
        "paramRef": {"selector": {}, "parameterNotFoundAction": "Allow"},
    }
    answer = wire(
        "POST", f"{path}/{VAP_BINDING.plural}", {**new_object(VAP_BINDING, "spy"), "spec": bound}, headers=writer
    )
    assert answer.status == 422
    assert 'does not have "list" permission on the object referenced by paramRef' in answer.body["message"]
