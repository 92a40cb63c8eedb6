"""The watch cache: all objects in memory, fed by the backend's watch; what the registry reads from and writes through.

Who calls it: the registry (get, list, create, update, delete), `apiserver.watch` (subscribe), `apiserver.main` (start).
Invariant: the cache is the log replayed; a writer returns only once its write is committed and visible here, so that
everybody reads their own writes. With an embedded backend nothing else writes and memory is never stale; with a shared one
a reader first asks how far the store has got and waits until the cache is there.
Stop of the data path: 5 (encode once and fan out).
Upstream: staging/src/k8s.io/apiserver/pkg/storage/cacher, and etcd3/store.go for what a write may answer.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from itertools import groupby

from apiserver.storage.base import MARK, Backend, Change, Compacted, KeyValue, StoreUnavailable, Watch
from apiserver.storage.collection import Collection, Page
from apiserver.storage.compactor import Compactor
from apiserver.storage.readindex import ReadIndex
from apiserver.storage.stored import FieldsOf, Matcher, Stored, collection_of, encode, splice
from apiserver.storage.subscription import Event, Fanout, Subscription, WatchEvent
from minikube_py.api.clock import REAL, Clock
from minikube_py.api.types import Obj

log = logging.getLogger(__name__)

_Items = list[Stored]
_Changes = list[Change]
_Changed = list[tuple[Collection, list[Event]]]

_ROOT = "/registry/"
_REPLAY = 1000
"""Revisions before the newest from which a starting cache replays, so that watches of before a restart go on."""
_CATCH_UP_SECONDS = 10.0
_MARK_AFTER_SECONDS = 0.1
_RETRY_SECONDS = 1.0


class _Feed(Watch):
    """The backend's watch, received on the backend's own thread: no hop between commit and cache."""

    def __init__(self, store: "Store") -> None:
        super().__init__()
        self._store = store

    def push(self, changes: list[Change]) -> None:
        if not self.closed:
            self._store._apply(changes)

    def fail(self, error: Exception) -> None:
        super().fail(error)
        self._store._lost.set()


class Store:
    """See the module. `get`, `list` and `subscribe` of an unshared backend never wait for anything."""

    def __init__(self, backend: Backend, fields_of: FieldsOf, clock: Clock = REAL) -> None:
        self.backend = backend
        self.reads_block = backend.shared
        self._fields_of, self._clock = fields_of, clock
        self._collections: dict[str, Collection] = {}
        self._lock = threading.RLock()
        self._waiting: list[tuple[int, threading.Condition]] = []
        self._fanouts: list[Fanout] = []
        self._revision = 0
        self._floor = 0
        self._feed: _Feed | None = None
        self._lost = threading.Event()
        self._closed = False
        self._compactor = Compactor(backend, clock)
        self._hooks: dict[str, list[Callable[[], None]]] = {}
        self._read_index = ReadIndex(backend.current_revision)

    @property
    def revision(self) -> int:
        """The newest revision the cache shows."""
        return self._revision

    def changed(self, prefix: str) -> int:
        """The revision of the newest change in a collection; what was derived from it before is out of date."""
        collection = self._collections.get(prefix)
        return collection.changed if collection else 0

    def events_since(self, prefix: str, revision: int) -> list[Event]:
        """What happened in a collection after a revision. Raises Compacted when not all of it is known any more."""
        with self._lock:
            return self._collection(prefix).since(revision)

    def on_change(self, prefix: str, hook: Callable[[], None]) -> None:
        """Call `hook` after every change in a collection: at once, on the thread that brought it, so it must not wait."""
        self._hooks.setdefault(prefix, []).append(hook)

    def forget_history(self) -> None:
        """Keep nothing but the present: older revisions can be neither read nor watched from now on."""
        self._compactor.forget()

    def end_watches(self, prefix: str) -> None:
        """The kind of a collection is served otherwise now, or no more: its watchers get what was for them, and no more."""
        with self._lock:
            collection = self._collection(prefix)
            for fanout in self._fanouts:
                fanout.finish(collection)

    def forget_fields(self, prefix: str) -> None:
        """The selectable fields of a collection's kind have changed: look into every object anew."""
        with self._lock:
            for stored in self._collection(prefix).items:
                stored.forget()

    def sizes(self) -> dict[str, int]:
        """Objects per collection: "pods", "deployments.apps"."""
        with self._lock:
            return {p[len(_ROOT) : -1]: len(collection.by_key) for p, collection in self._collections.items()}

    def start(self) -> None:
        """Load everything, follow the backend, forget old revisions by and by. Raises StoreUnavailable."""
        self._load(_REPLAY)
        threading.Thread(target=self._keep_following, name="watch-cache", daemon=True).start()
        self._compactor.start()

    def close(self) -> None:
        """End every subscription and the backend."""
        with self._lock:
            self._closed = True
            self._end_subscriptions()
        self._compactor.stop()
        self._lost.set()
        if self._feed is not None:
            self._feed.close()
        self.backend.close()

    # -- reading ------------------------------------------------------------------------------------------------------

    def get(self, key: str, *, fresh: bool = True) -> Stored | None:
        """The newest version of an object; not `fresh`: of which other servers' last writes may still be missing."""
        if fresh:
            self.catch_up()
        collection = self._collections.get(collection_of(key))
        return collection.by_key.get(key) if collection else None

    def list(
        self, prefix: str, labels: Matcher | None = None, fields: Matcher | None = None, *,
        revision: int = 0, start_after: str = "", limit: int = 0, fresh: bool = True,
    ) -> Page:  # fmt: skip
        """Objects under a prefix (a collection, a namespace in it, or one whole key) that match both selectors.

        `revision` asks for exactly that state (a continued list); raises Compacted when it is gone.
        """
        if fresh:
            self.catch_up()
        if 0 < revision < self._compactor.compacted:  # an unchanged collection could answer, but a token has its time
            raise Compacted(revision, self._compactor.compacted)
        with self._lock:
            collection = self._collection(prefix)
            if not revision or collection.changed <= revision:
                items, behind = collection.page(prefix, start_after, limit, labels, fields)
                return self._page(items, revision or self._revision, behind, limit, labels, fields)
            if revision >= collection.floor:
                items, behind = collection.page_at(revision, prefix, start_after, limit, labels, fields)
                return self._page(items, revision, behind, limit, labels, fields)
        return self._list_past(prefix, labels, fields, revision, start_after, limit)

    def catch_up(self) -> None:
        """Wait until the cache shows everything committed so far, by anybody; returns at once for an unshared backend."""
        if self.reads_block:
            self._catch_up()

    def _catch_up(self) -> None:
        revision = self._read_index.read()
        if not self._reaches(revision, _MARK_AFTER_SECONDS):
            self._wait_for(self.backend.mark())  # the newest revision was perhaps not one of ours: make one that is

    def _list_past(
        self, prefix: str, labels: Matcher | None, fields: Matcher | None, revision: int, start_after: str, limit: int
    ) -> Page:
        """A state from before the recent events, from the backend's log, in as many reads as the selectors need."""
        found: _Items = []
        while True:
            listing = self.backend.list(prefix, revision=revision, start_after=start_after, limit=limit)
            for entry in listing.items:
                stored = self._stored(entry)
                if stored.matches(labels, fields):
                    found.append(stored)
                    if len(found) == limit:
                        behind = listing.remaining + (entry.key != listing.items[-1].key)
                        return self._page(found, revision, behind, limit, labels, fields)
            if not listing.remaining:
                return self._page(found, revision, 0, limit, labels, fields)
            start_after = listing.items[-1].key

    def _page(
        self, items: _Items, revision: int, behind: int, limit: int, labels: Matcher | None,
        fields: Matcher | None,
    ) -> Page:  # fmt: skip
        if not limit or not behind:
            return Page(items, revision, None, "")
        return Page(items, revision, behind if labels is None and fields is None else None, items[-1].key)

    # -- writing ------------------------------------------------------------------------------------------------------

    def create(self, key: str, obj: Obj) -> Stored:
        """Raises KeyExists, StoreUnavailable."""
        value = encode(obj)
        return self._written(key, self.backend.create(key, value), value)

    def update(self, key: str, obj: Obj, expected_revision: int) -> Stored:
        """Raises RevisionMismatch, StoreUnavailable."""
        value = encode(obj)
        return self._written(key, self.backend.update(key, value, expected_revision), value)

    def delete(self, key: str, expected_revision: int) -> Stored:
        """Out: the last state, under the resourceVersion of the deletion. Raises RevisionMismatch, StoreUnavailable."""
        collection = self._collections.get(collection_of(key))
        last = collection.by_key.get(key) if collection else None
        revision = self.backend.delete(key, expected_revision)
        self._wait_for(revision)
        if last is None or last.revision != expected_revision:
            entry = self.backend.get(key, expected_revision)
            assert entry is not None, "a delete succeeded against a version the log does not have"
            last = self._stored(entry)
        return last.at_revision(revision)

    def _written(self, key: str, revision: int, value: bytes) -> Stored:
        self._wait_for(revision)
        collection = self._collections.get(collection_of(key))
        stored = collection.by_key.get(key) if collection else None
        if stored is not None and stored.revision == revision:
            return stored
        return Stored(key, revision, splice(value, revision), self._fields_of)

    def _reaches(self, revision: int, timeout: float) -> bool:
        if self._revision >= revision:
            return True
        deadline = self._clock.monotonic() + timeout
        with self._lock:
            waiter = (revision, threading.Condition(self._lock))  # its own: each change would else wake every writer
            self._waiting.append(waiter)
            try:
                while self._revision < revision:
                    left = deadline - self._clock.monotonic()
                    if left <= 0 or not self._clock.wait_on(waiter[1], left):
                        break
            finally:
                self._waiting.remove(waiter)
            return self._revision >= revision

    def _wait_for(self, revision: int) -> None:
        if not self._reaches(revision, _CATCH_UP_SECONDS):
            raise StoreUnavailable(
                f"the store has revision {revision} but its watch has only delivered {self._revision}; "
                "check the store's health and its connection"
            )

    # -- watching -----------------------------------------------------------------------------------------------------

    def subscribe(
        self, prefix: str, after_revision: int | None, labels: Matcher | None = None, fields: Matcher | None = None
    ) -> Subscription:
        """Follow a prefix from a revision, or (None) from now with the present state in `Subscription.initial`.

        Must be called on a running event loop, which then serves the subscription. Raises Compacted.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the store is closed: the API server is stopping")
            collection = self._collection(prefix)
            subscription = Subscription(self._fanout(loop), collection, prefix, labels, fields)
            if after_revision is None:
                items, _ = collection.page(prefix, "", 0, labels, fields)
                subscription.initial = [WatchEvent("ADDED", stored) for stored in items]
            else:
                subscription.replay(collection.since(after_revision))
            subscription.revision = max(self._revision, after_revision or 0)
            collection.subscriptions.append(subscription)
        return subscription

    def _fanout(self, loop: asyncio.AbstractEventLoop) -> Fanout:
        self._fanouts = [fanout for fanout in self._fanouts if not fanout.loop.is_closed()]
        for fanout in self._fanouts:
            if fanout.loop is loop:
                return fanout
        fanout = Fanout(loop, self._revision)
        self._fanouts.append(fanout)
        return fanout

    def _end_subscriptions(self) -> None:
        for fanout in self._fanouts:
            fanout.end_all(list(self._collections.values()))

    # -- following the backend ----------------------------------------------------------------------------------------

    def _collection(self, prefix: str) -> Collection:
        name = collection_of(prefix)
        collection = self._collections.get(name)
        if collection is None:
            collection = self._collections[name] = Collection(name, self._floor)
        return collection

    def _stored(self, entry: KeyValue) -> Stored:
        return Stored(entry.key, entry.mod_revision, splice(entry.value, entry.mod_revision), self._fields_of)

    def _load(self, replay: int) -> None:
        """Take the state of `replay` revisions ago and replay from there, which fills the collections' recent events."""
        revision = max(1, self.backend.current_revision() - replay)
        try:
            listing = self.backend.list(_ROOT, revision=revision)
        except Compacted as compacted:
            listing = self.backend.list(_ROOT, revision=compacted.compact_revision)
        loaded: dict[str, Collection] = {}
        live = (entry for entry in listing.items if entry.key != MARK)
        for name, entries in groupby(live, key=lambda entry: collection_of(entry.key)):
            loaded[name] = Collection(name, listing.revision)
            loaded[name].load(self._stored(entry) for entry in entries)
        with self._lock:
            self._end_subscriptions()
            self._revision = self._floor = listing.revision
            self._collections = loaded
        for hooks in self._hooks.values():
            for hook in hooks:
                hook()
        self._follow()
        self._catch_up()

    def _follow(self) -> None:
        self._lost.clear()
        if self._feed is not None:
            self._feed.close()
        self._feed = _Feed(self)
        self.backend.watch(_ROOT, self._revision, self._feed)

    def _keep_following(self) -> None:
        """When the watch breaks: go on from the last revision, or load anew when that was compacted."""
        while True:
            self._lost.wait()
            if self._closed:
                return
            try:
                with contextlib.suppress(Compacted):
                    self._follow()
                    continue
                self._load(0)
            except (StoreUnavailable, Compacted) as error:
                log.warning("the store cannot be followed, trying again: %s", error)
                self._retry_later()
            except Exception:
                log.exception("the store cannot be followed, trying again")
                self._retry_later()

    def _retry_later(self) -> None:
        self._lost.set()
        if not self._closed:
            self._clock.sleep(_RETRY_SECONDS)

    def _apply(self, changes: _Changes) -> None:
        """Show a batch of committed changes to readers and watchers, then wake the writers that wait for it."""
        now = self._clock.monotonic()
        with self._lock:
            changed: _Changed = []
            for collection, group in self._by_collection(changes):
                events = (self._apply_one(collection, change, now) for change in group)
                changed.append((collection, [event for event in events if event is not None]))
            self._publish(changed, changes[-1].revision)
            self._revision = max(self._revision, changes[-1].revision)
            for revision, reached in self._waiting:
                if revision <= self._revision:
                    reached.notify()
        for collection, _ in changed if self._hooks else ():
            for hook in self._hooks.get(collection.prefix, ()):
                hook()

    def _by_collection(self, changes: _Changes) -> Iterator[tuple[Collection, _Changes]]:
        fresh = (change for change in changes if change.revision > self._revision and change.key != MARK)
        for name, group in groupby(fresh, key=lambda change: collection_of(change.key)):
            yield self._collection(name), list(group)

    def _apply_one(self, collection: Collection, change: Change, now: float) -> Event | None:
        stored = None
        if change.value is not None:
            raw = splice(change.value, change.revision)
            stored = Stored(change.key, change.revision, raw, self._fields_of)
        return collection.apply(change.key, change.revision, stored, now)

    def _publish(self, changed: _Changed, revision: int) -> None:
        for fanout in self._fanouts:
            try:
                fanout.publish(changed, revision)
            except RuntimeError:  # its event loop was closed; `_fanout` forgets it
                log.debug("an event loop with watchers is gone")
