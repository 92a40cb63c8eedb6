"""A background thread of the API server: a step, done again when something changed or after the time it asked for.

Who calls it: the custom resource and aggregation controllers. Invariant: whatever a step raises is logged and it is tried
again; waking never waits; several changes during one step cause one further step.
"""

import logging
import threading
from collections.abc import Callable

from minikube_py.api.clock import Clock

log = logging.getLogger(__name__)
_FAILED_SECONDS = 10.0


class Background:
    """`step` answers how many seconds may pass until the next one."""

    def __init__(self, name: str, clock: Clock, step: Callable[[], float]) -> None:
        self._name, self._clock, self._step = name, clock, step
        self._event = threading.Event()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin, with a first step at once."""
        self._event.set()
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def wake(self) -> None:
        self._event.set()

    def stop(self) -> None:
        self._stopped.set()
        self._event.set()

    def _run(self) -> None:
        seconds = _FAILED_SECONDS
        while True:
            self._clock.wait(self._event, seconds)
            self._event.clear()
            if self._stopped.is_set():
                return
            try:
                seconds = self._step()
            except Exception:  # whatever one object does to us, the others are still looked after
                log.exception("%s failed, and is tried again", self._name)
                seconds = _FAILED_SECONDS
