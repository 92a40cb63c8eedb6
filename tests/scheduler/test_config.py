"""Configurations: upstream's file read, what it changes about decisions, plugins of one's own, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from controllers.scheduler import config
from controllers.scheduler.config import ConfigError, Configuration, ProfileConfig
from minikube_py.api import yaml
from minikube_py.api.types import Obj
from tests import harness
from tests.scheduler.build import Core, info, node

EXAMPLE = harness.ROOT / "examples" / "scheduler" / "config.yaml"


def parsed(*profiles: Obj, **more: Any) -> Configuration:
    header = {"apiVersion": config.API_VERSION, "kind": config.KIND}
    return config.parse({**header, "profiles": list(profiles), **more})


def profile(**fields: Any) -> ProfileConfig:
    return parsed(fields).profiles[0]


def names(found: ProfileConfig, point: str) -> list[str]:
    return [name for name, _ in found.points[point]]


def test_without_a_file_all_is_as_upstream_has_it() -> None:
    found = config.load("").profiles[0]
    assert found.scheduler_name == "default-scheduler"
    assert names(found, "queue_sort") == ["PrioritySort"]
    assert dict(found.points["score"]) == {
        "TaintToleration": 3, "NodeAffinity": 2, "NodeResourcesFit": 1, "PodTopologySpread": 2, "InterPodAffinity": 2,
        "DynamicResources": 2, "NodeResourcesBalancedAllocation": 1, "ImageLocality": 1,
    }  # fmt: skip
    assert parsed({}).profiles[0].points == found.points


def test_points_can_be_changed_one_by_one_or_all_at_once() -> None:
    heavier = profile(plugins={"score": {"enabled": [{"name": "ImageLocality", "weight": 7}]}})
    assert heavier.points["score"][0] == ("ImageLocality", 7), "named for the point: it comes first"
    only = profile(plugins={"score": {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeAffinity", "weight": 4}]}})
    assert only.points["score"] == (("NodeAffinity", 4),)
    assert "NodeAffinity" in names(only, "filter"), "the other points are as they were"
    without = profile(plugins={"multiPoint": {"disabled": [{"name": "NodeAffinity"}]}})
    assert not any("NodeAffinity" in names(without, point) for point in without.points)
    back = profile(plugins={
        "multiPoint": {"disabled": [{"name": "NodeAffinity"}]}, "filter": {"enabled": [{"name": "NodeAffinity"}]},
    })  # fmt: skip
    assert "NodeAffinity" in names(back, "filter") and "NodeAffinity" not in names(back, "score")


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"kind": "Pod"}, "kind KubeSchedulerConfiguration are wanted"),
        ({"colour": 1}, "unknown field 'colour'"),
        ({"extenders": []}, "unknown field 'extenders'"),
        ({"profiles": [{}, {}]}, "every schedulerName may be there once only"),
        ({"profiles": [{"plugins": {"colour": {}}}]}, "profiles[0].plugins.unknown field 'colour'"),
        (
            {"profiles": [{"plugins": {"score": {"enabled": [{"name": "Nope"}]}}}]},
            "profiles[0].plugins.there is no plugin 'Nope'; one of your own is named module:Class",
        ),
        (
            {"profiles": [{"plugins": {"score": {"enabled": [{"name": "no.such.module:X"}]}}}]},
            "plugin no.such.module:X: No module named 'no'",
        ),
        ({"profiles": [{"plugins": {"score": {"enabled": [{"name": "pathlib:Path"}]}}}]}, "it is not a subclass of"),
        ({"profiles": [{"plugins": {"score": {"enabled": [{"name": "NodeName"}]}}}]}, "score: NodeName does nothing"),
        ({"profiles": [{"plugins": {"bind": {"disabled": [{"name": "*"}]}}}]}, "at least one plugin is needed"),
        ({"profiles": [{"plugins": {"queueSort": {"disabled": [{"name": "*"}]}}}]}, "exactly one plugin is needed"),
        ({"profiles": [{"pluginConfig": [{"name": "Nope"}]}]}, "Nope is not enabled in this profile"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(document: Obj, sentence: str, tmp_path: Path) -> None:
    whole = {"apiVersion": config.API_VERSION, "kind": config.KIND, **document}
    (tmp_path / "config.yaml").write_text(yaml.dump(whole))
    with pytest.raises(ConfigError) as refused:
        config.load(str(tmp_path / "config.yaml"))
    assert sentence in str(refused.value) and str(refused.value).startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("plugin", "args", "sentence"),
    [
        ("NodeResourcesFit", {"scoringStrategy": {"type": "Best"}}, "scoringStrategy.type 'Best' is not one of"),
        ("NodeResourcesFit", {"scoringStrategy": {"type": "RequestedToCapacityRatio"}}, "needs points of growing"),
        ("NodeName", {"a": 1}, "unknown field 'a'; it takes none"),
        ("PodTopologySpread", {"defaultConstraints": [{}], "defaultingType": "System"}, "must be empty"),
    ],
)
def test_arguments_that_a_plugin_does_not_take(plugin: str, args: Obj, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"the args of plugin {plugin}: .*") as refused:
        Core(configured=profile(pluginConfig=[{"name": plugin, "args": args}]))
    assert sentence in str(refused.value)


def scored(args: Obj) -> Core:
    """Only NodeResourcesFit decides; node "full" has half of its cpu and memory taken, node "empty" nothing."""
    chosen = {"score": {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeResourcesFit"}]}}
    core = Core(
        [node("full", gpu=4), node("empty", gpu=4)],
        configured=profile(plugins=chosen, pluginConfig=[{"name": "NodeResourcesFit", "args": args}]),
    )
    core.snapshot.assume(info("there", requests={"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"}), "full")
    return core


def strategy(kind: str, **more: Any) -> Obj:
    return {"scoringStrategy": {"type": kind, **more}}


GPU = {"resources": [{"name": "nvidia.com/gpu", "weight": 1}]}


@pytest.mark.parametrize(
    ("args", "requests", "chosen"),
    [
        ({}, {"cpu": "1"}, "empty"),
        (strategy("LeastAllocated"), {"cpu": "1"}, "empty"),
        (strategy("MostAllocated"), {"cpu": "1"}, "full"),
        (strategy("MostAllocated", **GPU), {"nvidia.com/gpu": "1"}, "full"),
        (
            strategy(
                "RequestedToCapacityRatio", **GPU,
                requestedToCapacityRatio={"shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]},
            ),
            {"nvidia.com/gpu": "1"}, "full",
        ),
        (
            strategy(
                "RequestedToCapacityRatio", **GPU,
                requestedToCapacityRatio={"shape": [{"utilization": 0, "score": 10}, {"utilization": 100, "score": 0}]},
            ),
            {"nvidia.com/gpu": "1"}, "empty",
        ),
    ],
)  # fmt: skip
def test_strategies(args: Obj, requests: dict[str, str], chosen: str) -> None:
    assert scored(args).place(info("new", requests=requests)) == chosen


def test_a_resource_may_be_left_to_others() -> None:
    ignoring = {"ignoredResources": ["example.com/a"], "ignoredResourceGroups": ["example.org"]}
    core = Core([node("n")], configured=profile(pluginConfig=[{"name": "NodeResourcesFit", "args": ignoring}]))
    assert core.place(info("p", requests={"example.com/a": "1", "example.org/b": "1"})) == "n"


def test_an_affinity_for_every_pod_of_the_profile() -> None:
    term = {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["b"]}]}
    added = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    configured = profile(pluginConfig=[{"name": "NodeAffinity", "args": {"addedAffinity": added}}])
    core = Core([node("a", labels={"pool": "a"}), node("b", labels={"pool": "b"})], configured=configured)
    assert core.place(info("p")) == "b"


def test_default_constraints_of_a_profile() -> None:
    default = {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    configured = profile(pluginConfig=[{"name": "PodTopologySpread", "args": {"defaultConstraints": [default]}}])
    service = {"metadata": {"name": "a", "namespace": "default"}, "spec": {"selector": {"app": "a"}}}
    core = Core(
        [node("a", labels={"zone": "1"}), node("b", labels={"zone": "2"})], configured=configured, services=[service]
    )
    assert {core.place(info(f"p{n}", labels={"app": "a"})) for n in range(2)} == {"a", "b"}


def test_the_example_is_read() -> None:
    usual, packing = config.load(str(EXAMPLE)).profiles
    assert usual.points == ProfileConfig().points
    assert "gang:Gang" in names(packing, "permit")
    assert "PodTopologySpread" in names(packing, "filter") and "PodTopologySpread" not in names(packing, "score")
