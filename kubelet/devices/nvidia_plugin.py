"""Our NVIDIA device plugin: whole GPUs as `nvidia.com/gpu`, found and watched through NVML.

Who calls it: `manager`. Invariants: a card is healthy until it stops answering or reports an Xid error that is not an
application's own doing; a card that stopped answering and answers again is well again, one with a bad Xid stays out as long as
the plugin lives; cards that appear or vanish are noticed within seconds. MIG mode is not looked into (strategy `none`).
Upstream: NVIDIA/k8s-device-plugin (internal/rm/health.go, internal/plugin/server.go).
"""

import logging
import threading
from collections import Counter
from collections.abc import Collection, Iterator

from kubelet.devices.nvml import Gpu, Nvml, NvmlError
from kubelet.devices.plugin import Device, PluginError, PluginOptions
from minikube_py.api.clock import REAL, Clock
from minikube_py.api.types import Obj

log = logging.getLogger(__name__)

RESOURCE = "nvidia.com/gpu"
VISIBLE = "NVIDIA_VISIBLE_DEVICES"
# Errors of the program that runs on the card, not of the card.
APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})
_WAIT, _LOOK_AGAIN = 1.0, 2.0


class NvidiaPlugin:
    """In: `nvml` is closed by `stop`."""

    resource = RESOURCE

    def __init__(self, nvml: Nvml, clock: Clock = REAL) -> None:
        self._nvml, self._clock = nvml, clock
        self._stopped = threading.Event()
        self._cards = {gpu.uuid: gpu for gpu in nvml.gpus()}
        self._bad_xid: set[str] = set()
        self._silent: set[str] = set()

    @property
    def cards(self) -> list[Gpu]:
        """Every card ever seen, in NVML's order."""
        return sorted(self._cards.values(), key=lambda gpu: gpu.index)

    def options(self) -> PluginOptions:
        return PluginOptions(preferred_allocation_available=True)

    def list_and_watch(self) -> Iterator[list[Device]]:
        try:
            self._listen()
            yield (last := self._devices())
            looked = self._clock.monotonic()
            while not self._stopped.is_set():
                event = self._nvml.wait_event(_WAIT)
                if event is not None and event.xid not in APPLICATION_XIDS:
                    log.warning("GPU %s reports Xid %d: unhealthy", event.uuid or "(all of them)", event.xid)
                    self._bad_xid |= {event.uuid} if event.uuid else set(self._cards)
                if event is not None or self._clock.monotonic() - looked >= _LOOK_AGAIN:
                    self._look()
                    looked = self._clock.monotonic()
                if (now := self._devices()) != last:
                    yield (last := now)
        except NvmlError as error:
            raise PluginError(str(error)) from None
        finally:
            self._nvml.close()

    def preferred_allocation(self, available: Collection[str], must_include: Collection[str], size: int) -> list[str]:
        """Cards of one NUMA node where possible: the node of those it must include, else the fullest fit."""
        chosen = list(must_include)
        nodes = Counter(self._numa(uuid) for uuid in available)
        taken = Counter(self._numa(uuid) for uuid in chosen)

        def rank(uuid: str) -> tuple[int, bool, int, int]:
            numa = self._numa(uuid)
            enough = nodes[numa] >= size
            return -taken[numa], not enough, nodes[numa] if enough else -nodes[numa], self._index(uuid)

        chosen += sorted((uuid for uuid in available if uuid not in chosen), key=rank)
        return chosen[:size]

    def allocate(self, ids: Collection[str]) -> Obj:
        unknown = sorted(set(ids) - set(self._cards))
        if unknown:
            raise PluginError(f"invalid allocation request for '{RESOURCE}': unknown device: {unknown[0]}")
        return {"envs": {VISIBLE: ",".join(sorted(ids, key=self._index))}}

    def pre_start(self, ids: Collection[str]) -> None:
        """Nothing to prepare."""

    def stop(self) -> None:
        self._stopped.set()

    def _devices(self) -> list[Device]:
        unwell = self._bad_xid | self._silent
        return [Device(gpu.uuid, gpu.uuid not in unwell, gpu.numa) for gpu in self.cards]

    def _listen(self) -> None:
        for uuid in self._nvml.watch():
            log.warning("GPU %s cannot report errors; only its silence will be noticed", uuid)

    def _look(self) -> None:
        """Which cards answer? A card that comes back must be listened to again."""
        answering = {gpu.uuid: gpu for gpu in self._nvml.gpus()}
        silent = set(self._cards) - set(answering)
        back = (self._silent & set(answering)) | (set(answering) - set(self._cards))
        for uuid in sorted(silent - self._silent):
            log.warning("GPU %s does not answer: unhealthy", uuid)
        self._silent = silent
        self._cards |= answering
        if back:
            log.info("GPU %s answers again", ", ".join(sorted(back)))
            self._bad_xid -= back
            self._listen()

    def _numa(self, uuid: str) -> int:
        return self._cards[uuid].numa if uuid in self._cards else -1

    def _index(self, uuid: str) -> int:
        return self._cards[uuid].index if uuid in self._cards else len(self._cards)
