"""Bootstrap tokens: what a node agent on another machine joins the cluster with.

Who calls it: `minikube-py token …`. Invariant: a token is a Secret and nothing else; whoever holds it may ask for a node's
certificate until it expires, and for nothing besides.
Upstream: cmd/kubeadm/app/cmd/token.go, phases/bootstraptoken/node.
"""

import base64
import secrets
import string
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from minikube_py.api.clock import REAL, parse_rfc3339, rfc3339
from minikube_py.api.errors import NotFound
from minikube_py.api.gvr import SECRETS, new_object
from minikube_py.api.types import Obj
from minikube_py.cluster import access, kubeconfig
from minikube_py.cluster.errors import ClusterError
from minikube_py.cluster.profile import Profile

GROUP = "system:bootstrappers:minikube-py:default-node-token"
"""The group that the cluster's default roles let join."""
_TYPE, _NAMESPACE, _PREFIX = "bootstrap.kubernetes.io/token", "kube-system", "bootstrap-token-"
_LETTERS = string.ascii_lowercase + string.digits


class Token(NamedTuple):
    """One token as it is listed: its public half, and the seconds it has left (None: for ever)."""

    id: str
    left: float | None


def create(profile: Profile, seconds: float) -> str:
    """A new token that is good for that long (0: for ever)."""
    key, secret = (_random(length) for length in (6, 16))
    data = {
        "token-id": key, "token-secret": secret, "usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
        "auth-extra-groups": GROUP, "description": "made by minikube-py token create",
    }  # fmt: skip
    if seconds:
        data["expiration"] = rfc3339(REAL.now() + timedelta(seconds=seconds))
    access.client(profile).create(SECRETS, new_object(SECRETS, _PREFIX + key, _NAMESPACE, type=_TYPE, stringData=data))
    return f"{key}.{secret}"


def _random(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


def listed(profile: Profile) -> list[Token]:
    """Every token there is."""
    found = access.client(profile).list(SECRETS, _NAMESPACE, field_selector=f"type={_TYPE}")["items"]
    return [Token(secret["metadata"]["name"].removeprefix(_PREFIX), _left(secret)) for secret in found]


def _left(secret: Obj) -> float | None:
    text = base64.b64decode((secret.get("data") or {}).get("expiration") or "").decode()
    return (parse_rfc3339(text) - REAL.now()).total_seconds() if text else None


def delete(profile: Profile, token: str) -> None:
    """Nobody joins with this token (or its id) any more. Raises ClusterError when there is none."""
    key = token.partition(".")[0]
    try:
        access.client(profile).delete(SECRETS, _PREFIX + key, _NAMESPACE)
    except NotFound:
        raise ClusterError(f"no bootstrap token {key!r} (there are: minikube-py token list)") from None


def write_bootstrap(profile: Profile, token: str, file: Path, server: str) -> None:
    """The kubeconfig that a node joins with: the API server, its CA, and the token."""
    config = kubeconfig.build(profile.context, server or profile.server, profile.pki, "admin")
    config["users"][0]["user"] = {"token": token}
    kubeconfig.write(file, config)
