"""StatefulSet: pods with names and volumes of their own, started in order, stopped and updated in reverse.

Who calls it: `controllers.main`. Invariants: no two pods ever have one ordinal; with OrderedReady nothing is started, stopped
or updated while a pod before it (or any pod, for stopping) is not ready; volume claims are never deleted.
Upstream: pkg/controller/statefulset/{stateful_set,stateful_set_control}.go. Retention policies of claims other than Retain
are not built.
"""

from collections.abc import Iterable
from typing import NamedTuple

from controllers import statefulset_pods as pods_of
from controllers.children import Expectations, claim, create_once, parent_keys
from controllers.context import BY_CONTROLLER, Context, index_by_controller, orphans_of
from controllers.pod import available_in, is_finished, is_ready
from controllers.revisions import Collision, History
from minikube_py.api import errors, selectors
from minikube_py.api.gvr import PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS
from minikube_py.api.meta import (
    is_terminating,
    key_of,
    name_of,
    namespace_of,
    uid_of,
)
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_UNSEEN_RETRY = 1.0


class Revisions(NamedTuple):
    """The revision the set comes from, and the one it goes to; the same when no update is under way."""

    current: Obj
    update: Obj


def build(context: Context) -> Controller:
    """Watches StatefulSets, pods and revisions; keys are StatefulSets."""
    reconciler = StatefulSet(context)
    controller = Controller(reconciler, workers=2, clock=context.clock)
    controller.watch(reconciler.sets).watch(reconciler.pods, reconciler.keys_of_child)
    controller.watch(reconciler.claims, lambda claim: ())
    return controller.watch(reconciler.history.informer, reconciler.keys_of_child)


class StatefulSet:
    """The reconciler."""

    name = "statefulset"

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self.sets = context.informers.of(STATEFULSETS)
        self.pods = index_by_controller(context.informers.of(PODS))
        self.claims = context.informers.of(PERSISTENTVOLUMECLAIMS)
        self.history = History(context, STATEFULSETS)
        self._expectations = Expectations(self.pods, context.clock)
        self._events = context.recorder("statefulset-controller")

    def keys_of_child(self, child: Obj) -> Iterable[str]:
        """The StatefulSet that controls a pod or revision, or those that may want to adopt it."""
        return parent_keys(child, "StatefulSet", self.sets)

    def reconcile(self, key: str) -> float | None:
        sts = self.sets.get_key(key)
        if sts is None:
            self._expectations.forget(key)
            return None
        if is_terminating(sts):
            return None
        members = self._members(sts)
        known = self.history.of(sts)
        try:
            update = self.history.current(sts, known)
        except Collision:
            status = dict(sts.get("status") or {})
            self._write_status(sts, {**status, "collisionCount": int(status.get("collisionCount") or 0) + 1})
            return 0.1
        if not self._expectations.met(key):
            return _UNSEEN_RETRY
        named = {name_of(revision): revision for revision in known}
        current = named.get((sts.get("status") or {}).get("currentRevision", ""), update)
        both = Revisions(current, update)
        status = self._status(sts, members, both)
        again = self._bring_about(key, sts, members, both, status)
        self._write_status(sts, status)
        in_use = {pods_of.revision_name(p) for p in members.values()} | {name_of(current), name_of(update)}
        self._clean_up(sts, known, in_use)
        return again

    def _members(self, sts: Obj) -> dict[int, Obj]:
        """Its pods by ordinal."""
        selector, namespace = selectors.from_label_selector(sts["spec"]["selector"]), namespace_of(sts)
        candidates = self.pods.by_index(BY_CONTROLLER, uid_of(sts)) + self.pods.by_index(
            BY_CONTROLLER, orphans_of(namespace)
        )
        ours = [p for p in candidates if pods_of.ordinal_of(sts, p) is not None]
        claimed = claim(self._client, STATEFULSETS, sts, PODS, ours, selector)
        return {ordinal: p for p in claimed if (ordinal := pods_of.ordinal_of(sts, p)) is not None}

    # -- the steps ----------------------------------------------------------------------------------------------------

    def _bring_about(self, key: str, sts: Obj, members: dict[int, Obj], both: Revisions, status: Obj) -> float | None:
        """Start what is missing, then stop what is too much, then update; one step at a time unless Parallel."""
        parallel = sts["spec"].get("podManagementPolicy") == "Parallel"
        start, count = pods_of.start_of(sts), int(sts["spec"].get("replicas", 1))
        for ordinal in range(start, start + count):
            done, wait = self._start(key, sts, ordinal, members.get(ordinal), both, status)
            if not done and not parallel:
                return wait
        excess = sorted((o for o in members if not start <= o < start + count), reverse=True)
        for ordinal in excess:
            if is_terminating(members[ordinal]):
                if not parallel:
                    return None
                continue
            if not parallel and not self._may_stop(members, ordinal):
                return None
            self._delete(key, sts, members[ordinal])
            if not parallel:
                return None
        return self._update(key, sts, {o: p for o, p in members.items() if o not in excess}, both)

    @staticmethod
    def _may_stop(members: dict[int, Obj], ordinal: int) -> bool:
        """Scaling down halts while another pod is not ready; the unready one itself may always go."""
        return all(pods_of.is_healthy(pod) for other, pod in members.items() if other < ordinal)

    def _start(
        self, key: str, sts: Obj, ordinal: int, pod: Obj | None, both: Revisions, status: Obj
    ) -> tuple[bool, float | None]:
        """Make sure the pod of an ordinal runs. Out: (the next may start, seconds until this may have changed)."""
        if pod is not None and is_finished(pod) and not is_terminating(pod):
            message = f"StatefulSet {key} is recreating failed Pod {name_of(pod)}"
            self._events.event(sts, "Warning", "RecreatingFailedPod", message)
            self._delete(key, sts, pod)
            return False, None
        if pod is None:
            old = pods_of.keeps_current(sts, ordinal, int(status.get("currentReplicas") or 0))
            self._create(key, sts, ordinal, both.current if old else both.update)
            return False, None
        if not pods_of.is_healthy(pod):
            return False, None
        wait = available_in(pod, int(sts["spec"].get("minReadySeconds") or 0), self._clock.now())
        return wait == 0.0, wait

    def _update(self, key: str, sts: Obj, members: dict[int, Obj], both: Revisions) -> float | None:
        """Replace one pod of an older revision, the highest ordinal first, once all above it are well."""
        partition = pods_of.partition_of(sts)
        if partition is None:
            return None
        for ordinal in sorted(members, reverse=True):
            pod = members[ordinal]
            if ordinal < pods_of.start_of(sts) + partition:
                return None
            if pods_of.revision_name(pod) != name_of(both.update) and not is_terminating(pod):
                self._delete(key, sts, pod)
                return None
            wait = available_in(pod, int(sts["spec"].get("minReadySeconds") or 0), self._clock.now())
            if not pods_of.is_healthy(pod) or wait != 0.0:
                return wait
        return None

    def _create(self, key: str, sts: Obj, ordinal: int, revision: Obj) -> None:
        try:
            for wanted in pods_of.claims_for(sts, ordinal):
                if self.claims.get_key(key_of(wanted)) is None:
                    self._ensure_claim(wanted)
            made = create_once(self._client, PODS, pods_of.pod_for(sts, ordinal, revision), sts)
        except errors.APIError as error:
            message = f"create Pod {name_of(sts)}-{ordinal} in StatefulSet {name_of(sts)} failed error: {error}"
            self._events.event(sts, "Warning", "FailedCreate", message)
            raise
        self._expectations.wrote(key, made)
        message = f"create Pod {name_of(made)} in StatefulSet {name_of(sts)} successful"
        self._events.event(sts, "Normal", "SuccessfulCreate", message)

    def _ensure_claim(self, wanted: Obj) -> None:
        try:
            self._client.create(PERSISTENTVOLUMECLAIMS, wanted)
        except errors.AlreadyExists:
            return

    def _delete(self, key: str, sts: Obj, pod: Obj) -> None:
        if is_terminating(pod):
            return
        try:
            self._client.delete(PODS, name_of(pod), namespace_of(pod), uid=uid_of(pod))
        except errors.NotFound:
            return
        self._expectations.deleted(key, pod)
        message = f"delete Pod {name_of(pod)} in StatefulSet {name_of(sts)} successful"
        self._events.event(sts, "Normal", "SuccessfulDelete", message)

    # -- status -------------------------------------------------------------------------------------------------------

    def _status(self, sts: Obj, members: dict[int, Obj], both: Revisions) -> Obj:
        now, ready_seconds = self._clock.now(), int(sts["spec"].get("minReadySeconds") or 0)
        pods = list(members.values())
        living = [p for p in pods if not is_terminating(p)]
        status = {
            **(sts.get("status") or {}), "observedGeneration": sts["metadata"].get("generation", 0), "replicas": len(pods),
            "readyReplicas": sum(is_ready(p) for p in living),
            "availableReplicas": sum(available_in(p, ready_seconds, now) == 0.0 for p in living),
            "currentReplicas": sum(pods_of.revision_name(p) == name_of(both.current) for p in living),
            "updatedReplicas": sum(pods_of.revision_name(p) == name_of(both.update) for p in living),
            "currentRevision": name_of(both.current), "updateRevision": name_of(both.update),
        }  # fmt: skip
        wanted = int(sts["spec"].get("replicas", 1))
        complete = status["updatedReplicas"] == status["replicas"] == status["readyReplicas"] == wanted
        if complete and pods_of.partition_of(sts) is not None:
            status["currentRevision"], status["currentReplicas"] = status["updateRevision"], status["updatedReplicas"]
        return status

    def _write_status(self, sts: Obj, status: Obj) -> None:
        kept = {key: value for key, value in status.items() if value or key in ("replicas", "availableReplicas")}
        if kept == (sts.get("status") or {}):
            return
        try:
            self._client.update(STATEFULSETS, {**sts, "status": kept}, subresource="status")
        except errors.NotFound:
            return

    def _clean_up(self, sts: Obj, known: list[Obj], in_use: set[str]) -> None:
        self.history.clean_up(sts, [r for r in known if name_of(r) not in in_use], set())
