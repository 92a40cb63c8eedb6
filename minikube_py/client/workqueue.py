"""The work queue: keys waiting to be reconciled, now, later, or after a back-off.

Who calls it: `controller.Controller`; the scheduler and the kubelet for their own loops.
Invariants: a key is handed to at most one worker at a time; a key added while it is being worked on is handed out again
afterwards, once; nothing that was added is ever lost; a key that fails waits by itself and delays no other.
Upstream: staging/src/k8s.io/client-go/util/workqueue (queue, delaying_queue, default_rate_limiters).
"""

import heapq
import itertools
import threading
from collections import deque

from minikube_py.api.clock import REAL, Clock

_BASE_DELAY, _MAX_DELAY = 0.005, 1000.0


class WorkQueue:
    """Any number of producers and workers. All durations are seconds of `clock`."""

    def __init__(self, clock: Clock = REAL, *, base_delay: float = _BASE_DELAY, max_delay: float = _MAX_DELAY) -> None:
        self._clock, self._base, self._max = clock, base_delay, max_delay
        self._changed = threading.Condition()
        self._ready: deque[str] = deque()
        self._dirty: set[str] = (
            set()
        )  # added and not yet handed out (or to be handed out again when its worker is done)
        self._processing: set[str] = set()
        self._later: list[tuple[float, int, str]] = []  # heap of (due, serial, key); entries whose key moved are stale
        self._due: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._serial = itertools.count()
        self._adds = self._retries = 0
        self._down = False

    def add(self, key: str) -> None:
        """Hand this key out as soon as a worker is free (once, however often it is added before that)."""
        with self._changed:
            self._add(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Add the key `seconds` from now; of several delays of one key the earliest counts."""
        if seconds <= 0:
            self.add(key)
            return
        with self._changed:
            due = self._clock.monotonic() + seconds
            if self._down or (key in self._due and self._due[key] <= due):
                return
            self._due[key] = due
            heapq.heappush(self._later, (due, next(self._serial), key))
            self._changed.notify()

    def add_rate_limited(self, key: str) -> None:
        """Add the key after a back-off that doubles with every call since the last `forget` (5 ms … 1000 s)."""
        with self._changed:
            self._retries += 1
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
        self.add_after(key, min(self._max, self._base * 2.0 ** min(failures, 60)))

    def forget(self, key: str) -> None:
        """The key succeeded: its next failure starts from the shortest back-off."""
        with self._changed:
            self._failures.pop(key, None)

    def failures(self, key: str) -> int:
        """How often the key was added rate-limited since the last `forget`."""
        with self._changed:
            return self._failures.get(key, 0)

    def counts(self) -> dict[str, int]:
        """What is waiting now, and what was added (in all, and after failures) so far; under upstream's names."""
        with self._changed:
            return {"depth": len(self._ready), "adds_total": self._adds, "retries_total": self._retries}

    def get(self, timeout: float | None = None) -> str | None:
        """The next key, which is this worker's until `done`; None when the timeout passed or the queue is shut down."""
        with self._changed:
            deadline = None if timeout is None else self._clock.monotonic() + timeout
            while True:
                now = self._clock.monotonic()
                self._release_due(now)
                if self._down:
                    return None
                if self._ready:
                    key = self._ready.popleft()
                    self._dirty.discard(key)
                    self._processing.add(key)
                    if self._ready:
                        self._changed.notify()
                    return key
                if deadline is not None and now >= deadline:
                    return None
                wake_at = [
                    moment for moment in (deadline, self._later[0][0] if self._later else None) if moment is not None
                ]
                self._clock.wait_on(self._changed, max(0.0, min(wake_at) - now) if wake_at else None)

    def done(self, key: str) -> None:
        """The worker finished with the key it got, whatever came of it."""
        with self._changed:
            self._processing.discard(key)
            if key in self._dirty and not self._down:
                self._ready.append(key)
                self._changed.notify()

    def shutdown(self) -> None:
        """No more keys are handed out; every blocked `get` returns None."""
        with self._changed:
            self._down = True
            self._changed.notify_all()

    @property
    def shut_down(self) -> bool:
        return self._down

    def __len__(self) -> int:
        """Keys ready to be handed out (not those delayed, not those being worked on)."""
        with self._changed:
            return len(self._ready)

    def _add(self, key: str) -> None:
        if self._down or key in self._dirty:
            return
        self._dirty.add(key)
        self._adds += 1
        if key not in self._processing:
            self._ready.append(key)
            self._changed.notify()

    def _release_due(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self._add(key)
