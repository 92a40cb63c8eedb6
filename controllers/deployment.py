"""Deployment: rolls its pods from one template to the next by growing one ReplicaSet and shrinking the others.

Who calls it: `controllers.main`. Invariants: never more than replicas + maxSurge pods asked for, never fewer than
replicas - maxUnavailable available by its doing; every step is one guarded write computed from what is there, so it may
crash anywhere and go on. Stop of the data path: 7.
Upstream: pkg/controller/deployment/{deployment_controller,sync,rolling,recreate}.go.
"""

from collections.abc import Iterable

from controllers import deployment_math as sizes
from controllers import deployment_revisions as revisions
from controllers import deployment_status as progress
from controllers.children import claim, parent_keys
from controllers.context import BY_CONTROLLER, Context, index_by_controller, orphans_of
from controllers.deployment_sets import ReplicaSets
from controllers.pod import is_finished
from minikube_py.api import selectors
from minikube_py.api.gvr import DEPLOYMENTS, PODS, REPLICASETS
from minikube_py.api.meta import condition_of, controller_of, is_terminating, namespace_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller


def build(context: Context) -> Controller:
    """The Deployment controller, watching Deployments, their ReplicaSets, and the end of pods (for Recreate)."""
    reconciler = Deployment(context)
    controller = Controller(reconciler, workers=5, clock=context.clock)
    controller.watch(reconciler.deployments).watch(reconciler.sets, reconciler.keys_of_set).needs(reconciler.pods)

    def pod_gone(old: Obj | None, new: Obj | None) -> None:
        if old is not None and (new is None or is_finished(new)):
            for key in reconciler.keys_of_lost_pod(old):
                controller.queue.add(key)

    reconciler.pods.add_handler(pod_gone)
    return controller


class Deployment:
    """The reconciler; keys are "namespace/name" of the Deployment."""

    name = "deployment"

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self.deployments = context.informers.of(DEPLOYMENTS)
        self.sets = index_by_controller(context.informers.of(REPLICASETS))
        self.pods = index_by_controller(context.informers.of(PODS))
        self._events = context.recorder("deployment-controller")
        self._writer = ReplicaSets(context.client, self._events, context.clock)

    def keys_of_set(self, rs: Obj) -> Iterable[str]:
        """The Deployment that controls the ReplicaSet, or those that may want to adopt it."""
        return parent_keys(rs, "Deployment", self.deployments)

    def keys_of_lost_pod(self, pod: Obj) -> Iterable[str]:
        """A Recreate Deployment waits for its last old pod to be gone."""
        owner = controller_of(pod)
        rs = self.sets.get(namespace_of(pod), owner["name"]) if owner and owner["kind"] == "ReplicaSet" else None
        keys = self.keys_of_set(rs) if rs is not None else ()
        return [key for key in keys if (d := self.deployments.get_key(key)) is not None and not sizes.is_rolling(d)]

    def reconcile(self, key: str) -> float | None:
        deployment = self.deployments.get_key(key)
        if deployment is None:
            return None
        if not deployment["spec"].get("selector"):
            message = "This deployment is selecting all pods. A non-empty selector is required."
            self._events.event(deployment, "Warning", "SelectingAll", message)
            return None
        sets = self._claimed(deployment)
        if is_terminating(deployment):
            return self._report(deployment, deployment, sets)
        deployment = self._note_pause(deployment)
        if deployment["spec"].get("paused") or self._is_scaling(deployment, sets):
            return self._scale(deployment, sets)
        if sizes.is_rolling(deployment):
            return self._roll(deployment, sets)
        return self._recreate(deployment, sets)

    def _claimed(self, deployment: Obj) -> list[Obj]:
        """Its ReplicaSets, oldest first."""
        selector = selectors.from_label_selector(deployment["spec"]["selector"])
        namespace = namespace_of(deployment)
        candidates = self.sets.by_index(BY_CONTROLLER, uid_of(deployment))
        candidates += self.sets.by_index(BY_CONTROLLER, orphans_of(namespace))
        claimed = claim(self._client, DEPLOYMENTS, deployment, REPLICASETS, candidates, selector)
        return sorted(claimed, key=revisions.by_age)

    # -- the two ways of rolling out ----------------------------------------------------------------------------------

    def _roll(self, deployment: Obj, sets: list[Obj]) -> float | None:
        """One step: first grow the newest set, then shrink old ones; each step waits for the last to show in the status."""
        live = deployment
        deployment, new, old = self._writer.newest_and_old(deployment, sets, create=True)
        if new is None:
            return None
        everything = [*old, new]
        wanted = sizes.desired(deployment)
        if sizes.desired(new) > wanted:
            target = wanted
        else:
            target = sizes.new_set_size(deployment, everything, sizes.desired(new))
        if target != sizes.desired(new):
            new = self._writer.scale(deployment, new, target)
            return self._report_rollout(live, deployment, [*old, new], new)
        old, shrunk = self._shrink_old(deployment, new, old)
        if not shrunk:
            self._clean_up(deployment, old, new)
        return self._report_rollout(live, deployment, [*old, new], new)

    def _shrink_old(self, deployment: Obj, new: Obj, old: list[Obj]) -> tuple[list[Obj], bool]:
        if sizes.total(old) == 0:
            return old, False
        least = sizes.desired(deployment) - sizes.max_unavailable(deployment)
        new_unavailable = sizes.desired(new) - sizes.status_total([new], "availableReplicas")
        most = sizes.total([*old, new]) - least - new_unavailable
        if most <= 0:
            return old, False
        old, cleaned = self._resize(deployment, old, sizes.cut_unhealthy(old, most))
        old, cut = self._resize(deployment, old, sizes.cut_old(deployment, [*old, new], old))
        return old, cleaned or cut

    def _recreate(self, deployment: Obj, sets: list[Obj]) -> float | None:
        """First every old pod has to be gone, then the newest set grows at once."""
        live = deployment
        deployment, new, old = self._writer.newest_and_old(deployment, sets, create=False)
        old, shrunk = self._resize(deployment, old, {uid_of(rs): 0 for rs in old if sizes.desired(rs) > 0})
        if shrunk or self._old_pods_live(old):
            return self._report_rollout(live, deployment, [*old, new] if new else old, new)
        if new is None:
            deployment, new, old = self._writer.newest_and_old(deployment, old, create=True)
            if new is None:
                return None
        if sizes.desired(new) != sizes.desired(deployment):
            new = self._writer.scale(deployment, new, sizes.desired(deployment))
        self._clean_up(deployment, old, new)
        return self._report_rollout(live, deployment, [*old, new], new)

    def _old_pods_live(self, old: list[Obj]) -> bool:
        if sizes.status_total(old) > 0:
            return True
        return any(not is_finished(pod) for rs in old for pod in self.pods.by_index(BY_CONTROLLER, uid_of(rs)))

    # -- scaling and pausing ------------------------------------------------------------------------------------------

    def _is_scaling(self, deployment: Obj, sets: list[Obj]) -> bool:
        """Whether an active set was last sized for another number of replicas."""
        known = [sizes.annotated(rs, sizes.DESIRED) for rs in sets if sizes.desired(rs) > 0]
        return any(size is not None and size != sizes.desired(deployment) for size in known)

    def _scale(self, deployment: Obj, sets: list[Obj]) -> float | None:
        """Bring the sets to the Deployment's size without rolling anything out."""
        live = deployment
        deployment, new, old = self._writer.newest_and_old(deployment, sets, create=False)
        everything = [*old, new] if new else old
        everything, _ = self._resize(deployment, everything, self._scaled_sizes(deployment, new, old), annotate=True)
        new = next((rs for rs in everything if new is not None and uid_of(rs) == uid_of(new)), None)
        old = [rs for rs in everything if new is None or uid_of(rs) != uid_of(new)]
        if deployment["spec"].get("paused"):
            self._clean_up(deployment, old, new, finished=True)
        return self._report(live, deployment, everything, new)

    def _scaled_sizes(self, deployment: Obj, new: Obj | None, old: list[Obj]) -> dict[str, int]:
        wanted, everything = sizes.desired(deployment), [*old, new] if new else old
        active = [rs for rs in everything if sizes.desired(rs) > 0]
        if not everything:
            return {}
        if len(active) <= 1:
            only = active[0] if active else new or old[-1]
            return {uid_of(only): wanted}
        if new is not None and self._saturated(deployment, new):
            return {uid_of(rs): 0 for rs in old if sizes.desired(rs) > 0}
        if not sizes.is_rolling(deployment):
            return {}
        newest_first = active[::-1]
        newest_first.sort(key=lambda rs: -sizes.desired(rs))
        oldest_first = sorted(active, key=lambda rs: -sizes.desired(rs))
        return sizes.proportional(deployment, active, newest_first, oldest_first)

    @staticmethod
    def _saturated(deployment: Obj, new: Obj) -> bool:
        wanted = sizes.desired(deployment)
        available = sizes.status_total([new], "availableReplicas")
        return sizes.desired(new) == wanted == sizes.annotated(new, sizes.DESIRED) == available

    def _resize(
        self, deployment: Obj, sets: list[Obj], wanted: dict[str, int], *, annotate: bool = False
    ) -> tuple[list[Obj], bool]:
        """Write the sizes that differ (with `annotate` also where only the bookkeeping does). Out: the sets; did any change."""
        resized, changed = [], False
        for rs in sets:
            size = wanted.get(uid_of(rs), sizes.desired(rs))
            changed = changed or size != sizes.desired(rs)
            if size != sizes.desired(rs) or (annotate and uid_of(rs) in wanted):
                rs = self._writer.scale(deployment, rs, size)
            resized.append(rs)
        return resized, changed

    def _note_pause(self, deployment: Obj) -> Obj:
        """Pausing and resuming show in the condition Progressing, and restart the progress deadline."""
        current = condition_of(deployment, "Progressing") or {}
        if progress.deadline(deployment) is None or current.get("reason") == progress.TIMED_OUT:
            return deployment
        paused, noted = bool(deployment["spec"].get("paused")), current.get("reason") == "DeploymentPaused"
        if paused == noted:
            return deployment
        state = "paused" if paused else "resumed"
        reason, message = f"Deployment{state.capitalize()}", f"Deployment is {state}"
        status = dict(deployment.get("status") or {})
        progress.put(status, progress.condition("Progressing", "Unknown", reason, message, self._clock.now()))
        return self._writer.write_status(deployment, status)

    # -- afterwards ---------------------------------------------------------------------------------------------------

    def _clean_up(self, deployment: Obj, old: list[Obj], new: Obj | None, *, finished: bool = False) -> None:
        """Delete the oldest sets beyond the history limit, once the rollout is complete."""
        limit = deployment["spec"].get("revisionHistoryLimit")
        if limit is None or not (finished or progress.complete(deployment, deployment.get("status") or {})):
            return
        kept = sorted((rs for rs in old if not is_terminating(rs)), key=revisions.revision_of)
        for rs in kept[: max(0, len(kept) - int(limit))]:
            observed = (rs.get("status") or {}).get("observedGeneration", 0)
            if sizes.status_total([rs]) or sizes.desired(rs) or rs["metadata"].get("generation", 0) > observed:
                continue
            self._writer.delete(rs)

    def _report_rollout(self, live: Obj, deployment: Obj, sets: list[Obj], new: Obj | None) -> float | None:
        """Bring the status of `live` up to date, with what was noted in `deployment`: one write."""
        now = self._clock.now()
        status = progress.rollout(deployment, sets, new, now)
        self._writer.write_status(live, status, deployment)
        return progress.check_again_in(deployment, status, now)

    def _report(self, live: Obj, deployment: Obj, sets: list[Obj], new: Obj | None = None) -> float | None:
        if new is None:
            new = revisions.newest(deployment, sets)
        self._writer.write_status(live, progress.counted(deployment, sets, new, self._clock.now()), deployment)
        return None
