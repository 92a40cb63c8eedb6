"""Approves what node agents ask for themselves, when an access review says that the one who asks may have it.

Who calls it: `controllers.main`. Invariant: only requests for a node's client certificate are ever approved here, and only for
who may create the virtual subresource `selfnodeclient` (a node renews its own) or `nodeclient` (a bootstrap token asks).
Upstream: pkg/controller/certificates/approver/sarapprove.go.
"""

from controllers.certificates import KUBELET_CLIENT, common_name, is_issued, parse, refusal
from controllers.context import Context
from minikube_py.api.clock import rfc3339
from minikube_py.api.gvr import CERTIFICATESIGNINGREQUESTS, SUBJECTACCESSREVIEWS
from minikube_py.api.meta import condition_is
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_MESSAGES = {
    "selfnodeclient": "Auto approving self kubelet client certificate after SubjectAccessReview.",
    "nodeclient": "Auto approving kubelet client certificate after SubjectAccessReview.",
}


def build(context: Context) -> Controller:
    reconciler = Approving(context)
    return Controller(reconciler, clock=context.clock).watch(reconciler.requests)


class Approving:
    """The reconciler."""

    name = "csrapproving"

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self.requests = context.informers.of(CERTIFICATESIGNINGREQUESTS)

    def reconcile(self, key: str) -> float | None:
        csr = self.requests.get_key(key)
        if csr is None or is_issued(csr) or condition_is(csr, "Approved") or condition_is(csr, "Denied"):
            return None
        spec = csr["spec"]
        request = parse(csr)
        if spec.get("signerName") != KUBELET_CLIENT or refusal(KUBELET_CLIENT, request, spec.get("usages") or ()):
            return None
        own = ("selfnodeclient",) if common_name(request) == spec.get("username") else ()
        for subresource in (*own, "nodeclient"):
            if self._allowed(spec, subresource):
                self._approve(csr, _MESSAGES[subresource])
                return None
        return None

    def _allowed(self, spec: Obj, subresource: str) -> bool:
        who = {name: spec[name] for name in ("uid", "groups", "extra") if spec.get(name)}
        attributes = {
            "group": "certificates.k8s.io", "version": "*", "resource": "certificatesigningrequests", "verb": "create",
            "subresource": subresource,
        }  # fmt: skip
        review = {
            "apiVersion": SUBJECTACCESSREVIEWS.api_version, "kind": SUBJECTACCESSREVIEWS.kind,
            "spec": {"user": spec.get("username", ""), **who, "resourceAttributes": attributes},
        }  # fmt: skip
        return bool(self._client.create(SUBJECTACCESSREVIEWS, review)["status"]["allowed"])

    def _approve(self, csr: Obj, message: str) -> None:
        now = rfc3339(self._clock.now())
        approved = {
            "type": "Approved", "status": "True", "reason": "AutoApproved", "message": message, "lastUpdateTime": now,
        }  # fmt: skip
        status = csr.get("status") or {}
        changed = {**csr, "status": {**status, "conditions": [*(status.get("conditions") or ()), approved]}}
        self._client.update(CERTIFICATESIGNINGREQUESTS, changed, subresource="approval")
