"""Fan-out: how one event reaches every watcher without a thread per watcher and without the writer waiting for any.

Who calls it: the watch cache publishes; `apiserver.watch` consumes.
Invariant: the writer's thread appends to one list per event loop and wakes the loop; matching, and handing out lines that
are encoded once and shared, happen on the loop. A reader that is waiting may have given a `sink`: then its events are
written without waking it, which makes deliveries 1.25 times as many per second. A subscription sees every event above the
revision it started from once, in order, or it ends: one that does not keep up is cut off and starts again from its last
resourceVersion.
Stop of the data path: 5 (fan out).
Upstream: storage/cacher (cacheWatcher, and its forgetting of slow watchers); an object that starts or stops matching a
selector is seen as ADDED or DELETED.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from apiserver.storage.stored import Matcher, Stored

if TYPE_CHECKING:
    from apiserver.storage.collection import Collection

MAX_BEHIND = 1000
"""Events a subscription may hold unread before it is cut off."""


class WatchEvent:
    """What one kind of watcher sees of an event. `line` is the watch stream's JSON line, encoded once."""

    __slots__ = ("_line", "stored", "type")

    def __init__(self, type_: str, stored: Stored) -> None:
        self.type, self.stored = type_, stored
        self._line: bytes | None = None

    @property
    def line(self) -> bytes:
        if self._line is None:
            self._line = b'{"type":"%b","object":%b}\n' % (self.type.encode(), self.stored.raw)
        return self._line


class Event:
    """One change in one collection: what an object became (None = deleted) and what it was (None = did not exist)."""

    __slots__ = ("_seen_as", "at", "previous", "revision", "stored")

    def __init__(self, revision: int, at: float, stored: Stored | None, previous: Stored | None) -> None:
        self.revision, self.at, self.stored, self.previous = revision, at, stored, previous
        self._seen_as: dict[str, WatchEvent] = {}

    @property
    def key(self) -> str:
        return (self.stored or self.previous).key  # type: ignore[union-attr]

    def seen_by(self, labels: Matcher | None, fields: Matcher | None) -> WatchEvent | None:
        """The event as a watcher with these selectors sees it; None when it does not concern it."""
        was = self.previous is not None and self.previous.matches(labels, fields)
        now = self.stored is not None and self.stored.matches(labels, fields)
        if now:
            return self._as("MODIFIED" if was else "ADDED")
        return self._as("DELETED") if was else None

    def _as(self, type_: str) -> WatchEvent:
        seen = self._seen_as.get(type_)
        if seen is None:
            gone = type_ == "DELETED"
            stored = self.previous.at_revision(self.revision) if gone and self.previous else self.stored
            assert stored is not None
            seen = self._seen_as[type_] = WatchEvent(type_, stored)
        return seen


class Batch:
    """Events that came at once, for all watchers that see the same. `lines` is joined for the first of them."""

    __slots__ = ("_lines", "events")

    def __init__(self, events: list[WatchEvent]) -> None:
        self.events = events
        self._lines: bytes | None = None

    @property
    def lines(self) -> bytes:
        if self._lines is None:
            self._lines = b"".join([event.line for event in self.events])
        return self._lines


Sink = Callable[[Batch], bool]
"""Takes events on the event loop, at once; False when it cannot, and the reader must have its turn."""


class Subscription:
    """`async for batch in subscription` yields lists of WatchEvent, empty after a nudge, and ends when cut off or closed."""

    def __init__(
        self, fanout: "Fanout", collection: "Collection", prefix: str, labels: Matcher | None, fields: Matcher | None
    ) -> None:
        self.revision = 0
        """The store's revision when it started; the initial state, if asked for, is of this revision."""
        self.initial: list[WatchEvent] = []
        """The initial state as ADDED events, to be sent before anything else."""
        self.sink: Sink | None = None
        """Where events go while the reader waits; None: only to the reader."""
        self.ended = False
        self.fanout, self._collection, self._prefix = fanout, collection, prefix
        self._whole = prefix == collection.prefix
        self._labels, self._fields = labels, fields
        self._unread: list[WatchEvent] = []
        self._nudged = False
        self._waiter: asyncio.Future[None] | None = None

    def offer(self, events: Sequence[Event], shared: dict[str, Batch]) -> None:
        """Take what concerns this subscription (on the event loop). `shared`: what those without selectors see, by prefix."""
        batch = self._batch(events, shared)
        if not batch.events:
            return
        if self.sink is not None and self._idle() and self.sink(batch):
            return
        self._unread += batch.events
        if len(self._unread) > MAX_BEHIND:
            self.close()
        else:
            self._wake()

    def _batch(self, events: Sequence[Event], shared: dict[str, Batch]) -> Batch:
        plain = self._labels is None and self._fields is None and self.revision < events[0].revision
        if plain and self._prefix in shared:
            return shared[self._prefix]
        seen: list[WatchEvent] = []
        for event in events:
            if event.revision > self.revision and (self._whole or event.key.startswith(self._prefix)):
                shown = event.seen_by(self._labels, self._fields)
                if shown is not None:
                    seen.append(shown)
        batch = Batch(seen)
        if plain:
            shared[self._prefix] = batch
        return batch

    def _idle(self) -> bool:
        """The reader waits, and has sent everything before."""
        return self._waiter is not None and not self._waiter.done()

    def replay(self, events: Sequence[Event]) -> None:
        """Events from before it started; however many they are, they do not count as falling behind."""
        for event in events:
            if self._whole or event.key.startswith(self._prefix):
                seen = event.seen_by(self._labels, self._fields)
                if seen is not None:
                    self._unread.append(seen)

    def progress(self) -> int | None:
        """A revision up to which everything was already handed out, None when something is still under way."""
        revision = self.fanout.reached()
        return None if revision is None or self._unread or self.ended else max(revision, self.revision)

    def nudge(self) -> None:
        """Let the reader have a turn although nothing happened: it gets an empty batch."""
        self._nudged = True
        self._wake()

    def close(self) -> None:
        """End it; what is unread is dropped."""
        self.ended = True
        self._unread = []
        if self in self._collection.subscriptions:
            self._collection.subscriptions.remove(self)
        self._wake()

    def finish(self) -> None:
        """End it after what is unread."""
        unread, nudged = self._unread, self._nudged
        self.close()
        self._unread, self._nudged = unread, nudged

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> list[WatchEvent]:
        while not self._unread and not self._nudged:
            if self.ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._nudged:  # first, so that a stream that is never quiet has its turns too
            self._nudged = False
            return []
        batch, self._unread = self._unread, []
        return batch


class Fanout:
    """Carries events from the writer's thread onto one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, revision: int) -> None:
        self.loop = loop
        self._queue: deque[tuple[Collection, list[Event]]] = deque()
        self._scheduled = False
        self._revision = revision

    def publish(self, changed: list[tuple["Collection", list[Event]]], revision: int) -> None:
        """On the writer's thread, under the cache's lock: hand over and return. `revision` is what they lead up to."""
        watched = [(collection, events) for collection, events in changed if collection.subscriptions]
        self._queue.extend(watched)
        self._revision = revision
        if watched and not self._scheduled:
            self._scheduled = True
            self.loop.call_soon_threadsafe(self._dispatch)

    def reached(self) -> int | None:
        """The revision dispatched up to; None while events wait. Reads the revision first: it is published last."""
        revision = self._revision
        return None if self._queue else revision

    def end_all(self, collections: Sequence["Collection"]) -> None:
        """From any thread: end every subscription of this loop, because the cache starts anew or the server stops."""
        mine = [sub for collection in collections for sub in collection.subscriptions if sub.fanout is self]
        if mine and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._close_all, mine)

    def finish(self, collection: "Collection") -> None:
        """From any thread: end every subscription of a collection on this loop, after what is on its way to it."""
        if collection.subscriptions and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._finish_all, collection)

    def _finish_all(self, collection: "Collection") -> None:
        for subscription in list(collection.subscriptions):
            if subscription.fanout is self:
                subscription.finish()

    def _close_all(self, subscriptions: Sequence[Subscription]) -> None:
        for subscription in subscriptions:
            subscription.close()

    def _dispatch(self) -> None:
        self._scheduled = False  # before draining: whoever appends from now on schedules again
        while self._queue:
            for collection, events in self._drained().items():
                shared: dict[str, Batch] = {}
                for subscription in list(collection.subscriptions):
                    if subscription.fanout is self:
                        subscription.offer(events, shared)

    def _drained(self) -> dict["Collection", list[Event]]:
        """What waits, as one batch per collection: a watcher is written to once however many commits came meanwhile."""
        waiting: dict[Collection, list[Event]] = {}
        while self._queue:
            collection, events = self._queue.popleft()
            waiting[collection] = waiting[collection] + events if collection in waiting else events
        return waiting
