"""The scheduler: wires queue, snapshot, profile and writers together and runs the scheduling loop.

Who calls it: controllers/main.py, through `start`, once this instance leads. Stop of the data path: 8.
Invariants: decisions are made one at a time, under one lock, on a snapshot that already counts every decision made before
(`assume`), so no node is given more than it has. An assumption is taken back only after the API said that the pod is not
bound. All state is rebuilt from the API at start: killed anywhere, a new scheduler neither repeats nor loses a binding.
Upstream: pkg/scheduler/{scheduler,schedule_one}.go.
"""

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from controllers.scheduler.binding import Outcome
from controllers.scheduler.binding_cycle import BindingCycle, Decision, cause
from controllers.scheduler.config import Configuration, ProfileConfig
from controllers.scheduler.cycle import Placement, Search
from controllers.scheduler.diagnosis import EXPLAINED_NODES, Attempt, Attempts, NoFit
from controllers.scheduler.framework import (
    CSI,
    DEVICE_CLASS,
    POD_DELETE,
    RESOURCE_CLAIM,
    RESOURCE_SLICE,
    STORAGE_CLASS,
    VOLUME,
    VOLUME_CLAIM,
    Cycle,
    Handle,
    PostFilter,
    Profile,
)
from controllers.scheduler.handlers import Handlers, scheduler_name
from controllers.scheduler.metrics import SCHEDULED, UNSCHEDULABLE, Metrics
from controllers.scheduler.podinfo import PodInfo
from controllers.scheduler.profile import build
from controllers.scheduler.queue import Queued, SchedulingQueue
from controllers.scheduler.reporting import Reporter
from controllers.scheduler.snapshot import Snapshot
from controllers.scheduler.writers import Writers
from minikube_py.api import errors, meta
from minikube_py.api.clock import Clock, rfc3339
from minikube_py.api.gvr import (
    CSIDRIVERS,
    CSINODES,
    CSISTORAGECAPACITIES,
    DEVICECLASSES,
    GVR,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    RESOURCECLAIMS,
    RESOURCESLICES,
    SERVICES,
    STATEFULSETS,
    STORAGECLASSES,
)  # fmt: skip
from minikube_py.api.types import Obj
from minikube_py.client.cause import because
from minikube_py.client.events import EventRecorder
from minikube_py.client.informer import Handler, SharedInformers
from minikube_py.client.rest import Client

log = logging.getLogger(__name__)

_READ = (SERVICES, REPLICASETS, REPLICATIONCONTROLLERS, STATEFULSETS, PODDISRUPTIONBUDGETS)
_TOLD = {
    PERSISTENTVOLUMECLAIMS: VOLUME_CLAIM, PERSISTENTVOLUMES: VOLUME, STORAGECLASSES: STORAGE_CLASS, CSINODES: CSI,
    CSIDRIVERS: CSI, CSISTORAGECAPACITIES: CSI, RESOURCECLAIMS: RESOURCE_CLAIM, RESOURCESLICES: RESOURCE_SLICE,
    DEVICECLASSES: DEVICE_CLASS,
}  # fmt: skip


@dataclass(frozen=True)
class SchedulerOptions:
    """`configuration`: the profiles; `writers`: threads that talk to the API; `seed`: for ties."""

    configuration: Configuration = field(default_factory=Configuration)
    host: str = ""
    writers: int = 8
    seed: int | None = None


class Serving(NamedTuple):
    """One profile at work."""

    profile: Profile
    search: Search
    reporter: Reporter


class Scheduler:
    """A running scheduler; made by `start`."""

    def __init__(self, client: Client, informers: SharedInformers, clock: Clock, options: SchedulerOptions) -> None:
        self._client, self._informers, self._clock = client, informers, clock
        self.lock = threading.RLock()
        self.snapshot, self.attempts, self.metrics = Snapshot(), Attempts(), Metrics()
        self._writers, self._stopped = Writers(options.writers), threading.Event()
        self._recorders: list[EventRecorder] = []
        self._shared: dict[str, Any] = {}
        self._serving = {p.scheduler_name: self._serve(p, options) for p in options.configuration.profiles}
        profiles = [serving.profile for serving in self._serving.values()]
        interests = {name: events for profile in profiles for name, events in profile.interests.items()}
        backoff = options.configuration.initial_backoff, options.configuration.max_backoff
        self.queue = SchedulingQueue(clock, self._gate, interests, profiles[0].queue_sort, backoff)
        self._handlers = Handlers(self.snapshot, self.queue, self.attempts, frozenset(self._serving))
        self._binding = BindingCycle(
            client, clock, self._stopped, self._writers, self.lock, self._current, self._give_back
        )
        self._preempting: set[str] = set()  # pods (uid) whose victims are being deleted right now
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

    def _serve(self, wanted: ProfileConfig, options: SchedulerOptions) -> Serving:
        handle = Handle(self._client, self._list, self._namespace_labels, self._shared)
        profile = build(wanted.scheduler_name, wanted.points, wanted.args, handle)
        self._recorders.append(EventRecorder(self._client, profile.name, self._clock, options.host))
        reporter = Reporter(self._client, self._recorders[-1], self._clock, profile.name)
        return Serving(profile, Search(profile, random.Random(options.seed), wanted.percentage_of_nodes), reporter)

    def _of(self, pod: PodInfo) -> Serving:
        return self._serving[scheduler_name(pod.pod)]

    def _gate(self, pod: PodInfo) -> str | None:
        return self._of(pod).profile.pre_enqueue(pod)

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Subscribe to the informers and begin as soon as nodes and pods are known."""
        for resource in _READ:
            self._informers.of(resource)
        for resource, handler in (
            (NAMESPACES, self._handlers.namespace), (NODES, self._handlers.node), (PODS, self._handlers.pod),
        ):  # fmt: skip
            self._informers.of(resource).add_handler(self._locked(handler))
        for resource, event in _TOLD.items():
            self._informers.of(resource).add_handler(partial(self._told, event))
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Decide nothing more; let writes under way finish."""
        self._stopped.set()
        self.queue.close()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._writers.stop(timeout)
        for recorder in self._recorders:
            recorder.stop()

    def explain(self, namespace: str, name: str) -> Obj | None:
        """What was decided about each node at the pod's latest attempt; None when there was none."""
        with self.lock:
            return self.attempts.explain(namespace, name)

    def _locked(self, handler: Handler) -> Handler:
        def told(old: Obj | None, new: Obj | None) -> None:
            with self.lock:
                if not self._stopped.is_set():
                    handler(old, new)

        return told

    def _told(self, event: str, old: Obj | None, new: Obj | None) -> None:
        """Something that pods wait for changed: those that fit nowhere, and those whose volumes are being made."""
        with self.lock:
            self.queue.happened(event)
        self._binding.look_again()

    def _list(self, resource: GVR, namespace: str = "", name: str = "") -> Sequence[Obj]:
        informer = self._informers.of(resource)
        if not name:
            return informer.list(namespace)
        found = informer.get(namespace, name)
        return [] if found is None else [found]

    def _namespace_labels(self, name: str) -> Mapping[str, str]:
        found = self._informers.of(NAMESPACES).get("", name)
        return meta.labels_of(found) if found else {}

    def _current(self, pod: PodInfo) -> Obj | None:
        return self._informers.of(PODS).get(pod.namespace, meta.name_of(pod.pod))

    # -- the loop -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._informers.wait_synced(1.0):
            if self._stopped.is_set():
                return
        while (queued := self.queue.pop()) is not None:
            try:
                self.schedule_one(queued)
            except Exception:
                log.exception("scheduling %s failed", queued.pod.key)
                self.queue.retry(queued)

    def schedule_one(self, queued: Queued) -> None:
        """One attempt for one pod taken out of the queue: decide, assume, and hand the writing on."""
        with self.lock:
            if self._stopped.is_set() or not self.queue.has_out(queued):
                return
            pod, (profile, search, reporter) = queued.pod, self._of(queued.pod)
            began = self._clock.monotonic()
            try:
                placement = search.place(self.snapshot, pod)
            except NoFit as failure:
                self._unschedulable(queued, failure)
                self.metrics.attempt(profile.name, UNSCHEDULABLE, self._clock.monotonic() - began)
                return
            self._record(queued, placement)
            self.metrics.attempt(profile.name, SCHEDULED, self._clock.monotonic() - began)
            refusal = profile.reserve(placement.cycle, placement.node)
            if refusal is not None:
                self.queue.retry(queued)
                self._writers.submit(pod.key, lambda: reporter.failed(pod, "SchedulerError", refusal, None))
                return
            self.snapshot.assume(pod, placement.node)
        self._binding.begin(Decision(queued, pod, placement, profile, reporter))

    def _give_back(self, decision: Decision, outcome: Outcome) -> None:
        """The pod was not bound: its place is free again, and the pod, if it is still there, is tried again."""
        pod, placement = decision.pod, decision.placement
        with self.lock:
            decision.profile.unreserve(placement.cycle, placement.node)
            if self.snapshot.forget(pod.key, pod.uid):
                self.queue.happened(POD_DELETE)
            if outcome.pod is None or meta.uid_of(outcome.pod) != pod.uid:
                return  # it is gone, and the informer says so too, or will
            if not outcome.pod["spec"].get("nodeName"):
                self.queue.retry(decision.queued)
            elif self._current(pod) is not None:
                self._handlers.pod(None, outcome.pod)  # somebody else bound it: count it there at once
                return
        decision.reporter.failed(pod, "SchedulerError", f"binding rejected: {outcome.error}", None)

    # -- not placed ---------------------------------------------------------------------------------------------------

    def _unschedulable(self, queued: Queued, failure: NoFit) -> None:
        """Lock held: try to make room, park the pod, and report."""
        pod, message = queued.pod, str(failure)
        result = self._post_filter(pod, failure)
        if result is not None and result.message:
            message = f"{message} {result.message}"
        nominated = result.nominated if result else None
        victims, write = (result.victims, result.write) if result else ((), None)
        self._record(queued, failure, message)
        if nominated:
            self._give_way(pod, nominated)
            self.snapshot.nominated[pod.key] = pod.at(nominated)
        elif nominated == "":
            self.snapshot.nominated.pop(pod.key, None)
        self.queue.park(queued, failure.plugins)
        if victims:
            self._preempting.add(pod.uid)
            self.metrics.preemptions += 1
            self.metrics.victims += len(victims)
        self._writers.submit(pod.key, lambda: self._report(queued, pod, message, nominated, victims, write))

    def _post_filter(self, pod: PodInfo, failure: NoFit) -> PostFilter | None:
        if not failure.nodes:
            return None
        if pod.uid in self._preempting:
            return PostFilter("preemption: waiting for the preemption for this pod to be finished.")
        cycle, profile = Cycle(pod, self.snapshot), self._of(pod).profile
        for plugin, _ in profile.at("post_filter"):
            if (result := plugin.post_filter(cycle, profile, failure.rejected)) is not None:
                return result
        return None

    def _give_way(self, pod: PodInfo, node: str) -> None:
        """Less important pods that were promised this node have to look again."""
        for other in [o for o in self.snapshot.nominated.values() if o.node == node and o.priority < pod.priority]:
            del self.snapshot.nominated[other.key]
            self._writers.submit(other.key, partial(self._of(other).reporter.renounce, other))

    def _report(
        self, queued: Queued, pod: PodInfo, message: str, nominated: str | None, victims: Sequence[PodInfo],
        write: Callable[[], object] | None,
    ) -> None:  # fmt: skip
        reporter = self._of(pod).reporter
        with because(cause(pod)):
            done = reporter.failed(pod, "Unschedulable", message, nominated)
            if nominated and victims:
                done = reporter.preempt(pod, victims, nominated) and done
            if write is not None:
                done = _done(write) and done
        with self.lock:
            self._preempting.discard(pod.uid)
            if not done:
                self.queue.retry(queued)

    # -- memory -------------------------------------------------------------------------------------------------------

    def _record(self, queued: Queued, outcome: Placement | NoFit, message: str = "") -> None:
        nodes = self.snapshot.nodes
        attempt = Attempt(
            uid=queued.pod.uid, time=rfc3339(self._clock.now()), number=queued.attempts, node="", message=message,
            nodes=len(nodes), rejected={nodes[row].name: v for row, v in outcome.rejected.items()},
        )  # fmt: skip
        if isinstance(outcome, Placement):
            attempt.node = outcome.node
            if len(nodes) <= EXPLAINED_NODES:
                attempt.scores = {
                    nodes[row].name: {plugin: scores[i] for plugin, scores in outcome.scores.items()}
                    for i, row in enumerate(outcome.rows)
                }
        self.attempts.record(queued.pod.key, attempt)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s, attempt %d: node %r %s", queued.pod.key, queued.attempts, attempt.node, message)
            for name, verdict in attempt.rejected.items():
                log.debug("%s: %s refused by %s: %s", queued.pod.key, name, verdict.plugin, ", ".join(verdict.reasons))


def _done(write: Callable[[], object]) -> bool:
    try:
        write()
    except errors.APIError as error:
        log.warning("making room failed: %s", error)
        return False
    return True


def start(client: Client, informers: SharedInformers, clock: Clock, options: SchedulerOptions) -> Scheduler:
    """Start scheduling (a daemon thread and, as needed, writer threads). Out: the handle; `.stop()` ends it.

    In: `informers` may be started before or after; the scheduler waits until they have synced. Raises ValueError for plugin
    arguments that the plugin does not take.
    """
    scheduler = Scheduler(client, informers, clock, options)
    scheduler.start()
    return scheduler
