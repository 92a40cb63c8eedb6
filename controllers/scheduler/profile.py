"""The plugins there are, and the default profile: which of them run, in which order, with which weights.

Who calls it: config.py reads the tables, main.py builds a profile at start. Invariant: names, order and weights are upstream's
default profile.
Upstream: pkg/scheduler/apis/config/v1/default_plugins.go.
"""

import importlib
from collections.abc import Mapping

from controllers.scheduler.framework import Handle, Plugin, Profile
from controllers.scheduler.plugins.default_binder import DefaultBinder
from controllers.scheduler.plugins.default_preemption import DefaultPreemption
from controllers.scheduler.plugins.dynamic_resources import DynamicResources
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
from controllers.scheduler.plugins.priority_sort import PrioritySort
from controllers.scheduler.plugins.scheduling_gates import SchedulingGates
from controllers.scheduler.plugins.taint_toleration import TaintToleration
from controllers.scheduler.plugins.volume_binding import VolumeBinding
from controllers.scheduler.plugins.volume_restrictions import VolumeRestrictions
from controllers.scheduler.plugins.volume_zone import VolumeZone
from minikube_py.api.types import Obj

Weights = tuple[tuple[str, int], ...]
"""Plugins by name, in order, each with its weight (which only scores have a use for)."""

# Our name of an extension point, and its name in a configuration.
POINTS = {
    "queue_sort": "queueSort", "pre_enqueue": "preEnqueue", "pre_filter": "preFilter", "filter": "filter",
    "post_filter": "postFilter", "score": "score", "reserve": "reserve", "permit": "permit", "pre_bind": "preBind",
    "bind": "bind",
}  # fmt: skip

_DEFAULT: tuple[tuple[type[Plugin], int], ...] = (
    (PrioritySort, 0),
    (SchedulingGates, 0),
    (NodeUnschedulable, 0),
    (NodeName, 0),
    (TaintToleration, 3),
    (NodeAffinity, 2),
    (NodePorts, 0),
    (NodeResourcesFit, 1),
    (VolumeRestrictions, 0),
    (NodeVolumeLimits, 0),
    (VolumeBinding, 0),
    (VolumeZone, 0),
    (PodTopologySpread, 2),
    (InterPodAffinity, 2),
    (DynamicResources, 2),
    (DefaultPreemption, 0),
    (NodeResourcesBalancedAllocation, 1),
    (ImageLocality, 1),
    (DefaultBinder, 0),
)
_BUILTIN = {plugin.name: plugin for plugin, _ in _DEFAULT}
DEFAULT_PLUGINS: Weights = tuple((plugin.name, weight) for plugin, weight in _DEFAULT)


def plugin_class(name: str) -> type[Plugin]:
    """Ours by its name, anybody's by "module:Class". Raises ValueError."""
    if name in _BUILTIN:
        return _BUILTIN[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"there is no plugin {name!r}; one of your own is named module:Class")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"plugin {name}: {error}") from None
    if not (isinstance(found, type) and Plugin in found.__mro__):
        raise ValueError(f"plugin {name}: it is not a subclass of controllers.scheduler.framework.Plugin")
    return found


def acts(name: str, point: str) -> bool:
    """Whether the plugin does something at the extension point."""
    return getattr(plugin_class(name), point) is not getattr(Plugin, point)


def build(name: str, points: Mapping[str, Weights], args: Mapping[str, Obj], handle: Handle) -> Profile:
    """One plugin object per name, whatever the number of points it acts at. Raises ValueError for args it does not take."""
    plugins: dict[str, Plugin] = {}
    for entries in points.values():
        for plugin, _ in entries:
            if plugin not in plugins:
                try:
                    plugins[plugin] = plugin_class(plugin).build(handle, args.get(plugin) or {})
                except ValueError as error:
                    raise ValueError(f"the args of plugin {plugin}: {error}") from None
    return Profile(name, {point: [(plugins[p], w) for p, w in entries] for point, entries in points.items()})
