"""The scheduling queue: which pending pod is tried next, and when one that failed is tried again.

Who calls it: informer handlers put pods in and report what happened in the cluster; the scheduling loop takes them out.
Invariants: a pod is in one place only (active, backing off, parked, gated, or out being tried); it is taken out by one caller
at a time; a pod that fits nowhere stays parked until an event that one of the plugins that refused it cares about, or five
minutes, and never returns faster than its back-off (1 s doubling to 10 s) allows. An empty or parked queue wakes nobody.
Upstream: pkg/scheduler/backend/queue/scheduling_queue.go.
"""

import heapq
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from controllers.scheduler.podinfo import PodInfo
from minikube_py.api.clock import Clock

PARKED_AT_MOST = 300.0
ACTIVE, BACKING_OFF, PARKED, GATED, OUT = "Active", "BackingOff", "Parked", "Gated", "Out"


@dataclass(slots=True, eq=False)
class Queued:
    """One pending pod. `since` is when it entered its present place, `attempts` how often it has been tried."""

    pod: PodInfo
    state: str = ""
    since: float = 0.0
    attempts: int = 0
    tried: float = float("-inf")
    refused_by: frozenset[str] = frozenset()
    ticket: int = 0  # of its entry in a heap; entries with an older one are void


Order = Callable[[PodInfo, float], tuple[Any, ...]]


class SchedulingQueue:
    """In: `gate` names a reason to keep a pod out; `interests` says which events each plugin may change its mind on.

    `order` is the sort key of a pod that waits since a moment; `backoff` the first and the longest rest, in seconds.
    """

    def __init__(
        self, clock: Clock, gate: Callable[[PodInfo], str | None], interests: Mapping[str, frozenset[str]],
        order: Order, backoff: tuple[float, float] = (1.0, 10.0),
    ) -> None:  # fmt: skip
        self._clock, self._gate, self._interests = clock, gate, interests
        self._order, self._backoff = order, backoff
        self._condition = threading.Condition()
        self._pods: dict[str, Queued] = {}
        self._active: list[tuple[tuple[Any, ...], int, Queued]] = []
        self._resting: list[tuple[float, int, Queued]] = []
        self._tickets = itertools.count(1)
        self._parked: dict[str, Queued] = {}  # in the order they were parked
        self._closed = False

    def __len__(self) -> int:
        return len(self._pods)

    def counts(self) -> dict[str, int]:
        """How many pods are where; under upstream's names."""
        with self._condition:
            found = Counter(queued.state for queued in self._pods.values())
        return {
            "active": found[ACTIVE],
            "backoff": found[BACKING_OFF],
            "unschedulable": found[PARKED],
            "gated": found[GATED],
        }

    def state(self, key: str) -> str:
        """Where a pod is, "" when it is not here."""
        queued = self._pods.get(key)
        return queued.state if queued else ""

    def rest(self, queued: Queued) -> float:
        """Seconds it has to rest after its latest attempt: the first, doubled each time, up to the longest."""
        first, longest = self._backoff
        return min(longest, first * 2.0 ** min(queued.attempts - 1, 10)) if queued.attempts else 0.0

    def has_out(self, queued: Queued) -> bool:
        """Whether this entry is still the one that was taken out: not deleted, bound or made anew meanwhile."""
        return queued.state == OUT and self._pods.get(queued.pod.key) is queued

    # -- in -----------------------------------------------------------------------------------------------------------

    def add(self, pod: PodInfo) -> None:
        """A pending pod appeared or changed in a way that may matter: try it as soon as it is its turn."""
        with self._condition:
            queued = self._pods.get(pod.key)
            if queued is None or queued.pod.uid != pod.uid:
                self._parked.pop(pod.key, None)
                queued = self._pods[pod.key] = Queued(pod)
            queued.pod = pod
            if queued.state == OUT:
                return  # whoever has it out re-reads the pod before it puts it back
            if self._gate(pod) is not None:
                self._enter(queued, GATED)
            elif queued.state != BACKING_OFF:
                self._wake(queued)

    def refresh(self, pod: PodInfo) -> None:
        """A change that cannot matter (its status): only keep the newest version."""
        with self._condition:
            queued = self._pods.get(pod.key)
            if queued is not None and queued.pod.uid == pod.uid:
                queued.pod = pod

    def delete(self, key: str) -> None:
        """The pod is gone or bound."""
        with self._condition:
            queued = self._pods.pop(key, None)
            if queued is not None:
                queued.state, queued.ticket = "", 0
            self._parked.pop(key, None)

    def park(self, queued: Queued, refused_by: frozenset[str]) -> None:
        """It fits nowhere: wait for something that one of these plugins cares about."""
        with self._condition:
            if self._pods.get(queued.pod.key) is queued:
                queued.refused_by = refused_by
                self._enter(queued, PARKED)
                self._condition.notify()

    def retry(self, queued: Queued) -> None:
        """Its attempt failed for a reason that may pass by itself: try again after its back-off."""
        with self._condition:
            if self._pods.get(queued.pod.key) is queued:
                self._wake(queued)

    def happened(self, event: str) -> None:
        """Something changed in the cluster: wake the parked pods it may help."""
        with self._condition:
            for queued in list(self._parked.values()):
                if not queued.refused_by or any(event in self._interests.get(name, ()) for name in queued.refused_by):
                    self._wake(queued)

    def close(self) -> None:
        """End every `pop`."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    # -- out ----------------------------------------------------------------------------------------------------------

    def pop(self) -> Queued | None:
        """Wait for the next pod in the profile's order. None once the queue is closed."""
        with self._condition:
            while not self._closed:
                now = self._clock.monotonic()
                self._release(now)
                while self._active:
                    _, ticket, queued = heapq.heappop(self._active)
                    if queued.ticket == ticket and queued.state == ACTIVE:
                        queued.state, queued.attempts = OUT, queued.attempts + 1
                        queued.tried = now
                        return queued
                self._clock.wait_on(self._condition, self._next_wake(now))
            return None

    # -- within -------------------------------------------------------------------------------------------------------

    def _enter(self, queued: Queued, state: str) -> None:
        queued.state, queued.since, queued.ticket = state, self._clock.monotonic(), next(self._tickets)
        self._parked.pop(queued.pod.key, None)
        if state == PARKED:
            self._parked[queued.pod.key] = queued

    def _wake(self, queued: Queued) -> None:
        """To the active queue, or to rest first when its latest attempt was too short a time ago."""
        ready = queued.tried + self.rest(queued)
        if ready > self._clock.monotonic():
            self._enter(queued, BACKING_OFF)
            heapq.heappush(self._resting, (ready, queued.ticket, queued))
        else:
            self._enter(queued, ACTIVE)
            heapq.heappush(self._active, (self._order(queued.pod, queued.since), queued.ticket, queued))
        self._condition.notify()

    def _release(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            _, ticket, queued = heapq.heappop(self._resting)
            if queued.ticket == ticket and queued.state == BACKING_OFF:
                self._wake(queued)
        while self._parked and (oldest := next(iter(self._parked.values()))).since + PARKED_AT_MOST <= now:
            self._wake(oldest)

    def _next_wake(self, now: float) -> float | None:
        """Seconds until something here becomes due by itself; None = only a change can."""
        due = [self._resting[0][0]] if self._resting else []
        due += [queued.since + PARKED_AT_MOST for queued in itertools.islice(self._parked.values(), 1)]
        return max(0.0, min(due) - now) if due else None
