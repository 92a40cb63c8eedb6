"""Validating- and MutatingAdmissionPolicies and their bindings: what may be written, and what type checking says about it.

Who calls it: the strategy table. Invariant: pure; an expression that cannot be compiled is refused when it is written. What
can be seen to be wrong with an expression only for the kinds that the policy is about is no error, but told in its status,
which is written together with the policy.
Upstream: pkg/apis/admissionregistration/validation/validation.go, apiserver/pkg/admission/plugin/policy/validating/
typechecking.go, pkg/controller/validatingadmissionpolicystatus.
"""

import re
from collections.abc import Mapping

from apiserver.resources import schemas, table
from apiserver.strategies.base import Context
from apiserver.strategies.checks import duplicate, forbidden, invalid, one_of, required, unsupported
from apiserver.strategies.validation.registration import VARIABLES, expression, match_conditions, rule
from apiserver.strategies.validation.selectors import label_selector
from minikube_py.api import names
from minikube_py.api.cel import typecheck
from minikube_py.api.cel.program import CompileError
from minikube_py.api.cel.types import BOOL, DYN, NULL, STRING, List, Type, of_node, struct
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_ACTIONS = ("Audit", "Deny", "Warn")
_MUTABLE = ("CREATE", "UPDATE")
_MOST_ANNOTATIONS, _LONGEST_VALUE = 20, 5 * 1024
_MOST_KINDS = 10
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*", re.ASCII)
_RESERVED = frozenset((
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
    "loop", "package", "namespace", "return", "var", "void", "while",
))  # fmt: skip
Variables = Mapping[str, Type]


def validating(obj: Obj) -> list[Cause]:
    """A ValidatingAdmissionPolicy."""
    spec = obj.get("spec") or {}
    causes, seen = _common(spec)
    validations, annotations = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not validations and not annotations:
        why = "validations or auditAnnotations must contain at least one item"
        causes += [required("spec.validations", why), required("spec.auditAnnotations", why)]
    for index, validation in enumerate(validations):
        causes += _validation(validation, f"spec.validations[{index}]", seen)
    if len(annotations) > _MOST_ANNOTATIONS:
        why = f"must not have more than {_MOST_ANNOTATIONS} auditAnnotations"
        causes.append(invalid("spec.auditAnnotations", annotations, why))
    keys: set[str] = set()
    for index, annotation in enumerate(annotations):
        at, key = f"spec.auditAnnotations[{index}]", annotation.get("key") or ""
        if wrong := names.qualified(f"{obj['metadata'].get('name') or ''}/{key}"):
            causes.append(invalid(f"{at}.key", key, wrong))
        if key in keys:
            causes.append(duplicate(f"{at}.key", key))
        keys.add(key)
        text = annotation.get("valueExpression") or ""
        if len(text.strip()) > _LONGEST_VALUE:
            causes.append(required(f"{at}.valueExpression", f"must not exceed {_LONGEST_VALUE} bytes in length"))
        else:
            causes += expression(text, f"{at}.valueExpression", seen, (STRING, NULL))
    return causes


def mutating(obj: Obj) -> list[Cause]:
    """A MutatingAdmissionPolicy."""
    spec = obj.get("spec") or {}
    causes, seen = _common(spec)
    causes += _only_writes(spec.get("matchConstraints") or {}, "spec.matchConstraints")
    if not spec.get("mutations"):
        causes.append(required("spec.mutations", "mutations must contain at least one item"))
    seen = {**seen, "Object": DYN, "JSONPatch": DYN}
    for index, mutation in enumerate(spec.get("mutations") or ()):
        causes += _mutation(mutation, f"spec.mutations[{index}]", seen)
    return causes + one_of("spec.reinvocationPolicy", spec.get("reinvocationPolicy"), ("IfNeeded", "Never"))


def validating_binding(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes, actions = _binding(spec), spec.get("validationActions") or []
    for index, action in enumerate(actions):
        if action not in _ACTIONS:
            causes.append(unsupported(f"spec.validationActions[{index}]", action, _ACTIONS))
        if action in actions[:index]:
            causes.append(duplicate(f"spec.validationActions[{index}]", action))
    if "Deny" in actions and "Warn" in actions:
        why = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API response and "
            "headers serves no purpose)"
        )
        causes.append(invalid("spec.validationActions", actions, why))
    if not actions:
        causes.append(required("spec.validationActions", "at least one validation action is required"))
    return causes


def mutating_binding(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    return _binding(spec) + _only_writes(spec.get("matchResources") or {}, "spec.matchResources")


# ---- parts -----------------------------------------------------------------------------------------------------------


def _common(spec: Obj) -> tuple[list[Cause], dict[str, Type]]:
    """What both kinds of policies have. Out: also what their expressions may name."""
    causes = one_of("spec.failurePolicy", spec.get("failurePolicy"), ("Fail", "Ignore"))
    seen: dict[str, Type] = {**VARIABLES, "namespaceObject": DYN}
    if (kind := spec.get("paramKind")) is not None:
        seen["params"] = DYN
        causes += [required(f"spec.paramKind.{name}") for name in ("apiVersion", "kind") if not kind.get(name)]
    resources = spec.get("matchConstraints")
    if resources is None:
        causes.append(required("spec.matchConstraints"))
    else:
        causes += _resources(resources, "spec.matchConstraints")
        if not resources.get("resourceRules"):
            causes.append(required("spec.matchConstraints.resourceRules"))
    causes += match_conditions(spec.get("matchConditions") or [], "spec.matchConditions", seen)
    own: dict[str, Type] = {}
    for index, variable in enumerate(spec.get("variables") or ()):
        at, name = f"spec.variables[{index}]", variable.get("name") or ""
        if not name.strip():
            causes.append(required(f"{at}.name", "name is not specified"))
        elif not _IDENTIFIER.fullmatch(name) or name in _RESERVED:
            causes.append(invalid(f"{at}.name", name, "must be a valid CEL identifier"))
        causes += expression(variable.get("expression") or "", f"{at}.expression", {**seen, **_composed(own)})
        own[name] = DYN
    return causes, {**seen, **_composed(own)}


def _composed(own: dict[str, Type]) -> dict[str, Type]:
    """The variable `variables`, with those defined so far; there is none while none is."""
    return {"variables": struct("kubernetes.variables", dict(own))}


def _resources(resources: Obj, path: str) -> list[Cause]:
    causes = one_of(f"{path}.matchPolicy", resources.get("matchPolicy"), ("Equivalent", "Exact"))
    for selector in ("namespaceSelector", "objectSelector"):
        causes += label_selector(f"{path}.{selector}", resources.get(selector))
    for rules in ("resourceRules", "excludeResourceRules"):
        for index, one in enumerate(resources.get(rules) or ()):
            at, named = f"{path}.{rules}[{index}]", one.get("resourceNames") or []
            for number, name in enumerate(named):
                if wrong := names.path_segment(name):
                    causes.append(invalid(f"{at}.resourceNames[{number}]", name, wrong))
                if name in named[:number]:
                    causes.append(duplicate(f"{at}.resourceNames[{number}]", name))
            causes += rule(one, at)
    return causes


def _only_writes(resources: Obj, path: str) -> list[Cause]:
    """Only what is created or updated can be changed on the way."""
    rules = resources.get("resourceRules") or ()
    wrong = [operation for one in rules for operation in one.get("operations") or () if operation not in _MUTABLE]
    return [unsupported(f"{path}.resourceRules.operations", operation, _MUTABLE) for operation in wrong]


def _validation(validation: Obj, path: str, seen: Variables) -> list[Cause]:
    text = validation.get("expression") or ""
    causes = (
        expression(text, f"{path}.expression", seen, (BOOL,))
        if text.strip()
        else [required(f"{path}.expression", "expression is not specified")]
    )
    said = validation.get("messageExpression")
    if said and not said.strip():
        causes.append(invalid(f"{path}.messageExpression", said, "must be non-empty if specified"))
    elif said:
        known = {name: one for name, one in seen.items() if name != "authorizer"}
        causes += expression(said, f"{path}.messageExpression", known, (STRING,))
    message = validation.get("message")
    if message and not message.strip():
        causes.append(invalid(f"{path}.message", message, "must be non-empty if specified"))
    elif message and "\n" in message.strip():
        causes.append(invalid(f"{path}.message", message, "must not contain line breaks"))
    if validation.get("reason") and validation["reason"] not in _REASONS:
        causes.append(unsupported(f"{path}.reason", validation["reason"], _REASONS))
    return causes


_PATCHES: dict[str, tuple[str, Type]] = {
    "JSONPatch": ("jsonPatch", List("JSONPatch")), "ApplyConfiguration": ("applyConfiguration", "Object"),
}  # fmt: skip


def _mutation(mutation: Obj, path: str, seen: Variables) -> list[Cause]:
    kind = mutation.get("patchType") or ""
    if kind not in _PATCHES:
        return [unsupported(f"{path}.patchType", kind, sorted(_PATCHES))] if kind else [required(f"{path}.patchType")]
    causes: list[Cause] = []
    for other, (name, result) in _PATCHES.items():
        given = mutation.get(name)
        if other == kind and not given:
            causes.append(required(f"{path}.{name}", f"must be specified when patchType is {kind}"))
        elif other == kind and given:
            results = (result, List(DYN)) if isinstance(result, List) else (result,)
            causes += expression(given.get("expression") or "", f"{path}.{name}.expression", seen, results)
        elif given is not None:
            causes.append(invalid(f"{path}.{name}", f"{{{name}}}", f"must not be specified when patchType is {kind}"))
    return causes


def _binding(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    name = spec.get("policyName") or ""
    if not name:
        causes.append(required("spec.policyName"))
    elif wrong := names.subdomain(name):
        causes.append(invalid("spec.policyName", name, wrong))
    if (ref := spec.get("paramRef")) is not None:
        causes += _param_ref(ref)
    if (resources := spec.get("matchResources")) is not None:
        causes += _resources(resources, "spec.matchResources")
    return causes


def _param_ref(ref: Obj) -> list[Cause]:
    at, causes = "spec.paramRef", list[Cause]()
    if ref.get("name") and (wrong := names.path_segment(ref["name"])):
        causes.append(invalid(f"{at}.name", ref["name"], wrong))
    if ref.get("name") and ref.get("selector") is not None:
        causes += [
            forbidden(f"{at}.{name}", "name and selector are mutually exclusive") for name in ("name", "selector")
        ]
    if ref.get("selector") is not None:
        causes += label_selector(f"{at}.selector", ref["selector"])
    if not ref.get("name") and ref.get("selector") is None:
        causes.append(required(at, "one of name or selector must be specified"))
    if not ref.get("parameterNotFoundAction"):
        return [*causes, required(f"{at}.parameterNotFoundAction")]
    return causes + one_of(f"{at}.parameterNotFoundAction", ref["parameterNotFoundAction"], ("Allow", "Deny"))


# ---- type checking ---------------------------------------------------------------------------------------------------


def on_create(obj: Obj, ctx: Context) -> None:
    """A ValidatingAdmissionPolicy comes with the result of its type checking."""
    obj["status"] = {"observedGeneration": obj["metadata"].get("generation") or 1, "typeChecking": _checked(obj)}


def on_update(new: Obj, old: Obj, ctx: Context) -> None:
    if new.get("spec") != old.get("spec"):
        generation = (old["metadata"].get("generation") or 0) + 1
        kept = old.get("status") or {}
        new["status"] = {**kept, "observedGeneration": generation, "typeChecking": _checked(new)}


def _checked(obj: Obj) -> Obj:
    """`status.typeChecking`: one warning per expression that is wrong for some kind."""
    spec = obj.get("spec") or {}
    warnings = []
    for index, validation in enumerate(spec.get("validations") or ()):
        for name in ("expression", "messageExpression"):
            if not validation.get(name):
                continue
            found = [f"{kind}: {why}\n" for kind, seen in _kinds(spec) if (why := _problem(validation[name], seen))]
            if found:
                warnings.append({"fieldRef": f"spec.validations[{index}].{name}", "warning": "\n".join(found)})
    return {"expressionWarnings": warnings} if warnings else {}


def _problem(text: str, seen: Variables) -> str:
    try:
        typecheck.check(text, seen)
    except CompileError as error:
        return str(error)
    return ""


def _kinds(spec: Obj) -> list[tuple[str, Variables]]:
    """The kinds that the policy names without wildcards, and what its expressions see of each."""
    kinds: dict[tuple[str, str, str], Type] = {}
    for one in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        groups, versions = one.get("apiGroups") or [], one.get("apiVersions") or []
        resources = [name for name in one.get("resources") or () if "*" not in name and "/" not in name]
        if any("*" in name for name in (*groups, *versions)):
            continue
        for group, version, plural in ((g, v, r) for g in groups for v in versions for r in resources):
            row = table.by_path(group, version, plural)
            if row is not None and len(kinds) < _MOST_KINDS:
                kinds[group, version, row.kind] = of_node(schemas.node_of(group, version, row.kind))
    params: dict[str, Type] = {}
    if wanted := spec.get("paramKind"):
        group, _, version = str(wanted.get("apiVersion") or "").rpartition("/")
        params["params"] = of_node(schemas.node_of(group, version, wanted.get("kind") or ""))
    found: list[tuple[str, Variables]] = []
    for (group, version, kind), of in sorted(kinds.items(), key=lambda item: item[0]):
        seen: dict[str, Type] = {**VARIABLES, "namespaceObject": DYN, **params, "object": of, "oldObject": of}
        seen |= _composed(
            {one["name"]: _type_of(one.get("expression") or "", seen) for one in spec.get("variables") or ()}
        )
        found.append((f"{group}/{version}, Kind={kind}" if group else f"/{version}, Kind={kind}", seen))
    return found


def _type_of(text: str, seen: Variables) -> Type:
    try:
        return typecheck.type_of(text, {**seen, **_composed({})})
    except CompileError:
        return DYN
