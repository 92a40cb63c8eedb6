"""`pods/eviction`: a delete that asks the PodDisruptionBudgets first.

Who calls it: `subresources.py`. Invariant: a disruption is counted in the budget's status (compare-and-swap) before the pod
is deleted, so that two evictions can never spend the same one; the pod says why it goes (condition DisruptionTarget).
Upstream: pkg/registry/core/pod/storage/eviction.go.
"""

from apiserver.strategies.base import Context
from minikube_py.api import errors
from minikube_py.api.meta import condition_is, is_terminating, name_of, namespace_of, set_condition, uid_of
from minikube_py.api.selectors import from_label_selector
from minikube_py.api.types import Obj

BUDGETS = "poddisruptionbudgets.policy"
_NOT_RUNNING = ("Succeeded", "Failed", "Pending")
_MOST_DISRUPTED = 2000
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."


def evict(ctx: Context, pod: Obj, eviction: Obj) -> Obj:
    """Evict a pod. In: the Eviction as posted. Out: a Status of success.

    Raises TooManyRequests while the budget allows no disruption, InternalError when two budgets claim the pod.
    """
    named = (eviction.get("metadata") or {}).get("name") or name_of(pod)
    if named != name_of(pod):
        raise errors.BadRequest(f"name in URL does not match name in Eviction object: {name_of(pod)}, {named}")
    options: Obj = dict(eviction.get("deleteOptions") or {})
    preconditions = {"uid": uid_of(pod), **(options.get("preconditions") or {})}
    dry_run = ctx.dry_run or bool(options.get("dryRun"))
    if not _may_ignore_budgets(pod):
        budgets = [b for b in ctx.lister(BUDGETS, namespace_of(pod)) if _covers(b, pod)]
        if len(budgets) > 1:
            raise errors.InternalError(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            )
        if budgets and not _already_broken(budgets[0], pod):
            _spend(ctx, budgets[0], name_of(pod), dry_run)
    if not dry_run:
        _mark(ctx, pod)
        delete_options = {**options, "preconditions": preconditions}
        delete_options["preconditions"].pop("resourceVersion", None)
        ctx.writer().remove("pods", namespace_of(pod), name_of(pod), delete_options, ctx.user)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _may_ignore_budgets(pod: Obj) -> bool:
    """A pod that does not run disrupts nothing."""
    return (pod.get("status") or {}).get("phase") in _NOT_RUNNING or is_terminating(pod)


def _covers(budget: Obj, pod: Obj) -> bool:
    selector = from_label_selector((budget.get("spec") or {}).get("selector"))
    return selector.matches(pod["metadata"].get("labels") or {})


def _already_broken(budget: Obj, pod: Obj) -> bool:
    """A pod that is not ready anyway may go: always, or while the rest of its set is healthy, as its budget says."""
    if condition_is(pod, "Ready"):
        return False
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    wanted = status.get("desiredHealthy") or 0
    return bool(wanted > 0 and (status.get("currentHealthy") or 0) >= wanted)


def _spend(ctx: Context, budget: Obj, pod_name: str, dry_run: bool) -> None:
    """Take one disruption from the budget."""

    def decrement(live: Obj) -> Obj | None:
        _check(live)
        if dry_run:
            return None
        status = live["status"]
        status["disruptionsAllowed"] -= 1
        if status["disruptionsAllowed"] == 0:
            set_condition(status, "DisruptionAllowed", "False", ctx.now(), "InsufficientPods")
        status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod_name: ctx.now()}
        return live

    ctx.writer().change(BUDGETS, namespace_of(budget), name_of(budget), decrement)


def _check(budget: Obj) -> None:
    name, status = name_of(budget), budget.setdefault("status", {})
    if (status.get("observedGeneration") or 0) < (budget["metadata"].get("generation") or 0):
        raise _refused(f"The disruption budget {name} is still being processed by the server.", retry=10)
    allowed = status.get("disruptionsAllowed") or 0
    if allowed < 0:
        raise errors.Forbidden(
            f'poddisruptionbudgets.policy "{name}" is forbidden: pdb disruptions allowed is negative'
        )
    if len(status.get("disruptedPods") or {}) > _MOST_DISRUPTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise errors.Forbidden(f'poddisruptionbudgets.policy "{name}" is forbidden: {why}')
    if allowed == 0:
        wanted, has = status.get("desiredHealthy") or 0, status.get("currentHealthy") or 0
        raise _refused(f"The disruption budget {name} needs {wanted} healthy pods and has {has} currently")


def _refused(why: str, retry: int = 0) -> errors.TooManyRequests:
    details: Obj = {"causes": [{"reason": "DisruptionBudget", "message": why}]}
    if retry:
        details["retryAfterSeconds"] = retry
    return errors.TooManyRequests(_REFUSED, details=details)


def _mark(ctx: Context, pod: Obj) -> None:
    """The reason stays readable on the pod, should a finalizer or its grace period keep it."""

    def disrupted(live: Obj) -> Obj | None:
        if uid_of(live) != uid_of(pod):
            return None
        status = live.setdefault("status", {})
        why = "Eviction API: evicting"
        set_condition(status, "DisruptionTarget", "True", ctx.now(), "EvictionByEvictionAPI", why)
        return live

    ctx.writer().change("pods", namespace_of(pod), name_of(pod), disrupted)
