"""The simulated cards: a small file that the mock library maps, and the changes one can make to it.

Who calls it: the kubelet (from a GPU description, at start), the fallback `mock_pynvml`, tests, and a person by hand:
    python -m kubelet.devices.mock_state STATE xid CARD CODE | recover CARD | show
Invariant: the layout is that of nvml_mock.c, byte for byte (a test compares what both read); the file is only changed in place,
because containers have its inode mounted; an event is complete before its number is published.
"""

import ctypes
import hashlib
import mmap
import os
import sys
from pathlib import Path

from kubelet.devices.gpu_file import Card, Description

XID_CRITICAL = 0x8
# After these the card does not answer any more: fallen off the bus, GSP gone.
_LOST_AFTER = {79, 119, 120}
_MAGIC, _MOST, _CUDA = b"MKGPU01", 64, {"4": 11000, "5": 12040, "58": 13000}


class _Packed(ctypes.Structure):
    _pack_ = 1


class CardState(_Packed):
    """`struct card` of nvml_mock.c: memory in bytes, power in mW, clocks in MHz, utilisation in percent."""

    _fields_ = [
        ("name", ctypes.c_char * 96), ("uuid", ctypes.c_char * 96), ("bus_id", ctypes.c_char * 32),
        ("serial", ctypes.c_char * 32), ("memory_total", ctypes.c_uint64), ("memory_used", ctypes.c_uint64),
        *((name, ctypes.c_uint32) for name in ("minor", "compute_major", "compute_minor", "architecture", "brand")),
        ("numa", ctypes.c_int32),
        *((name, ctypes.c_uint32) for name in (
            "domain", "bus", "device", "pci_id", "temperature", "power", "power_limit", "util_gpu", "util_memory", "sm_clock",
            "memory_clock", "mig", "lost",
        )),
    ]  # fmt: skip


class Event(_Packed):
    """`struct event`."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("sequence", "type", "data")),
        ("card", ctypes.c_uint32), ("unused", ctypes.c_uint32),
    ]  # fmt: skip


class _State(_Packed):
    _fields_ = [
        ("magic", ctypes.c_char * 8), ("count", ctypes.c_uint32), ("cuda", ctypes.c_int32),
        ("driver", ctypes.c_char * 80), ("nvml", ctypes.c_char * 80),
        ("started", ctypes.c_uint64), ("fired", ctypes.c_uint64), ("last_event", ctypes.c_uint64),
        ("events", Event * _MOST), ("cards", CardState * _MOST),
    ]  # fmt: skip


class MockState:
    """The mapped file. Raises ValueError when it is not such a file."""

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        self.path = path
        with path.open("r+b" if writable else "rb") as file:
            if os.fstat(file.fileno()).st_size < ctypes.sizeof(_State):
                raise ValueError(f"{path} is not a state of simulated GPUs")
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_COPY
            self._map = mmap.mmap(file.fileno(), ctypes.sizeof(_State), access=access)
        self.state = _State.from_buffer(self._map)
        if writable and not self.state.magic:
            self.state.magic = _MAGIC
        if self.state.magic != _MAGIC:
            raise ValueError(f"{path} is not a state of simulated GPUs")

    def cards(self) -> list[CardState]:
        return list(self.state.cards[: self.state.count])

    def find(self, which: str) -> int:
        """The index of a card named by index or UUID. Raises ValueError."""
        for index, card in enumerate(self.cards()):
            if which in (str(index), card.uuid.decode()):
                return index
        raise ValueError(f"there is no simulated GPU {which}; there are {self.state.count}")

    def xid(self, index: int, code: int) -> None:
        """Report an Xid error of the card, and lose it if that is what this error means."""
        if code in _LOST_AFTER:
            self.state.cards[index].lost = 1
        number = self.state.last_event + 1
        self.state.events[number % _MOST] = Event(number, XID_CRITICAL, code, index, 0)
        self.state.last_event = number

    def recover(self, index: int) -> None:
        """The card answers again."""
        self.state.cards[index].lost = 0

    def load(self, index: int, *, busy: bool) -> None:
        """Show the card at work, or idle."""
        card = self.state.cards[index]
        card.util_gpu, card.util_memory = (95, 60) if busy else (0, 0)
        card.memory_used = card.memory_total * 7 // 10 if busy else 0
        card.power = card.power_limit * (8 if busy else 1) // 10
        card.temperature = 64 if busy else 33
        card.sm_clock = 1410 if busy else 210


def create(path: Path, description: Description) -> MockState:
    """Write the described cards, in place if the file exists; a card that was there keeps what happened to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.truncate(ctypes.sizeof(_State))
    made = MockState(path)
    state = made.state
    lost = {card.uuid: card.lost for card in made.cards()}
    state.driver, state.nvml = description.driver.encode(), f"12.{description.driver}".encode()
    state.cuda = _CUDA["58"] if int(description.driver.partition(".")[0]) >= 580 else _CUDA[description.driver[0]]
    for index, card in enumerate(description.cards):
        state.cards[index] = _card(index, card)
        state.cards[index].lost = lost.get(card.uuid.encode(), 0)
    state.count = len(description.cards)
    return made


def _card(index: int, card: Card) -> CardState:
    model, bus = card.model, 0x10 + index
    digits = int(hashlib.sha256(card.uuid.encode()).hexdigest()[:12], 16) % 10**13
    return CardState(
        name=model.name.encode(), uuid=card.uuid.encode(), bus_id=f"00000000:{bus:02X}:00.0".encode(),
        serial=f"{digits:013d}".encode(), memory_total=card.memory << 20, minor=index,
        compute_major=model.compute[0], compute_minor=model.compute[1], architecture=model.architecture, brand=model.brand,
        numa=card.numa, bus=bus, pci_id=model.pci_id, temperature=33, power=model.power * 100,
        power_limit=model.power * 1000, sm_clock=210, memory_clock=1593, mig=int(card.mig),
    )  # fmt: skip


def main(argv: list[str]) -> int:
    """The control command. Out: exit code."""
    try:
        match argv:
            case [path, "xid", which, code]:
                state = MockState(Path(path))
                state.xid(state.find(which), int(code))
            case [path, "recover", which]:
                state = MockState(Path(path))
                state.recover(state.find(which))
            case [path, "show"]:
                for card in MockState(Path(path), writable=False).cards():
                    print(card.minor, card.uuid.decode(), card.name.decode(), "lost" if card.lost else "well")
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
