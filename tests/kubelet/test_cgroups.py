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
        slices = list(directory.relative_to(tmp_path).parts)
        assert slices == [
            "minikube_py.slice", "minikube_py-p.slice", "minikube_py-p-node_1.slice", "minikube_py-p-node_1-burstable.slice",
            "minikube_py-p-node_1-burstable-poduid_1.slice",
        ]  # fmt: skip
    kernel(directory, VERSION2)
    groups.prepare(limited())
    assert (directory / "cpu.max").read_text() == "150000 100000"
    assert (directory / "memory.max").read_text() == str(128 << 20)
    assert (directory / "pids.max").read_text() == "max"
    assert (directory / "cpu.weight").read_text() == str(1 + 510 * 9999 // 262_142)
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
    nowhere.prepare(limited())
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
