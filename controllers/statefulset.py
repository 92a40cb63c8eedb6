"""StatefulSet: pods with names and volumes of their own, started in order, stopped and updated in reverse.

Who calls it: `controllers.main`. Invariants: no two pods ever have one ordinal; with OrderedReady nothing is started, stopped
or updated while a pod before it (or any pod, for stopping) is not ready; a volume claim is deleted by nobody here, but
belongs to the set or to a pod that goes when the retention policy says so (`statefulset_claims`).
Upstream: pkg/controller/statefulset/{stateful_set,stateful_set_control}.go.
"""

from typing import NamedTuple

from controllers import statefulset_pods as pods_of
from controllers.children import create_once
from controllers.context import Context
from controllers.owned_pods import UNSEEN_RETRY, OwnedPods, raised, write_status
from controllers.pod import available_in, is_finished, is_ready
from controllers.revisions import Collision, History
from controllers.statefulset_claims import Claims
from minikube_py.api import errors
from minikube_py.api.gvr import PODS, STATEFULSETS
from minikube_py.api.meta import is_terminating, name_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller


class Revisions(NamedTuple):
    """The revision the set comes from, and the one it goes to; the same when no update is under way."""

    current: Obj
    update: Obj


def build(context: Context) -> Controller:
    """Watches StatefulSets, pods, claims and revisions; keys are StatefulSets."""
    reconciler = StatefulSet(context)
    controller = Controller(reconciler, workers=2, clock=context.clock)
    controller.watch(reconciler.pods.owners).watch(reconciler.pods.informer, reconciler.pods.keys)
    controller.watch(reconciler.claims.informer, lambda claim: ())
    return controller.watch(reconciler.history.informer, reconciler.pods.keys)


class StatefulSet:
    """The reconciler."""

    name = "statefulset"

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self.pods = OwnedPods(context, STATEFULSETS, "statefulset-controller")
        self.claims = Claims(context)
        self.history = History(context, STATEFULSETS)

    def reconcile(self, key: str) -> float | None:
        sts = self.pods.owners.get_key(key)
        if sts is None:
            self.pods.forget(key)
            return None
        if is_terminating(sts):
            return None
        ours = self.pods.of(sts, lambda pod: pods_of.ordinal_of(sts, pod) is not None)
        members = {ordinal: p for p in ours if (ordinal := pods_of.ordinal_of(sts, p)) is not None}
        known = self.history.of(sts)
        try:
            update = self.history.current(sts, known)
        except Collision:
            status = dict(sts.get("status") or {})
            self._write_status(sts, {**status, "collisionCount": int(status.get("collisionCount") or 0) + 1})
            return 0.1
        if not self.pods.expectations.met(key):
            return UNSEEN_RETRY
        named = {name_of(revision): revision for revision in known}
        current = named.get((sts.get("status") or {}).get("currentRevision", ""), update)
        both = Revisions(current, update)
        status = self._status(sts, members, both)
        again = self._bring_about(key, sts, members, both, status)
        self._write_status(sts, status)
        in_use = {pods_of.revision_name(p) for p in members.values()} | {name_of(current), name_of(update)}
        self.history.clean_up(sts, [r for r in known if name_of(r) not in in_use], set())
        return again

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
            self.claims.settle(sts, members[ordinal], ordinal)
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
        if pod is not None:
            self.claims.settle(sts, pod, ordinal)
        if pod is not None and is_finished(pod) and not is_terminating(pod):
            message = f"StatefulSet {key} is recreating failed Pod {name_of(pod)}"
            self.pods.events.event(sts, "Warning", "RecreatingFailedPod", message)
            self._delete(key, sts, pod)
            return False, None
        if pod is None and self.claims.are_stale(sts, ordinal):
            return False, UNSEEN_RETRY  # they go with a pod that is gone: not the new one's
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
        pod = pods_of.pod_for(sts, ordinal, revision)
        try:
            self.claims.ensure(sts, ordinal)
            made = create_once(self._client, PODS, pod, sts)
        except errors.APIError as error:
            message = f"create Pod {name_of(pod)} in StatefulSet {name_of(sts)} failed error: {error}"
            self.pods.events.event(sts, "Warning", "FailedCreate", message)
            raise
        self.claims.settle(sts, made, ordinal)
        self.pods.created(key, sts, made, f"create Pod {name_of(made)} in StatefulSet {name_of(sts)} successful")

    def _delete(self, key: str, sts: Obj, pod: Obj) -> None:
        raised(self.pods.delete(key, sts, [pod], f"delete Pod {{}} in StatefulSet {name_of(sts)} successful"))

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
        write_status(self._client, STATEFULSETS, sts, status, ("replicas", "availableReplicas"))
