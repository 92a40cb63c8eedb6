"""The pods of this node: one worker each, woken by whatever concerns it; and whatever belongs to no pod is cleared away.

Who calls it: `main` starts it; the pod informer, the runtime's events, probes and timers wake workers through it.
Invariants: nothing is touched before the list of pods is known; a container is an orphan only when no pod with its uid is bound
here; after every gap in the event stream, and once a minute, everything is compared with a full list, so that a lost event
delays and never loses.
Stop of the data path: 9. Upstream: syncLoop in pkg/kubelet/kubelet.go, pkg/kubelet/pleg, HandlePodCleanups.
"""

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence

from kubelet import admission, host_support, preemption
from kubelet.dra.drivers import ClaimError
from kubelet.executor import KeyedExecutor
from kubelet.lifecycle import together
from kubelet.node_services import NodeServices
from kubelet.pod_source import PodSource
from kubelet.pod_spec import grace_period, is_mirror
from kubelet.pod_worker import PodWorker
from kubelet.runtime import labels
from kubelet.runtime.base import RUNNING, EventStream, RuntimeFault, Summary
from kubelet.status import Verdict
from minikube_py.api.meta import uid_of
from minikube_py.api.podresources import is_critical
from minikube_py.api.types import Obj

_log = logging.getLogger(__name__)
_RELIST, _ORPHAN = "relist", "orphan/"
_PATIENCE = 10.0


class PodManager:
    """All pod workers of one kubelet."""

    def __init__(self) -> None:
        self._workers: dict[str, PodWorker] = {}
        self._lock = threading.Lock()
        self._admission = threading.Lock()
        self._stopped = threading.Event()
        self._stream: EventStream | None = None

    def start(self, node: NodeServices, pods: PodSource, static: Sequence[Obj] = ()) -> None:
        """Take over what runs already, then react. In: `pods` holds the pods bound to this node, completely; `static` are those
        that `pod_changed` will be told of by somebody else."""
        self._node = node
        limit = 16 if node.options.simulated_nodes else 256  # what is simulated never waits: more threads only compete
        self._executor = KeyedExecutor("pod", self._sync, node.clock, limit)
        bound = {uid_of(pod): pod for pod in (*pods.list(), *static) if not is_mirror(pod)}
        self._adopt(bound)
        pods.add_handler(self.pod_changed)
        for pod in static:
            self.pod_changed(None, pod)
        for uid in self._traces() - bound.keys():
            self._executor.add(_ORPHAN + uid)
        threading.Thread(target=self._listen, name="runtime-events", daemon=True).start()

    def stop(self) -> None:
        """Stop reacting; pods run on."""
        self._stopped.set()
        self._executor.stop()
        if self._stream is not None:
            self._stream.close()

    # --- pods

    def pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        """The informer's handler."""
        pod = new or old
        assert pod is not None
        if is_mirror(pod):
            return
        uid = uid_of(pod)
        with self._lock:
            worker = self._workers.get(uid)
            if new is not None and worker is None:
                worker = self._workers[uid] = PodWorker(self._node, new)
            elif new is not None and worker is not None:
                worker.update(new)
            elif worker is not None:
                worker.removed()
        if worker is not None:
            self._executor.add(uid)

    def wake(self, uid: str) -> None:
        """Something about this pod changed on the node (a probe's result)."""
        self._executor.add(uid)

    def refresh(self, uid: str) -> None:
        """Something in this pod's projected volumes changed."""
        with self._lock:
            worker = self._workers.get(uid)
        if worker is not None:
            worker.volumes.stale()
            self._executor.add(uid)

    def pods(self) -> list[Obj]:
        with self._lock:
            return [worker.pod for worker in self._workers.values()]

    def pod(self, namespace: str, name: str, uid: str = "") -> Obj | None:
        """The pod of this name (and uid, if given); of two, the one that is not ending."""
        found = [
            pod for pod in self.pods()
            if (pod["metadata"]["namespace"], pod["metadata"]["name"]) == (namespace, name) and uid in ("", uid_of(pod))
        ]  # fmt: skip
        return min(found, key=lambda pod: "deletionTimestamp" in pod["metadata"], default=None)

    def occupying(self) -> list[Obj]:
        """The pods that use the node: let in, and not yet ended."""
        with self._lock:
            return [worker.pod for worker in self._workers.values() if worker.occupies]

    def refuse(self, pod: Obj, node: Obj) -> Verdict | None:
        """Node admission, one pod at a time; the pod counts from the moment it is let in."""
        with self._admission:
            here, uid = pod["spec"].get("nodeName"), uid_of(pod)
            others = [o for o in self.occupying() if uid_of(o) != uid and o["spec"].get("nodeName") == here]
            verdict = host_support.refuse(pod, self._node.options.allowed_unsafe_sysctls)
            verdict = verdict or admission.refuse(pod, node, others)
            if (
                verdict is not None
                and is_critical(pod)
                and verdict.reason.startswith("OutOf")
                and admission.only_short(pod, node, others)
            ):
                missing = {short.resource: short.missing for short in admission.shortages(pod, node, others)}
                if self._make_room(preemption.victims(pod, others, missing)):
                    verdict = None
            with self._lock:
                worker = self._workers.get(uid_of(pod))
            if worker is not None:
                worker.admitted = verdict is None
            return verdict

    def _make_room(self, victims: list[Obj] | None) -> bool:
        """End these pods, and wait until they have ended."""
        if victims is None:
            return False
        for victim in victims:
            self._node.events.event(victim, "Warning", preemption.VERDICT.reason, preemption.VERDICT.message)
            self.evict(victim, preemption.VERDICT, None)
        until = self._node.clock.monotonic() + max((grace_period(victim) for victim in victims), default=0) + _PATIENCE
        gone = {uid_of(victim) for victim in victims}
        while gone & {uid_of(pod) for pod in self.occupying()} and self._node.clock.monotonic() < until:
            self._node.clock.wait(self._stopped, 0.05)
        return True

    def evict(self, pod: Obj, verdict: Verdict, grace: int | None) -> bool:
        """End a pod for the node's sake. Out: False when there is none. In: `grace` seconds, None = the pod's own."""
        with self._lock:
            worker = self._workers.get(uid_of(pod))
        if worker is None or not worker.evict(verdict, grace):
            return False
        self._executor.add(uid_of(pod))
        return True

    def _sync(self, key: str) -> float | None:
        if key == _RELIST:
            return self._relist()
        if key.startswith(_ORPHAN):
            return self._remove_orphan(key.removeprefix(_ORPHAN))
        with self._lock:
            worker = self._workers.get(key)
        if worker is None:
            return None
        again = worker.sync()
        if worker.gone:
            with self._lock:
                self._workers.pop(key, None)
            self._executor.forget(key)
        return again

    # --- containers

    def _adopt(self, pods: Mapping[str, Obj]) -> None:
        """Addresses of what runs are taken, those of what is gone are given back. Raises RuntimeFault."""
        node = self._node
        found = self._by_pod(node.runtime.list_all())
        addresses = {
            uid: summary.labels[labels.POD_IP]
            for uid, group in found.items() for summary in group
            if summary.labels.get(labels.POD_IP, node.options.node_ip) != node.options.node_ip
        }  # fmt: skip
        node.network.restore(addresses)
        node.network.sweep(pods.keys() | found.keys())
        node.devices.restore([pod for uid, pod in pods.items() if uid in found])

    def _traces(self) -> set[str]:
        """The uids of pods that left directories or cgroups here; containers are found by the first relist."""
        return {*self._node.volumes.pods_on_disk(), *self._node.cgroups.leftovers()}

    @staticmethod
    def _by_pod(summaries: Iterable[Summary]) -> dict[str, list[Summary]]:
        found: dict[str, list[Summary]] = {}
        for summary in summaries:
            found.setdefault(summary.labels.get(labels.POD_UID, ""), []).append(summary)
        return found

    def _relist(self) -> float:
        try:
            self._node.network.ensure_node()  # an engine that was restarted made its bridge anew
            found = self._by_pod(self._node.runtime.list_all())
        except (RuntimeFault, OSError) as error:
            _log.warning("cannot compare with the runtime: %s", error)
            return 1.0
        with self._lock:
            workers = dict(self._workers)
        for uid, worker in workers.items():
            if worker.view.differs({summary.id: summary.state for summary in found.get(uid, ())}):
                worker.view.look_again()
                self._executor.add(uid)
        for uid in found.keys() - workers.keys():
            self._executor.add(_ORPHAN + uid)
        return self._node.options.relist_period

    def _listen(self) -> None:
        """Follow the runtime's events for as long as we live; while it is away, try again every second."""
        away = False
        while not self._stopped.is_set():
            try:
                self._stream = self._node.runtime.events()
                for event in self._stream:
                    if event.type == "relist":
                        self._executor.add(_RELIST)
                        continue
                    with self._lock:
                        worker = self._workers.get(event.pod_uid)
                    if worker is not None:
                        worker.view.look_again(event.container_id)
                        self._executor.add(event.pod_uid)
                away = False
            except RuntimeFault as error:
                if not away:
                    _log.warning("no events from the runtime: %s", error)
                away = True
            self._node.clock.wait(self._stopped, 1.0)

    def _remove_orphan(self, uid: str) -> float | None:
        """Stop and remove every trace of a pod that is not bound here."""
        node = self._node
        with self._lock:
            if uid in self._workers:
                return None
        try:
            traces = node.runtime.list_all(uid) if uid else []
            running = [
                s for s in traces if s.state == RUNNING and s.labels.get(labels.CONTAINER_NAME) != labels.SANDBOX_NAME
            ]
            together(lambda s: node.runtime.stop_container(s.id, int(s.labels.get(labels.GRACE, "30") or 30)), running)
            for summary in sorted(traces, key=lambda s: s.labels.get(labels.CONTAINER_NAME) == labels.SANDBOX_NAME):
                node.runtime.remove(summary.id)
            node.network.teardown(uid)
            node.devices.release(uid)
            node.claims.release(uid)
            node.volumes.teardown(uid)
            node.cgroups.remove(uid)
        except (RuntimeFault, OSError, ClaimError) as error:
            _log.warning("orphaned pod %s: %s", uid, error)
            return 2.0
        if traces:
            _log.info("removed %d containers of pod %s, which is not bound to this node", len(traces), uid)
        return None
