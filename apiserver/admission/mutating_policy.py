"""MutatingAdmissionPolicy: expressions that change what is about to be written, by merging or by JSON patches.

Who calls it: `chain.py`, before the mutating webhooks. Invariant: mutations are applied in order, each to what those before it
left, with defaults; a merge does not touch parts that can only be replaced as a whole; what a policy sets is owned by the
manager of the write. Expressions are evaluated on a thread, since they take long.
Upstream: staging/src/k8s.io/apiserver/pkg/admission/plugin/policy/mutating/{dispatcher.go,patch}.
"""

from collections.abc import Iterator

from apiserver.admission import dynamic
from apiserver.admission.attributes import CREATE, UPDATE, Attributes, kind_of
from apiserver.admission.forms import Forms
from apiserver.admission.policies import Invocation, Judge, invocations
from apiserver.cel import threads
from apiserver.resources import schemas
from minikube_py.api import errors, patch, schema
from minikube_py.api.cel.objects import ObjectValue
from minikube_py.api.cel.program import CompileError, EvaluationError
from minikube_py.api.cel.values import from_cel
from minikube_py.api.errors import APIError
from minikube_py.api.schema_node import Node
from minikube_py.api.typed import is_granular, merge
from minikube_py.api.types import Obj

_NAME = "MutatingAdmissionPolicy"


class Failed(Exception):
    """The mutation cannot be made; `str()` says why."""


def admit(attributes: Attributes) -> None:
    """Raises Forbidden, with one cause per policy that failed and must not."""
    server = dynamic.of(attributes)
    if server is None or not (policies := server.mutating_policies.get()):
        return
    if attributes.verb not in (CREATE, UPDATE) or attributes.obj is None:
        return
    found = list(invocations(policies, attributes))
    if found:
        threads.run(_mutate_all, found, attributes)


def _mutate_all(found: list[Invocation], attributes: Attributes) -> None:
    server = dynamic.of(attributes)
    assert server is not None
    rounds, forms, refusals = attributes.reinvocation.of(_NAME, attributes.obj), Forms(attributes), []
    for invocation in found:
        policy, binding, param = invocation.policy, invocation.binding, invocation.param
        meta = (param or {}).get("metadata") or {}
        key = (policy.name, binding.name if binding else "", meta.get("namespace"), meta.get("name"))
        before = forms.new(invocation.row)
        outcome = "no_error"
        try:
            if invocation.error:
                raise Failed(invocation.error)
            judge = Judge(invocation, attributes, forms)
            if not judge.applies() or not rounds.is_due(key):
                continue
            for mutation in policy.spec.get("mutations") or ():
                _mutate(mutation, invocation, judge, attributes, forms)
        except (Failed, EvaluationError, CompileError) as error:
            outcome = "compile_error" if isinstance(error, CompileError) else "invalid_error"
            if not policy.fails_open:
                refusals.append(_refusal(invocation, str(error)))
        labels = {"policy": policy.name, "policy_binding": binding.name if binding else "", "error_type": outcome}
        server.metrics.count("apiserver_mutating_admission_policy_check_total", **labels)
        changed = forms.new(invocation.row) != before
        rounds.ran(key, again=policy.spec.get("reinvocationPolicy") == "IfNeeded", changed=changed)
    rounds.end(attributes.obj)
    if refusals:
        refusal = attributes.forbidden("")
        refusal.message, refusal.reason = refusals[0], "Invalid"
        refusal.details["causes"] = [{"message": text} for text in refusals]
        raise refusal


def _refusal(invocation: Invocation, why: str) -> str:
    if invocation.binding is None:
        return f'policy "{invocation.policy.name}" denied request: {why}'
    return f"policy '{invocation.policy.name}' with binding '{invocation.binding.name}' denied request: {why}"


def _mutate(mutation: Obj, invocation: Invocation, judge: Judge, attributes: Attributes, forms: Forms) -> None:
    """Make one mutation. Raises Failed, EvaluationError, CompileError."""
    row = invocation.row
    before = forms.new(row)
    assert before is not None, "only writes with an object are mutated"
    if mutation.get("patchType") == "ApplyConfiguration":
        value = judge.value(mutation["applyConfiguration"]["expression"])
        node = schemas.node_of(*kind_of(row, attributes.subresource))
        made = merged(before, value, node)
    else:
        made = patched(before, judge.value(mutation["jsonPatch"]["expression"]))
    try:
        forms.put(row, made)
    except APIError as error:
        raise Failed(error.message) from None
    judge.renew()


def merged(before: Obj, value: object, node: Node | None) -> Obj:
    """The object with what an `Object{…}` says. Raises Failed."""
    if not isinstance(value, ObjectValue) or value.name != "Object":
        raise Failed("unsupported return type from ApplyConfiguration expression")
    if wrong := value.misplaced():
        raise Failed(f"type mismatch: {wrong}")
    config: Obj = {**from_cel(value), "apiVersion": before["apiVersion"], "kind": before["kind"]}
    if node is None:
        raise Failed(f"error applying patch: there is no schema of {before['apiVersion']}, Kind={before['kind']}")
    failed = "error applying patch: failed to convert patch object to typed object: "
    if unknown := schema.unknown_fields(node, config):
        raise Failed(failed + "\n".join(f".{path}: field not declared in schema" for path in unknown))
    try:
        config = {**schema.coerce(node, config)[0], "apiVersion": before["apiVersion"], "kind": before["kind"]}
    except schema.DecodeError as error:
        raise Failed(f"{failed}{error}") from None
    if whole := ", ".join(_atomics(config, node, "")):
        raise Failed(
            f"error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {whole}"
        )
    made: Obj = merge(before, config, node)
    return made


def _atomics(value: object, node: Node, path: str) -> Iterator[str]:
    """The paths of parts that a merge would replace as a whole."""
    if (
        isinstance(value, (dict, list))
        and path
        and node.type in ("object", "map", "array")
        and not is_granular(node, value)
    ):
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            inner = node.properties.get(key) or node.additional
            if inner is not None:
                yield from _atomics(item, inner, f"{path}.{key}")
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            yield from _atomics(item, node.items, f"{path}[*]")


def patched(before: Obj, value: object) -> Obj:
    """The object after a list of `JSONPatch{…}`; as it was when one of their tests fails. Raises Failed."""
    if not isinstance(value, list) or not all(
        isinstance(one, ObjectValue) and one.name == "JSONPatch" for one in value
    ):
        raise Failed("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch")
    made = before
    for one in value:
        given = one.fields.get("value")
        if isinstance(given, ObjectValue) and (wrong := given.misplaced()):
            raise Failed(f"type mismatch: {wrong}")
        operation = {"op": "", "path": "", **from_cel(one)}
        try:
            made = patch.json_patch(made, [operation])
        except errors.Invalid as error:
            if operation["op"] == "test":
                return before
            causes = [cause.get("message") for cause in error.details.get("causes") or ()]
            raise Failed(f"JSON Patch: {causes[0] if causes else error.message}") from None
        except APIError as error:
            raise Failed(f"JSON Patch: {error.message}") from None
    return made
