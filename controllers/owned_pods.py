"""The pods of one kind of owner: found and claimed, created in slow start, deleted, remembered until they are seen.

Who calls it: ReplicaSet, DaemonSet, StatefulSet and Job. Invariants: each create and delete is told to the user as an event and
to `Expectations`, so that no reconcile counts on a copy older than the last one's writes; a pod is deleted by its uid.
Upstream: pkg/controller/controller_utils.go (RealPodControl).
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from controllers.children import Expectations, Names, claim, parent_keys, selector_of, slow_start
from controllers.context import BY_CONTROLLER, Context, index_by_controller, orphans_of
from controllers.pod import available_in
from minikube_py.api import errors
from minikube_py.api.gvr import GVR, PODS
from minikube_py.api.meta import is_terminating, name_of, namespace_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import in_terminating_namespace
from minikube_py.client.rest import Client

UNSEEN_RETRY = 1.0  # seconds: an event wakes a reconcile that waits for one; this is for the case that it never comes


class OwnedPods:
    """In: `owners` is the collection of the owners, `component` who its events are from (upstream's controller name)."""

    def __init__(self, context: Context, owners: GVR, component: str, *, finalizer: str = "") -> None:
        self._client, self._owner_res, self._finalizer = context.client, owners, finalizer
        self.owners = index_by_controller(context.informers.of(owners))
        self.informer = index_by_controller(context.informers.of(PODS))
        self.expectations = Expectations(self.informer, context.clock)
        self.names = Names()
        self.events = context.recorder(component)

    def keys(self, pod: Obj) -> Iterable[str]:
        """The owner that controls the pod (or another child), or those that may want to adopt it."""
        return parent_keys(pod, self._owner_res.kind, self.owners)

    def of(self, owner: Obj, wanted: Callable[[Obj], bool] = lambda pod: True) -> list[Obj]:
        """The owner's pods among those `wanted`, after adopting and releasing what has to be. Raises APIError."""
        mine = self.informer.by_index(BY_CONTROLLER, uid_of(owner))
        mine = mine + self.informer.by_index(BY_CONTROLLER, orphans_of(namespace_of(owner)))
        candidates = [pod for pod in mine if wanted(pod)]
        return claim(self._client, self._owner_res, owner, PODS, candidates, selector_of(owner), self._finalizer)

    def forget(self, key: str) -> None:
        """The owner is gone."""
        self.expectations.forget(key)
        self.names.forget(key)

    def create(self, key: str, owner: Obj, wanted: Iterable[tuple[str, Callable[[str], Obj]]]) -> Exception | None:
        """Create pods, given as (name's base, what makes the pod of a name); slowly at first. Out: the first error."""
        first_error: Exception | None = None
        waiting = list(wanted)
        rest = iter(waiting)

        def one() -> Obj:
            base, make = next(rest)
            return self.names.create(self._client, PODS, key, base, make, owner)

        for result in slow_start(len(waiting), one):
            if isinstance(result, Exception):
                if in_terminating_namespace(result):
                    continue  # nothing can be made there any more, and soon nothing needs to be
                self.events.event(owner, "Warning", "FailedCreate", f"Error creating: {result}")
                first_error = first_error or result
            else:
                self.created(key, owner, result, f"Created pod: {name_of(result)}")
        return first_error

    def created(self, key: str, owner: Obj, pod: Obj, message: str) -> None:
        """This pod was created."""
        self.expectations.wrote(key, pod)
        self.events.event(owner, "Normal", "SuccessfulCreate", message)

    def delete(self, key: str, owner: Obj, pods: Iterable[Obj], message: str = "Deleted pod: {}") -> Exception | None:
        """Delete those that are not being deleted yet. Out: the first error."""
        first_error: Exception | None = None
        for pod in pods:
            if is_terminating(pod):
                continue
            try:
                self._client.delete(PODS, name_of(pod), namespace_of(pod), uid=uid_of(pod))
            except errors.NotFound:
                self.expectations.deleted(key, pod)
                continue
            except errors.APIError as error:
                self.events.event(owner, "Warning", "FailedDelete", f"Error deleting: {error}")
                first_error = first_error or error
                continue
            self.expectations.deleted(key, pod)
            self.events.event(owner, "Normal", "SuccessfulDelete", message.format(name_of(pod)))
        return first_error


def raised(error: Exception | None) -> None:
    """Raise what `create` or `delete` gave back."""
    if error is not None:
        raise error


def write_status(client: Client, res: GVR, obj: Obj, status: Obj, always: Iterable[str] = ()) -> Obj | None:
    """Write a status that differs from the object's. In: zeros and empties are left out, except the fields in `always`.

    Out: the written object, None if nothing was written (nothing to write, or the object is gone). Raises Conflict.
    """
    kept: dict[str, Any] = {field: value for field, value in status.items() if value or field in always}
    if kept == (obj.get("status") or {}):
        return None
    try:
        return client.update(res, {**obj, "status": kept}, subresource="status")
    except errors.NotFound:
        return None


def next_available(pods: Iterable[Obj], min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until the next ready pod has been ready for as long as it has to be; None if there is none to wait for."""
    if not min_ready_seconds:
        return None
    waits = [seconds for pod in pods if (seconds := available_in(pod, min_ready_seconds, now))]
    return min(waits) + 0.01 if waits else None
