"""The reconcile loop: informers say which keys changed, workers call `reconcile(key)`, its outcome decides what is next.

Who calls it: every controller, the scheduler's side loops, the kubelet; users' own controllers (examples/own_controller.py).
Invariants: a reconciler receives a key and never an event; the same key is never reconciled twice at a time; an outcome is
one of four (raised: again after a growing back-off; number: again after that many seconds; None: done; shut down: stop).
Stop of the data path: 6. Upstream: sigs.k8s.io/controller-runtime pkg/internal/controller/controller.go.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from minikube_py.api import errors
from minikube_py.api.clock import REAL, Clock
from minikube_py.api.meta import is_terminating, key_of
from minikube_py.api.types import Obj
from minikube_py.client.cause import because
from minikube_py.client.informer import Informer
from minikube_py.client.workqueue import WorkQueue

log = logging.getLogger(__name__)


def in_terminating_namespace(error: Exception) -> bool:
    """Whether a create was refused because its namespace is being deleted: soon nothing needs to be made there."""
    causes = error.details.get("causes") or [] if isinstance(error, errors.APIError) else []
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


class Reconciler(Protocol):
    """What a controller is: it makes the world agree with the object called `key`, reading everything anew."""

    name: str

    def reconcile(self, key: str) -> float | None:
        """Out: seconds until this key shall be looked at again, None for "when it changes". Raise to retry with back-off."""
        ...


Keys = Callable[[Obj], Iterable[str]]
When = Callable[[Obj | None, Obj | None], bool]


def own_key(obj: Obj) -> Iterable[str]:
    """The key of the object itself: what `Controller.watch` uses for the kind a controller is about."""
    return (key_of(obj),)


def spec_changed(old: Obj | None, new: Obj | None) -> bool:
    """For `Controller.watch(when=…)`: it came, it goes, or its spec changed; what is written into its status is no news."""
    if old is None or new is None or is_terminating(old) != is_terminating(new):
        return True
    return bool(old.get("spec") != new.get("spec"))


class Controller:
    """Runs one reconciler. `watch` the informers it depends on, then `start`; it begins once they have all synced."""

    def __init__(self, reconciler: Reconciler, *, workers: int = 1, clock: Clock = REAL) -> None:
        self.reconciler = reconciler
        self.queue = WorkQueue(clock)
        self._clock, self._workers = clock, workers
        self.informers: list[Informer] = []
        self._primary: Informer | None = None
        self._threads: list[threading.Thread] = []

    def watch(self, informer: Informer, keys: Keys = own_key, *, when: When | None = None) -> "Controller":
        """Reconcile `keys(object)` whenever an object of the informer appears, changes (old and new keys) or goes.

        In: `when(old, new)`, if given, says whether a change is of interest (old None: it came; new None: it went).
        """
        if keys is own_key and self._primary is None:
            self._primary = informer
        self.informers.append(informer)

        def enqueue(old: Obj | None, new: Obj | None) -> None:
            if when is not None and not when(old, new):
                return
            wanted = dict.fromkeys(key for obj in (old, new) if obj is not None for key in keys(obj))
            for key in wanted:
                self.queue.add(key)

        informer.add_handler(enqueue)
        return self

    def needs(self, informer: Informer) -> "Controller":
        """Begin only when this informer has synced, too: the reconciler reads it, but its changes wake nobody.

        Whatever a reconciler reads is watched or needed. It would else decide from an empty cache in the first moments
        of a process, and a decision to wait for somebody would never be looked at again.
        """
        self.informers.append(informer)
        return self

    def start(self) -> None:
        """Start the workers (daemon threads)."""
        for number in range(self._workers):
            thread = threading.Thread(target=self._work, name=f"{self.reconciler.name}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """Hand out no more keys and wait for the reconciles in progress, at most `timeout` real seconds in all."""
        self.queue.shutdown()
        deadline = REAL.monotonic() + timeout
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - REAL.monotonic()))

    def _work(self) -> None:
        for informer in self.informers:
            while not informer.wait_synced(1.0):
                if self.queue.shut_down:
                    return
        while (key := self.queue.get()) is not None:
            try:
                self._handle(key)
            finally:
                self.queue.done(key)

    def _handle(self, key: str) -> None:
        try:
            with because(self._cause(key)):
                again = self.reconciler.reconcile(key)
        except Exception as error:
            self._log_failure(key, error)
            self.queue.add_rate_limited(key)
            return
        self.queue.forget(key)
        if again is not None:
            self.queue.add_after(key, again)

    def _cause(self, key: str) -> str:
        kind, revision = "", ""
        if self._primary is not None:
            kind = f" {self._primary.res.kind}"
            found = self._primary.get_key(key)
            revision = f"@{found['metadata'].get('resourceVersion', '')}" if found else ""
        return f"{self.reconciler.name}{kind} {key}{revision}"

    def _log_failure(self, key: str, error: Exception) -> None:
        name = self.reconciler.name
        if isinstance(error, errors.Conflict | errors.AlreadyExists):
            log.debug("%s %s: somebody else wrote first, again: %s", name, key, error)
        elif isinstance(error, errors.ServiceUnavailable) or in_terminating_namespace(error):
            log.debug("%s %s: %s", name, key, error)
        elif isinstance(error, errors.APIError):
            log.warning("%s %s: %s", name, key, error)
        else:
            log.exception("%s %s failed", name, key)
