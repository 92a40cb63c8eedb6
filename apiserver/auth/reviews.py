"""Access and token reviews: questions to the authoriser and the authenticator, answered and never stored.

Who calls it: the REST edge for creates of these virtual resources. Invariant: a review has no effect; it is answered exactly
as the real request would be decided.
Upstream: pkg/registry/authorization/*/rest.go, pkg/registry/authentication/*/storage.go.
"""

from collections.abc import Callable, Mapping

from apiserver.auth import user
from apiserver.auth.authorization import Authorizer, Verdict
from apiserver.auth.node import node_of
from apiserver.auth.rbac import Asked
from apiserver.auth.tokens import InvalidToken, ServiceAccountTokens
from apiserver.auth.user import UserInfo
from apiserver.server import Server
from minikube_py.api import errors
from minikube_py.api.errors import Cause
from minikube_py.api.selectors import parse_fields
from minikube_py.api.types import Obj

Review = Callable[[Server, UserInfo, str, Obj], Obj]


def review(kind: str, server: Server, who: UserInfo, namespace: str, asked: Obj) -> Obj:
    """Answer one review: the same object with its status filled in. Raises Invalid for a question that makes no sense."""
    answered = {**asked, "metadata": {**(asked.get("metadata") or {}), "creationTimestamp": None}}
    answered["status"] = _REVIEWS[kind](server, who, namespace, asked.get("spec") or {})
    return answered


def is_review(kind: str) -> bool:
    return kind in _REVIEWS


def _self_access(server: Server, who: UserInfo, namespace: str, spec: Obj) -> Obj:
    return _access_status(server.authorize.verdict(who, _asked("SelfSubjectAccessReview", spec)))


def _access(server: Server, who: UserInfo, namespace: str, spec: Obj) -> Obj:
    return _about(server.authorize, "SubjectAccessReview", spec)


def _local_access(server: Server, who: UserInfo, namespace: str, spec: Obj) -> Obj:
    kind = "LocalSubjectAccessReview"
    if (spec.get("resourceAttributes") or {}).get("namespace") != namespace:
        raise errors.BadRequest(f"spec.resourceAttributes.namespace must match namespace: {namespace}")
    return _about(server.authorize, kind, spec)


def _about(authorizer: Authorizer, kind: str, spec: Obj) -> Obj:
    if not spec.get("user") and not spec.get("groups"):
        why = 'Invalid value: "": at least one of user or group must be specified'
        raise _unusable(kind, Cause("FieldValueInvalid", why, "spec.user"))
    groups = tuple(spec.get("groups") or ())
    subject = UserInfo(spec.get("user", ""), spec.get("uid", ""), groups, _extra(spec.get("extra")))
    return _access_status(authorizer.verdict(subject, _asked(kind, spec)))


def _asked(kind: str, spec: Obj) -> Asked:
    attributes, url = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (attributes is None) == (url is None):
        why = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise _unusable(kind, Cause("FieldValueInvalid", why, "spec.resourceAttributes"))
    if url is not None:
        return Asked(url.get("verb", ""), path=url.get("path", "") or "/")
    found = attributes or {}
    named = (found.get(key) or "" for key in ("verb", "group", "resource", "subresource", "namespace", "name"))
    verb, group, resource, subresource, namespace, name = named
    fields = _selected(found.get("fieldSelector") or {})
    return Asked(verb, group, resource, subresource, namespace, name, fields=fields)


def _selected(selector: Obj) -> tuple[tuple[str, str], ...]:
    """What a field selector in a question demands to be equal."""
    if text := selector.get("rawSelector"):
        try:
            requirements = parse_fields(text).requirements
        except ValueError:
            return ()
        return tuple((path, value) for path, operator, value in requirements if operator == "=")
    return tuple(
        (requirement["key"], requirement["values"][0])
        for requirement in selector.get("requirements") or ()
        if requirement.get("operator") == "In" and len(requirement.get("values") or ()) == 1
    )


def _unusable(kind: str, cause: Cause) -> errors.Invalid:
    return errors.invalid(kind, "", [cause], "authorization.k8s.io")


def _access_status(verdict: Verdict) -> Obj:
    return {"allowed": verdict.allowed, **({"reason": verdict.reason} if verdict.reason else {})}


def _self_rules(server: Server, who: UserInfo, namespace: str, spec: Obj) -> Obj:
    wanted = spec.get("namespace", "")
    if not wanted:
        raise errors.BadRequest("no namespace on request")
    policies = server.authorize.rbac.policies(who, wanted)
    if user.MASTERS in who.groups:
        policies = [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
            {"verbs": ["*"], "nonResourceURLs": ["*"]},
        ]
    unclear = "node authorizer does not support user rule resolution" if node_of(who) else ""
    return {
        "resourceRules": [policy for policy in policies if not policy.get("nonResourceURLs")],
        "nonResourceRules": [
            {"verbs": policy["verbs"], "nonResourceURLs": policy["nonResourceURLs"]}
            for policy in policies if policy.get("nonResourceURLs")
        ],
        "incomplete": bool(unclear),
        **({"evaluationError": unclear} if unclear else {}),
    }  # fmt: skip


def _self(server: Server, who: UserInfo, namespace: str, spec: Obj) -> Obj:
    return {"userInfo": _shown(who)}


def _token(server: Server, who: UserInfo, namespace: str, spec: Obj) -> Obj:
    token, audiences = spec.get("token", ""), list(spec.get("audiences") or ())
    if not token:
        raise errors.BadRequest("token is required for TokenReview in authentication")
    try:
        found, accepted = _token_user(server, token, audiences)
    except (errors.Unauthorized, InvalidToken) as error:
        return {"user": {}, **({"error": str(error)} if isinstance(error, InvalidToken) else {})}
    return {"authenticated": True, "user": _shown(found), **({"audiences": accepted} if accepted else {})}


def _token_user(server: Server, token: str, audiences: list[str]) -> tuple[UserInfo, list[str]]:
    accounts: ServiceAccountTokens | None = server.accounts
    if accounts is None or not accounts.looks_like_ours(token):
        return server.authenticate.token_user(token), []
    claims = accounts.claims(token, audiences or [accounts.issuer])
    named = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    return accounts.user(claims), [one for one in named if one in (audiences or [accounts.issuer])]


def _shown(who: UserInfo) -> Obj:
    shown: Obj = {"username": who.name}
    if who.uid:
        shown["uid"] = who.uid
    if who.groups:
        shown["groups"] = list(who.groups)
    if who.extra:
        shown["extra"] = {key: list(values) for key, values in who.extra.items()}
    return shown


def _extra(extra: Mapping[str, list[str]] | None) -> dict[str, tuple[str, ...]]:
    return {key.lower(): tuple(values) for key, values in (extra or {}).items()}


_REVIEWS: dict[str, Review] = {
    "SelfSubjectAccessReview": _self_access, "SubjectAccessReview": _access, "LocalSubjectAccessReview": _local_access,
    "SelfSubjectRulesReview": _self_rules, "SelfSubjectReview": _self, "TokenReview": _token,
}  # fmt: skip
