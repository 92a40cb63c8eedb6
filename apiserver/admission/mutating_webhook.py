"""MutatingAdmissionWebhook: webhooks that may change what is about to be written. They are asked one after the other.

Who calls it: `chain.py`, as the last of the plugins that may change objects. Invariant: each webhook sees what those before
it left, with defaults; in the second round only those with reinvocationPolicy IfNeeded are asked that were asked in the
first, and only when somebody else has changed the object since. That a webhook changed something stands in the audit log; what
it changed does not (upstream notes the patch from level Request on).
Upstream: staging/src/k8s.io/apiserver/pkg/admission/plugin/webhook/mutating/{dispatcher,reinvocationcontext}.go.
"""

import base64

import orjson

from apiserver.admission import dynamic, webhook_hooks
from apiserver.admission.attributes import Attributes
from apiserver.admission.forms import Forms
from apiserver.admission.matching import is_exempt
from apiserver.admission.webhook_hooks import Hook
from apiserver.resources.row import Row
from minikube_py.api import errors, patch
from minikube_py.api.errors import APIError

_NAME = "MutatingAdmissionWebhook"


def admit(attributes: Attributes) -> None:
    """Raises a webhook's refusal, or InternalError when one that must be asked cannot be, or its patch does not apply."""
    server = dynamic.of(attributes)
    if server is None or not (hooks := server.mutating_hooks.get()) or is_exempt(attributes):
        return
    rounds, forms = attributes.reinvocation.of(_NAME, attributes.obj), Forms(attributes)
    for hook, row in webhook_hooks.chosen(hooks, attributes, forms):
        key = f"{hook.configuration}/{hook.name}"
        if not rounds.is_due(key):
            continue
        changed = _call(hook, row, attributes, forms)
        rounds.ran(key, again=hook.spec.get("reinvocationPolicy") == "IfNeeded", changed=changed)
    rounds.end(attributes.obj)


def _call(hook: Hook, row: Row, attributes: Attributes, forms: Forms) -> bool:
    """Ask one webhook and do what it says. Out: whether the object is another now."""
    changed = False
    try:
        answer = webhook_hooks.begin(hook, row, attributes, forms, "admit")()
        changed = answer is not None and bool(answer.patch) and _patched(hook, answer.patch, row, attributes, forms)
    finally:
        key = f"mutation.webhook.admission.k8s.io/round_{int(attributes.reinvocation.again)}_index_{hook.number}"
        value = {"configuration": hook.configuration, "webhook": hook.name, "mutated": changed}
        attributes.annotations[key] = orjson.dumps(value).decode()
    return changed


def _patched(hook: Hook, text: str, row: Row, attributes: Attributes, forms: Forms) -> bool:
    try:
        operations = orjson.loads(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise errors.InternalError(
            f'Internal error occurred: failed calling webhook "{hook.name}": '
            f"received undecodable patch in webhook response: {error}"
        ) from None
    if not operations:
        return False
    before = forms.new(row)
    if before is None:
        raise errors.InternalError(
            f'Internal error occurred: admission webhook "{hook.name}" attempted to modify the object, '
            "which is not supported for this operation"
        )
    try:
        made = patch.json_patch(before, operations)
        if made == before:
            return False
        forms.put(row, made)
    except APIError as error:
        causes = [one["message"] for one in error.details.get("causes") or () if one.get("message")]
        raise errors.InternalError(f"Internal error occurred: {'; '.join(causes) or error.message}") from None
    return True
