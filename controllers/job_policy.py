"""What a pod's failure means for its Job, and when part of the work is enough: a Job's policies. Pure functions.

Who calls it: `controllers.job_state` and `controllers.job`. Invariant: a failure's meaning depends on the pod and the Job's
spec alone, so that every recount finds the same; how often an index failed before is an annotation of its newest pod.
Upstream: pkg/controller/job/{pod_failure_policy,backoff_utils,success_policy,indexed_job_utils}.go.
"""

from datetime import datetime, timedelta

from controllers.pod import phase_of
from minikube_py.api.clock import parse_rfc3339
from minikube_py.api.meta import annotations_of, is_terminating, name_of, namespace_of
from minikube_py.api.types import Obj

COUNT, IGNORE, FAIL_INDEX, FAIL_JOB = "Count", "Ignore", "FailIndex", "FailJob"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"
_BACKOFF, _BACKOFF_MAX = 10.0, 600.0


def failed(job: Obj, pod: Obj) -> bool:
    """Failed, or being deleted before it succeeded: its work has to be done again.

    A Job that judges failures, or replaces only what has ended, waits for the end.
    """
    spec = job["spec"]
    if spec.get("podFailurePolicy") is not None or waits_for_the_end(job):
        return phase_of(pod) == "Failed"
    return phase_of(pod) == "Failed" or (is_terminating(pod) and phase_of(pod) != "Succeeded")


def waits_for_the_end(job: Obj) -> bool:
    """Whether a pod that is being deleted keeps its place until it is gone."""
    return bool(job["spec"].get("podReplacementPolicy") == "Failed")


def limit_per_index(job: Obj) -> int | None:
    limit = job["spec"].get("backoffLimitPerIndex")
    return None if limit is None else int(limit)


def judge(job: Obj, pod: Obj) -> tuple[str, str]:
    """(action, why) for a failed pod: the first rule that matches decides, and without one the failure counts."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or []
    for number, rule in enumerate(rules):
        why = _exit_code(rule.get("onExitCodes"), pod) or _condition(rule.get("onPodConditions") or [], pod)
        if why:
            action = rule["action"]
            return action, f"{why} matching {action} rule at index {number}"
    return COUNT, ""


def _exit_code(requirement: Obj | None, pod: Obj) -> str:
    if requirement is None:
        return ""
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        code = ((container.get("state") or {}).get("terminated") or {}).get("exitCode", 0)
        named = requirement.get("containerName") in (None, container["name"])
        if named and code != 0 and (code in requirement["values"]) == (requirement["operator"] == "In"):
            where = f"{namespace_of(pod)}/{name_of(pod)}"
            return f"Container {container['name']} for pod {where} failed with exit code {code}"
    return ""


def _condition(patterns: list[Obj], pod: Obj) -> str:
    for condition in (pod.get("status") or {}).get("conditions") or []:
        for pattern in patterns:
            if (condition["type"], condition["status"]) == (pattern["type"], pattern.get("status", "True")):
                return f"Pod {namespace_of(pod)}/{name_of(pod)} has condition {condition['type']}"
    return ""


def attempts(pod: Obj) -> int:
    """How many pods of its index ended badly before this one."""
    return _number(pod, FAILURES) + _number(pod, IGNORED)


def fails_its_index(job: Obj, pod: Obj) -> bool:
    """Whether this failed pod was its index's last chance."""
    limit = limit_per_index(job)
    if limit is None:
        return False
    action, _ = judge(job, pod)
    return action == FAIL_INDEX or (action == COUNT and _number(pod, FAILURES) >= limit)


def history(job: Obj, last: Obj | None) -> dict[str, str]:
    """The annotations of an index's next pod. In: its last pod that failed."""
    if limit_per_index(job) is None:
        return {}
    if last is None:
        return {FAILURES: "0"}
    ignored = judge(job, last)[0] == IGNORE
    made = {FAILURES: str(_number(last, FAILURES) + (not ignored))}
    if skipped := _number(last, IGNORED) + ignored:
        made[IGNORED] = str(skipped)
    return made


def _number(pod: Obj, annotation: str) -> int:
    try:
        return int(annotations_of(pod).get(annotation, "0"))
    except ValueError:
        return 0


def pause_left(failures: int, since: datetime | None, now: datetime) -> float:
    """Seconds before another pod may be made: 10 s after the first failure, doubled with each, at most ten minutes."""
    if since is None or failures <= 0:
        return 0.0
    pause = min(_BACKOFF_MAX, _BACKOFF * 2.0 ** min(failures - 1, 10))
    return max(0.0, (since + timedelta(seconds=pause) - now).total_seconds())


def ended_at(pod: Obj) -> datetime | None:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    moments = [at for s in statuses if (at := ((s.get("state") or {}).get("terminated") or {}).get("finishedAt"))]
    if not moments and is_terminating(pod):
        moments = [pod["metadata"]["deletionTimestamp"]]
    return max(map(parse_rfc3339, moments)) if moments else None


def failed_indexes_verdict(job: Obj, lost: int, done: int) -> tuple[str, str, str] | None:
    """How a Job ends for the indexes it lost; None while it goes on."""
    most, completions = job["spec"].get("maxFailedIndexes"), int(job["spec"].get("completions") or 0)
    if most is not None and lost > int(most):
        why = "Job has exceeded the specified maximal number of failed indexes"
        return "Failed", "MaxFailedIndexesExceeded", why
    if lost and lost + done >= completions:
        return "Failed", "FailedIndexes", "Job has failed indexes"
    return None


def enough(job: Obj, completed: set[int], named: list[set[int] | None]) -> str:
    """Why the completed indexes are enough for the success policy; "" when they are not.

    In: `named` the indexes each rule names, None for a rule that names none.
    """
    for number, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or []):
        wanted = named[number]
        reached = len(completed if wanted is None else completed & wanted)
        count = rule.get("succeededCount")
        goal = int(count) if count is not None else len(wanted or ())
        if goal and reached >= goal:
            return f"Matched rules at index {number}"
    return ""
