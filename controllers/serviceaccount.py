"""The ServiceAccount "default" of every namespace.

Who calls it: `controllers.main`. Invariant: an active namespace has it, also after somebody deleted it.
Upstream: pkg/controller/serviceaccount/serviceaccounts_controller.go.
"""

from collections.abc import Iterable

from controllers.context import Context
from minikube_py.api import errors
from minikube_py.api.gvr import NAMESPACES, SERVICEACCOUNTS, new_object
from minikube_py.api.meta import is_terminating, namespace_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller


def build(context: Context) -> Controller:
    """Watches namespaces and service accounts; keys are namespaces."""
    reconciler = ServiceAccount(context)
    controller = Controller(reconciler, clock=context.clock)
    return controller.watch(reconciler.namespaces).watch(reconciler.accounts, _namespace_of_default)


def _namespace_of_default(account: Obj) -> Iterable[str]:
    return (namespace_of(account),) if account["metadata"]["name"] == "default" else ()


class ServiceAccount:
    """The reconciler."""

    name = "serviceaccount"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self.namespaces = context.informers.of(NAMESPACES)
        self.accounts = context.informers.of(SERVICEACCOUNTS)

    def reconcile(self, key: str) -> float | None:
        namespace = self.namespaces.get_key(key)
        if namespace is None or is_terminating(namespace) or self.accounts.get(key, "default") is not None:
            return None
        try:
            self._client.create(SERVICEACCOUNTS, new_object(SERVICEACCOUNTS, "default", key))
        except (errors.AlreadyExists, errors.NotFound):
            return None  # somebody was faster, or the namespace is gone already
        return None
