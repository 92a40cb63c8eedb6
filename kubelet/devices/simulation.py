"""Simulated cards of one node: set up from a description, faulty when the description says so, busy when they are given away.

Who calls it: `setup`, when the kubelet has `--gpus FILE`. Invariant: everything containers see of the cards lies below one
directory of the node and is only changed in place; a fault happens once, counted from the first start, not after every restart.
"""

import logging
import threading
from pathlib import Path

import yaml

from kubelet.devices import gpu_file, mock_library, mock_state, nvml
from kubelet.devices.gpu_file import Card, Description, Fault
from kubelet.runtime.base import Mount
from minikube_py.api.clock import REAL, Clock

log = logging.getLogger(__name__)

_SCRIPT = Path(__file__).with_name("nvidia-smi.sh")
_INSIDE = "/usr/local/nvidia"


class Simulation:
    """The cards of one description; their files go to `directory`. Raises OSError."""

    def __init__(self, description: Description, directory: Path, clock: Clock = REAL) -> None:
        self._directory, self._clock = directory, clock
        self.description = description
        self.library = mock_library.build(directory / "lib")
        self.state = mock_state.create(directory / "state", self.description)
        if not self.state.state.started:
            self.state.state.started = int(clock.time())
        self._stopped = threading.Event()
        self._write_list()

    def open(self) -> nvml.Nvml:
        """NVML over these cards. Raises NvmlError."""
        return nvml.open_mock(self.library, self._directory / "state")

    def start(self) -> None:
        """Let the described faults happen (a daemon thread, if there are any)."""
        if any(card.faults for card in self.description.cards):
            threading.Thread(target=self._run, name="gpu-faults", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def show_load(self, in_use: set[str]) -> None:
        """Cards that somebody has are at work."""
        for index, card in enumerate(self.description.cards):
            if card.busy:
                self.state.load(index, busy=card.uuid in in_use)

    def mounts(self) -> tuple[Mount, ...]:
        """What a container with cards gets: the library, its state, a stand-in nvidia-smi and the list it reads."""
        found = [
            Mount(str(self._directory / "state"), f"{_INSIDE}/mock/state", read_only=True),
            Mount(str(self._directory / "gpus"), f"{_INSIDE}/mock/gpus", read_only=True),
            Mount(str(self._directory / "nvidia-smi"), "/usr/bin/nvidia-smi", read_only=True),
        ]
        if self.library is not None:
            found.append(Mount(str(self.library), f"{_INSIDE}/lib64/{mock_library.SONAME}", read_only=True))
        return tuple(found)

    def _write_list(self) -> None:
        lines = [
            f"{card.minor}|{card.uuid.decode()}|{card.name.decode()}|{card.memory_total >> 20}|{card.bus_id.decode()}"
            f"|{self.description.driver}\n"
            for card in self.state.cards()
        ]
        (self._directory / "gpus").write_text("".join(lines))
        script = self._directory / "nvidia-smi"
        script.write_bytes(_SCRIPT.read_bytes())
        script.chmod(0o755)

    def _run(self) -> None:
        plan = timeline(self.description)
        while not self._stopped.is_set():
            fired, started = self.state.state.fired, self.state.state.started
            if fired >= len(plan):
                return
            index, fault = plan[fired]
            left = started + fault.at - self._clock.time()
            if left > 0:
                self._clock.wait(self._stopped, left)
                continue
            log.info("simulated GPU %d: %s", index, f"Xid {fault.xid}" if fault.xid else "well again")
            if fault.xid:
                self.state.xid(index, fault.xid)
            else:
                self.state.recover(index)
            self.state.state.fired = fired + 1


def timeline(description: Description) -> list[tuple[int, Fault]]:
    """All faults of all cards as (card, fault), in the order they happen."""
    found = [(index, fault) for index, card in enumerate(description.cards) for fault in card.faults]
    return sorted(found, key=lambda item: item[1].at)


def load(file: Path, seed: str) -> Description:
    """A description from its file; `seed` (profile and node) makes the cards' UUIDs.

    Raises OSError, ValueError (one sentence with the file's name).
    """
    try:
        return gpu_file.parse(yaml.safe_load(file.read_text()), seed)
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 1}" if place is not None else ""
        raise ValueError(f"{file}: not YAML{where}") from None
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def for_node(description: Description, node: str, *, first: bool) -> Description:
    """The cards of one node: those that name it; the first node also has those that name none, and `node: all` is on each."""
    kept: tuple[Card, ...] = tuple(
        card for card in description.cards if card.node in (node, "all") or (first and not card.node)
    )
    return Description(description.driver, kept)
