"""Who may use the kubelet's API: which rights on the node a path needs.

Who calls it: `server`, before each request. Invariant: the API server itself (its client certificate, or another of group
system:masters) needs nobody's word, so that it can reach us while it is starting; everybody else is allowed exactly what the
API server says; when it cannot be asked, the answer is no.
Upstream: pkg/kubelet/server/auth.go, cmd/kubelet/app/auth.go.
"""

from kubelet.asgi import HttpError
from minikube_py.api.clock import Clock
from minikube_py.api.errors import APIError
from minikube_py.client.delegated import MASTERS, Reviewer, User
from minikube_py.client.rest import Client

_API_SERVER = "kube-apiserver-kubelet-client"
_SUBRESOURCES = {
    "stats": ("stats",), "metrics": ("metrics",), "logs": ("log",), "checkpoint": ("checkpoint",),
    "pods": ("pods", "proxy"), "healthz": ("healthz", "proxy"), "configz": ("configz", "proxy"),
}  # fmt: skip
"""First part of the path to the subresources of the node of which one has to be allowed; any other path is "proxy"."""
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Gate:
    """Thread-safe; its questions block."""

    def __init__(self, client: Client, node_name: str, clock: Clock) -> None:
        self._node_name, self._reviewer = node_name, Reviewer(client, clock)

    def passes_alone(self, user: User | None) -> bool:
        """Whether nobody has to be asked about this user."""
        return user is not None and (user.name == _API_SERVER or MASTERS in user.groups)

    def check(self, user: User | None, authorization: str, method: str, path: tuple[str, ...]) -> None:
        """Let the request pass. In: the certificate's user, the header, the path's parts. Raises HttpError 401, 403, 503."""
        verb, subresources = _VERBS.get(method, "get"), _SUBRESOURCES.get(path[0] if path else "", ("proxy",))
        try:
            user = self._reviewer.user(user, authorization)
            if self.passes_alone(user) or any(self._allowed(user, verb, name) for name in subresources):
                return
        except APIError as error:
            raise HttpError(error.code, error.message) from error
        named = " ".join(subresources)
        raise HttpError(403, f"Forbidden (user={user.name}, verb={verb}, resource=nodes, subresource(s)=[{named}])")

    def _allowed(self, user: User, verb: str, subresource: str) -> bool:
        return self._reviewer.allowed(user, {
            "verb": verb, "resource": "nodes", "subresource": subresource, "name": self._node_name, "version": "v1",
        })  # fmt: skip
