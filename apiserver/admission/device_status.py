"""Who may change what in a claim's status: its allocation and reservations, and what drivers say about its devices.

Who calls it: `chain.py`. Invariants: beyond `resourceclaims/status`, allocation and reservedFor take the permission for
`resourceclaims/binding`; a driver's entries in `status.devices` take the one for `resourceclaims/driver` under that driver's
name, with the verb `associated-node:VERB` for those who are on the allocation's node, or `arbitrary-node:VERB`.
Upstream: pkg/registry/resource/utils.go (AuthorizedForBinding, AuthorizedForDeviceStatus), where the strategy asks.
"""

from collections.abc import Sequence

from apiserver.admission import dynamic
from apiserver.admission.attributes import UPDATE, Attributes
from apiserver.auth import authorization
from apiserver.auth.rbac import Asked
from apiserver.auth.tokens import NODE_NAME
from apiserver.auth.user import UserInfo
from apiserver.strategies import checks
from minikube_py.api import errors
from minikube_py.api import resourceclaims as rc
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_CLAIMS = "resourceclaims.resource.k8s.io"
_ACCOUNT = "system:serviceaccount:"


def check(attributes: Attributes) -> None:
    """Raises Invalid."""
    new, old = attributes.obj, attributes.old
    if not attributes.is_(_CLAIMS, UPDATE, subresource="status") or new is None or old is None:
        return
    verb = "patch" if attributes.patches else "update"
    causes = _binding(attributes, new, old, verb)
    if rc.allocation_of(new) is not None:
        causes += _drivers(attributes, new, old, verb)
    if causes:
        row = attributes.row
        raise errors.invalid(row.kind, attributes.shown_name, causes, row.group)


def _binding(attributes: Attributes, new: Obj, old: Obj, verb: str) -> list[Cause]:
    if rc.allocation_of(new) == rc.allocation_of(old) and rc.reserved_for(new) == rc.reserved_for(old):
        return []
    why = _refusal(attributes, [Asked(verb, attributes.row.group, "resourceclaims", "binding")])
    what = f'changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="{verb}"'
    return [checks.forbidden("status.allocation", f"{what} permission: {why}")] if why else []


def _drivers(attributes: Attributes, new: Obj, old: Obj, verb: str) -> list[Cause]:
    verbs = [f"arbitrary-node:{verb}"]
    if _is_on(attributes, _node_of(new)):
        verbs.insert(0, f"associated-node:{verb}")
    causes = []
    for driver in _changed(new, old):
        where = (attributes.row.group, "resourceclaims", "driver", attributes.namespace, driver)
        if why := _refusal(attributes, [Asked(one, *where) for one in verbs]):
            what = f'changing status.devices requires resource="resourceclaims/driver", verb="[{" ".join(verbs)}]"'
            causes.append(checks.forbidden("status.devices", f"{what} permission: {why}"))
    return causes


def _refusal(attributes: Attributes, questions: Sequence[Asked]) -> str:
    """Why none of these is allowed; "" when one is."""
    server = dynamic.of(attributes)
    if server is None:
        return ""
    verdicts = [server.authorizer.verdict(attributes.user, asked) for asked in questions]
    if any(verdict.allowed for verdict in verdicts):
        return ""
    return str(authorization.forbidden(UserInfo(attributes.user.name), questions[0], verdicts[0].reason))


def _changed(new: Obj, old: Obj) -> list[str]:
    """The drivers whose entries were added, changed or removed."""
    before, after = _entries(old), _entries(new)
    return sorted({key[0] for key in before.keys() | after.keys() if before.get(key) != after.get(key)})


def _entries(claim: Obj) -> dict[tuple[str, str, str, str], Obj]:
    devices = (claim.get("status") or {}).get("devices") or ()
    return {(one["driver"], one["pool"], one["device"], one.get("shareID") or ""): one for one in devices}


def _node_of(claim: Obj) -> str:
    """The one node where the allocation can be used; "" when there are more."""
    terms = ((rc.allocation_of(claim) or {}).get("nodeSelector") or {}).get("nodeSelectorTerms") or []
    fields = [field for term in terms for field in term.get("matchFields") or ()]
    if len(terms) != 1 or len(fields) != 1 or terms[0].get("matchExpressions"):
        return ""
    names = fields[0].get("values") or []
    fits = fields[0].get("key") == "metadata.name" and fields[0].get("operator") == "In" and len(names) == 1
    return str(names[0]) if fits else ""


def _is_on(attributes: Attributes, node: str) -> bool:
    user = attributes.user
    return bool(node) and user.name.startswith(_ACCOUNT) and tuple(user.extra.get(NODE_NAME) or ()) == (node,)
