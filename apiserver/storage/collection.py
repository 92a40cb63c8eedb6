"""One resource's objects in memory, in key order, with the recent events that led to them.

Who calls it: the watch cache, under its lock.
Invariant: `keys` is sorted and parallel to `items`; `events` holds every event of this collection above `floor`.
Costs: a get is one dict look-up, a page is one slice, a write moves pointers; none depends on how many objects there are
in a way one can measure below some 100k.
Upstream: storage/cacher's watchCache: its store and its ring of events, which it also sizes to about 75 seconds.
"""

import heapq
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from apiserver.storage.base import Compacted, end_of
from apiserver.storage.stored import Matcher, Stored
from apiserver.storage.subscription import Event, Subscription

_KEEP_SECONDS = 75.0
_KEEP_EVENTS = 500
_MAX_EVENTS = 20_000


class Page(NamedTuple):
    """`last_key` is where the next page starts after, "" when there is none; `remaining` items follow this page, None
    when there is no next page or selectors make the number unknown."""

    items: list[Stored]
    revision: int
    remaining: int | None
    last_key: str


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
        low, high = self._span(prefix, start_after)
        if labels is None and fields is None:
            top = min(high, low + limit) if limit else high
            return self.items[low:top], high - top
        found: list[Stored] = []
        for at in range(low, high):
            if self.items[at].matches(labels, fields):
                found.append(self.items[at])
                if len(found) == limit:
                    return found, high - at - 1
        return found, 0

    def page_at(
        self, revision: int, prefix: str, start_after: str, limit: int, labels: Matcher | None, fields: Matcher | None
    ) -> tuple[list[Stored], int]:
        """`page` as it was at a revision, by undoing the events since; raises Compacted when they are not all known."""
        undone: dict[str, Stored | None] = {}
        for event in reversed(self.since(revision)):
            undone[event.key] = event.previous
        low, high = self._span(prefix, start_after)
        first, end = start_after + "\0" if start_after else prefix, end_of(prefix)
        deleted = sorted(key for key, old in undone.items() if old and key not in self.by_key and first <= key < end)
        found: list[Stored] = []
        for key in heapq.merge((self.keys[at] for at in range(low, high)), deleted):
            stored = undone[key] if key in undone else self.by_key[key]
            if stored is not None and stored.matches(labels, fields):
                found.append(stored)
                if len(found) == limit:
                    created = sum(key < new < end and new in self.by_key for new, old in undone.items() if old is None)
                    behind = high - bisect_right(self.keys, key, low, high) - created
                    return found, behind + sum(old > key for old in deleted)
        return found, 0

    def _span(self, prefix: str, start_after: str) -> tuple[int, int]:
        """Where the keys of a prefix begin (behind `start_after`) and end."""
        whole = prefix == self.prefix
        low = (
            bisect_left(self.keys, start_after + "\0")
            if start_after
            else 0
            if whole
            else bisect_left(self.keys, prefix)
        )
        return low, len(self.keys) if whole else bisect_left(self.keys, end_of(prefix))
