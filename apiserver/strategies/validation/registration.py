"""What extends the API: webhook configurations, APIServices (definitions of custom resources have a package of their own).

Who calls it: the strategy table. Invariant: pure; what cannot be compiled is refused when it is written.
Upstream: pkg/apis/admissionregistration/validation, kube-aggregator/pkg/apis/apiregistration/validation.
"""

from collections.abc import Mapping, Sequence

from apiserver.strategies.checks import (
    forbidden,
    invalid,
    one_of,
    required,
    required_syntax,
    too_many,
    unique,
    unsupported,
)
from apiserver.strategies.validation.selectors import label_selector
from apiserver.strategies.validation.webhook_client import client_config
from minikube_py.api import names
from minikube_py.api.cel import program, typecheck
from minikube_py.api.cel.types import BOOL, DYN, STRING, List, Map, Type, struct
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_MOST_CONDITIONS = 64
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")


def rule(rule: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for name in ("operations", "apiGroups", "apiVersions", "resources"):
        values = rule.get(name) or []
        if not values:
            causes.append(required(f"{path}.{name}"))
        if "*" in values and len(values) > 1 and name != "resources":
            causes.append(
                invalid(f"{path}.{name}", values, "if '*' is present, must not specify other " + _PLURAL[name])
            )
    for index, operation in enumerate(rule.get("operations") or ()):
        if operation not in _OPERATIONS:
            causes.append(unsupported(f"{path}.operations[{index}]", operation, _OPERATIONS))
    return causes + one_of(f"{path}.scope", rule.get("scope"), ("*", "Cluster", "Namespaced"))


_PLURAL = {"operations": "operations", "apiGroups": "API groups", "apiVersions": "API versions"}


_KIND = struct("kubernetes.GroupVersionKind", dict.fromkeys(("group", "version", "kind"), STRING))
_RESOURCE = struct("kubernetes.GroupVersionResource", dict.fromkeys(("group", "version", "resource"), STRING))
_USER: dict[str, Type] = {"username": STRING, "uid": STRING, "groups": List(STRING), "extra": Map(STRING, List(STRING))}
_REQUEST: dict[str, Type] = {
    "kind": _KIND, "requestKind": _KIND, "resource": _RESOURCE, "requestResource": _RESOURCE, "dryRun": BOOL, "options": DYN,
    "userInfo": struct("kubernetes.UserInfo", _USER),
    **dict.fromkeys(("subResource", "requestSubResource", "name", "namespace", "operation"), STRING),
}  # fmt: skip
VARIABLES: Mapping[str, Type] = {
    "object": DYN, "oldObject": DYN, "authorizer": DYN, "request": struct("kubernetes.AdmissionRequest", _REQUEST),
}  # fmt: skip
"""What every expression about a write may name."""


def match_conditions(conditions: list[Obj], path: str, variables: Mapping[str, Type] = VARIABLES) -> list[Cause]:
    """The CEL expressions that decide whether a webhook or policy is asked. In: the variables that they may name."""
    causes = unique(path, conditions, "name", leaf="name")
    if len(conditions) > _MOST_CONDITIONS:
        causes.append(too_many(path, len(conditions), _MOST_CONDITIONS))
    for index, condition in enumerate(conditions):
        at, text = f"{path}[{index}]", condition.get("expression") or ""
        causes += required_syntax(f"{at}.name", condition.get("name") or "", names.qualified)
        causes += expression(text, f"{at}.expression", variables, (BOOL,))
    return causes


def expression(text: str, path: str, variables: Mapping[str, Type], results: Sequence[Type] = ()) -> list[Cause]:
    """One CEL expression that must be there, may name these variables, and has one of these types."""
    if not text.strip():
        return [required(path, "expression is not specified")]
    try:
        typecheck.check(text, variables, results)
    except program.CompileError as error:
        why = str(error) if str(error).startswith("must evaluate") else f"compilation failed: {error}"
        return [invalid(path, text, why)]
    return []


def webhooks(obj: Obj) -> list[Cause]:
    """A Validating- or MutatingWebhookConfiguration."""
    hooks = obj.get("webhooks") or []
    causes = unique("webhooks", hooks, "name", leaf="name")
    for index, hook in enumerate(hooks):
        at, name = f"webhooks[{index}]", hook.get("name") or ""
        if not name:
            causes.append(required(f"{at}.name"))
        elif names.subdomain(name) or name.count(".") < 2:
            why = "should be a domain with at least three segments separated by dots"
            causes.append(invalid(f"{at}.name", name, why))
        if not hook.get("admissionReviewVersions"):
            causes.append(required(f"{at}.admissionReviewVersions", "must specify one of v1, v1beta1"))
        elif not {"v1", "v1beta1"} & set(hook["admissionReviewVersions"]):
            why = "must include at least one of v1, v1beta1"
            causes.append(invalid(f"{at}.admissionReviewVersions", hook["admissionReviewVersions"], why))
        causes += one_of(f"{at}.sideEffects", hook.get("sideEffects"), ("None", "NoneOnDryRun"))
        causes += one_of(f"{at}.failurePolicy", hook.get("failurePolicy"), ("Fail", "Ignore"))
        causes += one_of(f"{at}.matchPolicy", hook.get("matchPolicy"), ("Equivalent", "Exact"))
        seconds = hook.get("timeoutSeconds")
        if seconds is not None and not 1 <= seconds <= 30:
            why = "the timeout value must be between 1 and 30 seconds"
            causes.append(invalid(f"{at}.timeoutSeconds", seconds, why))
        if hook.get("reinvocationPolicy") is not None:
            causes += one_of(f"{at}.reinvocationPolicy", hook["reinvocationPolicy"], ("IfNeeded", "Never"))
        for number, one in enumerate(hook.get("rules") or ()):
            causes += rule(one, f"{at}.rules[{number}]")
        causes += client_config(hook.get("clientConfig") or {}, f"{at}.clientConfig")
        causes += match_conditions(hook.get("matchConditions") or [], f"{at}.matchConditions")
        for selector in ("namespaceSelector", "objectSelector"):
            causes += label_selector(f"{at}.{selector}", hook.get(selector))
    return causes


def apiservice(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    group, version = spec.get("group") or "", spec.get("version") or ""
    causes: list[Cause] = []
    if obj["metadata"].get("name") != f"{version}.{group}":
        why = f'must be `spec.version+"."+spec.group`: "{version}.{group}"'
        causes.append(invalid("metadata.name", obj["metadata"].get("name"), why))
    causes += required_syntax("spec.version", version, names.label_1035)
    if (spec.get("groupPriorityMinimum") or 0) <= 0 or spec["groupPriorityMinimum"] > 20000:
        why = "must be positive and less than 20000"
        causes.append(invalid("spec.groupPriorityMinimum", spec.get("groupPriorityMinimum") or 0, why))
    if not 0 < (spec.get("versionPriority") or 0) <= 1000:
        why = "must be positive and less than 1000"
        causes.append(invalid("spec.versionPriority", spec.get("versionPriority") or 0, why))
    service = spec.get("service")
    if service is None:
        if spec.get("caBundle"):
            causes.append(invalid("spec.caBundle", "…", "local APIServices may not have a caBundle"))
        return causes
    causes += [required(f"spec.service.{name}") for name in ("name", "namespace") if not service.get(name)]
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        causes.append(forbidden("spec.insecureSkipTLSVerify", "may not be true if caBundle is present"))
    return causes
