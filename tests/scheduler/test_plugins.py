"""Each scheduling rule on small clusters: what it refuses, with which words, and what it likes."""

import pytest

from controllers.scheduler.diagnosis import NoFit
from controllers.scheduler.podinfo import pod_info
from tests.scheduler.build import Core, affinity, anti_affinity, info, node, pod, spread

ZONE = "topology.kubernetes.io/zone"
UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}


def refusal(core: Core, **spec: object) -> str:
    with pytest.raises(NoFit) as caught:
        core.search.place(core.snapshot, info("p", **spec))
    return str(caught.value)


def test_the_message_counts_reasons_node_by_node_as_upstream_words_it() -> None:
    core = Core([node("a", taints=[UNREACHABLE]), node("b"), node("c")])
    assert refusal(core, requests={"nvidia.com/gpu": 1}) == (
        "0/3 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }, "
        "2 Insufficient nvidia.com/gpu."
    )


def test_no_nodes_at_all() -> None:
    assert refusal(Core()) == "no nodes available to schedule pods"


def test_one_node_may_lack_several_things() -> None:
    message = refusal(Core([node("a")]), requests={"cpu": "5", "memory": "9Gi", "example.com/x": 1})
    assert (
        message == "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient example.com/x, 1 Insufficient memory."
    )


def test_resources_are_exact_to_the_last_milli_and_pod() -> None:
    core = Core([node("a", cpu="1", pods=3)])
    core.place(info("one", requests={"cpu": "600m"}))
    assert "Insufficient cpu" in refusal(core, requests={"cpu": "401m"})
    core.place(info("two", requests={"cpu": "400m"}))
    core.place(info("three"))
    assert refusal(core) == "0/1 nodes are available: 1 Too many pods."
    core.snapshot.remove_pod("default/three")
    assert core.place(info("four")) == "a"


def test_init_containers_sidecars_and_overhead_count_as_upstream_counts_them() -> None:
    def container(name: str, cpu: str, **more: object) -> dict[str, object]:
        return {"name": name, "image": "x", "resources": {"requests": {"cpu": cpu}}, **more}

    made = pod("p", overhead={"cpu": "50m"})
    made["spec"]["containers"] = [container("a", "100m"), container("b", "200m")]
    assert pod_info(made).requests == {"cpu": 350, "pods": 1}
    made["spec"]["initContainers"] = [container("big", "500m")]
    assert pod_info(made).requests["cpu"] == 550
    made["spec"]["initContainers"] = [
        container("first", "100m"), container("side", "300m", restartPolicy="Always"), container("late", "400m"),
    ]  # fmt: skip
    assert pod_info(made).requests["cpu"] == 300 + 400 + 50
    made["spec"]["initContainers"].pop()
    assert pod_info(made).requests["cpu"] == 100 + 200 + 300 + 50


def test_taints_and_tolerations() -> None:
    taints = [{"key": "gpu", "value": "a100", "effect": "NoSchedule"}]
    core = Core([node("a", taints=taints)])
    assert refusal(core) == "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: a100}."
    assert core.place(info("exact", tolerations=[{"key": "gpu", "value": "a100", "effect": "NoSchedule"}])) == "a"
    assert core.place(info("exists", tolerations=[{"key": "gpu", "operator": "Exists"}])) == "a"
    assert core.place(info("all", tolerations=[{"operator": "Exists"}])) == "a"
    assert "untolerated" in refusal(core, tolerations=[{"key": "gpu", "value": "t4"}])


def test_prefer_no_schedule_is_only_disliked() -> None:
    core = Core([node("a", taints=[{"key": "k", "effect": "PreferNoSchedule"}]), node("b")])
    assert {core.search.place(core.snapshot, info("p")).node for _ in range(5)} == {"b"}


def test_a_cordoned_node() -> None:
    cordoned = node("a")
    cordoned["spec"]["unschedulable"] = True
    core = Core([cordoned])
    assert refusal(core) == "0/1 nodes are available: 1 node(s) were unschedulable."
    tolerant = info("p", tolerations=[{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}])
    assert core.place(tolerant) == "a"


@pytest.mark.parametrize(
    ("expressions", "fields", "expected"),
    [
        ([{"key": "disk", "operator": "In", "values": ["ssd"]}], [], {"a"}),
        ([{"key": "disk", "operator": "NotIn", "values": ["ssd"]}], [], {"b", "c"}),
        ([{"key": "disk", "operator": "DoesNotExist"}], [], {"c"}),
        ([{"key": "disk", "operator": "Exists"}], [], {"a", "b"}),
        ([{"key": "cores", "operator": "Gt", "values": ["8"]}], [], {"b"}),
        ([{"key": "cores", "operator": "Lt", "values": ["8"]}], [], {"a"}),
        ([], [{"key": "metadata.name", "operator": "In", "values": ["c"]}], {"c"}),
        ([], [], set()),
    ],
)
def test_required_node_affinity(expressions: list[object], fields: list[object], expected: set[str]) -> None:
    core = Core([
        node("a", labels={"disk": "ssd", "cores": "4"}), node("b", labels={"disk": "hdd", "cores": "16"}), node("c"),
    ])  # fmt: skip
    term = {"matchExpressions": expressions, "matchFields": fields}
    required = {"nodeSelectorTerms": [term]}
    wanted = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    found = set()
    try:
        found = set(core.search.place(core.snapshot, info("p", affinity=wanted)).rows)
    except NoFit as failure:
        assert str(failure) == "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
    assert {core.snapshot.nodes[row].name for row in found} == expected


def test_node_selector_and_preferred_affinity() -> None:
    core = Core([node("a", labels={"disk": "ssd"}), node("b")])
    assert core.place(info("p", nodeSelector={"disk": "ssd"})) == "a"
    preference = {"matchExpressions": [{"key": "disk", "operator": "DoesNotExist"}]}
    wanted = {
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 50, "preference": preference}]}
    }
    assert {core.search.place(core.snapshot, info("q", affinity=wanted)).node for _ in range(5)} == {"b"}


@pytest.mark.parametrize(
    ("held", "wanted", "conflict"),
    [
        ({"hostPort": 80}, {"hostPort": 80}, True),
        ({"hostPort": 80}, {"hostPort": 81}, False),
        ({"hostPort": 80}, {"hostPort": 80, "protocol": "UDP"}, False),
        ({"hostPort": 80, "hostIP": "127.0.0.1"}, {"hostPort": 80, "hostIP": "127.0.0.2"}, False),
        ({"hostPort": 80, "hostIP": "127.0.0.1"}, {"hostPort": 80}, True),
        ({"hostPort": 80, "hostIP": "0.0.0.0"}, {"hostPort": 80, "hostIP": "127.0.0.1"}, True),
    ],
)
def test_host_ports(held: dict[str, object], wanted: dict[str, object], conflict: bool) -> None:
    core = Core([node("a")])
    for name, port in (("held", held), ("wanted", wanted)):
        made = pod(name)
        made["spec"]["containers"][0]["ports"] = [{"containerPort": 80, **port}]
        if name == "wanted" and conflict:
            with pytest.raises(NoFit, match=r"1 node\(s\) didn't have free ports for the requested pod ports"):
                core.place(pod_info(made))
        else:
            assert core.place(pod_info(made)) == "a"


def test_hard_spread_over_zones() -> None:
    core = Core(
        [node("a1", labels={ZONE: "a"}), node("a2", labels={ZONE: "a"}), node("b1", labels={ZONE: "b"}), node("x")]
    )
    constraint = [spread(ZONE, {"app": "w"})]
    zones = [core.place(info(f"p{i}", labels={"app": "w"}, topologySpreadConstraints=constraint))[0] for i in range(6)]
    assert sorted(zones) == ["a", "a", "a", "b", "b", "b"]
    core.snapshot.remove_node("b1")
    core.snapshot.set_node(node("b1", labels={ZONE: "b"}, cpu="0", pods=0))
    assert core.place(info("p6", labels={"app": "w"}, topologySpreadConstraints=constraint))[0] == "a"
    message = refusal(core, labels={"app": "w"}, topologySpreadConstraints=constraint)
    assert "2 node(s) didn't match pod topology spread constraints." in message
    for part in (
        "1 node(s) didn't match pod topology spread constraints (missing required label)", "1 Too many pods",
    ):  # fmt: skip
        assert part in message


def test_min_domains_and_a_terminating_pod() -> None:
    core = Core([node("a", labels={ZONE: "a"})])
    one = spread(ZONE, {"app": "w"}, minDomains=2)
    core.place(info("p1", labels={"app": "w"}, topologySpreadConstraints=[one]))
    assert "spread constraints" in refusal(core, labels={"app": "w"}, topologySpreadConstraints=[one])
    leaving = pod("p1", labels={"app": "w"})
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    core.snapshot.set_pod(pod_info(leaving).at("a"))
    assert core.place(info("p2", labels={"app": "w"}, topologySpreadConstraints=[one])) == "a"


def test_pods_of_a_service_spread_by_default() -> None:
    service = {"metadata": {"name": "s", "namespace": "default"}, "spec": {"selector": {"app": "w"}}}
    core = Core([node(n, cpu="100", memory="100Gi") for n in "abc"], services=[service])
    for i in range(9):
        core.place(info(f"p{i}", labels={"app": "w"}))
    assert sorted(len(row.pods) for row in core.snapshot.nodes) == [3, 3, 3]


def test_anti_affinity_holds_in_both_directions() -> None:
    core = Core([node("a"), node("b")])
    lonely = {"labels": {"app": "w"}, "affinity": anti_affinity({"app": "w"})}
    assert {core.place(info("p1", **lonely)), core.place(info("p2", **lonely))} == {"a", "b"}
    message = "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules."
    assert refusal(core, **lonely) == message
    message = "0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules."
    assert refusal(core, labels={"app": "w"}) == message
    assert core.place(info("other", labels={"app": "v"})) in "ab"
    assert core.place(info("elsewhere", namespace="other", labels={"app": "w"})) in "ab"


def test_affinity_follows_and_the_first_of_a_set_may_start() -> None:
    core = Core([node("a", labels={ZONE: "1"}), node("b", labels={ZONE: "2"}), node("c")])
    follows = {"affinity": affinity({"app": "w"}, ZONE)}
    assert refusal(core, **follows) == "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."
    first = core.place(info("first", labels={"app": "w"}, **follows))
    assert first in "ab"
    assert core.place(info("second", **follows)) == first
    there = {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
        "topologyKey": ZONE, "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
        "labelSelector": {"matchLabels": {"app": "w"}},
    }]}}}  # fmt: skip
    assert core.place(info("third", namespace="other", **there)) == first


def test_preferred_affinity_of_both_sides_scores() -> None:
    core = Core([node(n, cpu="100", memory="100Gi") for n in "abc"])
    core.snapshot.assume(info("w", labels={"app": "w"}), "b")
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "w"}}}
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    near = {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    away = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    assert core.search.place(core.snapshot, info("near", affinity=near)).node == "b"
    assert core.search.place(core.snapshot, info("away", affinity=away)).node != "b"
    core.snapshot.assume(info("magnet", affinity=near), "c")
    assert core.search.place(core.snapshot, info("w2", labels={"app": "w"})).node == "c"


def test_emptier_nodes_and_nodes_with_the_image_are_liked() -> None:
    core = Core([node("a"), node("b")])
    core.snapshot.assume(info("big", requests={"cpu": "2", "memory": "4Gi"}), "a")
    assert core.search.place(core.snapshot, info("p", requests={"cpu": "100m", "memory": "100Mi"})).node == "b"
    holder = node("h")
    holder["status"]["images"] = [{"names": ["x:latest"], "sizeBytes": 900 * 1024 * 1024}]
    core = Core([node("a"), holder, node("b")])
    assert core.search.place(core.snapshot, info("p")).node == "h"


def test_every_row_gets_a_verdict_and_an_explanation_says_whose() -> None:
    core = Core([node("a", taints=[UNREACHABLE]), node("b", cpu="0")])
    with pytest.raises(NoFit) as caught:
        core.search.place(core.snapshot, info("p", requests={"cpu": "1"}))
    verdicts = caught.value.rejected
    assert {core.snapshot.nodes[row].name: v.plugin for row, v in verdicts.items()} == {
        "a": "TaintToleration", "b": "NodeResourcesFit",
    }  # fmt: skip
    assert caught.value.plugins == {"TaintToleration", "NodeResourcesFit"}
