"""pynvml's functions over the state file of simulated cards, for machines without a C compiler.

Who calls it: nvml.py, in place of pynvml. Invariant: same names, results and errors as pynvml over nvml_mock.c; one suite runs
against both. Only what the façade uses is here.
"""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kubelet.devices.mock_state import CardState, MockState

nvmlEventTypeXidCriticalError = 0x8
NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_TIMEOUT, NVML_ERROR_GPU_IS_LOST = 3, 10, 15
_TEXTS = {
    2: "Invalid Argument",
    3: "Not Supported",
    6: "Not Found",
    9: "Driver Not Loaded",
    10: "Timeout",
    15: "GPU is lost",
}
_MOST_EVENTS = 64


class NVMLError(Exception):
    """As pynvml's; `value` is NVML's code."""

    def __init__(self, value: int) -> None:
        super().__init__(_TEXTS.get(value, "Unknown Error"))
        self.value = value


class Module:
    """What stands in for the module `pynvml`, over one state file."""

    NVMLError = NVMLError
    NVML_ERROR_NOT_SUPPORTED = NVML_ERROR_NOT_SUPPORTED
    NVML_ERROR_TIMEOUT = NVML_ERROR_TIMEOUT
    NVML_ERROR_GPU_IS_LOST = NVML_ERROR_GPU_IS_LOST
    nvmlEventTypeXidCriticalError = nvmlEventTypeXidCriticalError

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mock: MockState | None = None

    def _state(self) -> MockState:
        if self._mock is None:
            raise NVMLError(1)
        return self._mock

    def _card(self, handle: int) -> CardState:
        card: CardState = self._state().state.cards[handle]
        if card.lost:
            raise NVMLError(15)
        return card

    def nvmlInit(self) -> None:
        try:
            self._mock = MockState(self._path)
        except (OSError, ValueError):
            raise NVMLError(9) from None

    def nvmlShutdown(self) -> None:
        self._state()
        self._mock = None

    def nvmlSystemGetDriverVersion(self) -> str:
        return str(self._state().state.driver.decode())

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return int(self._state().state.cuda)

    def nvmlDeviceGetCount(self) -> int:
        return int(self._state().state.count)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if not 0 <= index < self.nvmlDeviceGetCount():
            raise NVMLError(2)
        self._card(index)
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        for index, card in enumerate(self._state().cards()):
            if card.uuid.decode().lower() == uuid.lower():
                return self.nvmlDeviceGetHandleByIndex(index)
        raise NVMLError(6)

    def nvmlDeviceGetNumaNodeId(self, handle: int) -> int:
        numa = int(self._card(handle).numa)
        if numa < 0:
            raise NVMLError(3)
        return numa

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        card = self._card(handle)
        return card.compute_major, card.compute_minor

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        card = self._card(handle)
        return SimpleNamespace(
            total=card.memory_total, used=card.memory_used, free=card.memory_total - card.memory_used
        )

    def nvmlDeviceGetPciInfo(self, handle: int) -> Any:
        card = self._card(handle)
        return SimpleNamespace(
            busId=card.bus_id, domain=card.domain, bus=card.bus, device=card.device, pciDeviceId=card.pci_id
        )

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        card = self._card(handle)
        if card.mig:
            raise NVMLError(3)
        return SimpleNamespace(gpu=card.util_gpu, memory=card.util_memory)

    def nvmlDeviceGetMigMode(self, handle: int) -> list[int]:
        card = self._card(handle)
        if card.compute_major < 8 or (card.compute_major == 8 and card.compute_minor != 0):
            raise NVMLError(3)
        return [card.mig, card.mig]

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        card = self._card(handle)
        if sensor != 0:
            raise NVMLError(2)
        return int(card.temperature)

    def nvmlEventSetCreate(self) -> Any:
        return SimpleNamespace(seen=self._state().state.last_event, cards=set(), types=0)

    def nvmlDeviceRegisterEvents(self, handle: int, types: int, event_set: Any) -> None:
        self._card(handle)
        event_set.cards.add(handle)
        event_set.types |= types

    def nvmlEventSetWait(self, event_set: Any, timeout_ms: int) -> Any:
        deadline = time.monotonic() + timeout_ms / 1000
        while True:
            state = self._state().state
            event_set.seen = max(event_set.seen, state.last_event - _MOST_EVENTS)
            while event_set.seen < state.last_event:
                event_set.seen += 1
                event = state.events[event_set.seen % _MOST_EVENTS]
                if event.sequence == event_set.seen and event.type & event_set.types and event.card in event_set.cards:
                    return SimpleNamespace(device=event.card, eventType=event.type, eventData=event.data)
            if time.monotonic() >= deadline:
                raise NVMLError(10)
            time.sleep(0.05)

    def nvmlEventSetFree(self, event_set: Any) -> None:
        event_set.cards.clear()


def _reader(field: str) -> Callable[[Module, int], Any]:
    def read(self: Module, handle: int) -> Any:
        value = getattr(self._card(handle), field)
        return value.decode() if isinstance(value, bytes) else value

    return read


for _function, _field in (
    ("Name", "name"), ("UUID", "uuid"), ("Serial", "serial"), ("MinorNumber", "minor"), ("Brand", "brand"),
    ("Architecture", "architecture"), ("PowerUsage", "power"), ("EnforcedPowerLimit", "power_limit"),
):  # fmt: skip
    setattr(Module, f"nvmlDeviceGet{_function}", _reader(_field))
