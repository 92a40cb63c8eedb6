"""Who a request comes from.

Who uses it: authentication makes it; authorisation, admission, strategies and audit read it. Invariant: frozen.
Upstream: staging/src/k8s.io/apiserver/pkg/authentication/user/user.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"
NODE_PREFIX, NODES = "system:node:", "system:nodes"


@dataclass(frozen=True)
class UserInfo:
    """`extra` holds what only some authenticators know, such as the pod a token is bound to."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS = UserInfo("system:anonymous", groups=(UNAUTHENTICATED,))
SERVER = UserInfo("system:apiserver", groups=(MASTERS, AUTHENTICATED))
"""The server itself, for the writes of bootstrap."""


def authenticated(
    name: str, uid: str = "", groups: tuple[str, ...] = (), extra: Mapping[str, tuple[str, ...]] | None = None
) -> UserInfo:
    """A user who proved who they are: also a member of system:authenticated."""
    return UserInfo(name, uid, groups if AUTHENTICATED in groups else (*groups, AUTHENTICATED), extra or {})


def service_account(namespace: str, name: str) -> str:
    """The user name of a service account."""
    return f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"


def service_account_groups(namespace: str) -> tuple[str, ...]:
    return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
