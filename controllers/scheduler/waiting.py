"""Placements that are decided and reserved but not bound yet, because something (a volume) is still being made ready.

Who calls it: main.py. Invariants: a pod waits at most `_PATIENCE`; whoever waits is looked at again after every change that may
matter, and by the clock; no thread waits with it, so a slow provisioner holds up nobody else.
Upstream: pkg/scheduler/schedule_one.go (bindingCycle), where each pod waits in a goroutine of its own.
"""

import threading
from collections.abc import Callable

from minikube_py.api.clock import Clock

_PATIENCE, _LOOK_AGAIN = 60.0, 1.0


class Waiting:
    """By pod key, what to do to look again. Thread-safe."""

    def __init__(
        self, clock: Clock, submit: Callable[[str, Callable[[], object]], None], stopped: threading.Event
    ) -> None:
        self._clock, self._submit, self._stopped = clock, submit, stopped
        self._lock = threading.Lock()
        self._jobs: dict[str, tuple[Callable[[], object], float]] = {}
        self._ticking = False

    def put(self, key: str, job: Callable[[], object]) -> None:
        """Look again with `job`; keeps the moment since which the pod has been waiting."""
        with self._lock:
            since = self._jobs[key][1] if key in self._jobs else self._clock.monotonic()
            self._jobs[key] = (job, since)
            if not self._ticking:
                self._ticking = True
                threading.Thread(target=self._tick, name="scheduler-waiting", daemon=True).start()

    def drop(self, key: str) -> bool:
        """It need not wait any more. Out: whether it did."""
        with self._lock:
            return self._jobs.pop(key, None) is not None

    def holds(self, key: str) -> bool:
        with self._lock:
            return key in self._jobs

    def overdue(self, key: str) -> bool:
        """Whether its patience is at an end."""
        with self._lock:
            return key in self._jobs and self._clock.monotonic() - self._jobs[key][1] > _PATIENCE

    def look_again(self) -> None:
        """Something changed."""
        with self._lock:
            jobs = [(key, job) for key, (job, _) in self._jobs.items()]
        for key, job in jobs:
            self._submit(key, job)

    def _tick(self) -> None:
        while not self._clock.wait(self._stopped, _LOOK_AGAIN):
            with self._lock:
                if not self._jobs:
                    self._ticking = False
                    return
            self.look_again()
