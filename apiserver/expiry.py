"""Events do not stay: those that nobody has repeated for the TTL are removed, a few at a time.

Who calls it: `main.run` starts it. Invariant: only events are touched; an event that is repeated while it is looked at
stays, because the delete is a compare-and-swap; a store that cannot be reached just postpones it.
Upstream: the lease (--event-ttl) that kube-apiserver gives each event's key in etcd.
"""

import logging
import threading

from apiserver.resources import table
from apiserver.storage.base import RevisionMismatch, StoreUnavailable
from apiserver.storage.cache import Store
from apiserver.storage.stored import Stored
from minikube_py.api.clock import Clock, parse_rfc3339
from minikube_py.api.types import Obj

log = logging.getLogger(__name__)
_MOST_SECONDS = 60.0
_TIMES = ("lastTimestamp", "eventTime", "firstTimestamp")


class EventExpiry:
    """A background thread; `ttl` in seconds, 0 keeps events for ever."""

    def __init__(self, store: Store, ttl: int, clock: Clock) -> None:
        self._store, self._ttl, self._clock = store, ttl, clock
        self._stop = threading.Event()
        self._seen: dict[str, tuple[int, float]] = {}

    def start(self) -> None:
        if self._ttl > 0:
            threading.Thread(target=self._run, name="event-expiry", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._clock.wait(self._stop, min(_MOST_SECONDS, self._ttl / 2)):
            try:
                self.step()
            except StoreUnavailable as error:
                log.warning("old events stay for now: %s", error)

    def step(self) -> int:
        """Remove what is too old. Out: how many."""
        limit, removed = self._clock.time() - self._ttl, 0
        seen: dict[str, tuple[int, float]] = {}
        for stored in self._store.list(table.get("", "events").prefix()).items:
            last = self._last(stored)
            seen[stored.key] = (stored.revision, last)
            if last < limit:
                try:
                    self._store.delete(stored.key, stored.revision)
                    removed += 1
                except RevisionMismatch:
                    continue
        self._seen = seen
        return removed

    def _last(self, stored: Stored) -> float:
        """When it was last repeated, epoch seconds; worked out once per version of an event."""
        known = self._seen.get(stored.key)
        return known[1] if known is not None and known[0] == stored.revision else last_seen(stored.obj())


def last_seen(event: Obj) -> float:
    """The newest of the times an event carries, epoch seconds."""
    texts = [event["metadata"].get("creationTimestamp"), (event.get("series") or {}).get("lastObservedTime")]
    texts += [event.get(name) for name in _TIMES]
    return max((parse_rfc3339(text).timestamp() for text in texts if text), default=0.0)
