"""Forgets old revisions by and by, so that a store that is only overwritten does not grow.

Who calls it: the watch cache starts one, whichever backend it has.
Invariant: what was written in the last `KEEP_SECONDS` stays readable and watchable, unless it is more than
`KEEP_REVISIONS`; current objects are never touched.
Upstream: apiserver/pkg/storage/etcd3/compact.go, which compacts every five minutes to where it was five minutes before.
"""

import logging
import threading
from collections import deque

from apiserver.storage.base import Backend, StoreUnavailable
from minikube_py.api.clock import REAL, Clock

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 20.0
KEEP_SECONDS = 300.0
KEEP_REVISIONS = 50_000


class Compactor:
    """A background thread that calls `Backend.compact`."""

    def __init__(self, backend: Backend, clock: Clock = REAL) -> None:
        self._backend, self._clock = backend, clock
        self._seen: deque[tuple[float, int]] = deque()
        self._stop = threading.Event()
        self._compacted = 0

    @property
    def compacted(self) -> int:
        """The revision below which nothing is kept."""
        return self._compacted

    def start(self) -> None:
        threading.Thread(target=self._run, name="compactor", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def step(self) -> int:
        """Note the present revision and compact to where the store was long enough ago. Out: the revision kept from."""
        now, current = self._clock.monotonic(), self._backend.current_revision()
        self._seen.append((now, current))
        target = current - KEEP_REVISIONS
        while self._seen[0][0] <= now - KEEP_SECONDS:
            target = max(target, self._seen.popleft()[1])
        if target > self._compacted:
            self._backend.compact(target)
            self._compacted = target
        return self._compacted

    def forget(self) -> None:
        """Compact to the present."""
        current = self._backend.current_revision()
        self._backend.compact(current)
        self._compacted = max(self._compacted, current)

    def _run(self) -> None:
        while not self._clock.wait(self._stop, INTERVAL_SECONDS):
            try:
                self.step()
            except StoreUnavailable as error:
                log.warning("old revisions stay for now: %s", error)
