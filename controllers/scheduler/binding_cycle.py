"""From a decision to a bound pod: permit, pre-bind, bind; and back to the queue when one of them says no.

Who calls it: main.py hands every decision over; the steps run on the writer threads. Invariants: while a plugin says WAIT the
pod keeps its place in the snapshot and no thread waits with it; a pod that went away meanwhile is given back.
Upstream: pkg/scheduler/schedule_one.go (bindingCycle).
"""

import threading
from collections.abc import Callable
from typing import NamedTuple

from controllers.scheduler.binding import Outcome, bind
from controllers.scheduler.cycle import Placement
from controllers.scheduler.framework import WAIT, Profile, Readiness
from controllers.scheduler.podinfo import PodInfo
from controllers.scheduler.queue import Queued
from controllers.scheduler.reporting import Reporter
from controllers.scheduler.waiting import Waiting
from controllers.scheduler.writers import Writers
from minikube_py.api import errors, meta
from minikube_py.api.clock import Clock
from minikube_py.api.types import Obj
from minikube_py.client.cause import because
from minikube_py.client.rest import Client


class Decision(NamedTuple):
    """A pod (as it was judged) and where it shall go. Reserved and assumed already."""

    queued: Queued
    pod: PodInfo
    placement: Placement
    profile: Profile
    reporter: Reporter


class BindingCycle:
    """In: `current` reads a pod's newest version (None = gone); `give_back` takes a decision back, with what the API said."""

    def __init__(
        self, client: Client, clock: Clock, stopped: threading.Event, writers: Writers, lock: threading.RLock,
        current: Callable[[PodInfo], Obj | None], give_back: Callable[[Decision, Outcome], None],
    ) -> None:  # fmt: skip
        self._client, self._clock, self._stopped, self._writers, self._lock = client, clock, stopped, writers, lock
        self._current, self._give_back = current, give_back
        self._waiting = Waiting(clock, writers.submit, stopped)

    def begin(self, decision: Decision) -> None:
        """See it through, on a writer thread."""
        self._writers.submit(decision.pod.key, lambda: self._go_on(decision))

    def look_again(self) -> None:
        """Something changed that a waiting pod may have waited for."""
        self._waiting.look_again()

    def _go_on(self, decision: Decision, *, again: bool = False) -> None:
        pod, profile = decision.pod, decision.profile
        if again and not self._waiting.holds(pod.key):
            return
        with because(cause(pod)):
            ready = self._ready(decision)
            if ready is WAIT:
                return
            if ready is None:
                outcome = bind(profile, self._client, pod, decision.placement.node, self._clock, self._stopped)
            else:
                outcome = Outcome(False, self._current(pod), str(ready))
            if outcome.bound:
                decision.reporter.scheduled(pod, decision.placement.node)
            elif not self._stopped.is_set():
                self._give_back(decision, outcome)

    def _ready(self, decision: Decision) -> Readiness:
        """What permit and pre-bind say; WAIT: `_go_on` runs again when something changed, or a second later."""
        pod, profile, cycle = decision.pod, decision.profile, decision.placement.cycle
        permitting = profile.at("permit")
        if not permitting and all(entry.plugin.name in cycle.skipped for entry in profile.at("pre_bind")):
            return None
        self._waiting.put(pod.key, lambda: self._go_on(decision, again=True))  # first: no change may be missed
        held = self._current(pod)
        if held is None or meta.uid_of(held) != pod.uid or meta.is_terminating(held):
            result: Readiness = "the pod is gone"
        else:
            try:
                with self._lock:
                    result = profile.permit(cycle, decision.placement.node)
                if result is None:
                    result = profile.pre_bind(cycle, decision.placement.node)
            except (errors.Conflict, errors.ServiceUnavailable):
                result = WAIT  # looked at anew in a moment
            except errors.APIError as error:
                result = str(error)
        if result is WAIT and self._waiting.overdue(pod.key):
            result = "what it waited for was not ready in time"
        if result is not WAIT:
            self._waiting.drop(pod.key)
            if permitting:  # its going on may be what others of its kind wait for
                self.look_again()
        return result


def cause(pod: PodInfo) -> str:
    """What writes about this pod name as their cause."""
    return f"scheduler Pod {pod.key}@{pod.pod['metadata'].get('resourceVersion', '')}"
