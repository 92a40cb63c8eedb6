"""ConfigMap "kube-root-ca.crt" in every namespace: what pods verify the API server with.

Who calls it: `controllers.main`. Invariant: an active namespace has it, with the CA's certificate, also after somebody
deleted or edited it.
Upstream: pkg/controller/certificates/rootcacertpublisher.
"""

from collections.abc import Iterable
from pathlib import Path

from controllers.context import Context
from minikube_py.api import errors
from minikube_py.api.gvr import CONFIGMAPS, NAMESPACES, new_object
from minikube_py.api.meta import is_terminating, namespace_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

NAME = "kube-root-ca.crt"
_NOTE = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal"
    " service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)


def build(context: Context) -> Controller:
    """Watches namespaces and these ConfigMaps alone; keys are namespaces."""
    reconciler = RootCA(context)
    controller = Controller(reconciler, clock=context.clock)
    return controller.watch(reconciler.namespaces).watch(reconciler.maps, _its_namespace)


def _its_namespace(config_map: Obj) -> Iterable[str]:
    return (namespace_of(config_map),)


class RootCA:
    """The reconciler."""

    name = "root-ca"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._certificate = certificate(context)
        self.namespaces = context.informers.of(NAMESPACES)
        self.maps = context.informers.of(CONFIGMAPS, field_selector=f"metadata.name={NAME}")

    def reconcile(self, key: str) -> float | None:
        namespace = self.namespaces.get_key(key)
        if namespace is None or is_terminating(namespace):
            return None
        found, data = self.maps.get(key, NAME), {"ca.crt": self._certificate}
        if found is None:
            wanted = new_object(CONFIGMAPS, NAME, key, data=data)
            wanted["metadata"]["annotations"] = {"kubernetes.io/description": _NOTE}
            try:
                self._client.create(CONFIGMAPS, wanted)
            except errors.NotFound:
                return None  # the namespace is gone
        elif found.get("data") != data or found.get("binaryData"):
            self._client.update(CONFIGMAPS, {k: v for k, v in found.items() if k != "binaryData"} | {"data": data})
        return None


def certificate(context: Context) -> str:
    """The CA from --cluster-ca, or the one we ourselves trust."""
    if context.options.cluster_ca:
        return Path(context.options.cluster_ca).read_text()
    config = context.client.config
    if config.ca_data:
        return config.ca_data.decode()
    return Path(config.ca_file).read_text() if config.ca_file else ""
