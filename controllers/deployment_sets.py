"""The writes of the Deployment controller: its ReplicaSets and its status.

Who calls it: `controllers.deployment`. Invariant: every write is guarded by the resourceVersion it was computed from, so
none can undo what it has not seen.
Upstream: pkg/controller/deployment/sync.go.
"""

from controllers import deployment_math as sizes
from controllers import deployment_revisions as revisions
from controllers import deployment_status as progress
from controllers.deployment_revisions import HASH_LABEL, REVISION
from minikube_py.api import errors
from minikube_py.api.clock import Clock
from minikube_py.api.gvr import DEPLOYMENTS, REPLICASETS
from minikube_py.api.meta import annotations_of, condition_of, controller_of, name_of, namespace_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import in_terminating_namespace
from minikube_py.client.events import EventRecorder
from minikube_py.client.rest import Client


class ReplicaSets:
    """Creates, sizes and deletes the ReplicaSets of Deployments, and writes Deployments' status."""

    def __init__(self, client: Client, events: EventRecorder, clock: Clock) -> None:
        self._client, self._events, self._clock = client, events, clock

    def newest_and_old(self, deployment: Obj, sets: list[Obj], *, create: bool) -> tuple[Obj, Obj | None, list[Obj]]:
        """(the Deployment with what is to be noted in it, its newest ReplicaSet, revision in order; the others, oldest first).

        What is noted is written with the status at the end of the reconcile: `write_status`.
        """
        new = revisions.newest(deployment, sets)
        old = [rs for rs in sets if new is None or uid_of(rs) != uid_of(new)]
        revision = max((revisions.revision_of(rs) for rs in old), default=0) + 1
        if new is not None:
            new = self._bring_up_to_date(deployment, new, revision)
            message = f'Found new replica set "{name_of(new)}"'
            number = annotations_of(new).get(REVISION, str(revision))
            return self._note_revision(deployment, number, "FoundNewReplicaSet", message), new, old
        if not create:
            return deployment, None, old
        made, deployment = self._create(deployment, old, revision)
        if made is None:
            return deployment, None, old
        message = f'Created new replica set "{name_of(made)}"'
        return self._note_revision(deployment, str(revision), "NewReplicaSetCreated", message, replace=True), made, old

    def scale(self, deployment: Obj, rs: Obj, size: int) -> Obj:
        """Write a ReplicaSet's size and bookkeeping, if they differ. Out: the ReplicaSet as it now is."""
        annotations = {**annotations_of(rs), **revisions.size_annotations(deployment)}
        before = sizes.desired(rs)
        if before == size and annotations == annotations_of(rs):
            return rs
        changed = {
            **rs, "metadata": {**rs["metadata"], "annotations": annotations}, "spec": {**rs["spec"], "replicas": size},
        }  # fmt: skip
        written = self._client.update(REPLICASETS, changed)
        if before != size:
            way = "up" if size > before else "down"
            message = f"Scaled {way} replica set {name_of(rs)} from {before} to {size}"
            self._events.event(deployment, "Normal", "ScalingReplicaSet", message)
        return written

    def delete(self, rs: Obj) -> None:
        """Delete a ReplicaSet that has no pods left; one that changed since is left alone (Conflict)."""
        try:
            self._client.delete(
                REPLICASETS, name_of(rs), namespace_of(rs), uid=uid_of(rs), propagation_policy="Background",
                resource_version=rs["metadata"]["resourceVersion"],
            )  # fmt: skip
        except errors.NotFound:
            return

    def write_status(self, live: Obj, status: Obj, noted: Obj | None = None) -> Obj:
        """Write status, and the annotations `noted` has, when they differ from `live`. Out: the Deployment as it now is."""
        changed = {**(noted or live), "status": _compact(status)}
        same = annotations_of(changed) == annotations_of(live)
        if same and changed["status"] == _compact(live.get("status") or {}):
            return live
        return self._client.update(DEPLOYMENTS, changed, subresource="status")

    def _bring_up_to_date(self, deployment: Obj, rs: Obj, revision: int) -> Obj:
        annotations = revisions.annotations_for(deployment, rs, revision, exists=True)
        min_ready = int(deployment["spec"].get("minReadySeconds") or 0)
        if annotations == annotations_of(rs) and min_ready == int(rs["spec"].get("minReadySeconds") or 0):
            return rs
        metadata, spec = {**rs["metadata"], "annotations": annotations}, {**rs["spec"], "minReadySeconds": min_ready}
        return self._client.update(REPLICASETS, {**rs, "metadata": metadata, "spec": spec})

    def _create(self, deployment: Obj, old: list[Obj], revision: int) -> tuple[Obj | None, Obj]:
        """Out: (the new ReplicaSet, or None when the namespace is going; the Deployment). Raises when it cannot be made."""
        rs = revisions.new_set(deployment)
        rs["spec"]["replicas"] = sizes.new_set_size(deployment, [*old, rs], 0)
        rs["metadata"]["annotations"] = revisions.annotations_for(deployment, rs, revision, exists=False)
        try:
            made = self._client.create(REPLICASETS, rs)
        except errors.AlreadyExists:
            return self._found_under_its_name(deployment, rs), deployment
        except errors.APIError as error:
            if in_terminating_namespace(error):
                return None, deployment
            if not isinstance(error, errors.ServiceUnavailable):
                self._note_failure(deployment, name_of(rs), error)
            raise
        if (size := sizes.desired(made)) > 0:
            message = f"Scaled up replica set {name_of(made)} from 0 to {size}"
            self._events.event(deployment, "Normal", "ScalingReplicaSet", message)
        return made, deployment

    def _found_under_its_name(self, deployment: Obj, wanted: Obj) -> Obj:
        """The name is taken: by our own earlier create, or by a different template with the same hash (then count up)."""
        found = self._client.get(REPLICASETS, name_of(wanted), namespace_of(wanted))
        owner = controller_of(found)
        if (
            owner is not None
            and owner["uid"] == uid_of(deployment)
            and revisions.newest(deployment, [found]) is not None
        ):
            return found
        status = dict(deployment.get("status") or {})
        status["collisionCount"] = int(status.get("collisionCount") or 0) + 1
        self.write_status(deployment, status)
        raise errors.AlreadyExists(f"the hash {wanted['metadata']['labels'][HASH_LABEL]} is taken; another one follows")

    def _note_failure(self, deployment: Obj, name: str, error: errors.APIError) -> None:
        message = f'Failed to create new replica set "{name}": {error}'
        self._events.event(deployment, "Warning", "ReplicaSetCreateError", message)
        if progress.deadline(deployment) is not None:
            status = dict(deployment.get("status") or {})
            failed = progress.condition("Progressing", "False", "ReplicaSetCreateError", message, self._clock.now())
            progress.put(status, failed)
            self.write_status(deployment, status)

    def _note_revision(self, deployment: Obj, number: str, reason: str, message: str, *, replace: bool = False) -> Obj:
        """The Deployment carries its newest set's revision; a first or new set shows in the condition Progressing."""
        status = dict(deployment.get("status") or {})
        known = condition_of(deployment, "Progressing")
        if progress.deadline(deployment) is not None and (replace or known is None):
            progress.put(status, progress.condition("Progressing", "True", reason, message, self._clock.now()))
        annotations = {**annotations_of(deployment), REVISION: number}
        return {**deployment, "metadata": {**deployment["metadata"], "annotations": annotations}, "status": status}


_ALWAYS = ("observedGeneration", "terminatingReplicas")


def _compact(status: Obj) -> Obj:
    """Zeros and empty lists are left out, as upstream's encoder does."""
    return {key: value for key, value in status.items() if value or key in _ALWAYS}
