"""DefaultBinder: writes the decision through the pod's `binding` subresource.

Who calls it: the binding threads. Invariant: the API server refuses a second binding of the same pod (and one for another pod
of that name, by uid), so a pod is never bound twice whatever crashes or repeats.
Upstream: pkg/scheduler/framework/plugins/defaultbinder.
"""

from controllers.scheduler.framework import Handle, Plugin, only
from controllers.scheduler.podinfo import PodInfo
from minikube_py.api import meta
from minikube_py.api.gvr import PODS
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client


class DefaultBinder(Plugin):
    name = "DefaultBinder"

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    def build(cls, handle: Handle, args: Obj) -> Plugin:
        only(args)
        return cls(handle.client)

    def bind(self, pod: PodInfo, node: str) -> bool:
        name = meta.name_of(pod.pod)
        binding: Obj = {
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }  # fmt: skip
        self._client.create(PODS, binding, pod.namespace, name=name, subresource="binding")
        return True
