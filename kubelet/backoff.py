"""Exponential back-off per key: restarts of crashing containers, image pulls. Pure but for the clock.

Who calls it: `pod_worker` (10 s doubling to 5 min, by option) and `images`.
Invariant: the first failure costs no wait, each further one doubles it up to the cap; a key that was quiet for twice the cap
starts anew.
Upstream: staging/src/k8s.io/client-go/util/flowcontrol/backoff.go.
"""

import threading
from dataclasses import dataclass

from minikube_py.api.clock import Clock


@dataclass
class _Entry:
    delay: float
    updated: float


class Backoff:
    """All times are seconds of `clock.time()`. Thread-safe."""

    def __init__(self, clock: Clock, first: float, cap: float) -> None:
        self._clock, self._first, self._cap = clock, first, cap
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def remaining(self, key: str, since: float) -> float:
        """How long after the failure at `since` this key still has to wait; 0 when it may go on now."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or since - entry.updated > 2 * self._cap:
                return 0.0
            return min(entry.delay, max(0.0, since + entry.delay - self._clock.time()))  # whatever the clock was set to

    def delay(self, key: str) -> float:
        """The present delay of a key, 0 when it has none."""
        with self._lock:
            entry = self._entries.get(key)
            return entry.delay if entry else 0.0

    def failed(self, key: str, at: float) -> None:
        """Note one more failure (at the time `at`): the next wait is twice as long."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or at - entry.updated > 2 * self._cap:
                self._entries[key] = _Entry(self._first, self._clock.time())
                return
            entry.delay = min(self._cap, entry.delay * 2)
            entry.updated = self._clock.time()

    def forget(self, prefix: str) -> None:
        """Drop every key that begins so (a pod that is gone)."""
        with self._lock:
            for key in [key for key in self._entries if key.startswith(prefix)]:
                del self._entries[key]


def duration(seconds: float) -> str:
    """As Go prints it: "10s", "1m20s", "2m40s", "5m0s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
