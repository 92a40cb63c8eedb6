"""Descriptions of cards, the node labels they lead to (golden), faults over time, the stand-in nvidia-smi, staged drivers."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubelet.devices import gpu_file, gpu_labels, staging
from kubelet.devices.gpu_file import Fault
from kubelet.devices.simulation import Simulation, for_node, load, timeline
from minikube_py.api.clock import FakeClock
from tests.harness import ROOT, eventually

GOLDEN = Path(__file__).parent / "golden"
EXAMPLE = """
driver: 550.163.01
gpus:
- {model: A100-SXM4-40GB, count: 2, numa: 0, mig: {enabled: true, layout: [3g.20gb, 2g.10gb, 1g.5gb]}}
- {model: T4, faults: [{at: 30s, xid: 79}, {at: 90s, recover: true}], util: {follow: allocation}}
"""
LABELLED = {
    "mixed": EXAMPLE, "h200": "gpus: [{model: NVIDIA H200, count: 8}]\ndriver: 580.82.07", "t4": "gpus: [{model: t4}]",
    "rtx4090": "gpus: [{model: GeForce RTX 4090, count: 2}]",
}  # fmt: skip


def parsed(text: str, seed: str = "") -> gpu_file.Description:
    return gpu_file.parse(yaml.safe_load(text), seed)


def test_the_example() -> None:
    a, b, t4 = parsed(EXAMPLE).cards
    assert (a.model.name, a.numa, a.mig, a.memory) == ("NVIDIA A100-SXM4-40GB", 0, True, 40960)
    assert a.uuid != b.uuid and a.uuid.startswith("GPU-")
    assert (t4.mig, t4.faults) == (False, (Fault(30, 79), Fault(90, 0)))
    assert parsed(EXAMPLE) == parsed(EXAMPLE), "UUIDs stay"
    assert not {c.uuid for c in parsed(EXAMPLE, "a").cards} & {c.uuid for c in parsed(EXAMPLE, "b").cards}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("[]", "a GPU description is a mapping with a list `gpus`"),
        ("gpus: 3", "a GPU description is a mapping with a list `gpus`"),
        ("gpus: []\ncards: 1", "unknown field 'cards' in a GPU description; known are driver, gpus"),
        ("gpus: []\ndriver: new", "driver 'new' is not a driver version such as 550.163.01"),
        ("gpus: [T4]", "gpus[0] is not a mapping such as {model: T4, count: 2}"),
        ("gpus: [{model: T4}, {model: T5}]", "gpus[1]: unknown model 'T5'; known are "),
        ("gpus: [{model: T4, amount: 2}]", "gpus[0]: unknown field 'amount'; known are "),
        ("gpus: [{model: T4, count: two}]", "gpus[0]: count is 'two', not an integer of at least 0"),
        ("gpus: [{model: T4, count: 2, uuid: GPU-1}]", "gpus[0]: a uuid names one card, but count is 2"),
        ("gpus: [{model: T4, uuid: G}, {model: T4, uuid: G}]", "two GPUs have the uuid G"),
        ("gpus: [{model: T4, count: 65}]", "65 GPUs are described; at most 64 can be simulated on a node"),
        ("gpus: [{model: T4, faults: [{at: soon, xid: 1}]}]", "gpus[0]: a fault's time `at` is 'soon', not a duration"),
        (
            "gpus: [{model: T4, faults: [{at: 1s}]}]",
            "gpus[0]: a fault is {at: 30s, xid: 79} or {at: 90s, recover: true}, not",
        ),
    ],
)
def test_bad_descriptions(document: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "gpus.yaml").write_text(document)
    with pytest.raises(ValueError) as error:
        load(tmp_path / "gpus.yaml", "")
    assert str(error.value).startswith(f"{tmp_path}/gpus.yaml: {message}")


def test_the_documented_descriptions_are_right() -> None:
    assert len(load(ROOT / "examples" / "gpus.yaml", "").cards) == 3
    shown = (ROOT / "docs" / "gpus.md").read_text().split("```yaml\n")[2].partition("```")[0]
    assert len(parsed(shown).cards) == 4


def test_not_yaml(tmp_path: Path) -> None:
    (tmp_path / "gpus.yaml").write_text("gpus:\n- {model: T4")
    with pytest.raises(ValueError, match="not YAML in line"):
        load(tmp_path / "gpus.yaml", "")


def test_whose_cards() -> None:
    description = parsed("gpus: [{model: T4}, {model: L4, node: n2}, {model: A10, node: all}]")

    def names(node: str, first: bool) -> list[str]:
        return [card.model.name for card in for_node(description, node, first=first).cards]

    assert names("n1", True) == ["Tesla T4", "NVIDIA A10"]
    assert names("n2", False) == ["NVIDIA L4", "NVIDIA A10"]
    assert names("n3", False) == ["NVIDIA A10"]


@pytest.mark.parametrize("case", LABELLED)
def test_golden_labels(case: str, tmp_path: Path) -> None:
    simulation = Simulation(parsed(LABELLED[case]), tmp_path, FakeClock())
    opened = simulation.open()
    labels = gpu_labels.node_labels(
        opened.gpus(),
        opened.driver_version,
        opened.cuda_version,
        machine="minikube-py simulation",
        timestamp=1700000000,
    )
    opened.close()
    text = json.dumps(labels, indent=1, sort_keys=True) + "\n"
    file = GOLDEN / f"labels-{case}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()
    assert {f"nvidia.com/{name}" for name in gpu_labels._NAMES} == set(labels) == set(gpu_labels.NONE)


def test_label_values() -> None:
    assert gpu_labels.node_labels([], "1.2", (12, 4)) == gpu_labels.NONE
    assert gpu_labels.product("NVIDIA A100 (80GB)/x") == "NVIDIA-A100-80GBx"
    families = {
        (3, 5): "kepler",
        (7, 0): "volta",
        (7, 5): "turing",
        (8, 0): "ampere",
        (8, 9): "ada-lovelace",
        (9, 0): "hopper",
    }
    assert {compute: gpu_labels.family(compute) for compute in families} == families


def test_faults_happen_once(tmp_path: Path) -> None:
    clock = FakeClock()
    description = parsed(EXAMPLE)
    assert [(index, fault.xid) for index, fault in timeline(description)] == [(2, 79), (2, 0)]
    simulation = Simulation(description, tmp_path, clock)
    simulation.start()
    clock.advance(31)
    eventually(lambda: simulation.state.cards()[2].lost, what="the fault")
    simulation.stop()
    simulation.state.recover(2)
    again = Simulation(description, tmp_path, clock)
    again.start()
    clock.advance(30)
    assert not again.state.cards()[2].lost, "a restart does not repeat it"
    again.state.cards()[2].lost = 1
    clock.advance(30)
    eventually(lambda: not again.state.cards()[2].lost, what="the recovery")
    again.stop()


def test_load_is_shown(tmp_path: Path) -> None:
    simulation = Simulation(parsed(EXAMPLE), tmp_path, FakeClock())
    busy = simulation.description.cards[1].uuid
    simulation.show_load({busy})
    assert [card.util_gpu > 0 for card in simulation.state.cards()] == [False, True, False]
    simulation.show_load(set())
    assert not any(card.util_gpu or card.memory_used for card in simulation.state.cards())


class Smi:
    """The stand-in, run as a container would with its mounts."""

    def __init__(self, directory: Path) -> None:
        self.simulation = Simulation(parsed(EXAMPLE), directory, FakeClock())
        self.directory = directory

    def run(self, visible: str | None, *arguments: str) -> tuple[int, str]:
        environment: dict[str, Any] = {"PATH": os.environ["PATH"], "MINIKUBE_PY_GPUS": str(self.directory / "gpus")}
        if visible is not None:
            environment["NVIDIA_VISIBLE_DEVICES"] = visible
        command = [str(self.directory / "nvidia-smi"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr


def test_nvidia_smi(tmp_path: Path) -> None:
    smi = Smi(tmp_path)
    first, _, third = smi.simulation.description.cards
    assert smi.run(f"{third.uuid},{first.uuid}", "-L") == (
        0, f"GPU 0: Tesla T4 (UUID: {third.uuid})\nGPU 1: NVIDIA A100-SXM4-40GB (UUID: {first.uuid})\n",
    )  # fmt: skip
    assert smi.run("all", "-L")[1].count("\n") == 3
    assert smi.run("void", "-L") == (6, "No devices were found\n")
    assert smi.run(first.uuid, "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits") == (
        0, "0, NVIDIA A100-SXM4-40GB, 40960\n",
    )  # fmt: skip
    assert smi.run(first.uuid, "--query-gpu=uuid,fan.speed", "--format=csv") == (
        0,
        f"uuid, fan.speed\n{first.uuid}, [N/A]\n",
    )
    code, table = smi.run(third.uuid)
    assert code == 0 and "550.163.01" in table and "Tesla T4" in table and "A100" not in table
    assert smi.run(first.uuid, "--explode")[0] == 2
    (tmp_path / "gpus").unlink()
    assert smi.run(first.uuid, "-L")[0] == 9


_CACHE = """\
\tlibnvidia-ml.so.1 (libc6,x86-64) => {0}/libnvidia-ml.so.1
\tlibnvidia-ml.so.1 (libc6) => /usr/lib32/libnvidia-ml.so.1
\tlibcuda.so.1 (libc6,x86-64) => {0}/libcuda.so.1
\tlibcuda.so (libc6,x86-64) => {0}/libcuda.so
\tlibnvidia-encode.so.1 (libc6,x86-64) => {0}/libnvidia-encode.so.1
\tlibc.so.6 (libc6,x86-64) => /lib/libc.so.6
"""


def test_staging(tmp_path: Path) -> None:
    system = tmp_path / "lib"
    system.mkdir()
    for name in ("nvidia-ml", "cuda", "nvidia-encode"):
        (system / f"lib{name}.so.550.1").write_text(name)
    found = staging.libraries(_CACHE.format(system), "550.1")
    assert found == {"nvidia-ml": f"{system}/libnvidia-ml.so.550.1", "cuda": f"{system}/libcuda.so.550.1"}
    (mount,) = staging.stage(tmp_path / "staged", "550.1", _CACHE.format(system))
    assert (mount.container_path, mount.read_only) == ("/usr/local/nvidia", True)
    libraries = Path(mount.host_path) / "lib64"
    assert sorted(path.name for path in libraries.iterdir()) == [
        "libcuda.so", "libcuda.so.1", "libcuda.so.550.1", "libnvidia-ml.so.1", "libnvidia-ml.so.550.1",
    ]  # fmt: skip
    assert (libraries / "libcuda.so").read_text() == "cuda"
    assert staging.stage(tmp_path / "staged", "550.1", "") == (mount,), "once is enough"
    assert staging.stage(tmp_path / "other", "550.1", "") == ()
    assert staging.existing(["/dev/null", "/dev/nvidia-nothing"]) == ("/dev/null",)
