"""Jobs and CronJobs.

Who calls it: the strategy table. Invariant: pure; a schedule that passes can be evaluated by the CronJob controller.
Upstream: pkg/apis/batch/validation/validation.go.
"""

import re
import zoneinfo

from apiserver.strategies.checks import (
    immutable,
    invalid,
    not_negative,
    one_of,
    required,
    unsupported,
)
from apiserver.strategies.validation.pod import template
from apiserver.strategies.validation.workloads import selector_and_template
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_RESTART = ("Never", "OnFailure")
_ALIASES = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_MONTHS = {
    name: n
    for n, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
_DAYS = {name: n for n, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)
_PART = re.compile(r"(\*|\?|\w+)(?:-(\w+))?(?:/(\d+))?")


def cron_problem(schedule: str) -> str:
    """What is wrong with a cron schedule ("" when nothing is): five fields, or an alias such as @hourly."""
    text = schedule.strip()
    if text.startswith("@"):
        if text in _ALIASES or re.fullmatch(r"@every (\d+(\.\d+)?(h|m|s|ms|us|ns))+", text):
            return ""
        return f"unrecognized descriptor: {text}"
    parts = text.split()
    if len(parts) != len(_FIELDS):
        return f"expected exactly 5 fields, found {len(parts)}: {parts}"
    for part, (low, high, words) in zip(parts, _FIELDS, strict=True):
        for piece in part.split(","):
            if problem := _cron_piece(piece, low, high, words):
                return problem
    return ""


def _cron_piece(piece: str, low: int, high: int, words: dict[str, int]) -> str:
    found = _PART.fullmatch(piece)
    if not found:
        return f"failed to parse int from {piece}"
    first, last, step = found.groups()
    ends = []
    for value in (first, last):
        if value in (None, "*", "?"):
            continue
        number = words.get(value.lower()) if not value.isdigit() else int(value)
        if number is None:
            return f"failed to parse int from {value}"
        if not low <= number <= high:
            edge = "below minimum" if number < low else "above maximum"
            return f"{edge} ({low if number < low else high}): {number}"
        ends.append(number)
    if len(ends) == 2 and ends[0] > ends[1]:
        return f"beginning of range ({ends[0]}) beyond end of range ({ends[1]}): {piece}"
    return "step of range should be a positive number: " + piece if step is not None and int(step) == 0 else ""


def _failure_policy(spec: Obj) -> list[Cause]:
    policy = spec.get("podFailurePolicy")
    if policy is None:
        return []
    causes: list[Cause] = []
    template_spec = (spec.get("template") or {}).get("spec") or {}
    if template_spec.get("restartPolicy") == "OnFailure":
        why = 'only "Never" is supported when podFailurePolicy is specified'
        causes.append(invalid("spec.template.spec.restartPolicy", "OnFailure", why))
    for index, rule in enumerate(policy.get("rules") or ()):
        at = f"spec.podFailurePolicy.rules[{index}]"
        causes += one_of(f"{at}.action", rule.get("action"), ("Count", "FailIndex", "FailJob", "Ignore"))
        if rule.get("action") == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            why = "requires the backoffLimitPerIndex to be set"
            causes.append(invalid(f"{at}.action", "FailIndex", why))
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if codes and conditions:
            causes.append(invalid(at, rule, "specifying both OnExitCodes and OnPodConditions is not supported"))
        elif not codes and not conditions:
            causes.append(invalid(at, rule, "specifying one of OnExitCodes and OnPodConditions is required"))
        if codes:
            causes += one_of(f"{at}.onExitCodes.operator", codes.get("operator"), ("In", "NotIn"))
            causes += (
                []
                if codes.get("values")
                else [invalid(f"{at}.onExitCodes.values", [], "at least one value is required")]
            )
    return causes


def _job_spec(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    for name in (
        "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
        "backoffLimitPerIndex", "maxFailedIndexes",
    ):  # fmt: skip
        causes += not_negative(f"spec.{name}", spec.get(name))
    if spec.get("completionMode") is not None:
        causes += one_of("spec.completionMode", spec["completionMode"], ("Indexed", "NonIndexed"))
        if spec["completionMode"] == "Indexed" and spec.get("completions") is None:
            causes.append(required("spec.completions", 'when completion mode is "Indexed"'))
    if spec.get("completionMode") != "Indexed":
        for name in ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"):
            if spec.get(name) is not None:
                causes.append(invalid(f"spec.{name}", spec[name], "requires indexed completion mode"))
    if spec.get("podReplacementPolicy") is not None:
        causes += one_of("spec.podReplacementPolicy", spec["podReplacementPolicy"], ("Failed", "TerminatingOrFailed"))
    return causes + _failure_policy(spec)


def job(obj: Obj) -> list[Cause]:
    """A Job whose selector the strategy has already filled in."""
    return _job_spec(obj.get("spec") or {}) + selector_and_template(obj, _RESTART)


def job_update(new: Obj, old: Obj) -> list[Cause]:
    """What a Job is made of is settled; a suspended one that never ran may still change where its pods go."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    causes: list[Cause] = []
    if spec.get("completions") != before.get("completions") and spec.get("completionMode") == "Indexed":
        if spec.get("completions") != spec.get("parallelism"):
            why = "can only be modified in tandem with spec.parallelism"
            causes.append(invalid("spec.completions", spec.get("completions"), f"field is immutable; {why}"))
    elif spec.get("completions") != before.get("completions"):
        causes += immutable("spec.completions", spec.get("completions"), before.get("completions"))
    for name in (
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "successPolicy",
        "managedBy",
    ):
        causes += immutable(f"spec.{name}", spec.get(name), before.get(name))
    template_now, template_was = spec.get("template"), before.get("template")
    if template_now != template_was and not _may_move(old):
        causes.append(invalid("spec.template", template_now, "field is immutable"))
    return causes


def _may_move(old: Obj) -> bool:
    status = old.get("status") or {}
    return bool((old.get("spec") or {}).get("suspend")) and not status.get("startTime") and not status.get("active")


def cronjob(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    schedule, zone = spec.get("schedule") or "", spec.get("timeZone")
    causes: list[Cause] = []
    if not schedule:
        causes.append(required("spec.schedule"))
    elif "TZ=" in schedule:
        causes.append(
            invalid("spec.schedule", schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
        )
    elif problem := cron_problem(schedule):
        causes.append(invalid("spec.schedule", schedule, problem))
    if zone is not None:
        causes += _time_zone(zone)
    causes += not_negative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
    causes += one_of("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), ("Allow", "Forbid", "Replace"))
    for name in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        causes += not_negative(f"spec.{name}", spec.get(name))
    job_spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    at = "spec.jobTemplate.spec"
    causes += [cause._replace(field=cause.field.replace("spec.", f"{at}.", 1)) for cause in _job_spec(job_spec)]
    if job_spec.get("manualSelector"):
        causes.append(unsupported(f"{at}.manualSelector", True, ("nil", "false")))
    causes += template(f"{at}.template", job_spec.get("template"))
    policy = ((job_spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if policy and policy not in _RESTART:
        causes.append(unsupported(f"{at}.template.spec.restartPolicy", policy, _RESTART))
    return causes


def _time_zone(zone: str) -> list[Cause]:
    if not zone:
        return [invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string")]
    if zone.lower() == "local":
        why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        return [invalid("spec.timeZone", zone, why)]
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return [invalid("spec.timeZone", zone, f"unknown time zone {zone}")]
    return []
