"""Tokens in Secrets: a Secret of type kubernetes.io/service-account-token gets its account's token, and goes with the account.

Who calls it: `controllers.main`. Invariants: a token is written only for an account that lives (asked live before anything is
deleted); a Secret that has everything is not written. The token is asked of the API server, bound to the Secret, for as long
as it may last (136 years): unlike upstream this process holds no signing key, and deleting the Secret ends the token.
Upstream: pkg/controller/serviceaccount/tokens_controller.go.
"""

import base64
from collections.abc import Iterable

from controllers.context import Context
from controllers.root_ca import certificate
from minikube_py.api import errors
from minikube_py.api.gvr import SECRETS, SERVICEACCOUNTS
from minikube_py.api.meta import annotations_of, is_terminating, key_of, name_of, namespace_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

TYPE = "kubernetes.io/service-account-token"
_NAME, _UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
_FOR_EVER = 1 << 32
_BY_ACCOUNT = "account"


def build(context: Context) -> Controller:
    """Watches Secrets of this type alone, and accounts for theirs; keys are Secrets."""
    reconciler = ServiceAccountToken(context)
    controller = Controller(reconciler, clock=context.clock).watch(reconciler.secrets)
    return controller.watch(reconciler.accounts, reconciler.keys_of_account)


class ServiceAccountToken:
    """The reconciler."""

    name = "serviceaccount-token"

    def __init__(self, context: Context) -> None:
        self._client, self._certificate = context.client, certificate(context)
        self.secrets = context.informers.of(SECRETS, field_selector=f"type={TYPE}")
        self.accounts = context.informers.of(SERVICEACCOUNTS)
        self.secrets.add_index(_BY_ACCOUNT, lambda s: (f"{namespace_of(s)}/{annotations_of(s).get(_NAME, '')}",))

    def keys_of_account(self, account: Obj) -> Iterable[str]:
        return [key_of(secret) for secret in self.secrets.by_index(_BY_ACCOUNT, key_of(account))]

    def reconcile(self, key: str) -> float | None:
        secret = self.secrets.get_key(key)
        if secret is None or is_terminating(secret):
            return None
        account = self._account(secret)
        if account is None:
            self._delete(secret)
            return None
        encoded = {"ca.crt": self._certificate.encode(), "namespace": namespace_of(secret).encode()}
        data = {**(secret.get("data") or {}), **{k: base64.b64encode(v).decode() for k, v in encoded.items()}}
        notes = {**annotations_of(secret), _UID: uid_of(account)}
        try:
            if not data.get("token"):
                data["token"] = base64.b64encode(self._token(account, secret).encode()).decode()
            if data != secret.get("data") or notes != annotations_of(secret):
                metadata = {**secret["metadata"], "annotations": notes}
                self._client.update(SECRETS, {**secret, "metadata": metadata, "data": data})
        except errors.NotFound:
            return None  # one of the two went meanwhile, which is an event
        return None

    def _account(self, secret: Obj) -> Obj | None:
        """The account the Secret is for; None when it is gone, or another one has its name."""
        namespace, notes = namespace_of(secret), annotations_of(secret)
        found = self.accounts.get(namespace, notes.get(_NAME, ""))
        if found is None or notes.get(_UID, uid_of(found)) != uid_of(found):
            try:
                found = self._client.get(SERVICEACCOUNTS, notes.get(_NAME, ""), namespace)
            except errors.NotFound:
                return None
        return found if notes.get(_UID) in (None, "", uid_of(found)) else None

    def _token(self, account: Obj, secret: Obj) -> str:
        bound = {"apiVersion": "v1", "kind": "Secret", "name": name_of(secret), "uid": uid_of(secret)}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                "spec": {"audiences": [], "expirationSeconds": _FOR_EVER, "boundObjectRef": bound}}  # fmt: skip
        answer = self._client.create(
            SERVICEACCOUNTS, body, namespace_of(account), name=name_of(account), subresource="token"
        )
        return str(answer["status"]["token"])

    def _delete(self, secret: Obj) -> None:
        revision = secret["metadata"]["resourceVersion"]
        try:
            self._client.delete(
                SECRETS, name_of(secret), namespace_of(secret), uid=uid_of(secret), resource_version=revision
            )
        except errors.NotFound:
            return
