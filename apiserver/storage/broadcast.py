"""Hands committed changes to watchers, each change once and in order, also to one that starts in the past.

Who calls it: the SQLite backend's writer thread publishes; its `watch` subscribes.
Invariant: subscribe first, read history second, drop by revision what is in both. A watcher that fails is cut off; it
never stops the writer.
Upstream: the order of these steps is k3s-io/kine's (pkg/logstructured/sqllog).
"""

import logging
import threading

from apiserver.storage.base import Change, Watch

log = logging.getLogger(__name__)


class Tail:
    """One watcher: holds changes back until its history was read, then passes on what the history did not have."""

    def __init__(self, prefix: str, after_revision: int, into: Watch) -> None:
        self.into = into
        self._prefix, self._after = prefix, after_revision
        self._held: list[Change] | None = []
        self._lock = threading.Lock()

    def offer(self, changes: list[Change]) -> None:
        mine = [change for change in changes if change.key.startswith(self._prefix)]
        with self._lock:
            if self._held is not None:
                self._held.extend(mine)
            elif mine:
                self.into.push(mine)

    def start(self, history: list[Change]) -> None:
        """The history was read: from here on changes are live."""
        with self._lock:
            held, self._held = self._held or [], None
            seen = history[-1].revision if history else self._after
            fresh = history + [change for change in held if change.revision > seen]
            if fresh:
                self.into.push(fresh)


class Broadcast:
    """All watchers of one backend."""

    def __init__(self) -> None:
        self._tails: list[Tail] = []
        self._lock = threading.Lock()

    def subscribe(self, prefix: str, after_revision: int, into: Watch) -> Tail:
        """The caller reads the history next and passes it to `Tail.start`."""
        tail = Tail(prefix, after_revision, into)
        with self._lock:
            self._tails.append(tail)
        return tail

    def publish(self, changes: list[Change]) -> None:
        """In: committed changes in revision order. Runs the watchers' `push` on this thread."""
        with self._lock:
            self._tails = tails = [tail for tail in self._tails if not tail.into.closed]
        for tail in tails:
            try:
                tail.offer(changes)
            except Exception as error:
                log.exception("a watcher failed and is cut off")
                tail.into.fail(error)
                tail.into.close()

    def close(self) -> None:
        with self._lock:
            for tail in self._tails:
                tail.into.close()
            self._tails = []
