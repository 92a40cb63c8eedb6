"""Bootstrap tokens: "ID.SECRET", good for joining a node and for little else.

Who calls it: the authenticator, for a bearer token of that form. Invariant: a token is good only while its Secret
`kube-system/bootstrap-token-ID` says so: type, secret, time and purpose; deleting the Secret ends it.
Upstream: plugin/pkg/auth/authenticator/token/bootstrap, staging/src/k8s.io/cluster-bootstrap/token/util.
"""

import base64
import binascii
import hmac
import re

from apiserver.auth import user
from apiserver.auth.tokens import Lookup
from apiserver.auth.user import UserInfo
from minikube_py.api.clock import Clock, parse_rfc3339
from minikube_py.api.meta import is_terminating
from minikube_py.api.types import Obj

GROUP = "system:bootstrappers"
_FORM = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_EXTRA_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")
_TYPE = "bootstrap.kubernetes.io/token"


def bootstrap_user(token: str, lookup: Lookup, clock: Clock) -> UserInfo | None:
    """The user of a bootstrap token, None when it is none or not good (any more)."""
    form = _FORM.fullmatch(token)
    secret = lookup("secrets", "kube-system", f"bootstrap-token-{form[1]}") if form else None
    if form is None or secret is None or is_terminating(secret) or secret.get("type") != _TYPE:
        return None
    data = _texts(secret)
    if not hmac.compare_digest(data.get("token-secret", ""), form[2]) or data.get("token-id") != form[1]:
        return None
    if data.get("usage-bootstrap-authentication") != "true" or _expired(data.get("expiration", ""), clock):
        return None
    extra = [group.strip() for group in data.get("auth-extra-groups", "").split(",") if group.strip()]
    if not all(_EXTRA_GROUP.fullmatch(group) for group in extra):
        return None
    return user.authenticated(f"system:bootstrap:{form[1]}", groups=(GROUP, *sorted(extra)))


def _texts(secret: Obj) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            found[key] = base64.b64decode(value).decode("ascii")
        except (ValueError, binascii.Error):
            continue  # what is not text says nothing
    return found


def _expired(text: str, clock: Clock) -> bool:
    try:
        return bool(text) and parse_rfc3339(text) <= clock.now()
    except ValueError:
        return True
