"""What happens to containers, found by comparing: CRI runtimes tell it late, differently, or not at all.

Who calls it: `runtime.cri`, which also tells of its own calls. Invariants: a container only ever moves forward, from created to
running, exited and gone, and each step it took is told once, in order, whether we looked in time to see it or not; a stream of
events from the runtime only makes us look, so that losing it delays and never loses.
Upstream: pkg/kubelet/pleg/generic.go (and evented.go, which trusts the runtime's events).
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator

from kubelet.runtime import labels
from kubelet.runtime.base import CREATED, EXITED, RUNNING, Event, RuntimeFault, Summary
from minikube_py.api.clock import Clock

_log = logging.getLogger("kubelet.cri")
GONE = "gone"
_STAGES = (CREATED, RUNNING, EXITED, GONE)
_TOLD = ("create", "start", "die", "destroy")
_PERIOD, _PERIOD_WITH_HINTS = 1.0, 10.0
_TOGETHER, _AGAIN = 0.02, (0.1, 0.4)
"""Seconds: hints so close together count as one; and when to look again, as containerd tells of an end before it lists it."""


class Journal:
    """How far each container was last seen to be. Not thread-safe."""

    def __init__(self) -> None:
        self._stages: dict[str, tuple[int, str]] = {}

    def known(self) -> set[str]:
        return set(self._stages)

    def saw(self, container_id: str, state: str, pod_uid: str) -> list[Event]:
        """The steps it has taken since it was last seen."""
        stage = _STAGES.index(state)
        before, uid = self._stages.get(container_id, (-1, pod_uid))
        if stage <= before or (stage == 3 and before < 0):
            return []
        self._stages[container_id] = stage, uid
        return [Event(kind, container_id, uid) for kind in _TOLD[before + 1 : stage + 1]]

    def saw_all(self, found: Iterable[Summary], known: set[str]) -> list[Event]:
        """In: `known` is what was known before `found` was asked for: of that, what is not in it is gone."""
        events: list[Event] = []
        present = set()
        for summary in found:
            present.add(summary.id)
            events += self.saw(summary.id, summary.state, summary.labels.get(labels.POD_UID, ""))
        for container_id in known - present:
            events += self.saw(container_id, GONE, "")
            del self._stages[container_id]
        return events


class CriEvents:
    """See `base.EventStream`. `look` lists everything; `hints` blocks and yields whenever there may be something to see."""

    def __init__(
        self, look: Callable[[], list[Summary]], hints: Callable[[], Iterator[object]], clock: Clock,
        closed: Callable[["CriEvents"], None],
    ) -> None:  # fmt: skip
        self._look, self._hints, self._clock, self._on_close = look, hints, clock, closed
        self._journal, self._lock = Journal(), threading.Lock()
        self._queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._wake, self._closed = threading.Event(), threading.Event()
        self._hinted, self._reached = False, False

    def __iter__(self) -> Iterator[Event]:
        threading.Thread(target=self._poll, name="cri-events", daemon=True).start()
        threading.Thread(target=self._listen, name="cri-hints", daemon=True).start()
        while (event := self._queue.get()) is not None:
            yield event

    def saw(self, container_id: str, state: str, pod_uid: str = "") -> None:
        """We brought this about ourselves, or met it."""
        with self._lock:
            self._tell(self._journal.saw(container_id, state, pod_uid) if self._reached else [])

    def close(self) -> None:
        self._closed.set()
        self._wake.set()
        self._queue.put(None)
        self._on_close(self)

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            self._queue.put(event)

    def _poll(self) -> None:
        soon: list[float] = []
        while not self._closed.is_set():
            self._wake.clear()
            self._round()
            usual = _PERIOD_WITH_HINTS if self._hinted else _PERIOD
            if self._clock.wait(self._wake, soon.pop(0) if soon else usual):
                self._clock.wait(self._closed, _TOGETHER)
                soon = list(_AGAIN)

    def _round(self) -> None:
        with self._lock:
            known = self._journal.known()
        try:
            found = self._look()
        except RuntimeFault as error:
            if self._reached:
                _log.info("the container runtime cannot be watched: %s", error)
            self._reached = False
            return
        with self._lock:
            events = self._journal.saw_all(found, known)
            if not self._reached:  # the first look, or the first after a gap: whoever listens looks for himself
                events = [Event("relist")]
            self._reached = True
            self._tell(events)

    def _listen(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(RuntimeFault):
                for _ in self._hints():
                    self._hinted = True
                    self._wake.set()
            self._hinted = False
            self._clock.wait(self._closed, _PERIOD)
