"""Job: runs pods until enough of them have succeeded, a few at a time, giving up after too many failures.

Who calls it: `controllers.main`. Invariants: every pod that ends is counted once, also when it is deleted the moment it ends
(a finalizer holds it until then) and when this process dies anywhere between; a finished Job makes no pod.
Upstream: pkg/controller/job/job_controller.go, pkg/controller/ttlafterfinished.
"""

import copy
from collections.abc import Callable, Iterable
from datetime import timedelta

from controllers import job_policy as policy
from controllers import job_state as state
from controllers.children import Expectations, selector_of
from controllers.context import BY_CONTROLLER, Context, orphans_of
from controllers.owned_pods import UNSEEN_RETRY, OwnedPods, raised
from controllers.pod import from_template, is_active, is_finished, is_ready
from minikube_py.api import errors
from minikube_py.api.clock import parse_rfc3339, rfc3339
from minikube_py.api.gvr import JOBS, PODS
from minikube_py.api.meta import (
    condition_is,
    condition_of,
    controller_of,
    is_terminating,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    set_condition,
    split_key,
    uid_of,
)
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_OURS = "kubernetes.io/job-controller"


def build(context: Context) -> Controller:
    """Watches Jobs and pods; keys are Jobs."""
    reconciler = Job(context)
    controller = Controller(reconciler, workers=2, clock=context.clock)
    return controller.watch(reconciler.jobs).watch(reconciler.pods.informer, reconciler.keys_of_pod)


class Job:
    """The reconciler."""

    name = "job"

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self.pods = OwnedPods(context, JOBS, "job-controller", finalizer=state.FINALIZER)
        self.jobs = self.pods.owners
        self._expectations, self._events = self.pods.expectations, self.pods.events
        self._own_writes = Expectations(self.jobs, context.clock)  # counts are computed from the status we wrote last

    def keys_of_pod(self, pod: Obj) -> Iterable[str]:
        """The Job that controls the pod, or those that may adopt it; "NAMESPACE/" when nobody does but ours holds it."""
        owner, namespace = controller_of(pod), namespace_of(pod)
        if owner is not None:
            return (f"{namespace}/{owner['name']}",) if owner["kind"] == "Job" else ()
        held = state.FINALIZER in (pod["metadata"].get("finalizers") or [])
        return self._suitors(pod) or ((f"{namespace}/",) if held else ())

    def _suitors(self, pod: Obj) -> list[str]:
        """The keys of the Jobs whose selector an ownerless pod matches."""
        labels, jobs = labels_of(pod), self.jobs.list(namespace_of(pod))
        return [key_of(j) for j in jobs if selector_of(j).matches(labels)]

    def reconcile(self, key: str) -> float | None:
        if key.endswith("/"):
            self._free_orphans(key.removesuffix("/"))
            return None
        found = self.jobs.get_key(key)
        if found is None:
            self._forget(key)
            return None
        job = dict(found)
        if job["spec"].get("managedBy", _OURS) != _OURS:
            return self._expire(job) if state.is_over(job) else None  # its pods and status are somebody else's
        pods = self.pods.of(job)
        if state.is_over(job) or is_terminating(job):
            self._free(pods)
            return self._expire(job)
        if not self._expectations.met(key) or not self._own_writes.met(key):
            return UNSEEN_RETRY
        status = copy.deepcopy(job.get("status") or {})
        self._note_start(job, status)
        counts = state.tally({**job, "status": status}, pods)
        active = [p for p in pods if is_active(p)]
        end = self._end({**job, "status": status}, counts, active, status)
        again: float | None = None
        if end is not None:
            counts = state.tally({**job, "status": status}, pods, over=True)
            self._delete(key, job, active, len(active))
        else:
            again = self._manage(key, {**job, "status": status}, counts, pods, active)
        self._count(job, status, counts, pods, key)
        self._finish(job, status, end, pods, active)
        deadline = state.seconds_left({**job, "status": status}, self._clock.now()) if end is None else None
        return min((seconds for seconds in (again, deadline) if seconds is not None), default=None)

    # -- pods ---------------------------------------------------------------------------------------------------------

    def _manage(self, key: str, job: Obj, counts: state.Tally, pods: list[Obj], active: list[Obj]) -> float | None:
        """Bring the number of running pods to what is wanted. Out: seconds until more may be made."""
        leaving = [p for p in pods if is_terminating(p) and not is_finished(p)] if policy.waits_for_the_end(job) else []
        excess = len(active) - state.wanted_active(job, counts, len(active))
        if excess > 0:
            self._delete(key, job, active, excess)
        elif (missing := -excess - len(leaving)) > 0:
            now = self._clock.now()
            pause = state.backoff_left(job, pods, counts.failed, now)
            if pause > 0:
                return pause
            waiting = state.pausing(counts, now)
            self._create(key, job, counts, [*active, *leaving], missing, waiting)
            return min(waiting.values(), default=None)
        return None

    def _create(
        self, key: str, job: Obj, counts: state.Tally, busy: list[Obj], count: int, pausing: Iterable[int]
    ) -> None:
        indexes: list[int | None] = [None] * count
        if state.is_indexed(job):
            indexes = list(state.free_indexes(job, counts, busy, count, pausing))
        raised(self.pods.create(key, job, [self._wanted(job, index, counts.retried) for index in indexes]))

    def _wanted(self, job: Obj, index: int | None, retried: dict[int, Obj]) -> tuple[str, Callable[[str], Obj]]:
        """The base of a pod's name, and what makes the pod of a name."""
        if index is None:
            base, history = f"{name_of(job)}-", {}
        else:
            base, history = f"{name_of(job)}-{index}-", policy.history(job, retried.get(index))
        return base, lambda name: self._pod(job, index, base, name, history)

    def _pod(self, job: Obj, index: int | None, base: str, name: str, history: dict[str, str]) -> Obj:
        pod = from_template(job["spec"]["template"], job, name)
        metadata, spec = pod["metadata"], pod["spec"]
        metadata["generateName"] = base
        metadata["finalizers"] = [*(metadata.get("finalizers") or []), state.FINALIZER]
        if index is not None:
            metadata["annotations"] = {**metadata.get("annotations", {}), state.INDEX: str(index), **history}
            metadata["labels"] = {**metadata.get("labels", {}), state.INDEX: str(index)}
            spec["hostname"] = f"{name_of(job)}-{index}"
            source = {"fieldRef": {"fieldPath": f"metadata.annotations['{state.INDEX}']"}}
            for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
                env = container.get("env") or []
                if not any(variable["name"] == "JOB_COMPLETION_INDEX" for variable in env):
                    container["env"] = [*env, {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}]
        return pod

    def _delete(self, key: str, job: Obj, active: list[Obj], count: int) -> None:
        """Delete some of the pods, those not ready first. They do not count as failures: it was not they who failed."""
        doomed = sorted(active, key=is_ready)[:count]
        for pod in doomed:
            self._let_go(pod, key)
        raised(self.pods.delete(key, job, doomed))

    # -- counting -----------------------------------------------------------------------------------------------------

    def _count(self, job: Obj, status: Obj, counts: state.Tally, pods: list[Obj], key: str) -> None:
        """Write down who ended, let those pods go, turn what was written down into numbers."""
        noted = status.get("uncountedTerminatedPods") or {}
        good = [*(noted.get("succeeded") or []), *counts.new_succeeded]
        bad = [*(noted.get("failed") or []), *counts.new_failed]
        # What the ended pods say about indexes goes into the status before they are let go: they may not be asked again.
        if state.is_indexed(job):
            status["completedIndexes"] = state.format_indexes(counts.indexes)
            if policy.limit_per_index(job) is not None:
                status["failedIndexes"] = state.format_indexes(counts.lost)
        if counts.new_succeeded or counts.new_failed:
            status["uncountedTerminatedPods"] = {"succeeded": good, "failed": bad}
            job |= self._write(job, status)
        ended = {*good, *bad, *counts.ignored}
        for pod in pods:
            if uid_of(pod) in ended:
                self._let_go(pod, key)
        if not good and not bad:
            return
        status["succeeded"] = (
            len(counts.indexes) if state.is_indexed(job) else int(status.get("succeeded") or 0) + len(good)
        )
        status["failed"] = int(status.get("failed") or 0) + len(bad)
        status["uncountedTerminatedPods"] = {}

    def _let_go(self, pod: Obj, key: str = "") -> None:
        finalizers = pod["metadata"].get("finalizers") or []
        if state.FINALIZER not in finalizers:
            return
        rest = [f for f in finalizers if f != state.FINALIZER] or None
        body = {"metadata": {"uid": uid_of(pod), "finalizers": rest}}
        try:
            written = self._client.patch(PODS, name_of(pod), body, namespace_of(pod))
        except errors.NotFound:
            return
        if key:
            self._expectations.wrote(key, written)

    def _free(self, pods: list[Obj]) -> None:
        """A finished Job holds on to no pod that has ended or is being deleted."""
        for pod in pods:
            if is_finished(pod) or is_terminating(pod):
                self._let_go(pod)

    def _free_orphans(self, namespace: str) -> None:
        """Pods that no Job has or wants any more must not be held by our finalizer."""
        for pod in self.pods.informer.by_index(BY_CONTROLLER, orphans_of(namespace)):
            if not self._suitors(pod):
                self._let_go(pod)

    def _forget(self, key: str) -> None:
        """The Job is gone: its pods must not be held by our finalizer."""
        self.pods.forget(key)
        self._own_writes.forget(key)
        namespace, name = split_key(key)
        self._free_orphans(namespace)
        for pod in self.pods.informer.list(namespace):
            owner = controller_of(pod)
            if owner is not None and owner["kind"] == "Job" and owner["name"] == name:
                self._let_go(pod)

    # -- status -------------------------------------------------------------------------------------------------------

    def _note_start(self, job: Obj, status: Obj) -> None:
        now, suspended = rfc3339(self._clock.now()), bool(job["spec"].get("suspend"))
        if suspended:
            if set_condition(status, "Suspended", "True", now, "JobSuspended", "Job suspended"):
                self._events.event(job, "Normal", "Suspended", "Job suspended")
            status.pop("startTime", None)
        elif not status.get("startTime"):
            status["startTime"] = now
            if condition_of({"status": status}, "Suspended"):
                set_condition(status, "Suspended", "False", now, "JobResumed", "Job resumed")
                self._events.event(job, "Normal", "Resumed", "Job resumed")

    def _end(self, job: Obj, counts: state.Tally, active: list[Obj], status: Obj) -> tuple[str, str, str] | None:
        """How it ended. Once decided it stands in a condition, so that it cannot be decided differently later."""
        for interim, final in (("SuccessCriteriaMet", "Complete"), ("FailureTarget", "Failed")):
            if condition_is(job, interim):
                decided = condition_of(job, interim) or {}
                return final, decided.get("reason", ""), decided.get("message", "")
        end = state.verdict(job, counts, active, self._clock.now())
        if end is not None:
            interim = "SuccessCriteriaMet" if end[0] == "Complete" else "FailureTarget"
            set_condition(status, interim, "True", rfc3339(self._clock.now()), end[1], end[2])
        return end

    def _finish(
        self, job: Obj, status: Obj, end: tuple[str, str, str] | None, pods: list[Obj], active: list[Obj]
    ) -> None:
        running = active if end is None else []
        status |= {
            "active": len(running), "ready": sum(is_ready(p) for p in running),
            "terminating": sum(is_terminating(p) and not is_finished(p) for p in pods),
        }  # fmt: skip
        settled = not active and not status["terminating"]  # what was deleted just now has to be seen to go first
        if end is not None and settled:
            now = rfc3339(self._clock.now())
            set_condition(status, end[0], "True", now, end[1], end[2])
            if end[0] == "Complete":
                status["completionTime"] = now
        self._write(job, status)
        if end is not None and settled:
            kind, reason, message = end
            self._events.event(job, "Normal" if kind == "Complete" else "Warning",
                               "Completed" if kind == "Complete" else reason,
                               "Job completed" if kind == "Complete" else message)  # fmt: skip

    def _write(self, job: Obj, status: Obj) -> Obj:
        kept = {k: v for k, v in status.items() if v or k in ("ready", "terminating", "uncountedTerminatedPods")}
        if kept == (job.get("status") or {}):
            return job
        written = self._client.update(JOBS, {**job, "status": kept}, subresource="status")
        self._own_writes.wrote(key_of(job), written)
        return written

    def _expire(self, job: Obj) -> float | None:
        """Delete a finished Job ttlSecondsAfterFinished after its end."""
        seconds = job["spec"].get("ttlSecondsAfterFinished")
        if seconds is None or is_terminating(job):
            return None
        over = condition_of(job, "Complete") or condition_of(job, "Failed") or {}
        left = (
            parse_rfc3339(over["lastTransitionTime"]) + timedelta(seconds=int(seconds)) - self._clock.now()
        ).total_seconds()
        if left > 0:
            return left
        try:
            self._client.delete(JOBS, name_of(job), namespace_of(job), uid=uid_of(job), propagation_policy="Foreground")
        except errors.NotFound:
            return None
        return None
