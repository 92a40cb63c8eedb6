"""Cgroups of node, QoS class and pod: names, limits, usage and removal; on files that look like the kernel's."""

from dataclasses import replace
from pathlib import Path

import pytest

from kubelet import cgroups
from kubelet.cgroups import Cgroups
from kubelet.options import Options
from minikube_py.api.types import Obj
from tests.kubelet.build import container, pod

OPTIONS = Options(
    kubeconfig="k", node_name="node-1", root_dir="/r", profile="p", capacity={"cpu": "2", "memory": "4Gi"}
)
VERSION1 = ("cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us", "memory.limit_in_bytes", "pids.max")
VERSION2 = ("cpu.weight", "cpu.max", "memory.max", "pids.max")


@pytest.fixture(autouse=True)
def systemd(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A busctl that writes down what systemd would be told; the machine's own systemd, where it has one, hears nothing."""
    directory = tmp_path_factory.mktemp("bus")
    busctl = directory / "busctl"
    busctl.write_text(f'#!/bin/sh\nshift 5\necho "$@" >> {directory}/calls\n[ ! -e {directory}/refuse-"$1" ]\n')
    busctl.chmod(0o755)
    (directory / "calls").touch()
    monkeypatch.setenv("PATH", str(directory), prepend=":")
    return directory


def kernel(directory: Path, names: tuple[str, ...]) -> None:
    """What mkdir in a real cgroup file system brings along."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).touch()


def limited(qos: str = "Burstable") -> Obj:
    made = pod(
        container("a", resources={"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}),
        container("b", resources={"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "250m"}}),
    )
    return {**made, "status": {"qosClass": qos}}


def test_parents_as_the_engine_is_told() -> None:
    path, slices = Cgroups("p", "node-1", "cgroupfs"), Cgroups("p", "node-1", "systemd")
    assert path.parent(pod()) == "/minikube-py/p/node-1/besteffort/poduid-1"
    assert path.parent(limited()) == "/minikube-py/p/node-1/burstable/poduid-1"
    assert path.parent(limited("Guaranteed")) == "/minikube-py/p/node-1/poduid-1"
    assert slices.parent(limited()) == "minikube_py-p-node_1-burstable-poduid_1.slice"
    assert Cgroups("p", "node-1").parent(pod()) == ""


@pytest.mark.parametrize("driver", ["cgroupfs", "systemd"])
def test_version_1(tmp_path: Path, driver: str) -> None:
    groups = Cgroups("p", "node-1", driver, "1", tmp_path)
    for controller in ("cpu", "memory", "pids"):
        kernel(groups._directory(controller, groups._parts(limited())), VERSION1)
        kernel(groups._directory(controller, groups._parts()), VERSION1)
    groups.prepare_node(OPTIONS)
    groups.prepare(limited(), 100)
    memory, cpu, pids = (groups._directory(name, groups._parts(limited())) for name in ("memory", "cpu", "pids"))
    assert (memory / "memory.limit_in_bytes").read_text() == str(128 << 20)
    assert (cpu / "cpu.shares").read_text() == "512" and (cpu / "cpu.cfs_quota_us").read_text() == "150000"
    assert (pids / "pids.max").read_text() == "100"
    node = groups._directory("memory", groups._parts())
    assert (node / "memory.limit_in_bytes").read_text() == str(4 << 30)


@pytest.mark.parametrize("driver", ["cgroupfs", "systemd"])
def test_version_2(tmp_path: Path, driver: str) -> None:
    groups = Cgroups("p", "node-1", driver, "2", tmp_path)
    directory = groups._directory("memory", groups._parts(limited()))
    if driver == "systemd":
        chain = list(directory.relative_to(tmp_path).parts)
        assert chain == [
            "minikube_py.slice", "minikube_py-p.slice", "minikube_py-p-node_1.slice", "minikube_py-p-node_1-burstable.slice",
            "minikube_py-p-node_1-burstable-poduid_1.slice",
        ]  # fmt: skip
    kernel(directory, VERSION2)
    groups.prepare(limited())
    assert (directory / "cpu.max").read_text() == "150000 100000"
    assert (directory / "memory.max").read_text() == str(128 << 20)
    assert (directory / "pids.max").read_text() == "max"
    assert (directory / "cpu.weight").read_text() == "59"
    if driver == "cgroupfs":
        assert (directory.parent / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    for name, text in (
        ("memory.current", "9000"),
        ("memory.stat", "inactive_file 1000\nanon 10\n"),
        ("pids.current", "3"),
    ):
        (directory / name).write_text(text)
    used = groups.usage(limited())
    assert used is not None and (used.memory_working_set, used.memory_rss, used.pids) == (8000, 10, 3)
    assert groups.usage() is None


def test_pod_level_resources_win(tmp_path: Path) -> None:
    groups = Cgroups("p", "node-1", "cgroupfs", "1", tmp_path)
    free = pod(container("a"), resources={"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}})
    directory = groups._directory("memory", groups._parts(free))
    kernel(directory, VERSION1)
    kernel(groups._directory("cpu", groups._parts(free)), VERSION1)
    groups.prepare(free)
    assert (directory / "memory.limit_in_bytes").read_text() == str(1 << 30)
    groups.prepare({**free, "spec": {**free["spec"], "overhead": {"memory": "24Mi", "cpu": "1"}}})
    assert (directory / "memory.limit_in_bytes").read_text() == str((1 << 30) + (24 << 20))
    assert (groups._directory("cpu", groups._parts(free)) / "cpu.shares").read_text() == "2048"


def test_what_is_not_ours_to_write_is_left(tmp_path: Path) -> None:
    nowhere = Cgroups("p", "node-1", "cgroupfs", "1", tmp_path / "file")
    (tmp_path / "file").touch()
    assert not nowhere.prepare(limited())
    assert nowhere.usage(limited()) is None and nowhere.leftovers() == []


def test_leftovers_are_found_at_every_level_and_removed(tmp_path: Path) -> None:
    groups = Cgroups("p", "node-1", "cgroupfs", "1", tmp_path)
    for uid, quality in (("one", "Guaranteed"), ("two", "Burstable"), ("three", "BestEffort")):
        groups.prepare({**limited(quality), "metadata": {"uid": uid}})
    assert groups.leftovers() == ["one", "three", "two"]
    assert replace(groups, node="node-2").leftovers() == []
    groups.remove("two")
    assert groups.leftovers() == ["one", "three"]
    cgroups.remove_all("p", root=tmp_path)
    assert groups.leftovers() == [] and not list(tmp_path.glob("*/minikube-py/p"))


@pytest.mark.parametrize("version", ["1", "2"])
def test_slices_are_made_and_limited_by_systemd(tmp_path: Path, systemd: Path, version: str) -> None:
    groups = Cgroups("p", "node-1", "systemd", version, tmp_path)
    calls = systemd / "calls"
    name = "minikube_py-p-node_1-burstable-poduid_1.slice"
    limits = {
        "1": f"CPUShares t 512 MemoryLimit t {128 << 20}",
        "2": f"CPUWeight t 59 MemoryMax t {128 << 20}",
    }[version] + " CPUQuotaPerSecUSec t 1500000 CPUQuotaPeriodUSec t 100000 TasksMax t 100"
    start = f"StartTransientUnit ssa(sv)a(sa(sv)) {name} fail 8 {limits}"
    start += " CPUAccounting b true MemoryAccounting b true TasksAccounting b true 0\n"
    change = f"SetUnitProperties sba(sv) {name} true 5 {limits}\n"
    assert groups.prepare(limited(), 100)
    assert calls.read_text() == start
    calls.write_text("")
    (systemd / "refuse-StartTransientUnit").touch()  # it is there, as the parent of something
    groups.prepare(limited(), 100)
    assert calls.read_text() == start + change
    calls.write_text("")
    kernel(groups._directory("cpu", groups._parts(limited())), VERSION1 if version == "1" else VERSION2)
    groups.prepare(limited(), 100)
    assert calls.read_text() == change
    calls.write_text("")
    groups.prepare_node(OPTIONS)
    share = {"1": "CPUShares t 2048 MemoryLimit", "2": "CPUWeight t 174 MemoryMax"}[version]
    assert f" minikube_py-p-node_1.slice true 5 {share} t {4 << 30} " in calls.read_text()


def test_no_limit_is_told_to_systemd_as_its_largest_number(systemd: Path, tmp_path: Path) -> None:
    Cgroups("p", "node-1", "systemd", "2", tmp_path).prepare(pod())
    told = (systemd / "calls").read_text()
    assert f"MemoryMax t {2**64 - 1} CPUQuotaPerSecUSec t {2**64 - 1}" in told and f"TasksMax t {2**64 - 1}" in told


@pytest.mark.parametrize("version", ["1", "2"])
def test_leftover_slices_are_found_and_stopped(tmp_path: Path, systemd: Path, version: str) -> None:
    groups = Cgroups("p", "node-1", "systemd", version, tmp_path)
    uid = "0f6e-11"
    for number, quality in enumerate(("Guaranteed", "Burstable")):
        made = {**limited(quality), "metadata": {"uid": f"{uid}-{number}"}}
        groups._directory("memory", groups._parts(made)).mkdir(parents=True)
    assert groups.leftovers() == [f"{uid}-0", f"{uid}-1"]
    assert replace(groups, node="node-2").leftovers() == []
    groups.remove(f"{uid}-1")
    assert (systemd / "calls").read_text() == "StopUnit ss minikube_py-p-node_1-burstable-pod0f6e_11_1.slice replace\n"
    assert groups.leftovers() == [f"{uid}-0"]
    cgroups.remove_all("p", "node-1", root=tmp_path)
    assert (systemd / "calls").read_text().endswith("StopUnit ss minikube_py-p-node_1.slice replace\n")
    assert groups.leftovers() == []


def test_without_systemd_in_reach_nothing_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    groups = Cgroups("p", "node-1", "systemd", "2", tmp_path)
    assert not groups.prepare(limited())
    assert groups.leftovers() == []
