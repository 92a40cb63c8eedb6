"""Everything a pod worker needs of its node, in one place; `main` fills it in. Who reads it: `pod_worker`, `pod_manager`.

Invariant: one of each per kubelet, all safe to use from any thread.
"""

from collections.abc import Callable
from dataclasses import dataclass

from kubelet.backoff import Backoff
from kubelet.cgroups import Cgroups
from kubelet.devices.base import DeviceManager
from kubelet.dra.claims import PodClaims
from kubelet.images import Images
from kubelet.lifecycle import Terminator
from kubelet.network.pod_network import PodNetwork
from kubelet.object_watch import ObjectWatches
from kubelet.objects import ObjectCache, TokenCache
from kubelet.options import Options
from kubelet.probes import Probes
from kubelet.runtime.base import Runtime
from kubelet.sandbox import Sandboxes
from kubelet.start_container import Starter
from kubelet.status import Verdict
from kubelet.status_writer import StatusWriter
from kubelet.volumes.manager import VolumeManager
from minikube_py.api.clock import Clock
from minikube_py.api.types import Obj
from minikube_py.client.events import EventRecorder


@dataclass
class NodeServices:
    """`allocatable` gives the node's as quantities, `refuse` is node admission."""

    options: Options
    clock: Clock
    runtime: Runtime
    network: PodNetwork
    sandboxes: Sandboxes
    volumes: VolumeManager
    objects: ObjectCache
    watches: ObjectWatches
    tokens: TokenCache
    images: Images
    devices: DeviceManager
    claims: PodClaims
    terminator: Terminator
    starter: Starter
    restarts: Backoff
    probes: Probes
    statuses: StatusWriter
    events: EventRecorder
    allocatable: Callable[[], dict[str, str]]
    refuse: Callable[[Obj], Verdict | None]
    cgroups: Cgroups
