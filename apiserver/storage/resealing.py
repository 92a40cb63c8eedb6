"""Secrets under an old key, or from before there was one, are sealed anew with the first key of the key file.

Who calls it: `main.run` starts one, in a thread, when there is a key file. Invariants: only the bytes change, each by
compare-and-swap, so nothing written meanwhile is lost; when `left` is 0, neither a current object nor the store's history
holds anything that another key than the first is needed for, so the others may be dropped. Killed at any point, the next
process goes on.
Upstream: what "Rotating a decryption key" asks for; there every Secret is replaced by hand, with kubectl.
"""

import logging
import threading
from collections.abc import Callable

from apiserver.storage.base import RevisionMismatch, StoreUnavailable
from apiserver.storage.cache import Store
from apiserver.storage.encryption import EncryptedBackend
from minikube_py.api.clock import Clock

log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0


class Resealing:
    """`told(left)` hears how many objects are still to be done, 0 once at the very end."""

    def __init__(self, store: Store, clock: Clock, told: Callable[[int], None]) -> None:
        self._store, self._clock, self._told = store, clock, told
        self._stop = threading.Event()
        self._resealed = False

    def start(self) -> None:
        if isinstance(self._store.backend, EncryptedBackend):
            threading.Thread(target=self._run, args=(self._store.backend,), name="resealing", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self, backend: EncryptedBackend) -> None:
        while not self._stop.is_set():
            try:
                if self.step(backend):
                    return
            except StoreUnavailable as error:
                log.warning("Secrets are not sealed with the newest key yet: %s", error)
            self._clock.wait(self._stop, _RETRY_SECONDS)

    def step(self, backend: EncryptedBackend) -> bool:
        """Once over everything. Out: True when nothing is left to do."""
        stale = backend.stale()
        for done, item in enumerate(stale):
            if self._stop.is_set():
                return False
            self._told(len(stale) - done)
            try:
                backend.update(item.key, backend.open_value(item.key, item.value), item.mod_revision)
            except RevisionMismatch:
                continue  # somebody wrote it just now; if that was a server with older keys, the next look finds it
        if stale:
            self._resealed = True
            log.info("sealed %d Secrets with the newest key", len(stale))
            return False
        if backend.rotates or self._resealed:
            self._store.forget_history()
        self._told(0)
        return True
