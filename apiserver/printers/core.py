"""Columns of the core group's kinds, but for pods, workloads, networking and storage.

Who uses it: `kinds.py`. Upstream: pkg/printers/internalversion/printers.go.
"""

from datetime import datetime

from apiserver.printers.columns import (
    AGE,
    CREATED_AT,
    NAME,
    NONE,
    UNKNOWN,
    Column,
    column,
    condition,
    containers,
    dig,
    field,
    labels_text,
    since,
    size,
)  # fmt: skip
from minikube_py.api.types import Obj

_ROLE_PREFIX = "node-role.kubernetes.io/"


def _node_status(node: Obj) -> str:
    ready = condition(node, "Ready")
    words = ["Unknown" if not ready else "Ready" if ready == "True" else "NotReady"]
    if dig(node, "spec", "unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(node: Obj) -> str:
    labels = dig(node, "metadata", "labels") or {}
    found = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    found.add(labels.get("kubernetes.io/role", ""))
    return ",".join(sorted(found - {""})) or NONE


def _address(kind: str) -> Column:
    def cell(node: Obj) -> str:
        addresses = dig(node, "status", "addresses") or ()
        return next((str(one.get("address")) for one in addresses if one.get("type") == kind), NONE)

    return column(kind.replace("IP", "-IP"), cell, wide=True)


NODE = (
    NAME,
    column("Status", _node_status),
    column("Roles", _roles),
    AGE,
    column("Version", field("status.nodeInfo.kubeletVersion")),
    _address("InternalIP"),
    _address("ExternalIP"),
    column("OS-Image", field("status.nodeInfo.osImage", UNKNOWN), wide=True),
    column("Kernel-Version", field("status.nodeInfo.kernelVersion", UNKNOWN), wide=True),
    column("Container-Runtime", field("status.nodeInfo.containerRuntimeVersion", UNKNOWN), wide=True),
)
NAMESPACE = (NAME, column("Status", field("status.phase")), AGE)
CONFIGMAP = (NAME, column("Data", size("data", "binaryData"), "integer"), AGE)
SECRET = (NAME, column("Type", field("type")), column("Data", size("data"), "integer"), AGE)
SERVICE_ACCOUNT = (NAME, column("Secrets", size("secrets"), "integer"), AGE)
LIMIT_RANGE = (NAME, CREATED_AT)


def _first_seen(event: Obj, now: datetime) -> str:
    first = event.get("firstTimestamp") or event.get("deprecatedFirstTimestamp")
    return since(first or event.get("eventTime"), now)


def _last_seen(event: Obj, now: datetime) -> str:
    last = event.get("lastTimestamp") or event.get("deprecatedLastTimestamp")
    if observed := dig(event, "series", "lastObservedTime"):
        last = observed
    return since(last, now) if last else _first_seen(event, now)


def _regarding(event: Obj) -> Obj:
    return event.get("involvedObject") or event.get("regarding") or {}


def _object(event: Obj) -> str:
    target = _regarding(event)
    kind = str(target.get("kind", "")).lower()
    return f"{kind}/{target['name']}" if target.get("name") else kind


def _source(event: Obj) -> str:
    source = event.get("source") or event.get("deprecatedSource") or {}
    component = source.get("component") or event.get("reportingComponent") or event.get("reportingController") or ""
    instance = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {instance}" if instance else component


def _count(event: Obj) -> int:
    return int(dig(event, "series", "count") or event.get("count") or event.get("deprecatedCount") or 1)


EVENT = (
    Column("Last Seen", _last_seen),
    column("Type", field("type")),
    column("Reason", field("reason")),
    column("Object", _object),
    column("Subobject", lambda event: _regarding(event).get("fieldPath", ""), wide=True),
    column("Source", _source, wide=True),
    column("Message", lambda event: str(event.get("message") or event.get("note") or "").strip()),
    Column("First Seen", _first_seen, priority=1),
    column("Count", _count, "integer", wide=True),
    NAME._replace(priority=1),
)


def _quota(limits: bool) -> Column:
    def cell(quota: Obj) -> str:
        hard, used = dig(quota, "status", "hard") or {}, dig(quota, "status", "used") or {}
        names = sorted(name for name in hard if name.startswith("limits") == limits)
        return ", ".join(f"{name}: {used.get(name, '0')}/{hard[name]}" for name in names)

    return column("Limit" if limits else "Request", cell)


RESOURCE_QUOTA = (NAME, _quota(limits=False), _quota(limits=True), AGE)
POD_TEMPLATE = (
    NAME,
    *(one._replace(priority=0) for one in containers("template", "spec")),
    column("Pod Labels", lambda template: labels_text(dig(template, "template", "metadata", "labels"))),
)


def _component(key: str) -> Column:
    def cell(component: Obj) -> str:
        healthy: Obj = next((c for c in component.get("conditions") or () if c.get("type") == "Healthy"), {})
        if key != "status":
            return str(healthy.get(key, ""))
        return {"True": "Healthy", "False": "Unhealthy"}.get(healthy.get("status", ""), "Unknown")

    return column(key.capitalize(), cell)


COMPONENT_STATUS = (NAME, _component("status"), _component("message"), _component("error"))
