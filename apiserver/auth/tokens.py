"""Service-account tokens: signed, verified, and checked against the objects they are bound to.

Who calls it: the TokenRequest subresource signs; authentication and TokenReview verify. Invariant: a token is good only
while its service account, and the pod, secret or node it is bound to, exist with the same uid; so deleting the object
revokes it. Keys are EC P-256 (ES256) or RSA (RS256).
Upstream: pkg/serviceaccount (claims.go, jwt.go, legacy.go).
"""

import base64
import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jwt
import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from apiserver.auth import user
from apiserver.auth.user import UserInfo
from minikube_py.api.clock import Clock
from minikube_py.api.types import Obj

Lookup = Callable[[str, str, str], Obj | None]
_CLAIM = "kubernetes.io"
_EXTRA = "authentication.kubernetes.io/"
NODE_NAME = _EXTRA + "node-name"
_WARN_AFTER = 3607


class InvalidToken(Exception):
    """The token proves nothing; the message says why and is for the log, not for the client."""


class Bound(NamedTuple):
    """The object a token dies with: `kind` Pod, Secret or Node."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class Issued:
    """A signed token and when it ends (epoch seconds)."""

    token: str
    expires: int


class ServiceAccountTokens:
    """Signs and verifies with one key. `lookup(plural_key, namespace, name)` reads the live objects."""

    def __init__(self, key_file: str, issuer: str, lookup: Lookup, clock: Clock) -> None:
        key = serialization.load_pem_private_key(Path(key_file).read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise ValueError(f"{key_file}: only EC and RSA keys can sign service-account tokens")
        self._key, self._public = key, key.public_key()
        self.algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256"
        self.issuer, self._lookup, self._clock = issuer, lookup, clock
        der = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self._key_id = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()

    def issue(
        self, account: Obj, *, audiences: Sequence[str] = (), seconds: int = 3600, bound: Bound | None = None,
        node: tuple[str, str] | None = None,
    ) -> Issued:  # fmt: skip
        """Sign a token for a ServiceAccount object. `node`: name and uid of the node its pod runs on."""
        now = int(self._clock.time())
        meta = account["metadata"]
        private: Obj = {
            "namespace": meta["namespace"],
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
        }
        if bound is not None:
            private[bound.kind.lower()] = {"name": bound.name, "uid": bound.uid}
        if node is not None and bound is not None and bound.kind == "Pod":
            private["node"] = {"name": node[0], "uid": node[1]}
        if bound is not None and bound.kind == "Pod" and seconds == _WARN_AFTER:
            # an injected token lives for a year while clients that never reload it are found out by their warning
            private["warnafter"], seconds = now + seconds, 365 * 24 * 3600
        claims = {
            "aud": list(audiences) or [self.issuer], "exp": now + seconds, "iat": now, "nbf": now, "iss": self.issuer,
            "jti": str(uuid.uuid4()), _CLAIM: private, "sub": user.service_account(meta["namespace"], meta["name"]),
        }  # fmt: skip
        token = jwt.encode(claims, self._key, self.algorithm, headers={"kid": self._key_id})
        return Issued(token, now + seconds)

    def looks_like_ours(self, token: str) -> bool:
        """Whether a bearer token is a JWT of our issuer at all (its signature is not checked here)."""
        try:
            payload = token.split(".")[1]
            return bool(
                orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["iss"] == self.issuer
            )
        except (IndexError, ValueError, KeyError, TypeError):
            return False

    def claims(self, token: str, audiences: Sequence[str] = ()) -> Obj:
        """The claims of a token whose signature and times are good. Raises InvalidToken."""
        try:
            claims: Obj = jwt.decode(
                token, self._public, [self.algorithm], audience=list(audiences) or [self.issuer], issuer=self.issuer,
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )  # fmt: skip
        except jwt.InvalidTokenError as error:
            raise InvalidToken(str(error)) from None
        now = self._clock.time()
        if claims.get("exp", 0) <= now:
            raise InvalidToken("token has expired")
        if claims.get("nbf", 0) > now + 60:
            raise InvalidToken("token is not valid yet")
        return claims

    def user(self, claims: Obj) -> UserInfo:
        """The user these claims stand for, while everything they are bound to still exists. Raises InvalidToken."""
        private = claims.get(_CLAIM) or {}
        namespace, account = private.get("namespace", ""), private.get("serviceaccount") or {}
        self._alive("serviceaccounts", namespace, account)
        extra = {_EXTRA + "credential-id": (f"JTI={claims['jti']}",)} if claims.get("jti") else {}
        if pod := private.get("pod"):
            self._alive("pods", namespace, pod)
            extra |= {_EXTRA + "pod-name": (pod["name"],), _EXTRA + "pod-uid": (pod["uid"],)}
        if secret := private.get("secret"):
            self._alive("secrets", namespace, secret)
        if node := private.get("node"):
            if not pod:
                self._alive("nodes", "", node)
            extra |= {NODE_NAME: (node["name"],), _EXTRA + "node-uid": (node.get("uid", ""),)}
        name = user.service_account(namespace, account["name"])
        return user.authenticated(name, account["uid"], user.service_account_groups(namespace), extra)

    def _alive(self, plural_key: str, namespace: str, ref: Obj) -> None:
        found = self._lookup(plural_key, namespace, ref.get("name", ""))
        if found is None or found["metadata"]["uid"] != ref.get("uid"):
            raise InvalidToken(f"the {plural_key[:-1]} {namespace}/{ref.get('name')} it is bound to is gone")

    def jwks(self) -> Obj:
        """The public key as a JSON Web Key Set, for those who verify tokens themselves."""
        algorithm: Any = ECAlgorithm if self.algorithm == "ES256" else RSAAlgorithm
        key = algorithm.to_jwk(self._public, as_dict=True)
        return {"keys": [{**key, "use": "sig", "kid": self._key_id, "alg": self.algorithm}]}
