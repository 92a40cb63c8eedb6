"""Node pressure: thresholds, who goes first and what it is told (pure), and whole nodes that run short."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kubelet import preemption
from kubelet.cgroups import Cgroups
from kubelet.eviction import rank, thresholds
from kubelet.eviction.rank import ContainerUsage, PodUsage
from kubelet.eviction.thresholds import Observed, Pressure, Threshold
from kubelet.eviction.usage import Meter
from kubelet.options import Options
from kubelet.runtime import disk
from kubelet.runtime.simulated import SimulatedRuntime
from minikube_py.api.clock import REAL
from minikube_py.api.gvr import EVENTS, NODES, PODS
from minikube_py.api.meta import condition_of, uid_of
from minikube_py.api.types import Obj
from tests import harness
from tests.kubelet.build import container as spec
from tests.kubelet.build import pod as build_pod
from tests.kubelet.conftest import Nodes, container, is_ready

MI = 1 << 20


def named(name: str, *, memory: str = "", limit: str = "", priority: int = 0, **fields: Any) -> Obj:
    resources = {"requests": {"memory": memory} if memory else {}, "limits": {"memory": limit} if limit else {}}
    made = build_pod(spec("main", resources=resources), priority=priority, **fields)
    made["metadata"] = {"name": name, "namespace": "default", "uid": name}
    return made


# --- thresholds


def test_flags() -> None:
    found = thresholds.parse(
        "memory.available<100Mi", "nodefs.available<15%", "nodefs.available=1m30s", "memory.available=50Mi"
    )
    assert [(t.signal, t.grace) for t in found] == [("memory.available", 0), ("nodefs.available", 90)]
    assert found[1].value.of(1000) == 150 and found[0].reclaim.of(0) == 50 * MI
    assert thresholds.kept_free(found, {"memory": "1Gi", "ephemeral-storage": "10Gi"}) == {"memory": 100 * MI}
    assert len(thresholds.parse(thresholds.DEFAULT_HARD)) == 5


@pytest.mark.parametrize(
    ("hard", "soft", "grace"),
    [("memory<1Mi", "", ""), ("memory.available=1Mi", "", ""), ("", "memory.available<1Mi", ""), ("pid.available<120%", "", ""),
     ("memory.available<-1", "", ""), ("", "memory.available<1Mi", "memory.available=soon")],
)  # fmt: skip
def test_flags_that_make_no_sense(hard: str, soft: str, grace: str) -> None:
    with pytest.raises(ValueError):
        thresholds.parse(hard, soft, grace)


def test_a_soft_threshold_waits_and_a_condition_lingers() -> None:
    hard, soft = thresholds.parse("memory.available<100", "memory.available<200", "memory.available=30s")
    pressure = Pressure((hard, soft), transition=60)

    def at(available: int, now: float) -> tuple[Threshold, ...]:
        return pressure.update({thresholds.MEMORY: Observed(available, 1000)}, now)

    assert at(500, 0) == () and not pressure.conditions(0)
    assert at(150, 10) == () and pressure.conditions(10) == {"MemoryPressure"}
    assert at(150, 39) == ()
    assert at(150, 40) == (soft,)
    assert at(50, 41) == (hard, soft)
    assert at(500, 42) == () and pressure.conditions(100) == {"MemoryPressure"} and not pressure.conditions(101)
    assert at(150, 110) == (), "the grace period begins anew"


def test_a_threshold_acted_on_stays_until_the_minimum_is_reclaimed() -> None:
    pressure = Pressure(thresholds.parse("memory.available<100", reclaim="memory.available=50"), transition=0)
    low = {thresholds.MEMORY: Observed(90, 1000)}
    assert len(pressure.update(low, 0)) == 1
    assert len(pressure.update({thresholds.MEMORY: Observed(120, 1000)}, 10)) == 1
    assert not pressure.update({thresholds.MEMORY: Observed(150, 1000)}, 20)
    assert not pressure.update({thresholds.MEMORY: Observed(120, 1000)}, 30)
    assert not pressure.update({}, 40), "what cannot be seen is not short"


# --- who goes, and why


def test_memory_is_taken_from_whoever_exceeds_its_request_and_matters_least() -> None:
    pods = [
        named("within", memory="100Mi"), named("above", memory="100Mi"), named("far-above", memory="100Mi"),
        named("important", priority=1000), named("critical", priority=2_000_000_000), named("nothing-asked"),
    ]  # fmt: skip
    used = {"within": 50, "above": 150, "far-above": 300, "important": 900, "critical": 900, "nothing-asked": 160}
    order = rank.ranked(pods, "memory", lambda pod: PodUsage(memory=used[uid_of(pod)] * MI))
    assert [uid_of(pod) for pod in order] == ["far-above", "nothing-asked", "above", "important", "within"]


def test_processes_have_no_requests() -> None:
    pods = [named("few"), named("many"), named("most", priority=5)]
    used = {"few": 2, "many": 50, "most": 500}
    order = rank.ranked(pods, "pids", lambda pod: PodUsage(pids=used[uid_of(pod)]))
    assert [uid_of(pod) for pod in order] == ["many", "few", "most"]


def test_the_message_names_what_ran_short_and_who_used_more_than_it_asked_for() -> None:
    (threshold,) = thresholds.parse("memory.available<100Mi")
    seen = {thresholds.MEMORY: Observed(60 * MI, 1 << 30)}
    pod = named("web", memory="10Mi")
    text = rank.message(pod, threshold, seen, PodUsage(containers={"main": ContainerUsage(memory=200 * MI)}))
    assert text == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 60Mi. "
        "Container main was using 200Mi, request is 10Mi, has larger consumption of memory. "
    )
    assert rank.message(pod, threshold, seen, PodUsage()).endswith("available: 60Mi. ")


def test_limits_of_ones_own_on_local_disk() -> None:
    volumes = [{"name": "tmp", "emptyDir": {"sizeLimit": "50Mi"}}]
    small = {"resources": {"limits": {"ephemeral-storage": "100Mi"}}}
    pod = build_pod(spec("a", **small), spec("b", **small), volumes=volumes)
    assert rank.has_own_limit(pod) and not rank.has_own_limit(build_pod())
    over_volume = PodUsage(volumes={"tmp": 51 * MI})
    assert rank.over_own_limit(pod, over_volume) == 'Usage of EmptyDir volume "tmp" exceeds the limit "50Mi". '
    assert rank.over_own_limit(pod, PodUsage(disk=201 * MI)) == (
        "Pod ephemeral local storage usage exceeds the total limit of containers 200Mi. "
    )
    one = PodUsage(disk=101 * MI, containers={"b": ContainerUsage(disk=101 * MI)})
    assert rank.over_own_limit(pod, one) == 'Container b exceeded its local ephemeral storage limit "100Mi". '
    assert rank.over_own_limit(pod, PodUsage(disk=200 * MI, volumes={"tmp": 50 * MI})) == ""


def test_who_is_taken_in_under_pressure() -> None:
    memory, disk_too = frozenset({"MemoryPressure"}), frozenset({"DiskPressure", "MemoryPressure"})
    tolerant = named("t", tolerations=[{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}])
    assert rank.refused(named("b"), memory) == "The node had condition: [MemoryPressure]. "
    assert rank.refused(named("a", memory="1Mi"), memory) == rank.refused(tolerant, memory) == ""
    assert rank.refused(tolerant, disk_too) == "The node had condition: [DiskPressure MemoryPressure]. "
    assert rank.refused(named("c", priority=2_000_000_000), disk_too) == ""


def test_room_for_a_critical_pod() -> None:
    critical = named("critical", memory="1Gi", priority=2_000_000_000)
    best, small, big = named("best"), named("small", memory="200Mi"), named("big", memory="900Mi")
    firm = named("firm", memory="1Gi", limit="1Gi")
    whole = {"cpu": "1", "memory": "1Gi"}
    firm["spec"]["containers"][0]["resources"] = {"limits": whole, "requests": whole}

    def chosen(*others: Obj, **missing: int) -> list[str] | None:
        found = preemption.victims(critical, others, missing)
        return None if found is None else [uid_of(pod) for pod in found]

    assert chosen(best, small, big, firm, memory=150 * MI) == ["small"]
    assert chosen(best, small, big, firm, memory=300 * MI) == ["big"]
    assert chosen(best, small, firm, memory=900 * MI) == ["firm"]
    assert chosen(best, small, firm, pods=1) == ["best"]
    assert chosen(best, named("other", memory="1Gi", priority=2_000_000_001), memory=MI) is None


def test_disk_usage_counts_each_file_once_and_stays_on_its_file_system(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/file").write_bytes(b"x" * (1 << 20))
    (tmp_path / "again").hardlink_to(tmp_path / "below/file")
    (tmp_path / "link").symlink_to("/usr")
    used, inodes = disk.used(tmp_path)
    assert MI <= used < 2 * MI and inodes == 4
    assert disk.used(tmp_path / "nowhere") == (0, 0)
    for name in ("c-json.log", "c-json.log.1", "other"):
        (tmp_path / name).write_bytes(b"x" * 8192)
    assert 16384 <= disk.logs(str(tmp_path / "c-json.log")) <= 20480


# --- whole nodes


def simulated_container(**stated: str) -> Obj:
    return container("main", env=[{"name": f"SIMULATED_{name}", "value": value} for name, value in stated.items()])


QUICK: dict[str, Any] = {
    "eviction_monitoring_period": 0.2,
    "eviction_pressure_transition_period": 2.0,
    "node_status_update_frequency": 0.5,
}


def pressure(nodes: Nodes, options: Options) -> Mapping[str, str]:
    node = nodes.client.get(NODES, options.node_name)
    return {c["type"]: c["status"] for c in node["status"]["conditions"] if c["type"].endswith("Pressure")}


@pytest.mark.parametrize(
    ("stated", "condition", "resource"),
    [({"MEMORY": "960Mi"}, "MemoryPressure", "memory"), ({"DISK": "950Mi"}, "DiskPressure", "ephemeral-storage"),
     ({"PIDS": "99"}, "PIDPressure", "pids")],
)  # fmt: skip
def test_the_greediest_pod_is_evicted(
    simulated: Nodes, namespace: str, stated: dict[str, str], condition: str, resource: str
) -> None:
    capacity = {"cpu": "4", "memory": "1Gi", "pods": "20", "ephemeral-storage": "1Gi"}
    hard = f"{thresholds.DEFAULT_HARD},pid.available<5"
    options = simulated.start(simulated.options(capacity=capacity, max_pids=100, eviction_hard=hard, **QUICK))
    modest = simulated.wait(simulated.pod(namespace, options, "modest", [simulated_container()]), is_ready)
    critical = [simulated_container(MEMORY="1Mi", DISK="1Mi", PIDS="2")]
    kept = simulated.wait(
        simulated.pod(namespace, options, "kept", critical, priorityClassName="system-node-critical"), is_ready
    )
    greedy = simulated.pod(namespace, options, "greedy", [simulated_container(**stated)])
    status = simulated.wait_phase(greedy, "Failed")["status"]
    assert status["reason"] == "Evicted"
    assert status["message"].startswith(f"The node was low on resource: {resource}. Threshold quantity: ")
    disruption = condition_of({"status": status}, "DisruptionTarget")
    assert disruption is not None and disruption["reason"] == "TerminationByKubelet"
    assert disruption["message"] == status["message"]
    harness.eventually(lambda: pressure(simulated, options)[condition] == "True", what="the node's condition")
    late = simulated.wait_phase(simulated.pod(namespace, options, "late", [simulated_container()]), "Failed")
    assert late["status"]["reason"] == "Evicted"
    assert late["status"]["message"] == f"The node had condition: [{condition}]. "
    assert is_ready(simulated.get(modest)) and is_ready(simulated.get(kept))

    def told() -> set[str]:
        return {event["reason"] for event in simulated.client.list(EVENTS)["items"]}

    harness.eventually(lambda: {"Evicted", "EvictionThresholdMet"} <= told(), what="the events")
    harness.eventually(lambda: pressure(simulated, options)[condition] == "False", what="the pressure to end")
    after = simulated.pod(namespace, options, "after", [simulated_container()])
    simulated.wait(after, is_ready)
    simulated.stop(options)


def test_a_critical_pod_preempts(simulated: Nodes, namespace: str) -> None:
    options = simulated.start(simulated.options(capacity={"cpu": "2", "memory": "1Gi", "pods": "20"}))
    half = container("main", resources={"requests": {"cpu": "900m"}})
    first, second = (
        simulated.wait(simulated.pod(namespace, options, name, [half]), is_ready) for name in ("one", "two")
    )
    critical = simulated.pod(namespace, options, "critical", [half], priorityClassName="system-node-critical")
    simulated.wait(critical, is_ready)
    phases = {name: simulated.get(pod)["status"]["phase"] for name, pod in (("one", first), ("two", second))}
    assert sorted(phases.values()) == ["Failed", "Running"]
    gone = next(pod for pod in (first, second) if phases[pod["metadata"]["name"]] == "Failed")
    status = simulated.get(gone)["status"]
    assert (status["reason"], status["message"]) == ("Preempting", "Preempted in order to admit critical pod")
    simulated.stop(options)


def test_local_disk_beyond_ones_limits(nodes: Nodes, node: Options, namespace: str) -> None:
    """On real containers: an emptyDir over its sizeLimit, and a container whose layer is over its limit."""
    fill = "dd if=/dev/zero of={} bs=1M count=24 2>/dev/null; sleep 3600"
    mount: Obj = {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp/big"}]}
    volume = nodes.pod(
        namespace, node, "volume", [container("main", ["sh", "-c", fill.format("/tmp/big/file")], **mount)],
        volumes=[{"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}}],
    )  # fmt: skip
    limits = {"limits": {"ephemeral-storage": "16Mi"}}
    layer = nodes.pod(
        namespace, node, "layer", [container("main", ["sh", "-c", fill.format("/file")], resources=limits)]
    )
    fine = nodes.pod(namespace, node, "fine", volumes=[{"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}}])
    first = nodes.wait_phase(volume, "Failed")["status"]
    assert (first["reason"], first["message"]) == (
        "Evicted",
        'Usage of EmptyDir volume "tmp" exceeds the limit "16Mi". ',
    )
    second = nodes.wait_phase(layer, "Failed")["status"]
    assert second["message"] == "Pod ephemeral local storage usage exceeds the total limit of containers 16Mi. "
    assert is_ready(nodes.wait(fine, is_ready))


@pytest.fixture(scope="module")
def node(nodes: Nodes) -> Options:
    return nodes.start(nodes.options(eviction_monitoring_period=0.5))


def test_real_memory_of_a_real_node(nodes: Nodes, namespace: str) -> None:
    """The node's share is the limit, not the machine: a pod that eats it is evicted although the machine has plenty."""
    capacity = {"cpu": "2", "memory": "256Mi", "pods": "20", "ephemeral-storage": "20Gi"}
    options = nodes.start(nodes.options(index=6, capacity=capacity, **QUICK))
    modest = nodes.wait(nodes.pod(namespace, options, "modest"), is_ready)
    eater = "dd if=/dev/zero of=/dev/shm/big bs=1M count=180 2>/dev/null; sleep 3600"
    memory = [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "200Mi"}}]
    mount: Obj = {"volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}]}
    greedy = nodes.pod(namespace, options, "greedy", [container("main", ["sh", "-c", eater], **mount)], volumes=memory)
    status = nodes.wait_phase(greedy, "Failed")["status"]
    assert status["reason"] == "Evicted"
    assert "The node was low on resource: memory. Threshold quantity: 100Mi, available: " in status["message"]
    assert "Container main was using" in status["message"] and "request is 0" in status["message"]
    assert is_ready(nodes.get(modest))
    for pod in nodes.client.list(PODS, namespace)["items"]:
        nodes.delete(pod)
    nodes.stop(options)


def test_a_node_without_a_share_of_the_disk_answers_for_the_file_system(tmp_path: Path) -> None:
    options = Options(kubeconfig="k", node_name="n", root_dir=str(tmp_path), capacity={"cpu": "1", "memory": "1Gi"})
    meter = Meter(options, SimulatedRuntime(REAL), Cgroups("p", "n"), REAL)
    seen = meter.observe([])
    assert seen[thresholds.NODEFS].capacity >= seen[thresholds.NODEFS].available > 0
    assert seen[thresholds.MEMORY] == Observed(1 << 30, 1 << 30)
