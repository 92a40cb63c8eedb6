"""Namespace deletion: empties a namespace that is being deleted, then lets it go.

Who calls it: `controllers.main`. Invariants: the finalizer "kubernetes" is taken off only after every namespaced resource,
custom kinds included, was listed empty; pods go before everything else; nothing outside the namespace is touched. What
stands in the way is told in the namespace's conditions.
Upstream: pkg/controller/namespace/deletion/namespaced_resources_deleter.go.
"""

from dataclasses import dataclass, field

from controllers.context import Context
from minikube_py.api import errors
from minikube_py.api.clock import rfc3339
from minikube_py.api.gvr import GVR, NAMESPACES, PODS
from minikube_py.api.meta import is_terminating, name_of, set_condition
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller
from minikube_py.client.discovery import Discovered, discover

FINALIZER = "kubernetes"
_AGAIN, _AGAIN_FAILED = 0.5, 5.0


def build(context: Context) -> Controller:
    """Watches namespaces; keys are their names."""
    reconciler = Namespace(context)
    return Controller(reconciler, workers=2, clock=context.clock).watch(reconciler.namespaces)


@dataclass
class Left:
    """What is still in a namespace, and what went wrong."""

    counts: dict[str, int] = field(default_factory=dict)  # "pods." and the like -> how many
    finalizers: dict[str, int] = field(default_factory=dict)  # finalizer -> on how many of them
    errors: list[str] = field(default_factory=list)
    slow: float = 0.0  # the longest grace period among the pods, in seconds


class Namespace:
    """The reconciler."""

    name = "namespace"

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self.namespaces = context.informers.of(NAMESPACES)

    def reconcile(self, key: str) -> float | None:
        namespace = self.namespaces.get_key(key)
        if namespace is None or not is_terminating(namespace):
            return None
        try:
            namespace = self._client.get(NAMESPACES, key)
        except errors.NotFound:
            return None
        if FINALIZER not in (namespace["spec"].get("finalizers") or []):
            return None
        if (namespace.get("status") or {}).get("phase") != "Terminating":
            status = {**(namespace.get("status") or {}), "phase": "Terminating"}
            namespace = self._client.update(NAMESPACES, {**namespace, "status": status}, subresource="status")
        served = discover(self._client)
        left = self._empty(key, served)
        self._report(namespace, served, left)
        if left.errors or served.failed:
            return _AGAIN_FAILED
        if left.counts:
            return max(_AGAIN, left.slow / 10)
        self._finalize(key)
        return None

    def _empty(self, namespace: str, served: Discovered) -> Left:
        """Delete what is there; pods first, and nothing else while any pod is left."""
        left = Left()
        self._delete_all(PODS, namespace, frozenset({"deletecollection", "list"}), left)
        if left.counts or left.errors:
            return left
        for resource in served.with_verbs("delete", "list"):
            if resource.gvr.namespaced and (resource.gvr.group, resource.gvr.plural) != ("", "pods"):
                self._delete_all(resource.gvr, namespace, resource.verbs, left)
        return left

    def _delete_all(self, res: GVR, namespace: str, verbs: frozenset[str], left: Left) -> None:
        try:
            found = self._client.list(res, namespace)["items"]
            if not found:
                return
            if all(is_terminating(obj) for obj in found):
                pass  # asked for already: they wait for their kubelet or their finalizers
            elif "deletecollection" in verbs:
                self._client.delete_collection(res, namespace, propagation_policy="Background")
            else:
                for obj in found:
                    self._delete_one(res, namespace, name_of(obj))
            found = self._client.list(res, namespace)["items"]
        except errors.NotFound:
            return  # the kind itself is gone
        except errors.ServiceUnavailable:
            raise
        except errors.APIError as error:
            left.errors.append(f"{res.plural}: {error}")
            return
        if found:
            left.counts[f"{res.plural}.{res.group}"] = len(found)
        for obj in found:
            left.slow = max(left.slow, float(obj["metadata"].get("deletionGracePeriodSeconds") or 0))
            for finalizer in obj["metadata"].get("finalizers") or []:
                left.finalizers[finalizer] = left.finalizers.get(finalizer, 0) + 1

    def _delete_one(self, res: GVR, namespace: str, name: str) -> None:
        try:
            self._client.delete(res, name, namespace, propagation_policy="Background")
        except errors.NotFound:
            return

    def _report(self, namespace: Obj, served: Discovered, left: Left) -> None:
        status, now = {**(namespace.get("status") or {})}, rfc3339(self._clock.now())
        status["conditions"] = list(status.get("conditions") or [])
        told, changed = _conditions(served, left), False
        # A namespace that goes without trouble is not written for it; one that stays shows all of its conditions.
        if status["conditions"] or any(problem for _, problem, _, _ in told):
            for kind, problem, bad, good in told:
                value, (reason, message) = ("True", bad) if problem else ("False", good)
                changed = set_condition(status, kind, value, now, reason, message) or changed
        if changed:
            try:
                self._client.update(NAMESPACES, {**namespace, "status": status}, subresource="status")
            except errors.NotFound:
                return

    def _finalize(self, key: str) -> None:
        """Take our finalizer off; the last one off lets the API server remove the namespace."""
        try:
            live = self._client.get(NAMESPACES, key)
            rest = [f for f in live["spec"].get("finalizers") or [] if f != FINALIZER]
            finalized = {**live, "spec": {**live["spec"], "finalizers": rest}}
            self._client.update(NAMESPACES, finalized, subresource="finalize")
        except errors.NotFound:
            return


_Texts = tuple[str, str]


def _conditions(served: Discovered, left: Left) -> list[tuple[str, bool, _Texts, _Texts]]:
    """(type, is it a problem, (reason, message) if so, (reason, message) if not), in upstream's words."""
    discovery = f"Discovery failed for some groups, {len(served.failed)} failing: {', '.join(served.failed)}"
    deletion = f"Failed to delete all resource types, {len(left.errors)} remaining: {', '.join(left.errors)}"
    counts = ", ".join(f"{kind} has {number} resource instances" for kind, number in sorted(left.counts.items()))
    holders = ", ".join(f"{name} in {number} resource instances" for name, number in sorted(left.finalizers.items()))
    return [
        ("NamespaceDeletionDiscoveryFailure", bool(served.failed), ("DiscoveryFailed", discovery),
         ("ResourcesDiscovered", "All resources successfully discovered")),
        ("NamespaceDeletionContentFailure", bool(left.errors), ("ContentDeletionFailed", deletion),
         ("ContentDeleted", "All content successfully deleted, may be waiting on finalization")),
        ("NamespaceContentRemaining", bool(left.counts),
         ("SomeResourcesRemain", f"Some resources are remaining: {counts}"),
         ("ContentRemoved", "All content successfully removed")),
        ("NamespaceFinalizersRemaining", bool(left.finalizers),
         ("SomeFinalizersRemain", f"Some content in the namespace has finalizers remaining: {holders}"),
         ("ContentHasNoFinalizers", "All content-preserving finalizers finished")),
    ]  # fmt: skip
