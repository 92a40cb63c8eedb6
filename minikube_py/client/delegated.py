"""Who is asking, and may they: certificates, and bearer tokens and rights as the API server's reviews judge them.

Who calls it: the servers of our own components (`kubelet/auth.py`, `controllers/serving.py`), before each request. Invariants:
an answer of the API server is remembered for a short while; when it cannot be asked, there is no answer.
Upstream: staging/src/k8s.io/apiserver/pkg/{authentication,authorization}/…/delegating*.go.
"""

import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from minikube_py.api.clock import Clock
from minikube_py.api.errors import APIError, ServiceUnavailable, Unauthorized
from minikube_py.api.gvr import GVR, SUBJECTACCESSREVIEWS, TOKENREVIEWS
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client

MASTERS = "system:masters"
_AUTHENTICATED = "system:authenticated"
_ALLOWED_SECONDS, _DENIED_SECONDS, _TOKEN_SECONDS = 300.0, 30.0, 120.0
_REMEMBER = 4096


@dataclass(frozen=True)
class User:
    """Who asks."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = field(default=())


def certificate_user(certificate: bytes) -> User | None:
    """The user of an (already verified) client certificate, None without one. In: DER, b"" for none."""
    if not certificate:
        return None
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    subject = x509.load_der_x509_certificate(certificate).subject
    names = [str(part.value) for part in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [str(part.value) for part in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    return User(names[0], groups=(*groups, _AUTHENTICATED)) if names else None


class Reviewer:
    """Asks the API server. Thread-safe; its questions block."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._lock = threading.Lock()
        self._remembered: dict[Hashable, tuple[float, object]] = {}

    def user(self, certificate: User | None, authorization: str) -> User:
        """Who it is. In: the certificate's user, the Authorization header. Raises Unauthorized, ServiceUnavailable."""
        if certificate is not None:
            return certificate
        scheme, _, token = authorization.partition(" ")
        found = self._of_token(token.strip()) if scheme.lower() == "bearer" and token.strip() else None
        if found is None:
            raise Unauthorized()
        return found

    def allowed(self, user: User, attributes: Mapping[str, str]) -> bool:
        """In: resourceAttributes, or with a `path` nonResourceAttributes. Raises ServiceUnavailable."""
        kind = "nonResourceAttributes" if "path" in attributes else "resourceAttributes"

        def ask() -> tuple[bool, float]:
            spec = {
                "user": user.name, "uid": user.uid, "groups": list(user.groups), kind: dict(attributes),
                "extra": {key: list(values) for key, values in user.extra},
            }  # fmt: skip
            allowed = bool(self._review(SUBJECTACCESSREVIEWS, spec).get("allowed"))
            return allowed, _ALLOWED_SECONDS if allowed else _DENIED_SECONDS

        return bool(self._remember((user, *sorted(attributes.items())), ask))

    def _of_token(self, token: str) -> User | None:
        def ask() -> tuple[User | None, float]:
            status = self._review(TOKENREVIEWS, {"token": token})
            if not status.get("authenticated"):
                return None, _DENIED_SECONDS
            user = status.get("user") or {}
            extra = tuple((key, tuple(values)) for key, values in (user.get("extra") or {}).items())
            found = User(str(user.get("username")), str(user.get("uid") or ""), tuple(user.get("groups") or ()), extra)
            return found, _TOKEN_SECONDS

        return self._remember(("token", token), ask)  # type: ignore[return-value]

    def _review(self, kind: GVR, spec: Obj) -> Obj:
        try:
            review = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {}, "spec": spec}
            status: Obj = self._client.create(kind, review).get("status") or {}
        except APIError as error:
            raise ServiceUnavailable(f"the API server cannot say who that is: {error}") from error
        return status

    def _remember(self, key: Hashable, ask: Callable[[], tuple[object, float]]) -> object:
        now = self._clock.monotonic()
        with self._lock:
            known = self._remembered.get(key)
        if known is not None and known[0] > now:
            return known[1]
        answer, seconds = ask()
        with self._lock:
            if len(self._remembered) >= _REMEMBER:
                self._remembered.clear()
            self._remembered[key] = (now + seconds, answer)
        return answer
