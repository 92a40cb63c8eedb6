"""Profiles: addresses follow from the index, names are checked, the desired state survives a round trip."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube_py.cluster import profile as profiles
from minikube_py.cluster.components import components
from minikube_py.cluster.errors import ClusterError
from minikube_py.cluster.profile import Node, Profile


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIKUBE_PY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_saved_and_loaded_unchanged() -> None:
    profile = Profile("blue", 3, 6446, gpus="/x.yaml").with_nodes(2)
    profile.save()
    assert profiles.load("blue") == profile
    assert profiles.load_all() == [profile]


def test_removed_without_a_trace(home: Path) -> None:
    profile = Profile("blue", 0, 6443)
    profile.save()
    profile.remove()
    assert not home.exists()


@given(st.integers(0, profiles.MAX_PROFILES - 1), st.integers(0, profiles.MAX_PROFILES - 1))
def test_two_profiles_never_share_an_address(one: int, other: int) -> None:
    a, b = Profile("a", one, 1), Profile("b", other, 1)
    assert (one == other) == bool({a.pod_cidr, a.service_cidr} & {b.pod_cidr, b.service_cidr})


def test_node_indices_are_never_reused() -> None:
    profile = Profile("blue", 0, 6443).with_nodes(2).without_node("node-2").with_nodes(1)
    assert [node.index for node in profile.nodes] == [1, 3]


def test_an_unknown_node_is_named_with_the_known_ones() -> None:
    with pytest.raises(ClusterError, match=r"no node 'x' .*node-1, node-2"):
        Profile("blue", 0, 6443).with_nodes(2).node("x")


@pytest.mark.parametrize("name", ["Blue", "", "a" * 31, "-a", "a_b", "../x"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="cannot name a profile"):
        profiles.check_name(name)


def test_a_broken_file_names_the_fix(home: Path) -> None:
    (home / "profiles" / "blue").mkdir(parents=True)
    (home / "profiles" / "blue" / "cluster.json").write_text("{not json")
    with pytest.raises(ClusterError, match="minikube-py down -p blue"):
        profiles.find("blue")


def test_a_stopped_node_has_no_process_and_simulated_clusters_no_proxy() -> None:
    profile = Profile("blue", 0, 6443).with_nodes(2).with_node(Node("node-2", 2, stopped=True))
    assert [c.name for c in components(profile)] == ["apiserver", "controllers", "kubelet-node-1", "kube-proxy"]
    simulated = Profile("blue", 0, 6443, runtime="simulated").with_nodes(1)
    assert [c.name for c in components(simulated)] == ["apiserver", "controllers", "kubelet-node-1"]


def test_every_component_understands_its_flags() -> None:
    import importlib

    for profile in (Profile("blue", 0, 6443).with_nodes(1), Profile("red", 1, 6444, runtime="simulated").with_nodes(1)):
        for component in components(profile):
            module = importlib.import_module(component.module)
            assert module.parse(list(component.argv)) is not None


def test_load_balancers_and_nodes_share_no_address() -> None:
    profile = Profile("blue", 4, 1).with_nodes(profiles.MAX_NODES)
    assert profile.balancer_cidr.startswith(profile.pod_cidr.removesuffix("0.0/16"))
    assert profile.balancer_cidr not in {profile.node_cidr(node) for node in profile.nodes}
