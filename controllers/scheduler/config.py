"""The scheduler's configuration: profiles, the plugins of each at every extension point, and the plugins' own arguments.

Who calls it: main.py at start. In a file it is upstream's KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1); what is
not in it has upstream's defaults; `preScore` is accepted and means nothing, for our score does its work too. A plugin named
"module:Class" is anybody's, imported from the Python path or from beside the file.
Invariant: pure but for that import; a wrong file ends in one sentence that names the place.
Upstream: pkg/scheduler/apis/config, framework/runtime/framework.go (expandMultiPointPlugins).
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from controllers.scheduler.profile import DEFAULT_PLUGINS, POINTS, Weights, acts, plugin_class
from minikube_py.api import yaml
from minikube_py.api.types import Obj

API_VERSION, KIND = "kubescheduler.config.k8s.io/v1", "KubeSchedulerConfiguration"
DEFAULT_NAME = "default-scheduler"
_ELSEWHERE = ("parallelism", "leaderElection", "clientConnection", "healthzBindAddress", "metricsBindAddress",
              "enableProfiling", "enableContentionProfiling", "delayCacheUntilActive")  # fmt: skip


class ConfigError(ValueError):
    """A configuration that cannot be used; the text says where and why."""


@dataclass(frozen=True)
class ProfileConfig:
    """`points` maps an extension point to its plugins and weights in order; `args` a plugin's name to its arguments.

    `percentage_of_nodes`: how many feasible nodes are enough to choose from; 0 = by the size of the cluster.
    """

    scheduler_name: str = DEFAULT_NAME
    points: Mapping[str, Weights] = field(default_factory=lambda: expand({}))
    args: Mapping[str, Obj] = field(default_factory=dict)
    percentage_of_nodes: int = 0


@dataclass(frozen=True)
class Configuration:
    """Back-offs in seconds: the first rest of a pod that did not fit, doubled each time, and the longest."""

    profiles: tuple[ProfileConfig, ...] = field(default_factory=lambda: (ProfileConfig(),))
    initial_backoff: float = 1.0
    max_backoff: float = 10.0


def load(path: str) -> Configuration:
    """Read a file ("" = the defaults). Raises ConfigError."""
    if not path:
        return Configuration()
    sys.path.append(str(Path(path).resolve().parent))
    try:
        documents = yaml.load_all(Path(path).read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if len(documents) != 1:
        raise ConfigError(f"{path}: one {KIND} is wanted, found {len(documents)} documents")
    try:
        return parse(documents[0])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse(obj: Obj) -> Configuration:
    """Raises ConfigError."""
    if (obj.get("apiVersion"), obj.get("kind")) != (API_VERSION, KIND):
        raise ConfigError(f"apiVersion {API_VERSION} and kind {KIND} are wanted")
    known = ("apiVersion", "kind", "profiles", "percentageOfNodesToScore", "podInitialBackoffSeconds",
             "podMaxBackoffSeconds", *_ELSEWHERE)  # fmt: skip
    _no_others(obj, known, "")
    percentage = obj.get("percentageOfNodesToScore") or 0
    listed = enumerate(obj.get("profiles") or [{}])
    profiles = tuple(_profile(entry, f"profiles[{i}]", percentage) for i, entry in listed)
    names = [profile.scheduler_name for profile in profiles]
    if len(set(names)) < len(names):
        raise ConfigError("profiles: every schedulerName may be there once only")
    if len({tuple(profile.points["queue_sort"]) for profile in profiles}) > 1:
        raise ConfigError("profiles: all of them need the same queueSort plugin, for they share one queue")
    return Configuration(profiles, obj.get("podInitialBackoffSeconds") or 1, obj.get("podMaxBackoffSeconds") or 10)


def _profile(entry: Obj, where: str, percentage: int) -> ProfileConfig:
    _no_others(entry, ("schedulerName", "plugins", "pluginConfig", "percentageOfNodesToScore"), where)
    try:
        points = expand(entry.get("plugins") or {})
    except ValueError as error:
        raise ConfigError(f"{where}.plugins.{error}") from None
    enabled = {name for plugins in points.values() for name, _ in plugins}
    args = {config["name"]: config.get("args") or {} for config in entry.get("pluginConfig") or ()}
    if idle := sorted(set(args) - enabled):
        raise ConfigError(f"{where}.pluginConfig: {idle[0]} is not enabled in this profile")
    percentage = entry.get("percentageOfNodesToScore") or percentage
    return ProfileConfig(entry.get("schedulerName") or DEFAULT_NAME, points, args, percentage)


def expand(plugins: Obj) -> dict[str, Weights]:
    """Per extension point the plugins that act there: those named for the point, then those named for all points."""
    _no_others(plugins, ("multiPoint", "preScore", *POINTS.values()), "")
    everywhere = _merged(DEFAULT_PLUGINS, plugins.get("multiPoint") or {}, "multiPoint")
    result: dict[str, Weights] = {}
    for point, key in POINTS.items():
        chosen = plugins.get(key) or {}
        acting = tuple((name, weight) for name, weight in everywhere if acts(name, point))
        here = {entry["name"] for entry in chosen.get("enabled") or ()}
        for name in here:
            if not acts(name, point):
                raise ConfigError(f"{key}: {name} does nothing at this point")
        merged = _merged(acting, chosen, key)
        result[point] = (*(e for e in merged if e[0] in here), *(e for e in merged if e[0] not in here))
    if len(result["queue_sort"]) != 1:
        raise ConfigError("queueSort: exactly one plugin is needed")
    if not result["bind"]:
        raise ConfigError("bind: at least one plugin is needed")
    return result


def _merged(before: Weights, change: Obj, key: str) -> Weights:
    """`before` without what is disabled, with what is enabled (a weight of its own replaces the one before)."""
    _no_others(change, ("enabled", "disabled"), key)
    gone = {entry["name"] for entry in change.get("disabled") or ()}
    added = {}
    for entry in change.get("enabled") or ():
        if not isinstance(entry.get("weight", 1), int) or entry.get("weight", 1) < 0:
            raise ConfigError(f"{key}: the weight of {entry['name']} must be a whole number of at least 0")
        if entry["name"] in added:
            raise ConfigError(f"{key}: {entry['name']} is enabled twice")
        plugin_class(entry["name"])
        added[entry["name"]] = entry.get("weight") or 1
    kept = [(n, added.get(n, w)) for n, w in before if n in added or (n not in gone and "*" not in gone)]
    known = {name for name, _ in kept}
    return (*kept, *((name, weight) for name, weight in added.items() if name not in known))


def _no_others(obj: Obj, known: tuple[str, ...], where: str) -> None:
    unknown = [name for name in obj if name not in known]
    if unknown:
        raise ConfigError(f"{where + ': ' if where else ''}unknown field {unknown[0]!r}")
