"""Bootstrap tokens whose time is over are deleted.

Who calls it: `controllers.main`. Invariant: a token without an expiration stays; the API server refuses an expired one by
itself, so this only tidies up.
Upstream: pkg/controller/bootstrap/tokencleaner.go.
"""

import base64
import binascii

from controllers.context import Context
from minikube_py.api import errors
from minikube_py.api.clock import parse_rfc3339
from minikube_py.api.gvr import SECRETS
from minikube_py.api.meta import name_of
from minikube_py.client.controller import Controller

_NAMESPACE = "kube-system"


def build(context: Context) -> Controller:
    """Watches the Secrets of this one type alone."""
    reconciler = TokenCleaner(context)
    return Controller(reconciler, clock=context.clock).watch(reconciler.secrets)


class TokenCleaner:
    """The reconciler."""

    name = "token-cleaner"

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self.secrets = context.informers.of(
            SECRETS, namespace=_NAMESPACE, field_selector="type=bootstrap.kubernetes.io/token"
        )

    def reconcile(self, key: str) -> float | None:
        secret = self.secrets.get_key(key)
        text = ((secret or {}).get("data") or {}).get("expiration")
        if secret is None or not text:
            return None
        try:
            left = (parse_rfc3339(base64.b64decode(text).decode()) - self._clock.now()).total_seconds()
        except (ValueError, binascii.Error):
            left = 0.0  # a time nobody can read has passed, for the API server too
        if left > 0:
            return left
        try:
            self._client.delete(SECRETS, name_of(secret), _NAMESPACE, uid=secret["metadata"]["uid"])
        except errors.NotFound:
            return None
        return None
