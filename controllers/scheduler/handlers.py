"""What the scheduler's informers tell it: node and pod changes become snapshot updates, queue moves and cluster events.

Who calls it: the informers' threads, through main.py. Invariant: the snapshot changes and the parked pods are woken in one
critical section, the same one in which a pod is judged and parked, so no event can slip between a verdict and its parking.
Stop of the data path: 8. Upstream: pkg/scheduler/eventhandlers.go.
"""

from collections.abc import Iterator

from controllers.scheduler import framework as events
from controllers.scheduler.config import DEFAULT_NAME
from controllers.scheduler.diagnosis import Attempts
from controllers.scheduler.podinfo import PodInfo, pod_info
from controllers.scheduler.queue import SchedulingQueue
from controllers.scheduler.snapshot import Snapshot
from minikube_py.api import meta
from minikube_py.api.resourceclaims import noted_claims
from minikube_py.api.types import Obj

_ENDED = ("Succeeded", "Failed")


def is_live(pod: Obj | None) -> bool:
    """A pod that takes up room, or will: it exists and has not ended."""
    return pod is not None and (pod.get("status") or {}).get("phase") not in _ENDED


def scheduler_name(pod: Obj) -> str:
    """Who shall place it."""
    return str(pod["spec"].get("schedulerName") or DEFAULT_NAME)


def _node_events(old: Obj, new: Obj) -> Iterator[str]:
    if (old.get("status") or {}).get("allocatable") != (new.get("status") or {}).get("allocatable"):
        yield events.NODE_ALLOCATABLE
    if meta.labels_of(old) != meta.labels_of(new):
        yield events.NODE_LABEL
    before, after = old.get("spec") or {}, new.get("spec") or {}
    if any(before.get(field) != after.get(field) for field in ("taints", "unschedulable")):
        yield events.NODE_TAINT


def _same_question(old: Obj, new: Obj) -> bool:
    """Whether a pending pod's change leaves the scheduling question as it was (status, heartbeats, our own condition)."""
    if noted_claims(old) != noted_claims(new):
        return False
    return old["spec"] == new["spec"] and meta.labels_of(old) == meta.labels_of(new)


def _asks_less(old: PodInfo, new: PodInfo) -> bool:
    return any(new.requests.get(resource, 0) < number for resource, number in old.requests.items())


class Handlers:
    """The four handlers, for pods of the schedulers in `names`. The caller holds the scheduler's lock."""

    def __init__(self, snapshot: Snapshot, queue: SchedulingQueue, attempts: Attempts, names: frozenset[str]) -> None:
        self.snapshot, self.queue, self.attempts = snapshot, queue, attempts
        self._names = names

    def node(self, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            assert old is not None
            self.snapshot.remove_node(meta.name_of(old))
            self.queue.happened(events.NODE_DELETE)
            return
        changes = [events.NODE_ADD] if old is None else list(_node_events(old, new))
        images = old is not None and (old.get("status") or {}).get("images") != (new.get("status") or {}).get("images")
        if changes or images:
            self.snapshot.set_node(new)
        for change in changes:
            self.queue.happened(change)

    def namespace(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is not None and meta.labels_of(old) != meta.labels_of(new):
            self.queue.happened(events.NAMESPACE_LABEL)

    def pod(self, old: Obj | None, new: Obj | None) -> None:
        if new is None or not is_live(new):
            gone = new or old
            assert gone is not None
            self._gone(meta.key_of(gone))
            if new is None:
                self.attempts.forget(meta.key_of(gone))
        elif new["spec"].get("nodeName"):
            self._assigned(pod_info(new))
        else:
            self._pending(old, new)

    def _gone(self, key: str) -> None:
        self.queue.delete(key)
        self.snapshot.nominated.pop(key, None)
        if self.snapshot.remove_pod(key) is not None:
            self.queue.happened(events.POD_DELETE)

    def _assigned(self, pod: PodInfo) -> None:
        known = self.snapshot.pods.get(pod.key)
        assumed = pod.key in self.snapshot.assumed
        self.queue.delete(pod.key)
        self.snapshot.nominated.pop(pod.key, None)
        self.snapshot.set_pod(pod)
        if known is None or known.node != pod.node or known.uid != pod.uid:
            self.queue.happened(events.POD_ADD)
            if known is not None:  # assumed elsewhere: what it would have taken there is free
                self.queue.happened(events.POD_DELETE)
            return
        if assumed:
            self.queue.happened(events.POD_ADD)
        if known.labels != pod.labels or known.terminating != pod.terminating:
            self.queue.happened(events.POD_LABEL)
        if _asks_less(known, pod):
            self.queue.happened(events.POD_SCALE_DOWN)

    def _pending(self, old: Obj | None, new: Obj) -> None:
        key = meta.key_of(new)
        if scheduler_name(new) not in self._names:
            return
        if meta.is_terminating(new):
            self.queue.delete(key)
            self.snapshot.nominated.pop(key, None)
            return
        pod = pod_info(new)
        self._nominated(old, pod)
        being_bound = key in self.snapshot.assumed
        if being_bound or (old is not None and self.queue.state(key) and _same_question(old, new)):
            self.queue.refresh(pod)
        else:
            self.queue.add(pod)

    def _nominated(self, old: Obj | None, pod: PodInfo) -> None:
        """Believe a nomination found in the API (ours from before a restart) and one taken away there."""
        node = (pod.pod.get("status") or {}).get("nominatedNodeName")
        if node:
            self.snapshot.nominated[pod.key] = pod.at(node)
        elif old is not None and (old.get("status") or {}).get("nominatedNodeName"):
            self.snapshot.nominated.pop(pod.key, None)
