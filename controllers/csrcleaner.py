"""Certificate requests go after a while: whoever asked has read the answer long since.

Who calls it: `controllers.main`. Invariant: a request is removed one hour after it was signed, denied or failed, a day after it
was made (or approved) when nobody decided (or signed), and at once when its certificate has expired.
Upstream: pkg/controller/certificates/cleaner.
"""

import base64
from datetime import datetime, timedelta

from cryptography import x509

from controllers.certificates import is_issued
from controllers.context import Context
from minikube_py.api import errors
from minikube_py.api.clock import parse_rfc3339
from minikube_py.api.gvr import CERTIFICATESIGNINGREQUESTS
from minikube_py.api.meta import condition_is, condition_of, name_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_DECIDED, _PENDING = 3600.0, 24 * 3600.0


def build(context: Context) -> Controller:
    reconciler = Cleaner(context)
    return Controller(reconciler, clock=context.clock).watch(reconciler.requests)


class Cleaner:
    """The reconciler."""

    name = "csrcleaner"

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self.requests = context.informers.of(CERTIFICATESIGNINGREQUESTS)

    def reconcile(self, key: str) -> float | None:
        csr = self.requests.get_key(key)
        if csr is None:
            return None
        left = (ends(csr) - self._clock.now()).total_seconds()
        if left > 0:
            return left
        try:
            self._client.delete(CERTIFICATESIGNINGREQUESTS, name_of(csr), uid=csr["metadata"]["uid"])
        except errors.NotFound:
            return None
        return None


def ends(csr: Obj) -> datetime:
    """When nobody needs this request any more."""
    candidates: list[datetime] = []
    for kind, seconds in (
        ("Denied", _DECIDED),
        ("Failed", _DECIDED),
        ("Approved", _DECIDED if is_issued(csr) else _PENDING),
    ):
        if found := condition_of(csr, kind):
            candidates.append(_after(found.get("lastUpdateTime") or csr["metadata"]["creationTimestamp"], seconds))
    if not candidates:
        candidates.append(_after(csr["metadata"]["creationTimestamp"], _PENDING))
    if is_issued(csr) and condition_is(csr, "Approved"):
        candidates += _end_of_life(csr)
    return min(candidates)


def _after(text: str, seconds: float) -> datetime:
    return parse_rfc3339(text) + timedelta(seconds=seconds)


def _end_of_life(csr: Obj) -> list[datetime]:
    try:
        return [x509.load_pem_x509_certificate(base64.b64decode(csr["status"]["certificate"])).not_valid_after_utc]
    except ValueError:
        return []  # a foreign signer may have put anything there
