"""One suite for the C mock, the fallback without a compiler, and (its last part) the hardware, if there is any."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from kubelet.devices import gpu_file, mock_state, nvml
from kubelet.devices.mock_state import MockState
from tests.devices.conftest import CARDS


def test_cards_as_described(opened: nvml.Nvml) -> None:
    assert opened.driver_version == "550.163.01"
    assert opened.cuda_version == (12, 4)
    a100, _, t4 = gpus = opened.gpus()
    assert [gpu.index for gpu in gpus] == [gpu.minor for gpu in gpus] == [0, 1, 2]
    assert len({gpu.uuid for gpu in gpus}) == 3 and all(gpu.uuid.startswith("GPU-") for gpu in gpus)
    assert (a100.name, a100.memory, a100.compute, a100.numa, a100.mig) == (
        "NVIDIA A100-SXM4-40GB",
        40960,
        (8, 0),
        0,
        True,
    )
    assert (t4.name, t4.memory, t4.compute, t4.numa, t4.mig) == ("Tesla T4", 15360, (7, 5), 1, None)
    assert t4.bus_id == "00000000:12:00.0"


def test_an_error_is_told_and_a_lost_card_is_left_out(opened: nvml.Nvml, state: MockState) -> None:
    uuids = [gpu.uuid for gpu in opened.gpus()]
    assert opened.watch() == []
    assert opened.wait_event(0.01) is None
    state.xid(1, 31)
    assert opened.wait_event(1) == nvml.XidEvent(uuids[1], 31)
    assert opened.answers(uuids[1]), "an application's fault does not take the card away"
    state.xid(2, 79)
    assert opened.wait_event(1) == nvml.XidEvent(uuids[2], 79), "known by its handle, although it does not answer"
    assert not opened.answers(uuids[2])
    assert [gpu.uuid for gpu in opened.gpus()] == uuids[:2]
    state.recover(2)
    assert opened.answers(uuids[2])
    assert not opened.answers("GPU-unknown")


def test_waiting_ends_as_soon_as_something_happens(opened: nvml.Nvml, state: MockState) -> None:
    opened.watch()
    threading.Timer(0.1, state.xid, (0, 48)).start()
    started = time.monotonic()
    event = opened.wait_event(30)
    assert event is not None and event.xid == 48
    assert time.monotonic() - started < 10
    for code in range(100):
        state.xid(0, code + 200)
    told = []
    while (event := opened.wait_event(0)) is not None:
        told.append(event.xid)
    assert told == list(range(236, 300)), "the newest 64 of a flood, in order"


def test_no_state_is_no_driver(tmp_path: Path, library: Path | None) -> None:
    with pytest.raises(nvml.NvmlError, match="Driver Not Loaded") as error:
        nvml.open_mock(None, tmp_path / "nothing")
    assert error.value.code == 9
    (tmp_path / "garbage").write_bytes(b"x" * 100_000)
    with pytest.raises(nvml.NvmlError, match="Driver Not Loaded"):
        nvml.open_mock(None, tmp_path / "garbage")
    if library is not None:
        with pytest.raises(nvml.NvmlError, match="Driver Not Loaded"):
            nvml.open_mock(library, tmp_path / "garbage")
    with pytest.raises(nvml.NvmlError) as error:
        nvml.open_library(str(tmp_path / "libnvidia-ml.so.1"))
    assert error.value.code == 12


def test_a_process_sees_only_its_visible_cards(state: MockState, library: Path | None) -> None:
    """What a container with the library mounted into it sees, by NVIDIA_VISIBLE_DEVICES."""
    if library is None:
        pytest.skip("no C compiler")
    uuids = [card.uuid.decode() for card in state.cards()]
    for visible, expected in (
        (uuids[2], [uuids[2]]), (f"{uuids[2]},{uuids[0]}", [uuids[2], uuids[0]]), ("void", []), ("", []), ("all", uuids),
        ("1", [uuids[1]]), ("GPU-unknown", []),
    ):  # fmt: skip
        assert _seen(library, state, visible) == expected, visible


def _seen(library: Path, state: MockState, visible: str) -> list[str]:
    """With the real pynvml, found through LD_LIBRARY_PATH as in a container."""
    program = (
        "import pynvml; pynvml.nvmlInit();"
        "print(*[pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(pynvml.nvmlDeviceGetCount())])"
    )
    environment = {
        **os.environ, "LD_LIBRARY_PATH": str(library.parent), "MINIKUBE_PY_NVML_STATE": str(state.path),
        "NVIDIA_VISIBLE_DEVICES": visible,
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_state_survives_being_written_again(state: MockState) -> None:
    """Containers have the inode mounted, and a card that was lost before a kubelet's restart is lost after it."""

    inode = state.path.stat().st_ino
    state.xid(0, 79)
    again = mock_state.create(state.path, gpu_file.parse(yaml.safe_load(CARDS), "test"))
    assert state.path.stat().st_ino == inode
    assert [card.lost for card in again.cards()] == [1, 0, 0]


def test_control_command(state: MockState, capsys: pytest.CaptureFixture[str]) -> None:
    path, uuid = str(state.path), state.cards()[1].uuid.decode()
    assert mock_state.main([path, "xid", uuid, "79"]) == 0
    assert state.cards()[1].lost == 1
    assert mock_state.main([path, "show"]) == 0
    assert "lost" in capsys.readouterr().out
    assert mock_state.main([path, "recover", "1"]) == 0
    assert state.cards()[1].lost == 0
    assert mock_state.main([path, "recover", "7"]) == 1
    assert "there is no simulated GPU 7; there are 3" in capsys.readouterr().err
    assert mock_state.main([path, "explode"]) == 2


def test_hardware() -> None:
    """Where a driver is installed, the façade reads it as it reads the mock. In a process of its own: one library for each."""
    program = (
        "import sys\nfrom kubelet.devices import nvml\n"
        "try: n = nvml.open_library()\n"
        "except nvml.NvmlError: sys.exit(77)\n"
        "g = n.gpus(); n.watch(); assert n.wait_event(0.1) is None\n"
        "assert g and all(n.answers(x.uuid) and x.memory > 1000 and x.compute >= (3, 0) for x in g); n.close()\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("no NVIDIA driver")
    assert done.returncode == 0, done.stderr
