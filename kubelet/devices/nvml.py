"""The NVML façade: the only file that speaks pynvml. Cards, their health, their errors.

Who calls it: the NVIDIA device plugin. Behind it lies the driver's libnvidia-ml.so.1, the C mock (same ctypes path), or,
without a C compiler, `mock_pynvml`.
Invariant: a card that stops answering does not disturb the others: it is left out, or reported as not answering; everything
NVML reports as an error is an `NvmlError` with its code, or a None where a card just lacks the feature.
"""

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")


class NvmlError(Exception):
    """NVML failed, or is not there. `code` is NVML's (12 = no library, 9 = no driver)."""

    def __init__(self, message: str, code: int = 999) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Gpu:
    """One card. `memory` in MiB; `numa` -1 = none; `mig` None = the card cannot, else whether MIG mode is on."""

    index: int
    minor: int
    uuid: str
    name: str
    memory: int
    compute: tuple[int, int]
    bus_id: str
    numa: int = -1
    mig: bool | None = None


@dataclass(frozen=True)
class XidEvent:
    """An error a card reported; `uuid` "" when NVML did not say which."""

    uuid: str
    xid: int


class Nvml:
    """An initialised NVML; `close` it. Calls may come from any thread, one `wait_event` at a time."""

    def __init__(self, module: Any) -> None:
        self._nvml = module
        self._events: Any = None
        self._handles: dict[int, str] = {}
        try:
            module.nvmlInit()
        except module.NVMLError as error:
            raise NvmlError(f"NVML: {error}", error.value) from None

    def close(self) -> None:
        if self._events is not None:
            self._nvml.nvmlEventSetFree(self._events)
            self._events = None
        self._nvml.nvmlShutdown()

    @property
    def driver_version(self) -> str:
        return self._call(lambda: str(self._nvml.nvmlSystemGetDriverVersion()))

    @property
    def cuda_version(self) -> tuple[int, int]:
        """The newest CUDA the driver can run, as (major, minor)."""
        number = self._call(lambda: int(self._nvml.nvmlSystemGetCudaDriverVersion()))
        return number // 1000, number % 1000 // 10

    def gpus(self) -> list[Gpu]:
        """Every card that answers."""
        found = []
        for index in range(self._call(lambda: int(self._nvml.nvmlDeviceGetCount()))):
            gpu = self._optional(lambda index=index: self._gpu(index))  # type: ignore[misc]
            if gpu is not None:
                found.append(gpu)
        return found

    def answers(self, uuid: str) -> bool:
        """Whether the card is there and lets its memory be read."""
        nvml = self._nvml
        return self._optional(lambda: nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByUUID(uuid))) is not None

    def watch(self) -> list[str]:
        """Listen to the Xid errors of all cards. Out: the UUIDs of those that cannot report any."""
        nvml = self._nvml
        self._events = self._call(nvml.nvmlEventSetCreate)
        deaf = []
        for gpu in self.gpus():
            try:
                handle = nvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
                self._handles[_key(handle)] = gpu.uuid
                nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, self._events)
            except nvml.NVMLError:
                deaf.append(gpu.uuid)
        return deaf

    def wait_event(self, timeout: float) -> XidEvent | None:
        """The next error, or None after `timeout` seconds. Needs `watch`. Raises NvmlError."""
        nvml = self._nvml
        try:
            event = nvml.nvmlEventSetWait(self._events, int(timeout * 1000))
        except nvml.NVMLError as error:
            if error.value == nvml.NVML_ERROR_TIMEOUT:
                return None
            raise NvmlError(f"NVML: {error}", error.value) from None
        if event.eventType != nvml.nvmlEventTypeXidCriticalError:
            return None
        # The card may be lost by now and not tell its own UUID; its handle was noted.
        return XidEvent(self._handles.get(_key(event.device), ""), int(event.eventData))

    def _gpu(self, index: int) -> Gpu:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        mig = self._optional(lambda: nvml.nvmlDeviceGetMigMode(handle))
        numa = self._optional(lambda: int(nvml.nvmlDeviceGetNumaNodeId(handle)))
        bus_id = nvml.nvmlDeviceGetPciInfo(handle).busId
        bus_text = bus_id.decode() if isinstance(bus_id, bytes) else str(bus_id)
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        return Gpu(
            index=index, minor=int(nvml.nvmlDeviceGetMinorNumber(handle)), uuid=str(nvml.nvmlDeviceGetUUID(handle)),
            name=str(nvml.nvmlDeviceGetName(handle)), memory=int(nvml.nvmlDeviceGetMemoryInfo(handle).total) >> 20,
            compute=(int(major), int(minor)), bus_id=bus_text, numa=numa_of(bus_text) if numa is None else numa,
            mig=None if mig is None else bool(mig[0]),
        )  # fmt: skip

    def _call(self, function: Callable[[], _T]) -> _T:
        try:
            return function()
        except self._nvml.NVMLError as error:
            raise NvmlError(f"NVML: {error}", error.value) from None

    def _optional(self, function: Callable[[], _T]) -> _T | None:
        try:
            return function()
        except self._nvml.NVMLError:
            return None


def open_library(path: str = "") -> Nvml:
    """NVML from the library at `path`, "" = the driver's own. Raises NvmlError when there is none.

    A library given by path is loaded first; pynvml then finds it under the name it asks for. One per process.
    """
    try:
        # The driver's absence is the common case, and must not cost pynvml's import.
        ctypes.CDLL(path or "libnvidia-ml.so.1")
    except OSError as error:
        raise NvmlError(f"no NVML library {path or 'libnvidia-ml.so.1'}: {error}", 12) from None
    import pynvml

    return Nvml(pynvml)


def open_mock(library: Path | None, state: Path) -> Nvml:
    """NVML over a state file of simulated cards: through the C mock, or (None) without any library. Raises NvmlError."""
    if library is None:
        return open_fallback(state)
    os.environ["MINIKUBE_PY_NVML_STATE"] = str(state)
    os.environ.pop("NVIDIA_VISIBLE_DEVICES", None)  # about the container we may run in, not about the simulated cards
    return open_library(str(library))


def open_fallback(state: Path) -> Nvml:
    """NVML over a state file of simulated cards, without any library. Raises NvmlError."""
    from kubelet.devices.mock_pynvml import Module

    return Nvml(Module(state))


def numa_of(bus_id: str) -> int:
    """The NUMA node the kernel knows for a PCI device; -1 = none."""
    domain, _, rest = bus_id.lower().partition(":")
    try:
        return int((Path("/sys/bus/pci/devices") / f"{domain[-4:]}:{rest}" / "numa_node").read_text())
    except (OSError, ValueError):
        return -1


def _key(handle: Any) -> int:
    """Something to recognise a handle by: the address it points to."""
    return handle if isinstance(handle, int) else int(ctypes.cast(handle, ctypes.c_void_p).value or 0)
