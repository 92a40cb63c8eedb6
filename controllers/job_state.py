"""What a Job has achieved: counted pods, completed indexes, and whether it is over. Pure functions.

Who calls it: `controllers.job`. Invariant: a pod that ended is counted exactly once, however often and wherever the counting
was interrupted: first its uid is written down, then its finalizer goes, then the uid becomes a number.
Upstream: pkg/controller/job/{job_controller,indexed_job_utils,backoff_utils}.go.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from controllers.pod import phase_of
from minikube_py.api.clock import parse_rfc3339
from minikube_py.api.meta import annotations_of, condition_is, is_terminating, uid_of
from minikube_py.api.types import Obj

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
_BACKOFF, _BACKOFF_MAX = 10.0, 600.0


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


def failed(pod: Obj) -> bool:
    """Failed, or being deleted before it succeeded: its work will have to be done again."""
    return phase_of(pod) == "Failed" or (is_terminating(pod) and not succeeded(pod))


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


def tally(job: Obj, pods: list[Obj]) -> Tally:
    """Count: what the status says, what it has written down, and pods that ended since."""
    status = job.get("status") or {}
    noted = status.get("uncountedTerminatedPods") or {}
    noted_good, noted_bad = set(noted.get("succeeded") or []), set(noted.get("failed") or [])
    indexed, completions = is_indexed(job), job["spec"].get("completions")
    indexes = parse_indexes(status.get("completedIndexes") or "") if indexed else set()
    counts = Tally(0, int(status.get("failed") or 0) + len(noted_bad), indexes)
    for pod in pods:
        if FINALIZER not in (pod["metadata"].get("finalizers") or []) or uid_of(pod) in noted_good | noted_bad:
            continue
        if succeeded(pod):
            counts.new_succeeded.append(uid_of(pod))
            index = index_of(pod)
            if indexed and index is not None and index < int(completions or 0):
                indexes.add(index)
        elif failed(pod):
            counts.new_failed.append(uid_of(pod))
    counts.failed += len(counts.new_failed)
    plain = int(status.get("succeeded") or 0) + len(noted_good) + len(counts.new_succeeded)
    counts.succeeded = len(indexes) if indexed else plain
    return counts


def verdict(job: Obj, counts: Tally, active: list[Obj], now: datetime) -> tuple[str, str, str] | None:
    """None while it goes on, else (condition, reason, message) of how it ended."""
    spec = job["spec"]
    limit, restarts = int(spec.get("backoffLimit", 6)), sum(_restarts(p) for p in active)
    on_failure = (spec["template"]["spec"].get("restartPolicy")) == "OnFailure"
    if counts.failed > limit or (on_failure and restarts > 0 and restarts >= limit):
        return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    if (left := seconds_left(job, now)) is not None and left <= 0:
        return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
    completions = spec.get("completions")
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
    return max(0, min(parallelism, int(completions) - counts.succeeded))


def backoff_left(pods: list[Obj], failures: int, now: datetime) -> float:
    """Seconds before the next pod may be made after failures: 10 s, doubled with each, at most ten minutes."""
    ended = [moment for pod in pods if failed(pod) and (moment := _ended_at(pod)) is not None]
    if not ended or not failures:
        return 0.0
    pause = min(_BACKOFF_MAX, _BACKOFF * 2.0 ** min(failures - 1, 10))
    return max(0.0, (max(ended) + timedelta(seconds=pause) - now).total_seconds())


def _ended_at(pod: Obj) -> datetime | None:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    moments = [at for s in statuses if (at := ((s.get("state") or {}).get("terminated") or {}).get("finishedAt"))]
    if not moments and is_terminating(pod):
        moments = [pod["metadata"]["deletionTimestamp"]]
    return max(map(parse_rfc3339, moments)) if moments else None


def _restarts(pod: Obj) -> int:
    status = pod.get("status") or {}
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return sum(int(c.get("restartCount", 0)) for c in containers)


def free_indexes(job: Obj, counts: Tally, active: list[Obj], count: int) -> list[int]:
    """The lowest `count` indexes that are neither completed nor being worked on."""
    taken = counts.indexes | {index for p in active if (index := index_of(p)) is not None}
    free: list[int] = []
    for index in range(int(job["spec"].get("completions") or 0)):
        if len(free) == count:
            break
        if index not in taken:
            free.append(index)
    return free
