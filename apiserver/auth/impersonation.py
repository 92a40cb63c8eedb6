"""Acting as somebody else: the Impersonate-* headers, each of which must be allowed by a rule of its own.

Who calls it: the pipeline, between authentication and authorisation. Invariant: every part that is taken over (user, group,
uid, each extra value) was authorised with verb `impersonate` for the real user.
Upstream: staging/src/k8s.io/apiserver/pkg/endpoints/filters/impersonation.go.
"""

from collections.abc import Mapping
from urllib.parse import unquote

from apiserver.auth import user
from apiserver.auth.authorization import Authorizer, forbidden
from apiserver.auth.rbac import Asked
from apiserver.auth.user import SERVICE_ACCOUNT_PREFIX, UserInfo
from minikube_py.api import errors

PREFIX = "impersonate-"
_EXTRA = f"{PREFIX}extra-"
SEPARATOR = "\n"
"""Between the values of a header given several times; a comma may be part of one."""
_AUTHENTICATION = "authentication.k8s.io"


def impersonated(authorizer: Authorizer, who: UserInfo, headers: Mapping[str, str]) -> UserInfo:
    """The user that the headers name. In: lower-case header names. Raises Forbidden."""
    name, uid = headers.get("impersonate-user", ""), headers.get("impersonate-uid", "")
    groups = tuple(group for group in headers.get("impersonate-group", "").split(SEPARATOR) if group)
    extra = {
        unquote(header[len(_EXTRA) :]): tuple(value.split(SEPARATOR))
        for header, value in headers.items()
        if header.startswith(_EXTRA)
    }
    if not name:
        raise errors.BadRequest("requested to impersonate groups, a uid or extra values without impersonating a user")
    for asked in _questions(name, uid, groups, extra):
        if not authorizer.verdict(who, asked).allowed:
            raise forbidden(who, asked)
    if name.startswith(SERVICE_ACCOUNT_PREFIX) and not groups:
        groups = user.service_account_groups(name.split(":")[2])
    if name == user.ANONYMOUS.name:
        return UserInfo(name, uid, groups or (user.UNAUTHENTICATED,), extra)
    return user.authenticated(name, uid, groups, extra)


def _questions(name: str, uid: str, groups: tuple[str, ...], extra: Mapping[str, tuple[str, ...]]) -> list[Asked]:
    verb = "impersonate"
    parts = name.split(":")
    if name.startswith(SERVICE_ACCOUNT_PREFIX) and len(parts) == 4:
        asked = [Asked(verb, resource="serviceaccounts", namespace=parts[2], name=parts[3])]
    else:
        asked = [Asked(verb, resource="users", name=name)]
    asked += [Asked(verb, resource="groups", name=group) for group in groups]
    if uid:
        asked.append(Asked(verb, _AUTHENTICATION, "uids", name=uid))
    for key, values in extra.items():
        asked += [Asked(verb, _AUTHENTICATION, "userextras", key, name=value) for value in values]
    return asked
