"""Which device manager a node gets."""

from pathlib import Path

import pytest

from kubelet.devices import mock_library, setup
from kubelet.devices.base import Grant, NoDevices
from kubelet.options import Options
from kubelet.runtime.base import Info
from minikube_py.api.clock import REAL
from minikube_py.api.types import Obj

CONTAINER: Obj = {"name": "c"}
POD: Obj = {"metadata": {"name": "p", "namespace": "default", "uid": "u"}, "spec": {"containers": [CONTAINER]}}


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process has one NVML library; these tests have several sets of cards in theirs."""
    monkeypatch.setattr(mock_library, "build", lambda _: None)


def options(root: Path, node: str, **fields: str) -> Options:
    return Options(kubeconfig="", node_name=node, root_dir=str(root / node), profile="p", **fields)  # type: ignore[arg-type]


def test_described_cards_go_to_their_nodes(tmp_path: Path) -> None:
    file = tmp_path / "gpus.yaml"
    file.write_text("gpus: [{model: T4, count: 2}, {model: L4, node: b}]")
    made = [
        setup.make(options(tmp_path, node, gpus=str(file), nvml_library=library), Info("docker", "28"), REAL)
        for node, library in (("a", "auto"), ("b", "none"), ("c", "none"))
    ]
    for manager in made:
        manager.start(lambda: None)
    assert [manager.capacity() for manager in made] == [{"nvidia.com/gpu": "2"}, {"nvidia.com/gpu": "1"}, {}]
    assert made[1].labels()["nvidia.com/gpu.product"] == "NVIDIA-L4"
    assert isinstance(made[2], NoDevices)
    for manager in made:
        manager.stop()


def test_the_description_is_remembered(tmp_path: Path) -> None:
    file = tmp_path / "gpus.yaml"
    file.write_text("gpus: [{model: T4}]")
    chosen = options(tmp_path, "a", gpus=str(file), nvml_library="auto")
    setup.make(chosen, Info("docker", "28"), REAL).stop()
    file.unlink()
    again = setup.make(chosen, Info("docker", "28"), REAL)
    again.start(lambda: None)
    assert again.capacity() == {"nvidia.com/gpu": "1"}
    again.stop()
    with pytest.raises(FileNotFoundError):
        setup.make(options(tmp_path, "b", gpus=str(file)), Info("docker", "28"), REAL)


def test_no_library_is_no_gpus(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    missing = options(tmp_path, "a", nvml_library=str(tmp_path / "libnvidia-ml.so.1"))
    assert isinstance(setup.make(missing, Info("docker", "28"), REAL), NoDevices)
    assert "no NVML library" in caplog.text
    assert setup.make(missing, Info("docker", "28"), REAL).grant(POD, CONTAINER) == Grant()


def test_an_nvidia_engine_shows_nobody_elses_cards(tmp_path: Path) -> None:
    manager = setup.make(options(tmp_path, "a"), Info("docker", "28", runtimes=("runc", "nvidia")), REAL)
    manager.start(lambda: None)
    assert manager.capacity() == {}
    assert manager.grant(POD, CONTAINER).env == {"NVIDIA_VISIBLE_DEVICES": "void"}
