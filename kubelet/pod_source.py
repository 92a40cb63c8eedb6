"""Where the pods bound here come from: an informer, or the part of one that a fleet of nodes looks at.

Who uses it: `pod_manager`, `status_writer`, `static_pods`. Implementations: `client.informer.Informer`, `fleet.FleetPods`.
"""

from typing import Protocol

from minikube_py.api.types import Obj
from minikube_py.client.informer import Handler


class PodSource(Protocol):
    """As `Informer`: what is read is what was last heard, and handlers are told of every change from then on."""

    def get(self, namespace: str, name: str) -> Obj | None: ...
    def list(self, namespace: str = "") -> list[Obj]: ...
    def add_handler(self, handler: Handler) -> None: ...
