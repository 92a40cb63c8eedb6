"""Threads on demand: one piece of work at a time per key, any number of keys at once, none of them costing anything while idle.

Who calls it: pod workers, status writer and probes all run on one of these. A fixed pool would let 30 pods in their
termination grace periods hold up the thirty-first; a thread per pod would cost memory for thousands of simulated ones.
Invariants: a key is never worked on by two threads; a key added while it is worked on is worked on once more afterwards; a
handler that raises is logged and its key tried again after a pause that doubles.
Upstream: the per-pod goroutines of pkg/kubelet/pod_workers.go and client-go's workqueue, in one.
"""

import heapq
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable

from minikube_py.api.clock import Clock

_log = logging.getLogger(__name__)
_LINGER = 5.0
_RETRY_FIRST, _RETRY_CAP = 0.5, 30.0


class KeyedExecutor:
    """Runs `handler(key)` for every key added. The handler returns seconds until it wants to be called again, or None."""

    def __init__(self, name: str, handler: Callable[[str], float | None], clock: Clock, limit: int = 256) -> None:
        self._name, self._handler, self._clock, self._limit = name, handler, clock, limit
        self._lock = threading.Lock()
        self._changed, self._timer_wakes = threading.Condition(self._lock), threading.Condition(self._lock)
        self._ready: deque[str] = deque()
        self._queued: set[str] = set()
        self._running: set[str] = set()
        self._again: set[str] = set()
        self._due: list[tuple[float, int, str]] = []
        self._earliest: dict[str, float] = {}
        self._serial = itertools.count()
        self._failures: dict[str, int] = {}
        self._threads = self._idle = 0
        self._timer: threading.Thread | None = None
        self._stopped = False

    def add(self, key: str) -> None:
        """Work on this key soon."""
        with self._lock:
            self._add(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Work on this key `seconds` from now; of several times the earliest counts."""
        if seconds <= 0:
            self.add(key)
            return
        with self._lock:
            due = self._clock.monotonic() + seconds
            if self._stopped or self._earliest.get(key, due + 1) <= due:
                return
            self._earliest[key] = due
            heapq.heappush(self._due, (due, next(self._serial), key))
            if self._timer is None:
                self._timer = threading.Thread(target=self._tick, name=f"{self._name}-timer", daemon=True)
                self._timer.start()
            elif self._due[0][2] == key:
                self._timer_wakes.notify()

    def forget(self, key: str) -> None:
        """Drop what is planned for a key; work in progress on it is finished."""
        with self._lock:
            self._earliest.pop(key, None)
            self._failures.pop(key, None)
            self._again.discard(key)

    def planned(self, key: str) -> bool:
        """Whether this key waits for its time."""
        with self._lock:
            return key in self._earliest

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._changed.notify_all()
            self._timer_wakes.notify_all()

    def _add(self, key: str) -> None:
        if self._stopped or key in self._queued:
            return
        if key in self._running:
            self._again.add(key)
            return
        self._queued.add(key)
        self._ready.append(key)
        if self._idle >= len(self._ready):
            self._changed.notify()
        elif self._threads < self._limit:
            self._threads += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._ready:
                    self._idle += 1
                    # Real time on purpose: how long an idle thread lingers is no behaviour anybody observes.
                    woken = self._changed.wait(_LINGER)
                    self._idle -= 1
                    if self._stopped or (not woken and not self._ready):
                        self._threads -= 1
                        return
                key = self._ready.popleft()
                self._queued.discard(key)
                self._running.add(key)
                self._earliest.pop(key, None)
            again = self._call(key)
            with self._lock:
                self._running.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self._add(key)
            if again is not None:
                self.add_after(key, again)

    def _call(self, key: str) -> float | None:
        try:
            again = self._handler(key)
        except Exception:
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            _log.exception("%s: %s failed", self._name, key)
            return min(_RETRY_CAP, _RETRY_FIRST * 2.0 ** min(failures, 10))
        self._failures.pop(key, None)
        return again

    def _tick(self) -> None:
        with self._lock:
            while not self._stopped:
                now = self._clock.monotonic()
                while self._due and self._due[0][0] <= now:
                    due, _, key = heapq.heappop(self._due)
                    if self._earliest.get(key) == due:
                        del self._earliest[key]
                        self._add(key)
                self._clock.wait_on(self._timer_wakes, self._due[0][0] - now if self._due else None)
