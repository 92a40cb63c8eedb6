"""One container of a pod: name, image, ports, environment, mounts, probes, lifecycle, security.

Who calls it: `pod.py` (app, init and ephemeral containers). Invariant: pure; everything it needs of the rest of the pod
(volume names, hostNetwork) is handed in.
Upstream: pkg/apis/core/validation (validateContainers, validateEnv, validateProbe, ValidateVolumeMounts …).
"""

from collections.abc import Mapping

from apiserver.strategies.checks import (
    duplicate,
    each,
    forbidden,
    invalid,
    missing,
    not_negative,
    one_of,
    optional_one_of,
    required,
    required_syntax,
    syntax,
    unsupported,
)
from apiserver.strategies.validation import resources
from minikube_py.api import names
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

PROTOCOLS = ("SCTP", "TCP", "UDP")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_PROPAGATION = ("Bidirectional", "HostToContainer", "None")


def port_value(path: str, value: int | str | None) -> list[Cause]:
    """A port given as a number or a name."""
    if value in (None, ""):
        return [required(path)]
    if isinstance(value, str):
        return syntax(path, value, names.port_name)
    return syntax(path, value, names.port_number)


def _ports(path: str, ports: list[Obj] | None, host_network: bool) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, port in enumerate(ports or ()):
        at = f"{path}[{index}]"
        if name := port.get("name"):
            causes += syntax(f"{at}.name", name, names.port_name)
            if name in seen:
                causes.append(duplicate(f"{at}.name", name))
            seen.add(name)
        number = port.get("containerPort") or 0
        causes += (
            syntax(f"{at}.containerPort", number, names.port_number) if number else [required(f"{at}.containerPort")]
        )
        if host := port.get("hostPort"):
            causes += syntax(f"{at}.hostPort", host, names.port_number)
        if host_network and host != number:
            causes.append(invalid(f"{at}.containerPort", number, "must match `hostPort` when `hostNetwork` is true"))
        causes += one_of(f"{at}.protocol", port.get("protocol"), PROTOCOLS)
        if port.get("hostIP"):
            causes += syntax(f"{at}.hostIP", port["hostIP"], names.ip)
    return causes


def field_ref(ref: Obj, path: str, allowed: tuple[str, ...] = _FIELDS) -> list[Cause]:
    """A downward-API reference to one of the pod's own fields."""
    if not ref.get("fieldPath"):
        return [required(f"{path}.fieldPath")]
    field = ref["fieldPath"]
    base, bracket, key = field.partition("[")
    if bracket and base in ("metadata.labels", "metadata.annotations"):
        return syntax(f"{path}.fieldPath", key.strip("']\""), names.qualified)
    if field in allowed:
        return []
    return [unsupported(f"{path}.fieldPath", field, allowed)]


def _env(item: Obj, path: str) -> list[Cause]:
    causes = required_syntax(f"{path}.name", item.get("name"), names.env_name)
    source = item.get("valueFrom")
    if source is None:
        return causes
    given = [name for name in _ENV_SOURCES if source.get(name) is not None]
    if not given:
        listed = ", ".join(f"`{name}`" for name in _ENV_SOURCES[:-2]) + " or `secretKeyRef`"
        causes.append(invalid(f"{path}.valueFrom", "", f"must specify one of: {listed}"))
    if item.get("value"):
        causes.append(invalid(f"{path}.valueFrom", "", "may not be specified when `value` is not empty"))
    if len(given) > 1:
        causes.append(invalid(f"{path}.valueFrom", "", "may not have more than one field specified at a time"))
    for name in given:
        at, ref = f"{path}.valueFrom.{name}", source[name]
        if name == "fieldRef":
            causes += field_ref(ref, at)
        elif name == "resourceFieldRef":
            causes += [] if ref.get("resource") else [required(f"{at}.resource")]
        elif name != "fileKeyRef":
            causes += [] if ref.get("name") else [required(f"{at}.name")]
            causes += required_syntax(f"{at}.key", ref.get("key"), names.config_key)
    return causes


def _env_from(item: Obj, path: str) -> list[Cause]:
    causes = syntax(f"{path}.prefix", item["prefix"], names.env_name) if item.get("prefix") else []
    given = [name for name in ("configMapRef", "secretRef") if item.get(name) is not None]
    if not given:
        causes.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
    elif len(given) > 1:
        causes.append(invalid(path, "", "may not have more than one field specified at a time"))
    causes += [required(f"{path}.{name}.name") for name in given if not item[name].get("name")]
    return causes


def local_path(path: str, value: str) -> list[Cause]:
    """A path inside a volume: relative, and never upwards."""
    causes = []
    if value.startswith("/"):
        causes.append(invalid(path, value, "must be a relative path"))
    if ".." in value.split("/"):
        causes.append(invalid(path, value, "must not contain '..'"))
    return causes


def _mounts(path: str, mounts: list[Obj] | None, volumes: Mapping[str, Obj]) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, mount in enumerate(mounts or ()):
        at, name, target = f"{path}[{index}]", mount.get("name"), mount.get("mountPath")
        if not name:
            causes.append(required(f"{at}.name"))
        elif name not in volumes:
            causes.append(missing(f"{at}.name", name))
        if not target:
            causes.append(required(f"{at}.mountPath"))
        elif target in seen:
            causes.append(invalid(f"{at}.mountPath", target, "must be unique"))
        seen.add(target or "")
        if mount.get("subPath"):
            causes += local_path(f"{at}.subPath", mount["subPath"])
        if mount.get("subPathExpr"):
            causes += local_path(f"{at}.subPathExpr", mount["subPathExpr"])
            if mount.get("subPath"):
                why = "subPathExpr and subPath are mutually exclusive"
                causes.append(invalid(f"{at}.subPathExpr", mount["subPathExpr"], why))
        causes += optional_one_of(f"{at}.mountPropagation", mount.get("mountPropagation"), _PROPAGATION)
    return causes


def _handler(path: str, holder: Obj) -> list[Cause]:
    """Exactly one of the handlers, and what that one needs."""
    given = [name for name in _HANDLERS if holder.get(name) is not None]
    if not given:
        return [required(path, "must specify a handler type")]
    causes = [forbidden(f"{path}.{name}", "may not specify more than 1 handler type") for name in given[1:]]
    handler, at = holder[given[0]], f"{path}.{given[0]}"
    if given[0] == "exec" and not handler.get("command"):
        causes.append(required(f"{at}.command"))
    elif given[0] in ("httpGet", "tcpSocket", "grpc"):
        causes += port_value(f"{at}.port", handler.get("port"))
    if given[0] == "httpGet":
        causes += [] if handler.get("path") else [required(f"{at}.path")]
        causes += one_of(f"{at}.scheme", handler.get("scheme"), ("HTTP", "HTTPS"))
        for index, header in enumerate(handler.get("httpHeaders") or ()):
            causes += [] if header.get("name") else [required(f"{at}.httpHeaders[{index}].name")]
    return causes


def _probe(path: str, probe: Obj | None, only_once: bool) -> list[Cause]:
    if probe is None:
        return []
    causes = _handler(path, probe)
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        causes += not_negative(f"{path}.{name}", probe.get(name))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        causes.append(invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    if only_once and probe.get("successThreshold") not in (1, None):
        causes.append(invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return causes


def _security(path: str, context: Obj | None) -> list[Cause]:
    if not context:
        return []
    causes: list[Cause] = []
    for name in ("runAsUser", "runAsGroup"):
        number = context.get(name)
        if number is not None and not 0 <= number <= 2**31 - 1:
            causes.append(invalid(f"{path}.{name}", number, "must be between 0 and 2147483647, inclusive"))
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            causes.append(invalid(path, context, why))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            causes.append(invalid(path, context, why))
    return causes


def container(item: Obj, path: str, volumes: Mapping[str, Obj], host_network: bool) -> list[Cause]:
    """What app, init and ephemeral containers have in common."""
    image = item.get("image") or ""
    causes = required_syntax(f"{path}.name", item.get("name"), names.label)
    if not image:
        causes.append(required(f"{path}.image"))
    if image and image != image.strip():
        causes.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    causes += one_of(f"{path}.imagePullPolicy", item.get("imagePullPolicy"), PULL_POLICIES) if image else []
    policies = ("FallbackToLogsOnError", "File")
    causes += one_of(f"{path}.terminationMessagePolicy", item.get("terminationMessagePolicy"), policies)
    causes += _ports(f"{path}.ports", item.get("ports"), host_network)
    causes += each(f"{path}.env", item.get("env"), _env) + each(f"{path}.envFrom", item.get("envFrom"), _env_from)
    causes += _mounts(f"{path}.volumeMounts", item.get("volumeMounts"), volumes)
    causes += resources.requirements(f"{path}.resources", item.get("resources"))
    causes += _security(f"{path}.securityContext", item.get("securityContext"))
    return causes


def running(item: Obj, path: str) -> list[Cause]:
    """Probes and lifecycle hooks, which only containers that stay have."""
    causes = _probe(f"{path}.livenessProbe", item.get("livenessProbe"), True)
    causes += _probe(f"{path}.readinessProbe", item.get("readinessProbe"), False)
    causes += _probe(f"{path}.startupProbe", item.get("startupProbe"), True)
    for hook in ("postStart", "preStop"):
        handler = (item.get("lifecycle") or {}).get(hook)
        if handler is not None:
            causes += _handler(f"{path}.lifecycle.{hook}", handler)
    return causes
