"""Who may use the kubelet's API: certificates and bearer tokens, judged by the API server's reviews.

Who calls it: `server`, before each request. Invariant: the API server itself (its client certificate, or another of group
system:masters) needs nobody's word, so that it can reach us while it is starting; everybody else is allowed exactly what the
API server says, which is remembered for a short while; when it cannot be asked, the answer is no.
Upstream: pkg/kubelet/server/auth.go, cmd/kubelet/app/auth.go (delegated authentication and authorisation).
"""

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.x509.oid import NameOID

from kubelet.asgi import HttpError
from minikube_py.api.clock import Clock
from minikube_py.api.errors import APIError
from minikube_py.api.gvr import GVR, SUBJECTACCESSREVIEWS, TOKENREVIEWS
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client

_API_SERVER, _MASTERS, _AUTHENTICATED = "kube-apiserver-kubelet-client", "system:masters", "system:authenticated"
_ALLOWED_SECONDS, _DENIED_SECONDS, _TOKEN_SECONDS = 300.0, 30.0, 120.0
_REMEMBER = 4096
_SUBRESOURCES = {
    "stats": ("stats",), "metrics": ("metrics",), "logs": ("log",), "checkpoint": ("checkpoint",),
    "pods": ("pods", "proxy"), "healthz": ("healthz", "proxy"), "configz": ("configz", "proxy"),
}  # fmt: skip
"""First part of the path to the subresources of the node of which one has to be allowed; any other path is "proxy"."""
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


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
    subject = x509.load_der_x509_certificate(certificate).subject
    names = [str(part.value) for part in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [str(part.value) for part in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    return User(names[0], groups=(*groups, _AUTHENTICATED)) if names else None


class Gate:
    """Thread-safe; its questions block."""

    def __init__(self, client: Client, node_name: str, clock: Clock) -> None:
        self._client, self._node_name, self._clock = client, node_name, clock
        self._lock = threading.Lock()
        self._remembered: dict[Hashable, tuple[float, object]] = {}

    def passes_alone(self, user: User | None) -> bool:
        """Whether nobody has to be asked about this user."""
        return user is not None and (user.name == _API_SERVER or _MASTERS in user.groups)

    def check(self, user: User | None, authorization: str, method: str, path: tuple[str, ...]) -> None:
        """Let the request pass. In: the certificate's user, the header, the path's parts. Raises HttpError 401 or 403."""
        if user is None:
            scheme, _, token = authorization.partition(" ")
            user = self._of_token(token.strip()) if scheme.lower() == "bearer" and token.strip() else None
        if user is None:
            raise HttpError(401, "Unauthorized")
        if self.passes_alone(user):
            return
        verb, subresources = _VERBS.get(method, "get"), _SUBRESOURCES.get(path[0] if path else "", ("proxy",))
        if not any(self._allowed(user, verb, subresource) for subresource in subresources):
            named = " ".join(subresources)
            raise HttpError(403, f"Forbidden (user={user.name}, verb={verb}, resource=nodes, subresource(s)=[{named}])")

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

    def _allowed(self, user: User, verb: str, subresource: str) -> bool:
        def ask() -> tuple[bool, float]:
            attributes = {
                "verb": verb,
                "resource": "nodes",
                "subresource": subresource,
                "name": self._node_name,
                "version": "v1",
            }
            spec = {
                "user": user.name, "uid": user.uid, "groups": list(user.groups), "resourceAttributes": attributes,
                "extra": {key: list(values) for key, values in user.extra},
            }  # fmt: skip
            allowed = bool(self._review(SUBJECTACCESSREVIEWS, spec).get("allowed"))
            return allowed, _ALLOWED_SECONDS if allowed else _DENIED_SECONDS

        return bool(self._remember((user, verb, subresource), ask))

    def _review(self, kind: GVR, spec: Obj) -> Obj:
        try:
            review = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {}, "spec": spec}
            status: Obj = self._client.create(kind, review).get("status") or {}
        except APIError as error:
            raise HttpError(503, f"the API server cannot say who that is: {error}") from error
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
