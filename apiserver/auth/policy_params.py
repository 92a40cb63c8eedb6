"""Who may let a policy read parameters: whoever may read them themselves.

Who calls it: the registry, as the guard of admission policies and their bindings. Invariant: what a writer may not read does
not reach them through the messages of a policy; what was there before may be written again, so that metadata can be edited.
Upstream: pkg/registry/admissionregistration/{validating,mutating}admissionpolicy{,binding}/authz.go.
"""

from collections.abc import Callable

from apiserver.auth.authorization import Authorizer
from apiserver.auth.rbac import Asked
from apiserver.auth.user import UserInfo
from apiserver.registry import Call, Guard
from apiserver.resources import table
from apiserver.strategies.checks import forbidden
from minikube_py.api import errors
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_GROUP = "admissionregistration.k8s.io"
Lookup = Callable[[str, str, str], Obj | None]


def guards(authorizer: Authorizer, lookup: Lookup) -> dict[str, Guard]:
    """The guard of each of the four kinds, by qualified plural."""
    found: dict[str, Guard] = {}
    for policies in (f"{prefix}admissionpolicies.{_GROUP}" for prefix in ("validating", "mutating")):
        found[policies] = _policy(authorizer)
        found[policies.replace("policies", "policybindings")] = _binding(authorizer, lookup, policies)
    return found


def _policy(authorizer: Authorizer) -> Guard:
    def guard(call: Call, new: Obj, old: Obj | None) -> None:
        kind = (new.get("spec") or {}).get("paramKind")
        if not kind or (old is not None and (old.get("spec") or {}).get("paramKind") == kind):
            return
        group, resource = _resource(kind)
        if not _allowed(authorizer, call, Asked("get", group, resource, namespace="*", name="*")):
            why = 'must have "get" permission on all objects of the referenced paramKind'
            why = f"user {call.user.name} {why} (kind={kind.get('kind')}, apiVersion={kind.get('apiVersion')})"
            _refuse(call, new, forbidden("spec.paramKind", why))

    return guard


def _binding(authorizer: Authorizer, lookup: Lookup, policies: str) -> Guard:
    def guard(call: Call, new: Obj, old: Obj | None) -> None:
        spec, before = new.get("spec") or {}, (old or {}).get("spec") or {}
        ref = spec.get("paramRef")
        if not ref or (old is not None and all(spec.get(key) == before.get(key) for key in ("paramRef", "policyName"))):
            return
        policy = lookup(policies, "", spec.get("policyName") or "")
        group, resource = _resource(((policy or {}).get("spec") or {}).get("paramKind") or {})
        verb, name = ("get", ref["name"]) if ref.get("name") else ("list", "")
        asked = Asked(verb, group, resource, namespace=ref.get("namespace") or "", name=name)
        if not _allowed(authorizer, call, asked):
            why = f'user {call.user.name} does not have "{verb}" permission on the object referenced by paramRef'
            if policy is None:
                why = (
                    f"unable to get policy {spec.get('policyName')} to determine minimum required permissions and user "
                    f'{call.user.name} does not have "{verb}" permission for all groups, versions and resources'
                )
            _refuse(call, new, forbidden("spec.paramRef", why))

    return guard


def _resource(kind: Obj) -> tuple[str, str]:
    """(group, plural) of a paramKind; everything for what is not known."""
    if not kind:
        return "*", "*"
    group, _, version = str(kind.get("apiVersion") or "").rpartition("/")
    row = table.by_kind(group, version, kind.get("kind") or "")
    return group, row.plural if row is not None else "*"


def _allowed(authorizer: Authorizer, call: Call, asked: Asked) -> bool:
    assert isinstance(call.user, UserInfo), "the edge makes every call with an authenticated user"
    return authorizer.verdict(call.user, asked).allowed


def _refuse(call: Call, obj: Obj, cause: Cause) -> None:
    raise errors.invalid(call.row.kind, obj["metadata"].get("name", ""), [cause], call.row.group)
