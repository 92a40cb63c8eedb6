"""Who may approve and who may sign certificate requests: whoever may `approve` or `sign` in the name of the request's signer.

Who calls it: the registry, as the guard of CertificateSigningRequests. Invariant: the right is asked for the signer the request
was made to, by its full name or as DOMAIN/*; so may-write-status alone hands out no certificate.
Upstream: plugin/pkg/admission/certificates/{approval,signing}, pkg/registry/certificates/certificates/authorization.
"""

from apiserver.auth.authorization import Authorizer
from apiserver.auth.rbac import Asked
from apiserver.auth.user import UserInfo
from apiserver.registry import Call, Guard
from minikube_py.api import errors
from minikube_py.api.types import Obj

_GROUP = "certificates.k8s.io"
_VERBS = {"approval": "approve", "status": "sign"}


def guards(authorizer: Authorizer) -> dict[str, Guard]:
    """The guard of certificate requests, by qualified plural."""

    def request(call: Call, new: Obj, old: Obj | None) -> None:
        verb = _VERBS.get(call.subresource)
        if old is None or verb is None or (verb == "sign" and _decided(new) == _decided(old)):
            return
        assert isinstance(call.user, UserInfo), "the edge makes every call with an authenticated user"
        signer = old["spec"]["signerName"]
        names = (signer, f"{signer.partition('/')[0]}/*")
        if not any(authorizer.verdict(call.user, Asked(verb, _GROUP, "signers", name=name)).allowed for name in names):
            raise errors.Forbidden(
                f'{call.row.qualified} "{call.name}" is forbidden: user not permitted to {verb} requests with signerName '
                f'"{signer}"',
                details={"name": call.name, "group": _GROUP, "kind": call.row.plural},
            )

    return {f"certificatesigningrequests.{_GROUP}": request}


def _decided(csr: Obj) -> tuple[object, object]:
    status = csr.get("status") or {}
    return status.get("certificate"), status.get("conditions") or []
