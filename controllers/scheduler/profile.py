"""The default profile: which plugins run, in which order, with which weights.

Who calls it: main.py at start. Invariant: names, order and weights are upstream's default profile; a plugin upstream has and
this table lacks (dynamic resources) is not built yet.
Upstream: pkg/scheduler/apis/config/v1/default_plugins.go.
"""

from collections.abc import Callable, Mapping

from controllers.scheduler.framework import Lister, Plugin, Profile
from controllers.scheduler.plugins.default_binder import DefaultBinder
from controllers.scheduler.plugins.default_preemption import DefaultPreemption
from controllers.scheduler.plugins.image_locality import ImageLocality
from controllers.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from controllers.scheduler.plugins.node_affinity import NodeAffinity
from controllers.scheduler.plugins.node_name import NodeName
from controllers.scheduler.plugins.node_ports import NodePorts
from controllers.scheduler.plugins.node_resources_balanced import NodeResourcesBalancedAllocation
from controllers.scheduler.plugins.node_resources_fit import NodeResourcesFit
from controllers.scheduler.plugins.node_unschedulable import NodeUnschedulable
from controllers.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from controllers.scheduler.plugins.pod_topology_spread import PodTopologySpread
from controllers.scheduler.plugins.scheduling_gates import SchedulingGates
from controllers.scheduler.plugins.taint_toleration import TaintToleration
from controllers.scheduler.plugins.volume_binding import VolumeBinding
from controllers.scheduler.plugins.volume_restrictions import VolumeRestrictions
from controllers.scheduler.plugins.volume_zone import VolumeZone
from minikube_py.client.rest import Client


def default_profile(client: Client, lister: Lister, namespace_labels: Callable[[str], Mapping[str, str]]) -> Profile:
    """The table. In: how plugins reach the API, other objects, and the labels of a namespace."""
    table: list[tuple[Plugin, int]] = [
        (SchedulingGates(), 0),
        (NodeUnschedulable(), 0),
        (NodeName(), 0),
        (TaintToleration(), 3),
        (NodeAffinity(), 2),
        (NodePorts(), 0),
        (NodeResourcesFit(), 1),
        (VolumeRestrictions(lister), 0),
        (NodeVolumeLimits(lister), 0),
        (VolumeBinding(client, lister), 0),
        (VolumeZone(lister), 0),
        (PodTopologySpread(lister), 2),
        (InterPodAffinity(namespace_labels), 2),
        (DefaultPreemption(lister), 0),
        (NodeResourcesBalancedAllocation(), 1),
        (ImageLocality(), 1),
        (DefaultBinder(client), 0),
    ]
    return Profile(table)
