"""CronJob: makes a Job whenever its schedule says so.

Who calls it: `controllers.main`. Invariants: a scheduled moment makes at most one Job, because the Job's name is a function of
the moment; of moments missed while nobody was there only the last is made up for, if its deadline allows.
Upstream: pkg/controller/cronjob/cronjob_controllerv2.go.
"""

import copy
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from controllers import cron
from controllers.children import Expectations, create_once
from controllers.context import BY_CONTROLLER, Context, index_by_controller
from controllers.job_state import is_over
from minikube_py.api import errors
from minikube_py.api.clock import parse_rfc3339, rfc3339
from minikube_py.api.gvr import CRONJOBS, JOBS, new_object
from minikube_py.api.meta import (
    condition_is,
    controller_of,
    controller_reference,
    is_terminating,
    name_of,
    namespace_of,
    uid_of,
)
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_LOOK = 30.0  # seconds: a clock that is set, or a machine that slept, brings the moment closer and ends no wait
_UNSEEN_RETRY = 1.0
_TOO_MANY = 100


def build(context: Context) -> Controller:
    """Watches CronJobs and their Jobs; keys are CronJobs."""
    reconciler = CronJob(context)
    controller = Controller(reconciler, clock=context.clock)
    return controller.watch(reconciler.crons).watch(reconciler.jobs, _owner_key)


def _owner_key(job: Obj) -> Iterable[str]:
    owner = controller_of(job)
    return (f"{namespace_of(job)}/{owner['name']}",) if owner and owner["kind"] == "CronJob" else ()


class CronJob:
    """The reconciler."""

    name = "cronjob"

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self.crons = context.informers.of(CRONJOBS)
        self.jobs = index_by_controller(context.informers.of(JOBS))
        self._expectations = Expectations(self.jobs, context.clock)
        self._own_writes = Expectations(self.crons, context.clock)
        self._events = context.recorder("cronjob-controller")

    def reconcile(self, key: str) -> float | None:
        found = self.crons.get_key(key)
        if found is None:
            self._expectations.forget(key)
            self._own_writes.forget(key)
            return None
        if not self._expectations.met(key) or not self._own_writes.met(key):
            return _UNSEEN_RETRY
        jobs = self.jobs.by_index(BY_CONTROLLER, uid_of(found))
        status = copy.deepcopy(found.get("status") or {})
        self._note_ends(found, jobs, status)
        again: float | None = None
        try:
            if not is_terminating(found) and not found["spec"].get("suspend"):
                again = self._run_if_due(key, found, jobs, status)
        finally:
            self._write(key, found, status)
        self._clean_up(key, found, jobs)
        return again

    def _note_ends(self, found: Obj, jobs: list[Obj], status: Obj) -> None:
        """`status.active` names the Jobs that run; `lastSuccessfulTime` is when one last completed."""
        running = {uid_of(job): job for job in jobs if not is_over(job)}
        for ref in status.get("active") or []:
            if ref["uid"] not in running:
                ended = next((job for job in jobs if uid_of(job) == ref["uid"]), None)
                what = "SawCompletedJob" if ended else "MissingJob"
                self._events.event(
                    found, "Normal", what, f"Saw {'completed' if ended else 'missing'} job: {ref['name']}"
                )
        known = {ref["uid"]: ref for ref in status.get("active") or []}
        status["active"] = [known.get(uid_of(job)) or _reference(job) for job in sorted(running.values(), key=name_of)]
        done = [str((j.get("status") or {}).get("completionTime") or "") for j in jobs if condition_is(j, "Complete")]
        latest = max([*done, status.get("lastSuccessfulTime") or ""])
        if latest:
            status["lastSuccessfulTime"] = latest

    def _run_if_due(self, key: str, found: Obj, jobs: list[Obj], status: Obj) -> float | None:
        """Start the Job of the latest moment that has come. Out: seconds until the next."""
        try:
            zone = ZoneInfo(found["spec"]["timeZone"]) if found["spec"].get("timeZone") else UTC
            schedule = cron.parse(found["spec"]["schedule"], zone)
        except (ValueError, KeyError, OSError) as error:
            self._events.event(found, "Warning", "UnparseableSchedule", f"unparseable schedule: {error}")
            return None
        now = self._clock.now()
        due, missed = latest_due(found, status, schedule, now)
        upcoming = schedule.next_after(now)
        again = min((upcoming - now).total_seconds() + 0.05, _LOOK) if upcoming is not None else None
        if missed > _TOO_MANY:
            message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self._events.event(found, "Warning", "TooManyMissedTimes", message)
        if due is None:
            return again
        deadline = found["spec"].get("startingDeadlineSeconds")
        if deadline is not None and due + timedelta(seconds=int(deadline)) < now:
            self._events.event(
                found, "Warning", "MissSchedule", f"Missed scheduled time to start a job: {rfc3339(due)}"
            )
            return again
        policy = found["spec"].get("concurrencyPolicy", "Allow")
        running = [job for job in jobs if not is_over(job)]
        if running and policy == "Forbid":
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._events.event(found, "Normal", "JobAlreadyActive", message)
            return again
        if policy == "Replace":
            for job in running:
                self._delete(key, found, job)
            status["active"] = []
        self._start(key, found, due, status)
        return again

    def _start(self, key: str, found: Obj, due: datetime, status: Obj) -> None:
        template = found["spec"]["jobTemplate"]
        metadata = template.get("metadata") or {}
        job = new_object(JOBS, f"{name_of(found)[:52]}-{int(due.timestamp()) // 60}", namespace_of(found))
        job["metadata"] |= {
            "labels": dict(metadata.get("labels") or {}), "ownerReferences": [controller_reference(found)],
            "annotations": {**(metadata.get("annotations") or {}), _SCHEDULED: rfc3339(due)},
        }  # fmt: skip
        job["spec"] = copy.deepcopy(template["spec"])
        try:
            made = create_once(self._client, JOBS, job, found)
        except errors.APIError as error:
            self._events.event(found, "Warning", "FailedCreate", f"Error creating job: {error}")
            raise
        self._expectations.wrote(key, made)
        self._events.event(found, "Normal", "SuccessfulCreate", f"Created job {name_of(made)}")
        others = [ref for ref in status["active"] if ref["uid"] != uid_of(made)]
        status["active"] = [*others, _reference(made)] if not is_over(made) else others
        status["lastScheduleTime"] = rfc3339(due)

    def _delete(self, key: str, found: Obj, job: Obj) -> None:
        try:
            self._client.delete(JOBS, name_of(job), namespace_of(job), uid=uid_of(job), propagation_policy="Background")
        except errors.NotFound:
            return
        self._expectations.deleted(key, job)
        self._events.event(found, "Normal", "SuccessfulDelete", f"Deleted job {name_of(job)}")

    def _write(self, key: str, found: Obj, status: Obj) -> None:
        kept = {field: value for field, value in status.items() if value}
        if kept == {field: value for field, value in (found.get("status") or {}).items() if value}:
            return
        try:
            written = self._client.update(CRONJOBS, {**found, "status": kept}, subresource="status")
        except errors.NotFound:
            return
        self._own_writes.wrote(key, written)

    def _clean_up(self, key: str, found: Obj, jobs: list[Obj]) -> None:
        """Keep only the last few Jobs that completed, and the last few that failed."""
        for kind, field, default in (
            ("Complete", "successfulJobsHistoryLimit", 3), ("Failed", "failedJobsHistoryLimit", 1),
        ):  # fmt: skip
            ended = [job for job in jobs if condition_is(job, kind) and not is_terminating(job)]
            ended.sort(key=lambda job: ((job.get("status") or {}).get("startTime") or "", name_of(job)))
            for job in ended[: max(0, len(ended) - int(found["spec"].get(field, default)))]:
                self._delete(key, found, job)


def latest_due(found: Obj, status: Obj, schedule: cron.Schedule, now: datetime) -> tuple[datetime | None, int]:
    """(the latest scheduled moment that has come and was not acted on, how many were missed altogether)."""
    begin = parse_rfc3339(status.get("lastScheduleTime") or found["metadata"]["creationTimestamp"])
    deadline = found["spec"].get("startingDeadlineSeconds")
    if deadline is not None:
        begin = max(begin, now - timedelta(seconds=int(deadline)))
    missed = _count_until(schedule, begin, now)
    if missed <= _TOO_MANY:
        return _last_until(schedule, begin, now), missed
    window = timedelta(minutes=1)  # asleep for long: look back from now instead of walking through every moment
    while True:
        latest = _last_until(schedule, max(begin, now - window), now)
        if latest is not None:
            return latest, missed
        window *= 2


def _count_until(schedule: cron.Schedule, begin: datetime, now: datetime) -> int:
    """How many moments lie after `begin` up to `now`; counted only until they are too many."""
    count, moment = 0, schedule.next_after(begin)
    while moment is not None and moment <= now and count <= _TOO_MANY:
        count, moment = count + 1, schedule.next_after(moment)
    return count


def _last_until(schedule: cron.Schedule, begin: datetime, now: datetime) -> datetime | None:
    latest, moment = None, schedule.next_after(begin)
    while moment is not None and moment <= now:
        latest, moment = moment, schedule.next_after(moment)
    return latest


def _reference(job: Obj) -> Obj:
    return {
        "apiVersion": "batch/v1", "kind": "Job", "name": name_of(job), "namespace": namespace_of(job), "uid": uid_of(job),
    }  # fmt: skip
