"""`serviceaccounts/token`: a signed token for a service account, bound to a pod, secret or node if asked.

Who calls it: `subresources.py`. Invariant: a token is bound only to an object that exists with the given uid, and to a pod
only when that pod runs as this account; `auth/tokens.py` signs.
Upstream: pkg/registry/core/serviceaccount/storage/token.go.
"""

from datetime import timedelta
from typing import Any

from apiserver.auth.tokens import Bound
from apiserver.strategies.base import Context
from apiserver.strategies.checks import invalid, unsupported
from minikube_py.api import errors
from minikube_py.api.clock import rfc3339
from minikube_py.api.meta import name_of, namespace_of, uid_of
from minikube_py.api.types import Obj

_SHORTEST, _LONGEST = 600, 1 << 32
_DEFAULT = 3600
_KINDS = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}


def request(ctx: Context, account: Obj, body: Obj) -> Obj:
    """Sign a token. In: the TokenRequest as posted. Out: the same with its status. Raises Invalid, NotFound, Conflict."""
    if ctx.accounts is None:
        raise errors.NotFound("the server could not find the requested resource")
    spec: Obj = dict(body.get("spec") or {})
    seconds = spec.get("expirationSeconds") or _DEFAULT
    _check_seconds(name_of(account), seconds)
    bound, node = _bound(ctx, account, spec.get("boundObjectRef"))
    audiences = list(spec.get("audiences") or ()) or [ctx.accounts.issuer]
    issued = ctx.accounts.issue(account, audiences=audiences, seconds=seconds, bound=bound, node=node)
    spec |= {"audiences": audiences, "expirationSeconds": seconds}
    expires = rfc3339(ctx.clock.now() + timedelta(seconds=seconds))
    meta = {"name": name_of(account), "namespace": namespace_of(account), "creationTimestamp": ctx.now()}
    return {
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": meta, "spec": spec,
        "status": {"token": issued.token, "expirationTimestamp": expires},
    }  # fmt: skip


def _check_seconds(name: str, seconds: int) -> None:
    if seconds < _SHORTEST:
        cause = invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    elif seconds > _LONGEST:
        cause = invalid("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
    else:
        return
    raise errors.invalid("TokenRequest", name, [cause], "authentication.k8s.io")


def _bound(ctx: Context, account: Obj, ref: Obj | None) -> tuple[Bound | None, tuple[str, str] | None]:
    """What the token dies with, and the node it is used on."""
    if not ref:
        return None, None
    kind, name = ref.get("kind") or "", ref.get("name") or ""
    if kind not in _KINDS or ref.get("apiVersion") not in (None, "", "v1"):
        cause = unsupported("spec.boundObjectRef.kind", kind, _KINDS)
        raise errors.invalid("TokenRequest", name_of(account), [cause], "authentication.k8s.io")
    namespace = "" if kind == "Node" else namespace_of(account)
    found = ctx.lookup(_KINDS[kind], namespace, name)
    if found is None:
        raise errors.not_found(_KINDS[kind], name)
    if ref.get("uid") and ref["uid"] != uid_of(found):
        why = (
            f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
        raise errors.conflict(_KINDS[kind], name, why)
    if kind == "Pod":
        _check_account(account, found)
        return Bound(kind, name, uid_of(found)), _node_of(ctx, found)
    return Bound(kind, name, uid_of(found)), None


def _check_account(account: Obj, pod: Obj) -> None:
    if pod["spec"].get("serviceAccountName") != name_of(account):
        why = f'cannot bind token for serviceaccount "{name_of(account)}" to pod running with different serviceaccount name.'
        raise errors.BadRequest(why)


def _node_of(ctx: Context, pod: Obj) -> Any:
    name = pod["spec"].get("nodeName")
    if not name:
        return None
    node = ctx.lookup("nodes", "", name)
    return (name, uid_of(node) if node else "")
