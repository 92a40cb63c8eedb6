"""ValidatingAdmissionWebhook: webhooks that may refuse a write. All that match are asked at once.

Who calls it: `chain.py`, after the policies. Invariant: the write waits for every answer, and for none longer than the
webhook's timeout; the first refusal in the order of the configurations is the one that is told.
Upstream: staging/src/k8s.io/apiserver/pkg/admission/plugin/webhook/validating/dispatcher.go.
"""

from apiserver.admission import dynamic, webhook_hooks
from apiserver.admission.attributes import Attributes
from apiserver.admission.forms import Forms
from apiserver.admission.matching import is_exempt
from minikube_py.api.errors import APIError


def check(attributes: Attributes) -> None:
    """Raises a webhook's refusal, or InternalError when one that must be asked cannot be."""
    server = dynamic.of(attributes)
    if server is None or not (hooks := server.validating_hooks.get()) or is_exempt(attributes):
        return
    forms = Forms(attributes)
    begun, refusal = [], None
    for hook, row in list(webhook_hooks.chosen(hooks, attributes, forms)):
        try:
            begun.append(webhook_hooks.begin(hook, row, attributes, forms, "validating"))
        except APIError as error:
            refusal = refusal or error
    for finish in begun:
        try:
            finish()
        except APIError as error:
            refusal = refusal or error
    if refusal is not None:
        raise refusal
