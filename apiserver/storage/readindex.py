"""How far a shared store has got, asked once for all readers that want to know at the same time.

Who calls it: the watch cache, before a read that must not be stale.
Invariant: the answer a reader gets was asked for after the reader came, so that it covers every write that was acknowledged
to anybody before. While one question is under way, later readers wait for the next one, which they then share.
Upstream: etcd's own ReadIndex batches the same way (etcdserver/v3_server.go, linearizableReadLoop).
"""

import threading
from collections.abc import Callable


class ReadIndex:
    """In: `ask` returns the store's newest revision; it may raise, and each reader then asks for itself."""

    def __init__(self, ask: Callable[[], int]) -> None:
        self._ask = ask
        self._changed = threading.Condition()
        self._asked = 0
        self._answered = 0
        self._revision = 0

    def read(self) -> int:
        """A revision that is at least every one committed before this call. Blocks; raises what `ask` raises."""
        with self._changed:
            mine = self._asked + 1
            while self._answered < mine and self._asked > self._answered:
                self._changed.wait()
            if self._answered >= mine:
                return self._revision
            self._asked += 1
        try:
            revision = self._ask()
        except BaseException:
            with self._changed:
                self._asked -= 1
                self._changed.notify_all()
            raise
        with self._changed:
            self._answered, self._revision = self._asked, max(self._revision, revision)
            self._changed.notify_all()
            return revision
