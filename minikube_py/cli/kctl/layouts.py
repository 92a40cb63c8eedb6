"""How `kctl describe` lays out the kinds people look at most, and the generic indenting all of them share.

Who calls it: `describe.py`. A layout is a function from an object to rows (label, value); a value is text, a list of texts
printed below each other, or a mapping printed indented. Upstream: staging/src/k8s.io/kubectl/pkg/describe/describe.go.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from minikube_py.api import quantity
from minikube_py.api.gvr import PODS
from minikube_py.api.meta import controller_of, name_of, namespace_of
from minikube_py.api.types import Obj
from minikube_py.cli.kctl.durations import age
from minikube_py.cli.kctl.output import align
from minikube_py.client.rest import Client

Rows = list[tuple[str, Any]]
Layout = Callable[[Client, Obj], Rows]


def title(key: str) -> str:
    """ "podIPs" → "Pod IPs"."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", key)
    return words[:1].upper() + words[1:]


def lay_out(rows: Sequence[tuple[str, Any]], indent: str = "") -> list[str]:
    """Rows as aligned text; mappings and lists of mappings go below their label, indented.

    A mapping's keys become titles ("podIPs" → "Pod IPs"), except names, which are marked by a blank at their end.
    """
    rows = [(label.rstrip(), value) for label, value in rows]
    flat = [label for label, value in rows if not isinstance(value, dict) and not _is_block(value)]
    width = max((len(label) for label in flat), default=0) + 3
    lines: list[str] = []
    for label, value in rows:
        if isinstance(value, dict):
            lines.append(f"{indent}{label}:" + ("  <none>" if not value else ""))
            lines += lay_out([(k if " " in k else title(k), v) for k, v in value.items()], indent + "  ")
        elif _is_block(value):
            lines.append(f"{indent}{label}:")
            lines += _block(value, indent + "  ")
        else:
            texts = [str(v) for v in value] if isinstance(value, list) else [_text(value)]
            lines.append(f"{indent}{label + ':':<{width}}{texts[0] if texts else '<none>'}".rstrip())
            lines += [f"{indent}{'':<{width}}{text}" for text in texts[1:]]
    return lines


def _is_block(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and (isinstance(value[0], dict | Table))


def _block(value: list[Any], indent: str) -> list[str]:
    lines: list[str] = []
    for item in value:
        if isinstance(item, Table):
            lines += [indent + line for line in align(item.rows, gap=2)]
        else:
            lines += lay_out([(title(k), v) for k, v in item.items()], indent)
    return lines


class Table:
    """Rows that are aligned among themselves, the first being the head."""

    def __init__(self, rows: list[list[str]]) -> None:
        self.rows = rows


def _text(value: Any) -> str:
    if value is None or value == "":
        return "<none>"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _pairs(values: Obj | None, sign: str = "=") -> Any:
    return [f"{key}{sign}{value}" for key, value in sorted((values or {}).items())] or "<none>"


def _conditions(obj: Obj, *columns: str) -> Rows:
    found = (obj.get("status") or {}).get("conditions") or []
    rows = [[title(c) for c in columns], ["-" * len(title(c)) for c in columns]]
    rows += [[str(c.get(column, "")) for column in columns] for c in found]
    return [("Conditions", [Table(rows)])] if found else []


def _owner(obj: Obj) -> Rows:
    owner = controller_of(obj)
    return [("Controlled By", f"{owner['kind']}/{owner['name']}")] if owner else []


def _pod(client: Client, pod: Obj) -> Rows:
    spec, status = pod["spec"], pod.get("status") or {}
    rows: Rows = [
        ("Priority", spec.get("priority", 0)), ("Service Account", spec.get("serviceAccountName", "")),
        ("Node", f"{spec['nodeName']}/{status.get('hostIP', '')}" if spec.get("nodeName") else "<none>"),
        ("Start Time", status.get("startTime")),
    ]  # fmt: skip
    if pod["metadata"].get("deletionTimestamp"):
        rows.append(("Status", f"Terminating (lasts {age(pod['metadata']['deletionTimestamp'])})"))
        rows.append(("Termination Grace Period", f"{pod['metadata'].get('deletionGracePeriodSeconds', 0)}s"))
    else:
        rows.append(("Status", status.get("phase", "Pending")))
    rows += [(label, status[key]) for label, key in (("Reason", "reason"), ("Message", "message")) if status.get(key)]
    rows += [
        ("IP", status.get("podIP")),
        ("IPs", [f"IP: {entry['ip']}" for entry in status.get("podIPs") or []] or "<none>"),
    ]
    rows += _owner(pod)
    for label, field, state in (
        ("Init Containers", "initContainers", "initContainerStatuses"), ("Containers", "containers", "containerStatuses"),
        ("Ephemeral Containers", "ephemeralContainers", "ephemeralContainerStatuses"),
    ):  # fmt: skip
        statuses = {entry["name"]: entry for entry in status.get(state) or []}
        if spec.get(field):
            rows.append((label, {f"{c['name']} ": _container(c, statuses.get(c["name"], {})) for c in spec[field]}))
    rows += _conditions(pod, "type", "status")
    volumes = {
        f"{v['name']} ": {"type": next((k for k in v if k != "name"), ""), **_volume(v)}
        for v in spec.get("volumes") or []
    }
    tolerations = [_toleration(t) for t in spec.get("tolerations") or []]
    return [
        *rows, ("Volumes", volumes or "<none>"), ("QoS Class", status.get("qosClass")),
        ("Node-Selectors", _pairs(spec.get("nodeSelector"))), ("Tolerations", tolerations or "<none>"),
    ]  # fmt: skip


def _container(container: Obj, status: Obj) -> Obj:
    shown: Obj = {
        "Container ID": status.get("containerID", ""), "Image": container["image"], "Image ID": status.get("imageID", ""),
        "Ports": ", ".join(f"{p['containerPort']}/{p.get('protocol', 'TCP')}" for p in container.get("ports") or []),
    }  # fmt: skip
    for label, key in (("Command", "command"), ("Args", "args")):
        if container.get(key):
            shown[label] = list(container[key])
    shown |= _state("State", status.get("state") or {"waiting": {}}) | _state(
        "Last State", status.get("lastState") or {}
    )
    shown |= {"Ready": str(bool(status.get("ready"))), "Restart Count": str(status.get("restartCount", 0))}
    for label, key in (("Limits", "limits"), ("Requests", "requests")):
        if (container.get("resources") or {}).get(key):
            shown[label] = [f"{name}: {amount}" for name, amount in container["resources"][key].items()]
    for label, key in (("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")):
        if container.get(key):
            shown[label] = _probe(container[key])
    shown["Environment"] = [f"{e['name']}: {_env(e)}" for e in container.get("env") or []] or "<none>"
    mounts = container.get("volumeMounts") or []
    shown["Mounts"] = [
        f"{m['mountPath']} from {m['name']} ({'ro' if m.get('readOnly') else 'rw'})" for m in mounts
    ] or "<none>"
    return shown


def _state(label: str, state: Obj) -> Obj:
    for kind, detail in state.items():
        shown: Obj = {label: kind.capitalize()}
        names = (("reason", "Reason"), ("message", "Message"), ("exitCode", "Exit Code"), ("startedAt", "Started"),
                 ("finishedAt", "Finished"))  # fmt: skip
        prefix = "Last " if label.startswith("Last") else ""
        return shown | {f"  {prefix}{name}": detail[key] for key, name in names if detail.get(key) is not None}
    return {}


def _probe(probe: Obj) -> str:
    if "httpGet" in probe:
        get = probe["httpGet"]
        action = f"http-get {get.get('scheme', 'HTTP').lower()}://:{get['port']}{get.get('path', '/')}"
    elif "tcpSocket" in probe:
        action = f"tcp-socket :{probe['tcpSocket']['port']}"
    elif "exec" in probe:
        action = f"exec {probe['exec'].get('command')}"
    else:
        action = f"grpc :{(probe.get('grpc') or {}).get('port')}"
    return (
        f"{action} delay={probe.get('initialDelaySeconds', 0)}s timeout={probe.get('timeoutSeconds', 1)}s "
        f"period={probe.get('periodSeconds', 10)}s #success={probe.get('successThreshold', 1)} "
        f"#failure={probe.get('failureThreshold', 3)}"
    )


def _env(entry: Obj) -> str:
    source = entry.get("valueFrom")
    if not source:
        return str(entry.get("value", ""))
    kind, detail = next(iter(source.items()))
    return {
        "secretKeyRef": lambda: f"<set to the key '{detail.get('key')}' in secret '{detail.get('name')}'>",
        "configMapKeyRef": lambda: f"<set to the key '{detail.get('key')}' of config map '{detail.get('name')}'>",
        "fieldRef": lambda: f"({detail.get('fieldPath')})",
    }.get(kind, lambda: f"({kind})")()


def _volume(volume: Obj) -> Obj:
    detail = next((v for k, v in volume.items() if k != "name"), None) or {}
    return {k: v for k, v in detail.items() if not isinstance(v, list | dict)}


def _toleration(toleration: Obj) -> str:
    value = f"={toleration['value']}" if toleration.get("value") else ""
    operator = f" op={toleration['operator']}" if toleration.get("operator") == "Exists" else ""
    seconds = f" for {toleration['tolerationSeconds']}s" if toleration.get("tolerationSeconds") is not None else ""
    effect = f":{toleration['effect']}" if toleration.get("effect") else ""
    return f"{toleration.get('key', '')}{value}{effect}{operator}{seconds}"


def _node(client: Client, node: Obj) -> Rows:
    spec, status = node["spec"], node.get("status") or {}
    taints = [f"{t['key']}{'=' + t['value'] if t.get('value') else ''}:{t['effect']}" for t in spec.get("taints") or []]
    pods = client.list(PODS, field_selector=f"spec.nodeName={name_of(node)}")["items"]
    running = [p for p in pods if (p.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
    table = [
        ["Namespace", "Name", "CPU Requests", "Memory Requests", "Age"],
        ["---------", "----", "------------", "---------------", "---"],
    ]
    table += [
        [
            namespace_of(p),
            name_of(p),
            _requested([p], "cpu"),
            _requested([p], "memory"),
            age(p["metadata"].get("creationTimestamp")),
        ]
        for p in running
    ]
    requested = {name: _requested(running, name) for name in status.get("allocatable") or {} if name != "pods"}
    return [
        ("CreationTimestamp", node["metadata"].get("creationTimestamp")), ("Taints", taints or "<none>"),
        ("Unschedulable", bool(spec.get("unschedulable"))),
        *_conditions(node, "type", "status", "lastHeartbeatTime", "lastTransitionTime", "reason", "message"),
        ("Addresses", [f"{a['type']}: {a['address']}" for a in status.get("addresses") or []] or "<none>"),
        ("Capacity", {f"{k} ": v for k, v in (status.get("capacity") or {}).items()}),
        ("Allocatable", {f"{k} ": v for k, v in (status.get("allocatable") or {}).items()}),
        ("System Info", status.get("nodeInfo") or {}), ("PodCIDR", spec.get("podCIDR")),
        (f"Non-terminated Pods ({len(running)} in total)", [Table(table)]),
        ("Allocated resources", {f"{k} ": v for k, v in requested.items()}),
    ]  # fmt: skip


def _requested(pods: list[Obj], resource: str) -> str:
    amounts = [
        quantity.parse(((c.get("resources") or {}).get("requests") or {}).get(resource, 0))
        for p in pods
        for c in p["spec"]["containers"]
    ]
    return quantity.format(sum(amounts, quantity.parse(0)), binary=resource not in ("cpu",))


def _deployment(client: Client, obj: Obj) -> Rows:
    spec, status = obj["spec"], obj.get("status") or {}
    counts = (
        f"{spec.get('replicas', 1)} desired | {status.get('updatedReplicas', 0)} updated | {status.get('replicas', 0)} total | "
        f"{status.get('availableReplicas', 0)} available | {status.get('unavailableReplicas', 0)} unavailable"
    )
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    shown = f"{rolling.get('maxUnavailable')} max unavailable, {rolling.get('maxSurge')} max surge" if rolling else None
    return [
        ("CreationTimestamp", obj["metadata"].get("creationTimestamp")),
        ("Selector", ",".join(f"{k}={v}" for k, v in ((spec.get("selector") or {}).get("matchLabels") or {}).items())),
        ("Replicas", counts), ("StrategyType", (spec.get("strategy") or {}).get("type")),
        ("MinReadySeconds", spec.get("minReadySeconds", 0)), *([("RollingUpdateStrategy", shown)] if shown else []),
        ("Pod Template", _template(spec["template"])), *_conditions(obj, "type", "status", "reason"),
    ]  # fmt: skip


def _replica_set(client: Client, obj: Obj) -> Rows:
    spec, status = obj["spec"], obj.get("status") or {}
    selector = spec.get("selector") or {}
    return [
        ("Selector", ",".join(f"{k}={v}" for k, v in (selector.get("matchLabels") or {}).items())), *_owner(obj),
        ("Replicas", f"{status.get('replicas', 0)} current / {spec.get('replicas', 1)} desired"),
        ("Pods Ready", status.get("readyReplicas", 0)), ("Pod Template", _template(spec["template"])),
        *_conditions(obj, "type", "status", "reason"),
    ]  # fmt: skip


def _template(template: Obj) -> Obj:
    containers = {
        f"{c['name']} ": {k: v for k, v in _container(c, {}).items() if k in _TEMPLATE}
        for c in template["spec"]["containers"]
    }
    return {"Labels": _pairs((template.get("metadata") or {}).get("labels")), "Containers": containers}


_TEMPLATE = (
    "Image",
    "Ports",
    "Command",
    "Args",
    "Limits",
    "Requests",
    "Liveness",
    "Readiness",
    "Startup",
    "Environment",
    "Mounts",
)


def _service(client: Client, obj: Obj) -> Rows:
    from minikube_py.api.gvr import ENDPOINTSLICES

    spec = obj["spec"]
    slices = client.list(
        ENDPOINTSLICES, namespace_of(obj), label_selector=f"kubernetes.io/service-name={name_of(obj)}"
    )["items"]
    rows: Rows = [
        ("Selector", ",".join(f"{k}={v}" for k, v in sorted((spec.get("selector") or {}).items()))), ("Type", spec.get("type")),
        ("IP Families", ",".join(spec.get("ipFamilies") or [])), ("IP", spec.get("clusterIP")),
        ("IPs", ",".join(spec.get("clusterIPs") or [])),
    ]  # fmt: skip
    for port in spec.get("ports") or []:
        rows.append(("Port", f"{port.get('name') or '<unset>'}  {port['port']}/{port.get('protocol', 'TCP')}"))
        rows.append(("TargetPort", f"{port.get('targetPort')}/{port.get('protocol', 'TCP')}"))
        if port.get("nodePort"):
            rows.append(
                ("NodePort", f"{port.get('name') or '<unset>'}  {port['nodePort']}/{port.get('protocol', 'TCP')}")
            )
        rows.append(("Endpoints", ",".join(_endpoints(slices, port.get("name") or "")) or "<none>"))
    return [
        *rows,
        ("Session Affinity", spec.get("sessionAffinity")),
        ("Internal Traffic Policy", spec.get("internalTrafficPolicy")),
    ]


def _endpoints(slices: list[Obj], port_name: str) -> list[str]:
    found = []
    for piece in slices:
        port = next((p["port"] for p in piece.get("ports") or [] if (p.get("name") or "") == port_name), None)
        ready = [e for e in piece.get("endpoints") or [] if (e.get("conditions") or {}).get("ready") is not False]
        found += [f"{address}:{port}" for e in ready for address in e["addresses"] if port]
    return sorted(found)


def _namespace(client: Client, obj: Obj) -> Rows:
    return [("Status", (obj.get("status") or {}).get("phase")), *_conditions(obj, "type", "status", "reason")]


def _config_map(client: Client, obj: Obj) -> Rows:
    return [("Data", {f"{k} ": v.splitlines() or [""] for k, v in (obj.get("data") or {}).items()} or "<none>")]


def _secret(client: Client, obj: Obj) -> Rows:
    """Sizes only: describing a Secret must not show it."""
    return [
        ("Type", obj.get("type")),
        ("Data", {f"{k} ": f"{len(v) * 3 // 4 - v.count('=')} bytes" for k, v in (obj.get("data") or {}).items()}),
    ]


LAYOUTS: dict[str, Layout] = {
    "Pod": _pod, "Node": _node, "Deployment": _deployment, "ReplicaSet": _replica_set, "Service": _service,
    "Namespace": _namespace, "ConfigMap": _config_map, "Secret": _secret,
}  # fmt: skip
