"""The kinds that make pods: Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, CronJob, ReplicationController.

Who calls it: the strategy table. Invariant: pure; a selector that passes matches its own template, so a controller never
makes pods it does not then see.
Upstream: pkg/apis/apps/validation, pkg/apis/batch/validation, pkg/apis/core/validation (ReplicationController).
"""

from typing import Any

from apiserver.strategies.checks import (
    forbidden,
    immutable,
    invalid,
    not_negative,
    one_of,
    required,
    unsupported,
)
from apiserver.strategies.validation.pod import template
from apiserver.strategies.validation.selectors import label_selector
from minikube_py.api import names
from minikube_py.api.errors import Cause
from minikube_py.api.selectors import from_label_selector
from minikube_py.api.types import Obj

_MISMATCH = "`selector` does not match template `labels`"


def selector_and_template(obj: Obj, restart: tuple[str, ...] = ("Always",)) -> list[Cause]:
    """`spec.selector` is there, not empty and matches `spec.template`; the template restarts as the kind allows."""
    spec = obj.get("spec") or {}
    selector, pods = spec.get("selector"), spec.get("template") or {}
    causes: list[Cause] = []
    if selector is None:
        causes.append(required("spec.selector"))
    else:
        causes += label_selector("spec.selector", selector)
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            causes.append(
                invalid("spec.selector", selector, f"empty selector is invalid for {obj.get('kind', '').lower()}")
            )
    labels = (pods.get("metadata") or {}).get("labels") or {}
    if selector and not causes and not from_label_selector(selector).matches(labels):
        causes.append(invalid("spec.template.metadata.labels", labels, _MISMATCH))
    causes += template("spec.template", pods)
    policy = (pods.get("spec") or {}).get("restartPolicy")
    if policy and policy not in restart:
        causes.append(unsupported("spec.template.spec.restartPolicy", policy, restart))
    if "Always" in restart and (pods.get("spec") or {}).get("activeDeadlineSeconds") is not None:
        why = f"activeDeadlineSeconds in {obj.get('kind')} is not Supported"
        causes.append(forbidden("spec.template.spec.activeDeadlineSeconds", why))
    return causes


def int_or_percent(path: str, value: Any) -> list[Cause]:
    """Not negative; as text, a percentage."""
    if isinstance(value, str):
        if not (value.endswith("%") and value[:-1].isdigit()):
            why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%' or '93%')"
            return [invalid(path, value, f"{why}, regex used for validation is '[0-9]+%'")]
        return []
    return not_negative(path, value)


def at_most_100(path: str, value: Any) -> list[Cause]:
    if isinstance(value, str) and value[:-1].isdigit() and int(value[:-1]) > 100:
        return [invalid(path, value, "must not be greater than 100%")]
    return []


def is_zero(value: Any) -> bool:
    return value in (0, None, "0%")


def deployment(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = not_negative("spec.replicas", spec.get("replicas")) + selector_and_template(obj)
    strategy, at = spec.get("strategy") or {}, "spec.strategy"
    causes += one_of(f"{at}.type", strategy.get("type"), ("Recreate", "RollingUpdate"))
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "Recreate" and rolling is not None:
        why = "may not be specified when strategy `type` is 'Recreate'"
        causes.append(forbidden(f"{at}.rollingUpdate", why))
    elif strategy.get("type") == "RollingUpdate" and rolling is not None:
        surge, unavailable = rolling.get("maxSurge"), rolling.get("maxUnavailable")
        causes += int_or_percent(f"{at}.rollingUpdate.maxUnavailable", unavailable)
        causes += int_or_percent(f"{at}.rollingUpdate.maxSurge", surge)
        if is_zero(surge) and is_zero(unavailable):
            why = "may not be 0 when `maxSurge` is 0"
            causes.append(invalid(f"{at}.rollingUpdate.maxUnavailable", unavailable, why))
        causes += at_most_100(f"{at}.rollingUpdate.maxUnavailable", unavailable)
    ready, deadline = spec.get("minReadySeconds") or 0, spec.get("progressDeadlineSeconds")
    causes += not_negative("spec.minReadySeconds", ready)
    causes += not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    causes += not_negative("spec.progressDeadlineSeconds", deadline)
    if deadline is not None and deadline <= ready:
        causes.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return causes


def replicaset(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = not_negative("spec.replicas", spec.get("replicas"))
    return causes + not_negative("spec.minReadySeconds", spec.get("minReadySeconds")) + selector_and_template(obj)


def selector_kept(new: Obj, old: Obj) -> list[Cause]:
    return immutable("spec.selector", (new.get("spec") or {}).get("selector"), (old.get("spec") or {}).get("selector"))


def replicationcontroller(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    causes += [] if spec.get("selector") else [required("spec.selector")]
    causes += not_negative("spec.replicas", spec.get("replicas"))
    pods = spec.get("template") or {}
    labels = (pods.get("metadata") or {}).get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("selector") or {}).items()):
        causes.append(invalid("spec.template.metadata.labels", labels, _MISMATCH))
    causes += template("spec.template", pods)
    policy = (pods.get("spec") or {}).get("restartPolicy")
    if policy and policy != "Always":
        causes.append(unsupported("spec.template.spec.restartPolicy", policy, ("Always",)))
    return causes


def statefulset(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = one_of("spec.podManagementPolicy", spec.get("podManagementPolicy"), ("OrderedReady", "Parallel"))
    update, at = spec.get("updateStrategy") or {}, "spec.updateStrategy"
    causes += one_of(f"{at}.type", update.get("type"), ("OnDelete", "RollingUpdate"))
    rolling = update.get("rollingUpdate")
    if update.get("type") == "OnDelete" and rolling is not None:
        causes.append(invalid(f"{at}.rollingUpdate", rolling, "only allowed for updateStrategy 'RollingUpdate'"))
    elif rolling:
        causes += not_negative(f"{at}.rollingUpdate.partition", rolling.get("partition"))
    policy, at = spec.get("persistentVolumeClaimRetentionPolicy") or {}, "spec.persistentVolumeClaimRetentionPolicy"
    for field in ("whenDeleted", "whenScaled"):
        if policy:
            causes += one_of(f"{at}.{field}", policy.get(field), ("Delete", "Retain"))
    causes += not_negative("spec.replicas", spec.get("replicas"))
    causes += not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    return (
        causes
        + not_negative("spec.ordinals.start", (spec.get("ordinals") or {}).get("start"))
        + selector_and_template(_with_claims(obj))
    )


def _with_claims(obj: Obj) -> Obj:
    """The set as its pods will be: with a volume for each claim template, so that containers may mount it."""
    spec = obj.get("spec") or {}
    template = spec.get("template") or {}
    pods = template.get("spec") or {}
    names = [(claim.get("metadata") or {}).get("name") for claim in spec.get("volumeClaimTemplates") or ()]
    kept = [volume for volume in pods.get("volumes") or () if volume.get("name") not in names]
    claims = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names if name]
    return {**obj, "spec": {**spec, "template": {**template, "spec": {**pods, "volumes": [*kept, *claims]}}}}


_STATEFULSET_MUTABLE = (
    "replicas", "template", "updateStrategy", "persistentVolumeClaimRetentionPolicy", "minReadySeconds", "ordinals",
    "revisionHistoryLimit",
)  # fmt: skip


def statefulset_update(new: Obj, old: Obj) -> list[Cause]:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    fixed = {name for name in {*spec, *before} if name not in _STATEFULSET_MUTABLE}
    if all(spec.get(name) == before.get(name) for name in fixed):
        return []
    why = (
        "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
        "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
    )
    return [forbidden("spec", why)]


def daemonset(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = selector_and_template(obj) + not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    update, at = spec.get("updateStrategy") or {}, "spec.updateStrategy"
    causes += one_of(f"{at}.type", update.get("type"), ("OnDelete", "RollingUpdate"))
    if update.get("type") == "RollingUpdate":
        rolling = update.get("rollingUpdate") or {}
        surge, unavailable = rolling.get("maxSurge"), rolling.get("maxUnavailable")
        causes += int_or_percent(f"{at}.rollingUpdate.maxUnavailable", unavailable)
        causes += int_or_percent(f"{at}.rollingUpdate.maxSurge", surge)
        if is_zero(surge) and is_zero(unavailable):
            causes.append(required(f"{at}.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0"))
        elif not is_zero(surge) and not is_zero(unavailable):
            causes.append(
                invalid(f"{at}.rollingUpdate.maxSurge", surge, "may not be set when maxUnavailable is non-zero")
            )
    return causes + not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))


def controllerrevision(obj: Obj) -> list[Cause]:
    return not_negative("revision", obj.get("revision"))


def controllerrevision_update(new: Obj, old: Obj) -> list[Cause]:
    return immutable("data", new.get("data"), old.get("data"))


def podtemplate(obj: Obj) -> list[Cause]:
    return template("template", obj.get("template"))


def short_name(limit: int) -> Any:
    """Names that leave room for the suffix of what is made from them."""

    def rule(value: str) -> str:
        problem = names.subdomain(value)
        return problem or ("" if len(value) <= limit else f"must be no more than {limit} characters")

    return rule
