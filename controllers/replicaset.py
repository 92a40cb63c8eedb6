"""ReplicaSet: as many pods as `spec.replicas` says; the same code, given another row, is ReplicationController.

Who calls it: `controllers.main`. Invariant: it never acts on a copy older than its own last write, so it neither makes a
pod too many nor deletes one twice. Stop of the data path: 7.
Upstream: pkg/controller/replicaset/replica_set.go.
"""

from typing import NamedTuple

from controllers.context import BY_CONTROLLER, Context
from controllers.owned_pods import UNSEEN_RETRY, OwnedPods, next_available, write_status
from controllers.pod import available_in, from_template, is_active, is_finished, is_ready
from controllers.replicaset_rank import pods_to_delete
from minikube_py.api import selectors
from minikube_py.api.clock import rfc3339
from minikube_py.api.gvr import GVR, REPLICASETS, REPLICATIONCONTROLLERS
from minikube_py.api.meta import condition_of, controller_of, is_terminating, labels_of, name_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_BURST = 500


class Row(NamedTuple):
    """What tells the two kinds apart."""

    name: str
    component: str
    res: GVR


REPLICASET = Row("replicaset", "replicaset-controller", REPLICASETS)
REPLICATIONCONTROLLER = Row("replicationcontroller", "replication-controller", REPLICATIONCONTROLLERS)


def build(context: Context, row: Row = REPLICASET) -> Controller:
    """The ReplicaSet controller, watching its own kind and pods."""
    reconciler = ReplicaSet(context, row)
    controller = Controller(reconciler, workers=5, clock=context.clock)
    return controller.watch(reconciler.pods.owners).watch(reconciler.pods.informer, reconciler.pods.keys)


def build_replicationcontroller(context: Context) -> Controller:
    return build(context, REPLICATIONCONTROLLER)


class ReplicaSet:
    """The reconciler; keys are "namespace/name" of the set."""

    def __init__(self, context: Context, row: Row) -> None:
        self.name, self._row = row.name, row
        self._client, self._clock = context.client, context.clock
        self.pods = OwnedPods(context, row.res, row.component)

    def reconcile(self, key: str) -> float | None:
        rs = self.pods.owners.get_key(key)
        if rs is None:
            self.pods.forget(key)
            return None
        fresh = self.pods.expectations.met(key)
        unfinished, active = self._pods(rs)
        failure: tuple[str, Exception] | None = None
        if fresh and not is_terminating(rs) and len(active) != int(rs["spec"].get("replicas", 1)):
            failure = self._manage(key, rs, active)
            if failure is None:
                if not self.pods.expectations.met(key):
                    return UNSEEN_RETRY  # the status follows when what was done shows: one write instead of two
                unfinished, active = self._pods(rs)
        status = self._status(rs, active, len(unfinished) - len(active), failure)
        write_status(self._client, self._row.res, rs, status, ("replicas", "observedGeneration", "terminatingReplicas"))
        if failure is not None:
            raise failure[1]
        if not fresh:
            return UNSEEN_RETRY
        return next_available(active, int(rs["spec"].get("minReadySeconds") or 0), self._clock.now())

    def _pods(self, rs: Obj) -> tuple[list[Obj], list[Obj]]:
        """Its pods that have not ended; those of them that are not being deleted."""
        unfinished = self.pods.of(rs, lambda pod: not is_finished(pod))
        return unfinished, [pod for pod in unfinished if is_active(pod)]

    def _manage(self, key: str, rs: Obj, active: list[Obj]) -> tuple[str, Exception] | None:
        """Create or delete pods until there are enough. Out: None, or (reason, error) of what went wrong."""
        excess = len(active) - int(rs["spec"].get("replicas", 1))
        error: Exception | None = None
        if excess < 0:
            template = rs["spec"].get("template") or {}
            wanted = (f"{name_of(rs)}-", lambda name: from_template(template, rs, name))
            error = self.pods.create(key, rs, [wanted] * min(-excess, _BURST))
        elif excess > 0:
            doomed = pods_to_delete(active, self._related(rs), min(excess, _BURST), self._clock.now())
            error = self.pods.delete(key, rs, doomed)
        return None if error is None else ("FailedCreate" if excess < 0 else "FailedDelete", error)

    def _related(self, rs: Obj) -> list[Obj]:
        """The active pods of all sets with the same owner (a Deployment's other revisions), this one's included."""
        owner = controller_of(rs)
        siblings = self.pods.owners.by_index(BY_CONTROLLER, owner["uid"]) if owner else [rs]
        pods = (p for sibling in siblings for p in self.pods.informer.by_index(BY_CONTROLLER, uid_of(sibling)))
        return [p for p in pods if is_active(p)]

    def _status(self, rs: Obj, active: list[Obj], leaving: int, failure: tuple[str, Exception] | None) -> Obj:
        now, min_ready = self._clock.now(), int(rs["spec"].get("minReadySeconds") or 0)
        template_labels = ((rs["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
        labelled = selectors.from_map(template_labels)
        old = rs.get("status") or {}
        conditions = [c for c in old.get("conditions") or [] if c.get("type") != "ReplicaFailure"]
        if failure is not None:
            known = condition_of(rs, "ReplicaFailure")
            conditions.append(known or {
                "type": "ReplicaFailure", "status": "True", "lastTransitionTime": rfc3339(now),
                "reason": failure[0], "message": str(failure[1]),
            })  # fmt: skip
        status = {
            **old, "replicas": len(active), "observedGeneration": rs["metadata"].get("generation", 0),
            "fullyLabeledReplicas": sum(labelled.matches(labels_of(p)) for p in active),
            "readyReplicas": sum(is_ready(p) for p in active),
            "availableReplicas": sum(available_in(p, min_ready, now) == 0.0 for p in active), "conditions": conditions,
        }  # fmt: skip
        # ReplicationControllers have no such field
        return status | ({"terminatingReplicas": leaving} if self._row is REPLICASET else {})
