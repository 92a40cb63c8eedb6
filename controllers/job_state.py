"""What a Job has achieved: counted pods, completed indexes, and whether it is over. Pure functions.

Who calls it: `controllers.job`. Invariant: a pod that ended is counted exactly once, however often and wherever the counting
was interrupted: first its uid is written down, then its finalizer goes, then the uid becomes a number.
Upstream: pkg/controller/job/{job_controller,indexed_job_utils,backoff_utils}.go.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from controllers import job_policy as policy
from controllers.pod import is_active, phase_of
from minikube_py.api.clock import parse_rfc3339
from minikube_py.api.meta import annotations_of, condition_is, uid_of
from minikube_py.api.types import Obj

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"


def is_indexed(job: Obj) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def is_over(job: Obj) -> bool:
    """Complete or Failed: nothing more will run."""
    return condition_is(job, "Complete") or condition_is(job, "Failed")


def index_of(pod: Obj) -> int | None:
    """The completion index of an Indexed Job's pod."""
    try:
        return int(annotations_of(pod)[INDEX])
    except (KeyError, ValueError):
        return None


def succeeded(pod: Obj) -> bool:
    return phase_of(pod) == "Succeeded"


def parse_indexes(text: str) -> set[int]:
    """ "1,3-5" as {1, 3, 4, 5}."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """{1, 3, 4, 5} as "1,3-5"; two neighbours are written as two, three and more as a range."""
    ranges: list[list[int]] = []
    for index in sorted(indexes):
        if ranges and ranges[-1][-1] == index - 1:
            ranges[-1].append(index)
        else:
            ranges.append([index])
    return ",".join(
        str(run[0]) if len(run) == 1 else f"{run[0]}{'-' if len(run) > 2 else ','}{run[-1]}" for run in ranges
    )


@dataclass
class Tally:
    """The counts of a Job, including pods that ended and are not yet in its status."""

    succeeded: int
    failed: int
    indexes: set[int]
    new_succeeded: list[str] = field(default_factory=list)  # uids to be written down
    new_failed: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)  # uids of pods whose failure does not count
    lost: set[int] = field(default_factory=set)  # indexes that have failed for good
    retried: dict[int, Obj] = field(default_factory=dict)  # index -> its last pod, which failed and awaits a successor
    fatal: str = ""  # why one failure fails the Job


def tally(job: Obj, pods: list[Obj], *, over: bool = False) -> Tally:
    """Count: what the status says, what it has written down, and pods that ended since.

    In: `over`: nothing will be retried any more. A pod that failed and awaits a successor is counted once it has one: until
    then it is what remembers how often its index failed.
    """
    status = job.get("status") or {}
    noted = status.get("uncountedTerminatedPods") or {}
    noted_good, noted_bad = set(noted.get("succeeded") or []), set(noted.get("failed") or [])
    indexed, completions = is_indexed(job), job["spec"].get("completions")
    indexes = parse_indexes(status.get("completedIndexes") or "") if indexed else set()
    counts = Tally(0, int(status.get("failed") or 0) + len(noted_bad), indexes)
    counts.lost = parse_indexes(status.get("failedIndexes") or "")
    uncounted = [pod for pod in pods if FINALIZER in (pod["metadata"].get("finalizers") or [])]
    for pod in uncounted:
        index = index_of(pod)
        if succeeded(pod) and indexed and index is not None and index < int(completions or 0):
            indexes.add(index)
        elif index is not None and policy.failed(job, pod) and policy.fails_its_index(job, pod):
            counts.lost.add(index)
    if not over and policy.limit_per_index(job) is not None:
        counts.retried = _retried(job, pods, indexes | counts.lost)
    waiting = {uid_of(pod) for pod in counts.retried.values()}
    for pod in uncounted:
        if uid_of(pod) in noted_good | noted_bad | waiting:
            continue
        if succeeded(pod):
            counts.new_succeeded.append(uid_of(pod))
        elif policy.failed(job, pod):
            action, why = policy.judge(job, pod)
            (counts.ignored if action == policy.IGNORE else counts.new_failed).append(uid_of(pod))
            counts.fatal = counts.fatal or (why if action == policy.FAIL_JOB else "")
    counts.failed += len(counts.new_failed)
    plain = int(status.get("succeeded") or 0) + len(noted_good) + len(counts.new_succeeded)
    counts.succeeded = len(indexes) if indexed else plain
    return counts


def _retried(job: Obj, pods: list[Obj], settled: set[int]) -> dict[int, Obj]:
    """The newest pod of every index, if it failed and the index is neither done nor lost."""
    newest: dict[int, Obj] = {}
    for pod in pods:
        index = index_of(pod)
        if index is not None and index not in settled:
            rank = (policy.attempts(pod), is_active(pod))
            other = newest.get(index)
            if other is None or rank > (policy.attempts(other), is_active(other)):
                newest[index] = pod
    return {index: pod for index, pod in newest.items() if policy.failed(job, pod)}


def verdict(job: Obj, counts: Tally, active: list[Obj], now: datetime) -> tuple[str, str, str] | None:
    """None while it goes on, else (condition, reason, message) of how it ended."""
    spec = job["spec"]
    if counts.fatal:
        return "Failed", "PodFailurePolicy", counts.fatal
    limit, restarts = int(spec.get("backoffLimit", 6)), sum(_restarts(p) for p in active)
    on_failure = (spec["template"]["spec"].get("restartPolicy")) == "OnFailure"
    if counts.failed > limit or (on_failure and restarts > 0 and restarts >= limit):
        return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    if (left := seconds_left(job, now)) is not None and left <= 0:
        return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
    completions = spec.get("completions")
    if (end := policy.failed_indexes_verdict(job, len(counts.lost), counts.succeeded)) is not None:
        return end
    rules = (spec.get("successPolicy") or {}).get("rules") or []
    named = [parse_indexes(rule["succeededIndexes"]) if rule.get("succeededIndexes") else None for rule in rules]
    if why := policy.enough(job, counts.indexes, named):
        return "Complete", "SuccessPolicy", why
    if completions is None:
        done = counts.succeeded > 0 and not active
    else:
        done = counts.succeeded >= int(completions)
    return ("Complete", "CompletionsReached", "Reached expected number of succeeded pods") if done else None


def seconds_left(job: Obj, now: datetime) -> float | None:
    """Until activeDeadlineSeconds; None when there is no deadline or the time does not run."""
    seconds, start = job["spec"].get("activeDeadlineSeconds"), (job.get("status") or {}).get("startTime")
    if seconds is None or not start or job["spec"].get("suspend"):
        return None
    return (parse_rfc3339(start) + timedelta(seconds=int(seconds)) - now).total_seconds()


def wanted_active(job: Obj, counts: Tally, active: int) -> int:
    """How many pods shall be running."""
    parallelism, completions = int(job["spec"].get("parallelism", 1)), job["spec"].get("completions")
    if job["spec"].get("suspend"):
        return 0
    if completions is None:  # a work queue: once one has succeeded, no new one starts
        return min(active, parallelism) if counts.succeeded > 0 else parallelism
    return max(0, min(parallelism, int(completions) - counts.succeeded - len(counts.lost)))


def backoff_left(job: Obj, pods: list[Obj], failures: int, now: datetime) -> float:
    """Seconds before the next pod of a Job may be made after failures; with limits per index each index waits for itself."""
    if policy.limit_per_index(job) is not None:
        return 0.0
    ended = [moment for pod in pods if policy.failed(job, pod) and (moment := policy.ended_at(pod)) is not None]
    return policy.pause_left(failures, max(ended, default=None), now)


def pausing(counts: Tally, now: datetime) -> dict[int, float]:
    """Index -> seconds before its next pod may be made, of those that have to wait."""
    waits = {
        index: policy.pause_left(policy.attempts(pod) + 1, policy.ended_at(pod), now)
        for index, pod in counts.retried.items()
    }
    return {index: seconds for index, seconds in waits.items() if seconds > 0}


def _restarts(pod: Obj) -> int:
    status = pod.get("status") or {}
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return sum(int(c.get("restartCount", 0)) for c in containers)


def free_indexes(job: Obj, counts: Tally, busy: list[Obj], count: int, pausing: Iterable[int] = ()) -> list[int]:
    """The lowest `count` indexes that are neither settled nor being worked on (by `busy`) nor have to wait."""
    taken = counts.indexes | counts.lost | set(pausing) | {index for p in busy if (index := index_of(p)) is not None}
    free: list[int] = []
    for index in range(int(job["spec"].get("completions") or 0)):
        if len(free) == count:
            break
        if index not in taken:
            free.append(index)
    return free
