"""What every controller is built from: the client, the shared informers, the clock, the options.

Who calls it: `controllers.main` makes one; each controller file's `build(context)` takes what it needs.
Invariant: one informer per collection for the whole process, and one event recorder per controller, ended by `stop`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from controllers.options import Options
from minikube_py.api.clock import REAL, Clock
from minikube_py.api.meta import controller_of
from minikube_py.api.types import Obj
from minikube_py.client.events import EventRecorder
from minikube_py.client.informer import Informer, SharedInformers
from minikube_py.client.rest import Client

BY_CONTROLLER = "controller"


@dataclass
class Context:
    client: Client
    informers: SharedInformers
    options: Options = field(default_factory=Options)
    clock: Clock = REAL
    recorders: list[EventRecorder] = field(default_factory=list)

    def recorder(self, component: str) -> EventRecorder:
        """An event recorder that speaks as `component` (upstream's name, e.g. "deployment-controller")."""
        recorder = EventRecorder(self.client, component, self.clock)
        self.recorders.append(recorder)
        return recorder


def index_by_controller(informer: Informer) -> Informer:
    """Make children findable by the uid of their controller, and those without one by `orphans_of(namespace)`."""
    informer.add_index(BY_CONTROLLER, _controller_values)
    return informer


def orphans_of(namespace: str) -> str:
    return f"orphan/{namespace}"


def _controller_values(obj: Obj) -> Iterable[str]:
    owner = controller_of(obj)
    return (owner["uid"] if owner else orphans_of(obj["metadata"].get("namespace", "")),)
