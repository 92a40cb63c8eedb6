"""Defaults of the kinds that make pods: apps/v1, batch/v1, ReplicationController, PodTemplate. Data.

Who calls it: `defaults/__init__.py`. Invariant: see engine.py.
Upstream: pkg/apis/apps/v1/defaults.go, pkg/apis/batch/v1/defaults.go, pkg/apis/core/v1/defaults.go.
"""

from typing import Any

from apiserver.strategies.defaults.engine import Rules, under
from apiserver.strategies.defaults.pod import CLAIM_SPEC, template
from minikube_py.api.types import Obj

_MAX_INT32 = 2**31 - 1


def _template_labels(obj: Obj) -> Obj:
    return ((obj.get("spec") or {}).get("template") or {}).get("metadata", {}).get("labels") or {}


def _labels_from_template(obj: Obj) -> None:
    """Controllers of the first hour take their own labels from their template when they have none."""
    labels = _template_labels(obj)
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)


def _selector_from_template(spec: Obj) -> Obj | None:
    return ((spec.get("template") or {}).get("metadata") or {}).get("labels") or None


def _rolling(update: Obj) -> Obj | None:
    return {} if update.get("type") == "RollingUpdate" else None


def _job_counts(spec: Obj) -> None:
    """One pod once, unless told otherwise; a Job without completions but with parallelism is a work queue."""
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    elif spec.get("parallelism") is None:
        spec["parallelism"] = 1


def _backoff_limit(spec: Obj) -> Any:
    return 6 if spec.get("backoffLimitPerIndex") is None else _MAX_INT32


def _replacement(spec: Obj) -> str:
    return "Failed" if spec.get("podFailurePolicy") is not None else "TerminatingOrFailed"


DEPLOYMENT: Rules = (
    ("spec.replicas", 1),
    ("spec.strategy", {}),
    ("spec.strategy.type", "RollingUpdate"),
    ("spec.strategy.rollingUpdate", _rolling),
    ("spec.strategy.rollingUpdate.maxUnavailable", "25%"),
    ("spec.strategy.rollingUpdate.maxSurge", "25%"),
    ("spec.revisionHistoryLimit", 10),
    ("spec.progressDeadlineSeconds", 600),
    *template("spec.template"),
)

REPLICASET: Rules = (("spec.replicas", 1), *template("spec.template"))

REPLICATIONCONTROLLER: Rules = (
    ("spec.replicas", 1),
    ("spec.selector", _selector_from_template),
    ("", _labels_from_template),
    *template("spec.template"),
)

STATEFULSET: Rules = (
    ("spec.replicas", 1),
    ("spec.podManagementPolicy", "OrderedReady"),
    ("spec.updateStrategy", {}),
    ("spec.updateStrategy.type", "RollingUpdate"),
    ("spec.updateStrategy.rollingUpdate", _rolling),
    ("spec.updateStrategy.rollingUpdate.partition", 0),
    ("spec.revisionHistoryLimit", 10),
    ("spec.persistentVolumeClaimRetentionPolicy", {}),
    ("spec.persistentVolumeClaimRetentionPolicy.whenDeleted", "Retain"),
    ("spec.persistentVolumeClaimRetentionPolicy.whenScaled", "Retain"),
    ("spec.volumeClaimTemplates[].apiVersion", "v1"),
    ("spec.volumeClaimTemplates[].kind", "PersistentVolumeClaim"),
    ("spec.volumeClaimTemplates[].status", {"phase": "Pending"}),
    *under("spec.volumeClaimTemplates[].spec", CLAIM_SPEC),
    *template("spec.template"),
)

DAEMONSET: Rules = (
    ("spec.updateStrategy", {}),
    ("spec.updateStrategy.type", "RollingUpdate"),
    ("spec.updateStrategy.rollingUpdate", _rolling),
    ("spec.updateStrategy.rollingUpdate.maxUnavailable", 1),
    ("spec.updateStrategy.rollingUpdate.maxSurge", 0),
    ("spec.revisionHistoryLimit", 10),
    *template("spec.template"),
)

JOB: Rules = (
    ("spec.", _job_counts),
    ("spec.backoffLimit", _backoff_limit),
    ("spec.completionMode", "NonIndexed"),
    ("spec.suspend", False),
    ("spec.manualSelector", False),
    ("spec.podReplacementPolicy", _replacement),
    ("spec.podFailurePolicy.rules[].onPodConditions[].status", "True"),
    ("", _labels_from_template),
    *template("spec.template"),
)

CRONJOB: Rules = (
    ("spec.concurrencyPolicy", "Allow"),
    ("spec.suspend", False),
    ("spec.successfulJobsHistoryLimit", 3),
    ("spec.failedJobsHistoryLimit", 1),
    *template("spec.jobTemplate.spec.template"),
)

PODTEMPLATE: Rules = template("template")
