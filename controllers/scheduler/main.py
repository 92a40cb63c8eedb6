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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from controllers.scheduler.binding import Outcome, bind
from controllers.scheduler.cycle import Placement, Search
from controllers.scheduler.diagnosis import EXPLAINED_NODES, Attempt, Attempts, NoFit
from controllers.scheduler.framework import (
    CSI,
    POD_DELETE,
    STORAGE_CLASS,
    VOLUME,
    VOLUME_CLAIM,
    WAIT,
    Cycle,
    PostFilter,
    PreBind,
)
from controllers.scheduler.handlers import Handlers
from controllers.scheduler.podinfo import PodInfo
from controllers.scheduler.profile import default_profile
from controllers.scheduler.queue import Queued, SchedulingQueue
from controllers.scheduler.reporting import Reporter
from controllers.scheduler.snapshot import Snapshot
from controllers.scheduler.waiting import Waiting
from controllers.scheduler.writers import Writers
from minikube_py.api import errors, meta
from minikube_py.api.clock import Clock, rfc3339
from minikube_py.api.gvr import (
    CSIDRIVERS,
    CSINODES,
    CSISTORAGECAPACITIES,
    GVR,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
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
    CSIDRIVERS: CSI, CSISTORAGECAPACITIES: CSI,
}  # fmt: skip


@dataclass(frozen=True)
class SchedulerOptions:
    """`scheduler_name`: the pods' schedulerName it serves; `writers`: threads that talk to the API; `seed`: for ties."""

    scheduler_name: str = "default-scheduler"
    host: str = ""
    writers: int = 8
    seed: int | None = None


class Scheduler:
    """A running scheduler; made by `start`."""

    def __init__(self, client: Client, informers: SharedInformers, clock: Clock, options: SchedulerOptions) -> None:
        self._client, self._informers, self._clock = client, informers, clock
        self.lock = threading.RLock()
        self.snapshot, self.attempts = Snapshot(), Attempts()
        self.profile = default_profile(client, self._list, self._namespace_labels)
        self.queue = SchedulingQueue(clock, self.profile.pre_enqueue, self.profile.interests)
        self._search = Search(self.profile, random.Random(options.seed))
        self._handlers = Handlers(self.snapshot, self.queue, self.attempts, options.scheduler_name)
        self._recorder = EventRecorder(client, options.scheduler_name, clock, options.host)
        self._writers = Writers(options.writers)
        self._stopped = threading.Event()
        self._waiting = Waiting(clock, self._writers.submit, self._stopped)
        self._preempting: set[str] = set()  # pods (uid) whose victims are being deleted right now
        self._reporter = Reporter(client, self._recorder, clock, options.scheduler_name)
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

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
        self._recorder.stop()

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
        self._waiting.look_again()

    def _list(self, resource: GVR, namespace: str = "") -> Sequence[Obj]:
        return self._informers.of(resource).list(namespace)

    def _namespace_labels(self, name: str) -> Mapping[str, str]:
        found = self._informers.of(NAMESPACES).get("", name)
        return meta.labels_of(found) if found else {}

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
            pod = queued.pod
            try:
                placement = self._search.place(self.snapshot, pod)
            except NoFit as failure:
                self._unschedulable(queued, failure)
                return
            self._record(queued, placement)
            refusal = self._reserve(placement)
            if refusal is not None:
                self._refused(queued, refusal)
                return
            self.snapshot.assume(pod, placement.node)
        self._writers.submit(pod.key, lambda: self._bind(queued, pod, placement))

    def _reserve(self, placement: Placement) -> str | None:
        """Run reserve and permit. Out: why one of them refused (then nothing is reserved)."""
        for point in ("reserve", "permit"):
            for plugin, _ in self.profile.at(point):
                act = plugin.reserve if point == "reserve" else plugin.permit
                if (refusal := act(placement.cycle, placement.node)) is not None:
                    self._unreserve(placement)
                    return refusal
        return None

    def _unreserve(self, placement: Placement) -> None:
        for plugin, _ in reversed(self.profile.at("reserve")):
            plugin.unreserve(placement.cycle, placement.node)

    # -- placed -------------------------------------------------------------------------------------------------------

    def _bind(self, queued: Queued, pod: PodInfo, placement: Placement, *, again: bool = False) -> None:
        if again and not self._waiting.holds(pod.key):
            return
        with because(_cause(pod)):
            ready = self._pre_bind(queued, pod, placement)
            if ready is WAIT:
                return
            if ready is None:
                outcome = bind(self.profile, self._client, pod, placement.node, self._clock, self._stopped)
            else:
                outcome = Outcome(False, self._informers.of(PODS).get(pod.namespace, meta.name_of(pod.pod)), str(ready))
            if outcome.bound:
                self._reporter.scheduled(pod, placement.node)
                return
            if not self._stopped.is_set():
                self._not_bound(queued, pod, placement, outcome)

    def _pre_bind(self, queued: Queued, pod: PodInfo, placement: Placement) -> PreBind:
        """WAIT: `_bind` runs again when something changed. In between the pod keeps its place."""
        if all(entry.plugin.name in placement.cycle.skipped for entry in self.profile.at("pre_bind")):
            return None
        waits = self._waiting
        waits.put(pod.key, lambda: self._bind(queued, pod, placement, again=True))  # first: no change may be missed
        held = self._informers.of(PODS).get(pod.namespace, meta.name_of(pod.pod))
        if held is None or meta.uid_of(held) != pod.uid or meta.is_terminating(held):
            result: PreBind = "the pod is gone"
        else:
            try:
                result = self.profile.pre_bind(placement.cycle, placement.node)
            except (errors.Conflict, errors.ServiceUnavailable):
                result = WAIT  # looked at anew in a moment
            except errors.APIError as error:
                result = str(error)
        if result is WAIT and waits.overdue(pod.key):
            result = "its volumes were not ready in time"
        if result is not WAIT:
            waits.drop(pod.key)
        return result

    def _not_bound(self, queued: Queued, pod: PodInfo, placement: Placement, outcome: Outcome) -> None:
        with self.lock:
            self._unreserve(placement)
            if self.snapshot.forget(pod.key, pod.uid):
                self.queue.happened(POD_DELETE)
            if outcome.pod is None or meta.uid_of(outcome.pod) != pod.uid:
                return  # it is gone, and the informer says so too, or will
            if not outcome.pod["spec"].get("nodeName"):
                self.queue.retry(queued)
            elif self._informers.of(PODS).get(pod.namespace, meta.name_of(pod.pod)) is not None:
                self._handlers.pod(None, outcome.pod)  # somebody else bound it: count it there at once
                return
        self._reporter.failed(pod, "SchedulerError", f"binding rejected: {outcome.error}", None)

    # -- not placed ---------------------------------------------------------------------------------------------------

    def _unschedulable(self, queued: Queued, failure: NoFit) -> None:
        """Lock held: try to make room, park the pod, and report."""
        pod, message = queued.pod, str(failure)
        result = self._post_filter(pod, failure)
        if result is not None and result.message:
            message = f"{message} {result.message}"
        nominated = result.nominated if result else None
        victims = result.victims if result else ()
        self._record(queued, failure, message)
        if nominated:
            self._give_way(pod, nominated)
            self.snapshot.nominated[pod.key] = pod.at(nominated)
        elif nominated == "":
            self.snapshot.nominated.pop(pod.key, None)
        self.queue.park(queued, failure.plugins)
        if victims:
            self._preempting.add(pod.uid)
        self._writers.submit(pod.key, lambda: self._report(queued, pod, message, nominated, victims))

    def _post_filter(self, pod: PodInfo, failure: NoFit) -> PostFilter | None:
        if not failure.nodes:
            return None
        if pod.uid in self._preempting:
            return PostFilter("preemption: waiting for the preemption for this pod to be finished.")
        cycle = Cycle(pod, self.snapshot)
        for plugin, _ in self.profile.at("post_filter"):
            if (result := plugin.post_filter(cycle, self.profile, failure.rejected)) is not None:
                return result
        return None

    def _give_way(self, pod: PodInfo, node: str) -> None:
        """Less important pods that were promised this node have to look again."""
        for other in [o for o in self.snapshot.nominated.values() if o.node == node and o.priority < pod.priority]:
            del self.snapshot.nominated[other.key]
            self._writers.submit(other.key, partial(self._reporter.renounce, other))

    def _report(
        self, queued: Queued, pod: PodInfo, message: str, nominated: str | None, victims: Sequence[PodInfo]
    ) -> None:
        with because(_cause(pod)):
            done = self._reporter.failed(pod, "Unschedulable", message, nominated)
            if nominated and victims:
                done = self._reporter.preempt(pod, victims, nominated) and done
        with self.lock:
            self._preempting.discard(pod.uid)
            if not done:
                self.queue.retry(queued)

    def _refused(self, queued: Queued, refusal: str) -> None:
        """Lock held: a reserve or permit plugin said no."""
        pod = queued.pod
        self.queue.retry(queued)
        self._writers.submit(pod.key, lambda: self._reporter.failed(pod, "SchedulerError", refusal, None))

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


def _cause(pod: PodInfo) -> str:
    return f"scheduler Pod {pod.key}@{pod.pod['metadata'].get('resourceVersion', '')}"


def start(client: Client, informers: SharedInformers, clock: Clock, options: object = None) -> Scheduler:
    """Start scheduling (a daemon thread and, as needed, writer threads). Out: the handle; `.stop()` ends it.

    In: `informers` may be started before or after; the scheduler waits until they have synced. `options`: SchedulerOptions;
    anything else (the flags of the process around it) concerns others and means the defaults.
    """
    wanted = options if isinstance(options, SchedulerOptions) else SchedulerOptions()
    scheduler = Scheduler(client, informers, clock, wanted)
    scheduler.start()
    return scheduler
