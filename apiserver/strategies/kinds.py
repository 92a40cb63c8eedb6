"""Small hooks of single kinds: Job, Namespace, Node, Event, Secret, CertificateSigningRequest …

Who calls it: the strategy table. Invariant: one kind's hooks never look at another kind's objects.
Upstream: pkg/registry/*/*/strategy.go.
"""

from typing import Any

from apiserver.strategies.base import Context, View
from apiserver.strategies.validation.access import certificate_conditions
from minikube_py.api.meta import set_condition
from minikube_py.api.types import Obj

# ---- what a field selector may name ----------------------------------------------------------------------------------


def field(*path: str, default: str = "") -> Any:
    """A selectable field: the label is the path, the value its text ("true"/"false" for booleans)."""

    def value(obj: Obj) -> str:
        at: Any = obj
        for name in path:
            at = at.get(name) if isinstance(at, dict) else None
        if isinstance(at, bool):
            return "true" if at else "false"
        return default if at is None else str(at)

    return ".".join(path), value


def fields(*rules: Any) -> Any:
    """A `selectable` hook from such rules."""

    def selectable(obj: Obj) -> dict[str, str]:
        return {label: value(obj) for label, value in rules}

    return selectable


EVENT_FIELDS = [
    field("involvedObject", name)
    for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
]


def event_fields(obj: Obj) -> dict[str, str]:
    found = fields(*EVENT_FIELDS, field("reason"), field("type"), ("reportingComponent", _reporter))(obj)
    source = (obj.get("source") or {}).get("component") or ""
    return {**found, "source": source or obj.get("reportingComponent") or ""}


def _reporter(obj: Obj) -> str:
    return str(obj.get("reportingComponent") or "")


# ---- Namespace: its finalizers are the spec, its phase the status ----------------------------------------------------


def namespace_create(obj: Obj, ctx: Context) -> None:
    """Active, and held by the namespace controller until its content is gone."""
    finalizers = (obj.get("spec") or {}).get("finalizers") or []
    obj["spec"] = {"finalizers": finalizers if "kubernetes" in finalizers else [*finalizers, "kubernetes"]}
    obj["status"] = {"phase": "Active"}


def namespace_update(new: Obj, old: Obj, ctx: Context) -> None:
    """Finalizers change only through /finalize."""
    new["spec"] = dict(old.get("spec") or {})


def _namespace_finalize(new: Obj, old: Obj, ctx: Context) -> None:
    if "status" in old:
        new["status"] = old["status"]
    finalizers = (new.get("spec") or {}).get("finalizers")
    new["spec"] = {"finalizers": finalizers} if finalizers else {}


NAMESPACE_VIEWS = {"finalize": View(_namespace_finalize)}


# ---- Job: it finds its pods by labels made from its own uid ----------------------------------------------------------

_JOB_UID = ("batch.kubernetes.io/controller-uid", "controller-uid")
_JOB_NAME = ("batch.kubernetes.io/job-name", "job-name")


def job_create(obj: Obj, ctx: Context) -> None:
    """Unless the author brings a selector (manualSelector), select by the Job's uid and label the template with it."""
    spec, meta = obj.setdefault("spec", {}), obj["metadata"]
    obj["status"] = {}
    if spec.get("manualSelector"):
        return
    template = spec.setdefault("template", {})
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    for name in _JOB_NAME:
        labels[name] = meta.get("name", "")[:63]
    for name in _JOB_UID:
        labels[name] = meta.get("uid", "")
    selector = spec.setdefault("selector", {})
    selector.setdefault("matchLabels", {}).setdefault(_JOB_UID[0], meta.get("uid", ""))


# ---- CertificateSigningRequest: who asks is the server's to say ------------------------------------------------------


def csr_create(obj: Obj, ctx: Context) -> None:
    spec, user = obj.setdefault("spec", {}), ctx.user
    for name in ("username", "uid", "groups", "extra"):
        spec.pop(name, None)
    spec["username"] = user.name
    if user.uid:
        spec["uid"] = user.uid
    if user.groups:
        spec["groups"] = list(user.groups)
    if user.extra:
        spec["extra"] = {key: list(values) for key, values in user.extra.items()}
    obj["status"] = {}


def csr_update(new: Obj, old: Obj, ctx: Context) -> None:
    """The spec is settled at creation."""
    keep_spec(new, old, ctx)


_DECISIONS = ("Approved", "Denied")


def _with_times(conditions: list[Obj], now: str) -> list[Obj]:
    return [{**c, "lastUpdateTime": c.get("lastUpdateTime") or now, "lastTransitionTime": c.get("lastTransitionTime") or now}
            for c in conditions]  # fmt: skip


def _csr_approval(new: Obj, old: Obj, ctx: Context) -> None:
    """`/approval` takes the conditions; certificate and spec stay."""
    conditions = _with_times((new.get("status") or {}).get("conditions") or [], ctx.now())
    keep_spec(new, old, ctx)
    new["status"] = {**(old.get("status") or {}), "conditions": conditions}


def csr_status(new: Obj, old: Obj) -> None:
    """`/status` takes the certificate; approval and denial come through /approval alone."""
    status, before = new.setdefault("status", {}), (old.get("status") or {}).get("conditions") or []
    kept = [c for c in before if c.get("type") in _DECISIONS]
    status["conditions"] = kept + [c for c in status.get("conditions") or () if c.get("type") not in _DECISIONS]
    if not status["conditions"]:
        del status["conditions"]


CSR_VIEWS = {"approval": View(_csr_approval, certificate_conditions)}


# ---- small ones ------------------------------------------------------------------------------------------------------


def volume_create(obj: Obj, ctx: Context) -> None:
    """PersistentVolumes and claims wait for each other."""
    obj["status"] = {"phase": "Pending"}


def keep_spec(new: Obj, old: Obj, ctx: Context) -> None:
    if "spec" in old:
        new["spec"] = old["spec"]
    else:
        new.pop("spec", None)


def endpoint_slice_changed(new: Obj, old: Obj) -> bool:
    parts = ("endpoints", "ports", "addressType")
    labels = new["metadata"].get("labels") != old["metadata"].get("labels")
    return labels or any(new.get(part) != old.get(part) for part in parts)


def field_changed(name: str) -> Any:
    """Kinds without a spec count the changes of this field."""

    def changed(new: Obj, old: Obj) -> bool:
        return bool(new.get(name) != old.get(name))

    return changed


def deployment_changed(new: Obj, old: Obj) -> bool:
    """Annotations count too: the controller copies them to the ReplicaSet."""
    annotations = [x["metadata"].get("annotations") or {} for x in (new, old)]
    return bool(new.get("spec") != old.get("spec") or annotations[0] != annotations[1])


def apiservice_create(obj: Obj, ctx: Context) -> None:
    """What we serve ourselves is available from the start; of another server that has yet to be seen."""
    if not (obj.get("spec") or {}).get("service"):
        why = "Local APIServices are always available"
        set_condition(obj.setdefault("status", {}), "Available", "True", ctx.now(), "Local", why)
