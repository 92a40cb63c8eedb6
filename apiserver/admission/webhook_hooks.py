"""Webhooks as they are called: read from their configurations, chosen for a write, asked, and their answers verified.

Who calls it: the two dispatchers, `mutating_webhook.py` and `validating_webhook.py`. Invariant: a webhook that says no
refuses the write whatever its failure policy; one that cannot be asked refuses it only when the policy is Fail.
Upstream: staging/src/k8s.io/apiserver/pkg/admission/plugin/webhook/{generic,request,errors,matchconditions}.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterator
from typing import NamedTuple

from apiserver.admission import conditions, dynamic
from apiserver.admission.attributes import CONNECT, DELETE, Attributes
from apiserver.admission.forms import Forms
from apiserver.admission.matching import Criteria, criteria, matched
from apiserver.resources.row import Row
from apiserver.webhooks import WebhookError
from minikube_py.api import errors
from minikube_py.api.cel.program import EvaluationError
from minikube_py.api.errors import APIError
from minikube_py.api.types import Obj

log = logging.getLogger(__name__)
_SPOKEN = ("v1", "v1beta1")
_HARMLESS = ("None", "NoneOnDryRun")


class Hook(NamedTuple):
    """One webhook of one configuration. `timeout` in seconds; `number` counts within all of its kind."""

    configuration: str
    spec: Obj
    criteria: Criteria
    number: int

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def fails_open(self) -> bool:
        return bool(self.spec.get("failurePolicy") == "Ignore")

    @property
    def timeout(self) -> int:
        return int(self.spec.get("timeoutSeconds") or 10)


class Answer(NamedTuple):
    """What an allowing webhook said. `patch` is the text of a JSON patch, in base64; "" is none."""

    patch: str


class CallFailed(Exception):
    """The webhook could not be asked, or said something that is no answer."""


def compiled(configurations: list[Obj]) -> tuple[Hook, ...]:
    """All webhooks, in the order in which they are asked."""
    specs = [(one["metadata"]["name"], spec) for one in configurations for spec in one.get("webhooks") or ()]
    return tuple(Hook(name, spec, criteria(spec, "rules"), at) for at, (name, spec) in enumerate(specs))


def chosen(hooks: tuple[Hook, ...], attributes: Attributes, forms: Forms) -> Iterator[tuple[Hook, Row]]:
    """The webhooks that want this write, each with the version it wants to see; judged when its turn comes."""
    for hook in hooks:
        row = matched(hook.criteria, attributes)
        if row is None:
            continue
        if _conditions_hold(hook, attributes, forms, row):
            yield hook, row


def _conditions_hold(hook: Hook, attributes: Attributes, forms: Forms, row: Row) -> bool:
    wanted = hook.spec.get("matchConditions")
    if not wanted:
        return True
    variables = conditions.Variables(attributes, forms, row)
    try:
        return conditions.hold(wanted, variables, fails_open=hook.fails_open)
    except EvaluationError as error:
        raise attributes.forbidden(str(error)) from None


def begin(hook: Hook, row: Row, attributes: Attributes, forms: Forms, kind: str) -> Callable[[], Answer | None]:
    """Ask a webhook. In: `kind` "admit" or "validating", as metrics name them. Out: what waits for the answer, and is None
    when there was none and that does not matter. It raises the refusal.
    """
    server = dynamic.of(attributes)
    assert server is not None, "a webhook is asked only where there are some"
    if attributes.dry_run and hook.spec.get("sideEffects") not in _HARMLESS:
        raise errors.BadRequest(f'admission webhook "{hook.name}" does not support dry run')
    uid, started = str(uuid.uuid4()), time.monotonic()
    version = next((one for one in hook.spec.get("admissionReviewVersions") or () if one in _SPOKEN), "v1")
    review = _review(uid, version, row, attributes, forms)
    query = f"timeout={hook.timeout}s"
    pending = server.webhooks.begin(hook.spec.get("clientConfig") or {}, review, query=query, timeout=hook.timeout)

    def finish() -> Answer | None:
        code, rejected = 200, False
        try:
            return _judge(hook, _asked(hook, pending, uid, version, kind), attributes)
        except CallFailed as error:
            code, rejected = 503, not hook.fails_open
            _failed(hook, error, attributes, kind)
            return None
        except APIError as refusal:
            code, rejected = refusal.code, True
            labels = {"name": hook.name, "type": kind, "operation": attributes.verb, "error_type": "no_error"}
            server.metrics.count("apiserver_admission_webhook_rejection_count", rejection_code=str(code), **labels)
            raise
        finally:
            labels = {"name": hook.name, "type": kind, "operation": attributes.verb, "rejected": str(rejected).lower()}
            server.metrics.count("apiserver_admission_webhook_request_total", code=str(code), **labels)
            server.metrics.observe(
                "apiserver_admission_webhook_admission_duration_seconds", time.monotonic() - started, **labels
            )

    return finish


def _asked(hook: Hook, pending: Callable[[], Obj], uid: str, version: str, kind: str) -> Obj:
    """The response part of the answer. Raises CallFailed."""
    try:
        answer = pending()
    except WebhookError as error:
        raise CallFailed(f"failed to call webhook: {error}") from None
    try:
        return _verified(answer, uid, version, mutating=kind == "admit")
    except ValueError as error:
        raise CallFailed(f"received invalid webhook response: {error}") from None


def _failed(hook: Hook, error: CallFailed, attributes: Attributes, kind: str) -> None:
    """The failure policy's turn. Raises InternalError."""
    server = dynamic.of(attributes)
    assert server is not None
    text = f'failed calling webhook "{hook.name}": {error}'
    if not hook.fails_open:
        labels = {"name": hook.name, "type": kind, "operation": attributes.verb}
        labels |= {"error_type": "calling_webhook_error", "rejection_code": "0"}
        server.metrics.count("apiserver_admission_webhook_rejection_count", **labels)
        refusal = errors.InternalError(f"Internal error occurred: {text}")
        refusal.details["causes"] = [{"message": text}]
        raise refusal
    log.warning("%s; its failure policy lets the write go on", text)
    server.metrics.count("apiserver_admission_webhook_fail_open_count", name=hook.name, type=kind)
    part = "mutation" if kind == "admit" else "validating"
    round_ = int(attributes.reinvocation.again and kind == "admit")
    key = f"failed-open.{part}.webhook.admission.k8s.io/round_{round_}_index_{hook.number}"
    attributes.annotations[key] = hook.name


def _judge(hook: Hook, response: Obj, attributes: Attributes) -> Answer:
    """Raises the refusal, with the code, reason and message that the webhook gives for it."""
    for key, value in (response.get("auditAnnotations") or {}).items():
        attributes.annotations[f"{hook.name}/{key}"] = str(value)
    attributes.warnings += [str(text) for text in response.get("warnings") or () if text]
    if response.get("allowed") is True:
        return Answer(response.get("patch") or "")
    status = response.get("status") if isinstance(response.get("status"), dict) else {}
    assert isinstance(status, dict)
    code = status.get("code")
    code = code if isinstance(code, int) and 400 <= code < 600 else 400
    why = status.get("message") or status.get("reason")
    denied = f'admission webhook "{hook.name}" denied the request'
    message = f"{denied}: {why}" if why else f"{denied} without explanation"
    raise errors.from_status({**status, "kind": "Status", "status": "Failure", "code": code, "message": message}, code)


# ---- the documents ---------------------------------------------------------------------------------------------------


def _review(uid: str, version: str, row: Row, attributes: Attributes, forms: Forms) -> Obj:
    request = conditions.request_of(attributes, row)
    new, old = (forms.new(row), forms.old(row)) if attributes.verb != DELETE else (None, forms.old(row))
    request |= {"uid": uid, "object": new, "oldObject": old}
    if attributes.verb != CONNECT:
        request["options"] = conditions.options_of(attributes)
    return {"kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{version}", "request": request}


def _verified(answer: Obj, uid: str, version: str, *, mutating: bool) -> Obj:
    """Raises ValueError for an answer that is none."""
    response = answer.get("response")
    if not isinstance(response, dict):
        raise ValueError("webhook response was absent")
    patch, patch_type = response.get("patch"), response.get("patchType")
    if version == "v1":
        if response.get("uid") != uid:
            raise ValueError(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
        wanted, got = (
            "admission.k8s.io/v1, Kind=AdmissionReview",
            f"{answer.get('apiVersion')}, Kind={answer.get('kind')}",
        )
        if got != wanted:
            raise ValueError(f"expected webhook response of {wanted}, got {got}")
        if mutating and bool(patch) != (patch_type is not None):
            has, lacks = ("patch", "patchType") if patch else ("patchType", "patch")
            raise ValueError(f"webhook returned response.{has} but not response.{lacks}")
    elif patch:
        response["patchType"] = patch_type = "JSONPatch"
    if not mutating and version == "v1" and (patch or patch_type is not None):
        raise ValueError(f"validating webhook may not return response.{'patch' if patch else 'patchType'}")
    if patch and (patch_type != "JSONPatch" or not isinstance(patch, str)):
        raise ValueError(f'unsupported patch type "{patch_type}"')
    return response
