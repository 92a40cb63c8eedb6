"""ReplicaSet: as many pods as `spec.replicas` says; the same code, given another row, is ReplicationController.

Who calls it: `controllers.main`. Invariant: it never acts on a copy older than its own last write, so it neither makes a
pod too many nor deletes one twice. Stop of the data path: 7.
Upstream: pkg/controller/replicaset/replica_set.go.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from controllers.children import Expectations, Names, claim, parent_keys, selector_of, slow_start
from controllers.context import BY_CONTROLLER, Context, index_by_controller, orphans_of
from controllers.pod import available_in, from_template, is_active, is_ready
from controllers.replicaset_rank import pods_to_delete
from minikube_py.api import errors, selectors
from minikube_py.api.clock import rfc3339
from minikube_py.api.gvr import GVR, PODS, REPLICASETS, REPLICATIONCONTROLLERS
from minikube_py.api.meta import (
    condition_of,
    controller_of,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    split_key,
    uid_of,
)  # fmt: skip
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller, in_terminating_namespace

_BURST = 500
_UNSEEN_RETRY = 1.0  # the event itself wakes us; this is for the case that it never comes


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
    controller = Controller(reconciler, workers=2, clock=context.clock)
    controller.watch(reconciler.sets)
    return controller.watch(reconciler.pods, reconciler.keys_of_pod)


def build_replicationcontroller(context: Context) -> Controller:
    return build(context, REPLICATIONCONTROLLER)


class ReplicaSet:
    """The reconciler; keys are "namespace/name" of the set."""

    def __init__(self, context: Context, row: Row) -> None:
        self.name, self._row = row.name, row
        self._client, self._clock = context.client, context.clock
        self.sets = index_by_controller(context.informers.of(row.res))
        self.pods = index_by_controller(context.informers.of(PODS))
        self._expectations = Expectations(self.pods, context.clock)
        self._events = context.recorder(row.component)
        self._names = Names()

    def keys_of_pod(self, pod: Obj) -> Iterable[str]:
        """The set that controls the pod, or those that may want to adopt it."""
        return parent_keys(pod, self._row.res.kind, self.sets)

    def reconcile(self, key: str) -> float | None:
        rs = self.sets.get_key(key)
        if rs is None:
            self._expectations.forget(key)
            self._names.forget(key)
            return None
        fresh = self._expectations.met(key)
        namespace, selector = split_key(key)[0], selector_of(rs)
        candidates = self.pods.by_index(BY_CONTROLLER, uid_of(rs)) + self.pods.by_index(
            BY_CONTROLLER, orphans_of(namespace)
        )
        active = [p for p in candidates if is_active(p)]
        active = claim(self._client, self._row.res, rs, PODS, active, selector)
        failure: tuple[str, Exception] | None = None
        if fresh and not is_terminating(rs):
            failure = self._manage(key, rs, active)
        self._write_status(rs, self._status(rs, active, failure))
        if failure is not None:
            raise failure[1]
        if not fresh:
            return _UNSEEN_RETRY
        return self._next_available(rs, active)

    # -- making and deleting pods -------------------------------------------------------------------------------------

    def _manage(self, key: str, rs: Obj, active: list[Obj]) -> tuple[str, Exception] | None:
        """Create or delete pods until there are enough. Out: None, or (reason, error) of what went wrong."""
        excess = len(active) - int(rs["spec"].get("replicas", 1))
        if excess < 0:
            error = self._create(key, rs, min(-excess, _BURST))
            return ("FailedCreate", error) if error else None
        if excess > 0:
            error = self._delete(key, rs, active, min(excess, _BURST))
            return ("FailedDelete", error) if error else None
        return None

    def _create(self, key: str, rs: Obj, count: int) -> Exception | None:
        template = rs["spec"].get("template") or {}

        def one() -> Obj:
            base = f"{name_of(rs)}-"
            return self._names.create(self._client, PODS, key, base, lambda name: from_template(template, rs, name), rs)

        first_error: Exception | None = None
        for result in slow_start(count, one):
            if isinstance(result, Exception):
                if in_terminating_namespace(result):
                    continue  # nothing can be made there any more, and soon nothing needs to be
                self._events.event(rs, "Warning", "FailedCreate", f"Error creating: {result}")
                first_error = first_error or result
            else:
                self._expectations.wrote(key, result)
                self._events.event(rs, "Normal", "SuccessfulCreate", f"Created pod: {name_of(result)}")
        return first_error

    def _delete(self, key: str, rs: Obj, active: list[Obj], count: int) -> Exception | None:
        first_error: Exception | None = None
        for pod in pods_to_delete(active, self._related(rs), count, self._clock.now()):
            try:
                self._client.delete(PODS, name_of(pod), namespace_of(pod), uid=uid_of(pod))
            except errors.NotFound:
                self._expectations.deleted(key, pod)
            except errors.APIError as error:
                self._events.event(rs, "Warning", "FailedDelete", f"Error deleting: {error}")
                first_error = first_error or error
            else:
                self._expectations.deleted(key, pod)
                self._events.event(rs, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
        return first_error

    def _related(self, rs: Obj) -> list[Obj]:
        """The active pods of all sets with the same owner (a Deployment's other revisions), this one's included."""
        owner = controller_of(rs)
        siblings = self.sets.by_index(BY_CONTROLLER, owner["uid"]) if owner else [rs]
        return [p for sibling in siblings for p in self.pods.by_index(BY_CONTROLLER, uid_of(sibling)) if is_active(p)]

    # -- status -------------------------------------------------------------------------------------------------------

    def _status(self, rs: Obj, active: list[Obj], failure: tuple[str, Exception] | None) -> Obj:
        now, min_ready = self._clock.now(), int(rs["spec"].get("minReadySeconds") or 0)
        template_labels = ((rs["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
        labelled = selectors.from_map(template_labels)
        counts = {
            "fullyLabeledReplicas": sum(labelled.matches(labels_of(p)) for p in active),
            "readyReplicas": sum(is_ready(p) for p in active),
            "availableReplicas": sum(available_in(p, min_ready, now) == 0.0 for p in active),
        }
        old = rs.get("status") or {}
        conditions = [c for c in old.get("conditions") or [] if c.get("type") != "ReplicaFailure"]
        if failure is not None:
            known = condition_of(rs, "ReplicaFailure")
            conditions.append(known or {
                "type": "ReplicaFailure", "status": "True", "lastTransitionTime": rfc3339(now),
                "reason": failure[0], "message": str(failure[1]),
            })  # fmt: skip
        status: Obj = {
            **old,
            "replicas": len(active),
            "observedGeneration": rs["metadata"].get("generation", 0),
            **counts,
        }
        status["conditions"] = conditions
        return {k: v for k, v in status.items() if k in ("replicas", "observedGeneration") or v}  # zeros are left out

    def _write_status(self, rs: Obj, status: Obj) -> None:
        old: dict[str, Any] = rs.get("status") or {}
        if {k: v for k, v in old.items() if v} == {k: v for k, v in status.items() if v} and "replicas" in old:
            return
        try:
            self._client.update(self._row.res, {**rs, "status": status}, subresource="status")
        except errors.NotFound:
            return  # deleted meanwhile

    def _next_available(self, rs: Obj, active: list[Obj]) -> float | None:
        """Seconds until the next ready pod has been ready for minReadySeconds."""
        min_ready = int(rs["spec"].get("minReadySeconds") or 0)
        if not min_ready:
            return None
        now = self._clock.now()
        waits = [seconds for p in active if (seconds := available_in(p, min_ready, now))]
        return min(waits) + 0.01 if waits else None
