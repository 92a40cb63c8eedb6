"""Random clusters: nothing is ever overcommitted, spread holds, and the columnar filters agree with a per-node oracle."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.scheduler.diagnosis import NoFit
from controllers.scheduler.podinfo import PodInfo, pod_info
from minikube_py.api import meta, nodeselector
from minikube_py.api.selectors import from_map
from minikube_py.api.tolerations import first_untolerated, taints_of, tolerations_of
from minikube_py.api.types import Obj
from tests.scheduler.build import Core, anti_affinity, node, pod, spread

ZONE = "topology.kubernetes.io/zone"
_taints = st.sampled_from([[], [], [{"key": "k", "value": "v", "effect": "NoSchedule"}]])
_nodes = st.lists(
    st.fixed_dictionaries({
        "cpu": st.sampled_from(["1", "2", "3500m"]), "memory": st.sampled_from(["1Gi", "4Gi"]),
        "pods": st.integers(1, 6), "gpu": st.integers(0, 2), "zone": st.sampled_from(["", "a", "b", "c"]),
        "taints": _taints,
    }),
    min_size=1, max_size=7,
)  # fmt: skip
_shapes = st.fixed_dictionaries({
    "cpu": st.sampled_from(["", "100m", "700m", "1"]), "memory": st.sampled_from(["", "64Mi", "900Mi"]),
    "gpu": st.integers(0, 1), "app": st.sampled_from(["x", "y"]), "port": st.sampled_from([0, 0, 80, 81]),
    "zone": st.sampled_from(["", "", "a", "b"]), "tolerates": st.booleans(), "alone": st.booleans(),
    "spread": st.sampled_from(["", "", ZONE, "kubernetes.io/hostname"]),
})  # fmt: skip


def make_node(number: int, shape: Obj) -> Obj:
    labels = {ZONE: shape["zone"]} if shape["zone"] else {}
    capacity = {k: shape[k] for k in ("cpu", "memory", "pods", "gpu")}
    return node(f"n{number}", labels=labels, taints=shape["taints"], **capacity)


def make_pod(number: int, shape: Obj) -> Obj:
    requests = {k: shape[k] for k in ("cpu", "memory") if shape[k]}
    if shape["gpu"]:
        requests["nvidia.com/gpu"] = shape["gpu"]
    spec: dict[str, Any] = {"requests": requests}
    if shape["zone"]:
        spec["nodeSelector"] = {ZONE: shape["zone"]}
    if shape["tolerates"]:
        spec["tolerations"] = [{"key": "k", "operator": "Exists"}]
    if shape["alone"]:
        spec["affinity"] = anti_affinity({"app": shape["app"]})
    if shape["spread"]:
        spec["topologySpreadConstraints"] = [spread(shape["spread"], {"app": shape["app"]})]
    made = pod(f"p{number}", labels={"app": shape["app"]}, **spec)
    if shape["port"]:
        made["spec"]["containers"][0]["ports"] = [{"containerPort": 1, "hostPort": shape["port"]}]
    return made


def _avoids(one: PodInfo, other: PodInfo) -> bool:
    return any(term.matches(other.namespace, other.labels, {}) for term in one.anti_affinity)


def oracle(candidate: Obj, newcomer: PodInfo, nodes: list[Obj], placed: dict[str, list[PodInfo]]) -> bool:
    """Whether the pod may go to this node, decided the slow and obvious way."""
    name, labels = meta.name_of(candidate), meta.labels_of(candidate)
    here = placed.get(name, [])
    if first_untolerated(taints_of(candidate), tolerations_of(newcomer.pod)):
        return False
    if not nodeselector.pod_matches_node(newcomer.pod, labels, name):
        return False
    room = pod_info(pod("room", requests=candidate["status"]["allocatable"])).requests
    room["pods"] = int(candidate["status"]["allocatable"]["pods"])
    for resource, wanted in newcomer.requests.items():
        if sum(p.requests.get(resource, 0) for p in here) + wanted > room.get(resource, 0) and wanted:
            return False
    if any(a.conflicts(b) for p in here for a in p.ports for b in newcomer.ports):
        return False
    if any(_avoids(newcomer, p) or _avoids(p, newcomer) for p in here):
        return False
    for constraint in newcomer.spec.get("topologySpreadConstraints", ()):
        key = constraint["topologyKey"]
        if key not in labels:
            return False
        counts = Counter[str]()
        for other in nodes:
            value = meta.labels_of(other).get(key)
            if value is None or not nodeselector.pod_matches_node(
                newcomer.pod, meta.labels_of(other), meta.name_of(other)
            ):
                continue
            counts[value] += sum(p.labels == newcomer.labels for p in placed.get(meta.name_of(other), []))
        if counts and counts[labels[key]] + 1 - min(counts.values()) > constraint["maxSkew"]:
            return False
    return True


@settings(max_examples=120, deadline=None)
@given(_nodes, st.lists(_shapes, max_size=18), st.randoms(use_true_random=False))
def test_filters_agree_with_the_oracle_and_nothing_is_overcommitted(shapes: Any, pods: Any, rng: Any) -> None:
    nodes = [make_node(i, shape) for i, shape in enumerate(shapes)]
    core = Core(nodes)
    placed: dict[str, list[PodInfo]] = {}
    for number, shape in enumerate(pods):
        newcomer = pod_info(make_pod(number, shape))
        allowed = {meta.name_of(n) for n in nodes if oracle(n, newcomer, nodes, placed)}
        try:
            placement = core.search.place(core.snapshot, newcomer)
        except NoFit as failure:
            assert not allowed, f"{newcomer.key} could go to {allowed}, but: {failure}"
            assert set(failure.rejected) == set(range(len(nodes)))
        else:
            assert {core.snapshot.nodes[row].name for row in placement.rows} == allowed
            placed.setdefault(placement.node, []).append(core.snapshot.assume(newcomer, placement.node))
        if placed and rng.random() < 0.2:
            where = rng.choice(sorted(placed))
            if placed[where]:
                core.snapshot.remove_pod(placed[where].pop().key)
    for row, each in enumerate(core.snapshot.nodes):
        assert set(each.pods) == {p.key for p in placed.get(each.name, [])}
        for resource, column in core.snapshot.requested.items():
            assert column[row] == sum(p.requests.get(resource, 0) for p in each.pods.values())
            assert column[row] <= core.snapshot.column(core.snapshot.allocatable, resource)[row]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=8), st.integers(1, 3), st.integers(1, 25))
def test_skew_never_exceeds_its_bound(zones: list[str], max_skew: int, replicas: int) -> None:
    core = Core([node(f"n{i}", labels={ZONE: zone}, cpu="1000", pods=1000) for i, zone in enumerate(zones)])
    counts = Counter(dict.fromkeys(zones, 0))
    for number in range(replicas):
        constraints = [spread(ZONE, {"app": "w"}, max_skew)]
        where = core.place(pod_info(pod(f"p{number}", labels={"app": "w"}, topologySpreadConstraints=constraints)))
        counts[zones[int(where[1:])]] += 1
        assert max(counts.values()) - min(counts.values()) <= max_skew


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("anrpdx"), st.integers(0, 4), st.integers(0, 6)), max_size=40))
def test_columns_stay_exact_through_any_order_of_events(steps: list[tuple[str, int, int]]) -> None:
    core = Core()
    snapshot = core.snapshot
    for action, which, what in steps:
        name, made = f"n{which}", pod(f"p{what}", labels={"i": str(what % 2)}, requests={"cpu": f"{what + 1}00m"})
        if action in "an":
            snapshot.set_node(node(name, cpu=str(which + 1), labels={ZONE: str(what)}))
        elif action == "r":
            snapshot.remove_node(name)
        elif action == "p":
            snapshot.set_pod(pod_info(made).at(name))
        elif action == "x":
            snapshot.assume(pod_info(made), name)
        else:
            snapshot.remove_pod(f"default/p{what}")
    snapshot.label_column(ZONE)
    counted: Counter[str] = Counter()
    for row, each in enumerate(snapshot.nodes):
        assert snapshot.rows[each.name] == row
        assert snapshot.label_column(ZONE)[row] == each.labels.get(ZONE)
        assert all(p.node == each.name for p in each.pods.values())
        for resource, column in snapshot.requested.items():
            assert column[row] == sum(p.requests.get(resource, 0) for p in each.pods.values())
        counted[each.name] = len(each.pods)
    held = sum((Counter(nodes) for nodes in snapshot.groups.values()), Counter[str]())
    assert held == +counted
    for label in {label for group in snapshot.groups for label in group.labels} | {("app", "nobody")}:
        meant = dict(snapshot.groups_meant(from_map(dict([label]))))
        assert meant == {group: nodes for group, nodes in snapshot.groups.items() if label in group.labels}
    orphans = {key for waiting in snapshot.orphans.values() for key in waiting}
    assert orphans | {key for n in snapshot.nodes for key in n.pods} == set(snapshot.pods)
