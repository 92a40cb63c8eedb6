"""Columns of what makes pods: deployments, replica sets, stateful and daemon sets, jobs, autoscalers.

Who uses it: `kinds.py`. Upstream: pkg/printers/internalversion/printers.go.
"""

from datetime import datetime
from typing import Any

from apiserver.printers.columns import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    UNSET,
    Column,
    column,
    condition,
    containers,
    dig,
    field,
    flag,
    human_duration,
    labels_text,
    number,
    selector_text,
    since,
)  # fmt: skip
from minikube_py.api.clock import parse_rfc3339
from minikube_py.api.types import Obj

_CONTAINERS = containers("spec", "template", "spec")
_SELECTOR = column("Selector", lambda obj: selector_text(dig(obj, "spec", "selector")), wide=True)


def _ready(obj: Obj) -> str:
    replicas = dig(obj, "spec", "replicas")
    return f"{dig(obj, 'status', 'readyReplicas') or 0}/{1 if replicas is None else replicas}"


def _integer(name: str, path: str) -> Column:
    return column(name, number(path), "integer")


DEPLOYMENT = (
    NAME,
    column("Ready", _ready),
    _integer("Up-to-date", "status.updatedReplicas"),
    _integer("Available", "status.availableReplicas"),
    AGE,
    *_CONTAINERS,
    _SELECTOR,
)
_REPLICAS = (
    NAME,
    _integer("Desired", "spec.replicas"),
    _integer("Current", "status.replicas"),
    _integer("Ready", "status.readyReplicas"),
    AGE,
    *_CONTAINERS,
)
REPLICA_SET = (*_REPLICAS, _SELECTOR)
REPLICATION_CONTROLLER = (
    *_REPLICAS,
    column("Selector", lambda rc: labels_text(dig(rc, "spec", "selector")), wide=True),
)
STATEFUL_SET = (NAME, column("Ready", _ready), AGE, *_CONTAINERS)
DAEMON_SET = (
    NAME,
    _integer("Desired", "status.desiredNumberScheduled"),
    _integer("Current", "status.currentNumberScheduled"),
    _integer("Ready", "status.numberReady"),
    _integer("Up-to-date", "status.updatedNumberScheduled"),
    _integer("Available", "status.numberAvailable"),
    column("Node Selector", lambda obj: labels_text(dig(obj, "spec", "template", "spec", "nodeSelector"))),
    AGE,
    *_CONTAINERS,
    _SELECTOR,
)


def _job_status(job: Obj) -> str:
    for kind in ("Complete", "Failed"):
        if condition(job, kind) == "True":
            return kind
    if dig(job, "metadata", "deletionTimestamp"):
        return "Terminating"
    for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if condition(job, kind) == "True":
            return kind
    return "Running"


def _completions(job: Obj) -> str:
    spec, succeeded = job.get("spec") or {}, dig(job, "status", "succeeded") or 0
    if spec.get("completions") is not None:
        return f"{succeeded}/{spec['completions']}"
    parallelism = spec.get("parallelism") or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _job_duration(job: Obj, now: datetime) -> str:
    started, ended = dig(job, "status", "startTime"), dig(job, "status", "completionTime")
    if not started:
        return ""
    end = parse_rfc3339(ended) if ended else now
    return human_duration((end - parse_rfc3339(started)).total_seconds())


JOB = (
    NAME,
    column("Status", _job_status),
    column("Completions", _completions),
    Column("Duration", _job_duration),
    AGE,
    *_CONTAINERS,
    _SELECTOR,
)


def _last_schedule(cron: Obj, now: datetime) -> str:
    return since(dig(cron, "status", "lastScheduleTime"), now, NONE)


CRON_JOB = (
    NAME,
    column("Schedule", field("spec.schedule")),
    column("Timezone", field("spec.timeZone", NONE)),
    column("Suspend", lambda cron: str(bool(dig(cron, "spec", "suspend")))),
    column("Active", lambda cron: len(dig(cron, "status", "active") or ()), "integer"),
    Column("Last Schedule", _last_schedule),
    AGE,
    *containers("spec", "jobTemplate", "spec", "template", "spec"),
    column("Selector", lambda cron: selector_text(dig(cron, "spec", "jobTemplate", "spec", "selector")), wide=True),
)


def _controller(revision: Obj) -> str:
    owners = dig(revision, "metadata", "ownerReferences") or ()
    owner = next((one for one in owners if one.get("controller")), None)
    if owner is None:
        return NONE
    group = str(owner.get("apiVersion", "")).rpartition("/")[0]
    kind = str(owner.get("kind", "")).lower()
    return f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"


CONTROLLER_REVISION = (NAME, column("Controller", _controller), _integer("Revision", "revision"), AGE)


def _reference(hpa: Obj) -> str:
    target = dig(hpa, "spec", "scaleTargetRef") or {}
    return f"{target.get('kind', '')}/{target.get('name', '')}"


def _quantity_target(current: Any, target: Any) -> str:
    return f"{current or UNKNOWN}/{target or UNKNOWN}"


def _metric_targets(hpa: Obj) -> list[str]:
    """One "current/target" per metric of a v2 autoscaler."""
    current = dig(hpa, "status", "currentMetrics") or []
    found = []
    for index, metric in enumerate(dig(hpa, "spec", "metrics") or ()):
        kind = str(metric.get("type", ""))
        key = kind[:1].lower() + kind[1:]
        target = dig(metric, key, "target") or {}
        now = dig(current[index], key, "current") if index < len(current) else None
        now = now or {}
        if target.get("averageUtilization") is not None:
            usage = now.get("averageUtilization")
            text = f"{UNKNOWN if usage is None else f'{usage}%'}/{target['averageUtilization']}%"
        elif target.get("averageValue"):
            text = _quantity_target(now.get("averageValue"), target["averageValue"]) + (
                " (avg)" if kind != "Resource" else ""
            )
        else:
            text = _quantity_target(now.get("value"), target.get("value"))
        name = dig(metric, key, "name") if "esource" in kind else ""
        found.append(f"{name}: {text}" if name else text)
    return found


def _targets(hpa: Obj) -> str:
    goal = dig(hpa, "spec", "targetCPUUtilizationPercentage")
    if goal is not None:  # the v1 form
        usage = dig(hpa, "status", "currentCPUUtilizationPercentage")
        return f"cpu: {UNKNOWN if usage is None else f'{usage}%'}/{goal}%"
    found = _metric_targets(hpa)
    if not found:
        return NONE
    return ", ".join(found[:2]) + (f" + {len(found) - 2} more..." if len(found) > 2 else "")


HORIZONTAL_POD_AUTOSCALER = (
    NAME,
    column("Reference", _reference),
    column("Targets", _targets),
    column("MinPods", lambda hpa: str(dig(hpa, "spec", "minReplicas") or UNSET)),
    _integer("MaxPods", "spec.maxReplicas"),
    _integer("Replicas", "status.currentReplicas"),
    AGE,
)


def _budget(key: str) -> Column:
    name = {"minAvailable": "Min Available", "maxUnavailable": "Max Unavailable"}[key]

    def cell(budget: Obj) -> str:
        value = dig(budget, "spec", key)
        return "N/A" if value is None else str(value)

    return column(name, cell)


POD_DISRUPTION_BUDGET = (
    NAME,
    _budget("minAvailable"),
    _budget("maxUnavailable"),
    _integer("Allowed Disruptions", "status.disruptionsAllowed"),
    AGE,
)
PRIORITY_CLASS = (
    NAME,
    _integer("Value", "value"),
    column("Global-Default", flag("globalDefault"), "boolean"),
    AGE,
    column("PreemptionPolicy", field("preemptionPolicy", "PreemptLowerPriority")),
)
