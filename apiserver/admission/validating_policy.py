"""ValidatingAdmissionPolicy: expressions that may refuse a write, warn about it, or note it in the audit log.

Who calls it: `chain.py`, before the validating webhooks. Invariant: nothing is changed; expressions are evaluated on a thread,
since they take long; the first denial is the one that is told.
Upstream: staging/src/k8s.io/apiserver/pkg/admission/plugin/policy/validating/{dispatcher,validator}.go.
"""

from typing import NamedTuple

import orjson

from apiserver.admission import dynamic
from apiserver.admission.attributes import Attributes
from apiserver.admission.forms import Forms
from apiserver.admission.policies import Binding, Invocation, Judge, Policy, invocations
from apiserver.cel import threads
from minikube_py.api import errors
from minikube_py.api.cel.program import CompileError, EvaluationError, Overspent
from minikube_py.api.errors import APIError
from minikube_py.api.types import Obj

_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413}
_LONGEST_MESSAGE, _LONGEST_NOTE = 5 * 1024, 10 * 1024
_FAILED = "validation.policy.admission.k8s.io/validation_failure"


class Denial(NamedTuple):
    """One validation that does not hold, or could not be judged. `number` counts within the policy."""

    message: str
    reason: str = ""
    number: int = 0


def check(attributes: Attributes) -> None:
    """Raises the first denial, with the reason that its validation gives."""
    server = dynamic.of(attributes)
    if server is None or not (policies := server.validating_policies.get()):
        return
    found = list(invocations(policies, attributes))
    if found:
        threads.run(_judge_all, found, attributes)


def _judge_all(found: list[Invocation], attributes: Attributes) -> None:
    forms = Forms(attributes)
    denied: list[APIError] = []
    notes: dict[str, list[str]] = {}
    for invocation in found:
        policy, binding = invocation.policy, invocation.binding
        if invocation.error:
            if not policy.fails_open:
                denied.append(_refusal(policy, binding, Denial(invocation.error), attributes))
            continue
        assert binding is not None, "only what is set up wrongly has no binding"
        denials, failures = _judged(invocation, attributes, forms, notes)
        for denial in denials:
            denied += _acted(policy, binding, denial, attributes)
        denied += [_refusal(policy, binding, failure, attributes) for failure in failures]
    for key, values in notes.items():
        attributes.annotations[key] = ", ".join(values)
    if denied:
        raise denied[0]


def _judged(
    invocation: Invocation, attributes: Attributes, forms: Forms, notes: dict[str, list[str]]
) -> tuple[list[Denial], list[Denial]]:  # fmt: skip
    """(denials, for which the binding says what to do; annotations that failed, which always refuse)."""
    policy, judge = invocation.policy, Judge(invocation, attributes, forms)
    try:
        if not judge.applies():
            return [], []
        denials = [
            denial
            for number, validation in enumerate(policy.spec.get("validations") or ())
            if (denial := _validated(judge, validation, number, policy)) is not None
        ]
    except EvaluationError as error:
        return ([] if policy.fails_open else [Denial(str(error))]), []
    return denials, _annotated(judge, policy, notes)


def _validated(judge: Judge, validation: Obj, number: int, policy: Policy) -> Denial | None:
    """Raises Overspent."""
    text = validation["expression"]
    try:
        value = judge.value(text)
    except Overspent:
        raise
    except (EvaluationError, CompileError) as error:
        why = (
            f"compilation error: {error}"
            if isinstance(error, CompileError)
            else f"expression '{text}' resulted in error: {error}"
        )
        return None if policy.fails_open else Denial(why, number=number)
    if value.__class__.__name__ == "BoolType" and value:
        return None
    message = _message(judge, validation) or (validation.get("message") or "").strip()
    return Denial(message or f"failed expression: {text.strip()}", validation.get("reason") or "Invalid", number)


def _message(judge: Judge, validation: Obj) -> str:
    """What the messageExpression says; "" when it says nothing that can be shown on one line."""
    if not validation.get("messageExpression"):
        return ""
    try:
        value = judge.value(validation["messageExpression"])
    except Overspent:
        raise
    except (EvaluationError, CompileError):
        return ""
    text = str(value).strip() if isinstance(value, str) else ""
    return "" if "\n" in text or len(text.encode()) > _LONGEST_MESSAGE else text


def _annotated(judge: Judge, policy: Policy, notes: dict[str, list[str]]) -> list[Denial]:
    failures = []
    for annotation in policy.spec.get("auditAnnotations") or ():
        text = annotation["valueExpression"]
        try:
            value = judge.value(text)
            if value is not None and not isinstance(value, str):
                raise EvaluationError(
                    f"valueExpression '{text}' resulted in unsupported return type: {type(value).__name__}. "
                    "Return type must be either string or null."
                )
        except (EvaluationError, CompileError) as error:
            failures += [] if policy.fails_open else [Denial(str(error))]
            continue
        shown = str(value or "").strip().encode()[:_LONGEST_NOTE].decode(errors="ignore")
        if shown and shown not in notes.setdefault(f"{policy.name}/{annotation['key']}", []):
            notes[f"{policy.name}/{annotation['key']}"].append(shown)
    return failures


def _acted(policy: Policy, binding: Binding, denial: Denial, attributes: Attributes) -> list[APIError]:
    """What the binding says to do about a denial. Out: the refusal, if that is to be one."""
    refusals: list[APIError] = []
    actions = binding.spec.get("validationActions") or []
    server = dynamic.of(attributes)
    assert server is not None
    for action in actions:
        labels = {"policy": policy.name, "policy_binding": binding.name, "error_type": "no_error"}
        enforced = action.lower() if action != "Deny" else "deny"
        server.metrics.count("apiserver_validating_admission_policy_check_total", **labels, enforcement_action=enforced)
        match action:
            case "Deny":
                refusals.append(_refusal(policy, binding, denial, attributes))
            case "Warn":
                attributes.warnings.append(
                    f"Validation failed for ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}': "
                    f"{denial.message}"
                )
            case "Audit":
                failure = {
                    "message": denial.message, "policy": policy.name, "binding": binding.name,
                    "expressionIndex": denial.number, "validationActions": actions,
                }  # fmt: skip
                attributes.annotations[_FAILED] = orjson.dumps([failure]).decode()
    return refusals


def _refusal(policy: Policy, binding: Binding | None, denial: Denial, attributes: Attributes) -> errors.Forbidden:
    bound = f" with binding '{binding.name}'" if binding is not None else ""
    message = f"ValidatingAdmissionPolicy '{policy.name}'{bound} denied request: {denial.message}"
    error = attributes.forbidden(message)
    error.reason = denial.reason or "Invalid"
    error.code = _CODES.get(error.reason, 422)
    error.details["causes"] = [{"message": message}]
    return error
