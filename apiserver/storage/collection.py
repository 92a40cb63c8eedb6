"""One resource's objects in memory, in key order, with the recent events that led to them.

Who calls it: the watch cache, under its lock.
Invariant: `keys` is sorted and parallel to `items`; `events` holds every event of this collection above `floor`.
Costs: a get is one dict look-up, a page is one slice, a write moves pointers; none depends on how many objects there are
in a way one can measure below some 100k.
Upstream: storage/cacher's watchCache: its store and its ring of events, which it also sizes to about 75 seconds.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable

from apiserver.storage.base import Compacted, end_of
from apiserver.storage.stored import Matcher, Stored
from apiserver.storage.subscription import Event, Subscription

_KEEP_SECONDS = 75.0
_KEEP_EVENTS = 500
_MAX_EVENTS = 20_000


class Collection:
    """The objects under one collection prefix."""

    def __init__(self, prefix: str, floor: int) -> None:
        self.prefix = prefix
        self.by_key: dict[str, Stored] = {}
        self.keys: list[str] = []
        self.items: list[Stored] = []
        self.events: deque[Event] = deque()
        self.floor = floor
        self.changed = floor
        self.subscriptions: list[Subscription] = []

    def load(self, stored: Iterable[Stored]) -> None:
        """The initial state, in key order."""
        self.items = list(stored)
        self.keys = [item.key for item in self.items]
        self.by_key = dict(zip(self.keys, self.items, strict=True))

    def apply(self, key: str, revision: int, stored: Stored | None, now: float) -> Event | None:
        """One committed change; `stored` None deletes. Out: the event, None for the deletion of what was not there."""
        previous = self.by_key.get(key)
        if stored is None:
            if previous is None:
                return None
            at = bisect_left(self.keys, key)
            del self.keys[at], self.items[at], self.by_key[key]
        else:
            self.by_key[key] = stored
            if previous is None:
                insort(self.keys, key)
                self.items.insert(bisect_left(self.keys, key), stored)
            else:
                self.items[bisect_left(self.keys, key)] = stored
        event = Event(revision, now, stored, previous)
        self.changed = revision
        self.events.append(event)
        self._forget(now)
        return event

    def _forget(self, now: float) -> None:
        events = self.events
        while len(events) > _MAX_EVENTS or (len(events) > _KEEP_EVENTS and now - events[0].at > _KEEP_SECONDS):
            self.floor = events.popleft().revision

    def since(self, revision: int) -> list[Event]:
        """Every event after a revision; raises Compacted when some are no longer known."""
        if revision < self.floor:
            raise Compacted(revision, self.floor)
        found: list[Event] = []
        for event in reversed(self.events):
            if event.revision <= revision:
                break
            found.append(event)
        return found[::-1]

    def page(
        self, prefix: str, start_after: str, limit: int, labels: Matcher | None, fields: Matcher | None
    ) -> tuple[list[Stored], int]:
        """Matching items in key order, at most `limit` (0 = all), and how many items lie behind the page."""
        keys, items = self.keys, self.items
        whole = prefix == self.prefix
        low = bisect_left(keys, start_after + "\0") if start_after else 0 if whole else bisect_left(keys, prefix)
        high = len(keys) if whole else bisect_left(keys, end_of(prefix))
        if labels is None and fields is None:
            top = min(high, low + limit) if limit else high
            return items[low:top], high - top
        found: list[Stored] = []
        for at in range(low, high):
            if items[at].matches(labels, fields):
                found.append(items[at])
                if len(found) == limit:
                    return found, high - at - 1
        return found, 0
