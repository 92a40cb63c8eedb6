"""The storage seam: what a backend is, in ten methods, and the exceptions it raises.

Who calls it: the watch cache (`cache.Store`); `sqlite` and `etcd` implement it, `encryption` wraps it.
Invariant: revisions are one global, growing counter. A write gets a revision greater than every earlier one; a watch
delivers exactly the writes of the log, in revision order, each once. Nothing here knows what the bytes mean.
Stop of the data path: 4 (compare-and-swap in the store).
Upstream: etcd's KV and Watch API as apiserver/pkg/storage/etcd3 uses it; k3s-io/kine's Backend.
"""

import threading
from collections.abc import Iterator
from typing import NamedTuple, Protocol

MARK = "/registry/~mark"
"""The key of revisions that change no object (`Backend.mark`); watchers of the whole store see it, readers skip it."""


class KeyValue(NamedTuple):
    key: str
    value: bytes
    create_revision: int
    mod_revision: int


class Change(NamedTuple):
    """One entry of the log. `value` None means deleted; `previous` is what it replaced."""

    revision: int
    key: str
    value: bytes | None
    previous: KeyValue | None


class Listing(NamedTuple):
    """One page: items by key, the revision they are all from, how many more keys follow the page."""

    items: list[KeyValue]
    revision: int
    remaining: int


class KeyExists(Exception):
    """A create found the key taken."""


class RevisionMismatch(Exception):
    """The compare of a compare-and-swap failed; `current` is what is there instead (None = nothing)."""

    def __init__(self, key: str, current: KeyValue | None) -> None:
        super().__init__(f"{key} is at revision {current.mod_revision if current else 0}")
        self.current = current


class Compacted(Exception):
    """The revision asked for is no longer in the log; everything above `compact_revision` is."""

    def __init__(self, revision: int, compact_revision: int) -> None:
        super().__init__(f"revision {revision} was compacted; the oldest kept is {compact_revision}")
        self.compact_revision = compact_revision


class StoreUnavailable(Exception):
    """The store cannot be used right now; the message is one sentence for the person who has to fix it."""


class Watch:
    """A stream of change batches: a blocking iterator that a backend fills from any thread.

    A consumer that wants the changes on the backend's own thread (the watch cache does) overrides `push` and `fail`.
    """

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._batches: list[Change] = []
        self._error: Exception | None = None
        self.closed = False

    def push(self, changes: list[Change]) -> None:
        """Backend: hand over changes, in order, newer than all before."""
        with self._ready:
            self._batches.extend(changes)
            self._ready.notify_all()

    def fail(self, error: Exception) -> None:
        """Backend: the stream is broken; the consumer gets `error` after what was already pushed."""
        with self._ready:
            self._error = error
            self._ready.notify_all()

    def close(self) -> None:
        """Consumer: end the iteration, from any thread."""
        with self._ready:
            self.closed = True
            self._ready.notify_all()

    def __iter__(self) -> Iterator[list[Change]]:
        return self

    def __next__(self) -> list[Change]:
        """The next batch. Raises Compacted or StoreUnavailable when the stream broke."""
        with self._ready:
            while not self.closed:
                if self._batches:
                    batch, self._batches = self._batches, []
                    return batch
                if self._error is not None:
                    raise self._error
                self._ready.wait()
        raise StopIteration


class Backend(Protocol):
    """A store. Every method blocks, may be called from any thread, and may raise StoreUnavailable."""

    shared: bool
    """Other processes may write too, so that a reader must first ask how far the store has got."""

    def get(self, key: str, revision: int = 0) -> KeyValue | None:
        """The key now, or as it was at `revision` (raises Compacted)."""
        ...

    def list(self, prefix: str, *, revision: int = 0, start_after: str = "", limit: int = 0) -> Listing:
        """Keys under the prefix in order, all from one revision (0 = now); raises Compacted."""
        ...

    def create(self, key: str, value: bytes) -> int:
        """Out: the write's revision. Raises KeyExists."""
        ...

    def update(self, key: str, value: bytes, expected_revision: int) -> int:
        """Replace the version written at `expected_revision`; raises RevisionMismatch."""
        ...

    def delete(self, key: str, expected_revision: int) -> int:
        """Remove the version written at `expected_revision`; raises RevisionMismatch. A delete has a revision too."""
        ...

    def watch(self, prefix: str, after_revision: int, into: Watch | None = None) -> Watch:
        """Every change under the prefix with a revision above `after_revision`; raises Compacted."""
        ...

    def compact(self, revision: int) -> None:
        """Forget what was overwritten or deleted up to `revision`."""
        ...

    def current_revision(self) -> int:
        """The newest committed revision of the whole store, never stale."""
        ...

    def mark(self) -> int:
        """Commit a revision that changes no object, so that watchers of everything can see they are up to date."""
        ...

    def close(self) -> None: ...


def end_of(prefix: str) -> str:
    """The smallest string above every string with this prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else "\U0010ffff"
