"""Pods and pod templates: the parts together.

Who calls it: the strategies of Pod and of every kind that carries a template. Invariant: pure; expects a defaulted object.
Upstream: pkg/apis/core/validation/validation.go (ValidatePodSpec, ValidatePodTemplateSpec).
"""

import re

from apiserver.strategies.checks import (
    duplicate,
    each,
    forbidden,
    invalid,
    not_negative,
    one_of,
    required,
    required_syntax,
    syntax,
    too_many,
    unsupported,
)
from apiserver.strategies.metadata import annotations, labels
from apiserver.strategies.validation import containers, resources, scheduling, volumes
from minikube_py.api import names
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

RESTART_POLICIES = ("Always", "Never", "OnFailure")
_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_SYSCTL = r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?([\./][a-z0-9]([-_a-z0-9]*[a-z0-9])?)*"
_SYSCTL_RE = re.compile(_SYSCTL)
_STAYS = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")


def _init_container(item: Obj, path: str) -> list[Cause]:
    policy = item.get("restartPolicy")
    if policy == "Always":
        return containers.running(item, path)
    causes = [] if policy in (None, "") else [unsupported(f"{path}.restartPolicy", policy, ("Always",))]
    set_anyway = [name for name in _STAYS if item.get(name) is not None]
    return causes + [
        forbidden(f"{path}.{n}", "may not be set for init containers without restartPolicy=Always") for n in set_anyway
    ]


def _ephemeral_container(item: Obj, path: str) -> list[Cause]:
    banned = (*_STAYS, "ports", "resources")
    return [forbidden(f"{path}.{n}", "cannot be set for an Ephemeral Container") for n in banned if item.get(n)]


def _all_containers(path: str, spec: Obj) -> list[Cause]:
    causes, seen, host_ports = [], set(), set()
    known = {volume.get("name"): volume for volume in spec.get("volumes") or ()}
    if not spec.get("containers"):
        causes.append(required(f"{path}.containers"))
    extra = {
        "initContainers": _init_container,
        "containers": containers.running,
        "ephemeralContainers": _ephemeral_container,
    }
    for field, more in extra.items():
        for index, item in enumerate(spec.get(field) or ()):
            at, name = f"{path}.{field}[{index}]", item.get("name")
            causes += containers.container(item, at, known, bool(spec.get("hostNetwork"))) + more(item, at)
            if name and name in seen:
                causes.append(duplicate(f"{at}.name", name))
            seen.add(name)
            for number, port in enumerate(item.get("ports") or ()):
                if port.get("hostPort"):
                    key = f"{port.get('protocol')}/{port.get('hostIP') or ''}/{port['hostPort']}"
                    if key in host_ports and field == "containers":
                        causes.append(duplicate(f"{at}.ports[{number}].hostPort", key))
                    host_ports.add(key)
    return causes


def _dns(path: str, spec: Obj) -> list[Cause]:
    policy, config = spec.get("dnsPolicy"), spec.get("dnsConfig")
    causes = one_of(f"{path}.dnsPolicy", policy, _DNS_POLICIES)
    if policy == "None":
        if config is None:
            return [*causes, required(f"{path}.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.get("nameservers"):
            why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            causes.append(required(f"{path}.dnsConfig.nameservers", why))
    config = config or {}
    servers = config.get("nameservers") or []
    if len(servers) > 3:
        causes.append(invalid(f"{path}.dnsConfig.nameservers", servers, "must not have more than 3 nameservers"))
    for index, server in enumerate(servers):
        causes += syntax(f"{path}.dnsConfig.nameservers[{index}]", server, names.ip)
    if len(config.get("searches") or ()) > 32:
        causes.append(
            invalid(f"{path}.dnsConfig.searches", config["searches"], "must not have more than 32 search paths")
        )
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            causes.append(required(f"{path}.dnsConfig.options[{index}]", "must not be empty"))
    return causes


def _security(path: str, context: Obj | None) -> list[Cause]:
    causes: list[Cause] = []
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        number = (context or {}).get(name)
        if number is not None and not 0 <= number <= 2**31 - 1:
            causes.append(invalid(f"{path}.{name}", number, "must be between 0 and 2147483647, inclusive"))
    seen = set()
    for index, sysctl in enumerate((context or {}).get("sysctls") or ()):
        at, name = f"{path}.sysctls[{index}].name", sysctl.get("name") or ""
        if not name:
            causes.append(required(at))
        elif len(name) > 253 or not _SYSCTL_RE.fullmatch(name):
            causes.append(invalid(at, name, f"must have at most 253 characters and match regex ^{_SYSCTL}$"))
        elif name in seen:
            causes.append(duplicate(at, name))
        seen.add(name)
    return causes


def _names(path: str, spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    rules = {
        "nodeName": names.subdomain,
        "serviceAccountName": names.subdomain,
        "hostname": names.label,
        "subdomain": names.label,
        "priorityClassName": names.subdomain,
        "runtimeClassName": names.subdomain,
        "schedulerName": names.qualified,
    }
    for field, rule in rules.items():
        if spec.get(field):
            causes += syntax(f"{path}.{field}", spec[field], rule)
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        causes += required_syntax(f"{path}.hostAliases[{index}].ip", alias.get("ip"), names.ip)
        for at, host in enumerate(alias.get("hostnames") or ()):
            causes += syntax(f"{path}.hostAliases[{index}].hostnames[{at}]", host, names.subdomain)
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        causes += syntax(
            f"{path}.readinessGates[{index}].conditionType", gate.get("conditionType") or "", names.qualified
        )
    return causes


def pod_spec(path: str, spec: Obj) -> list[Cause]:
    """A PodSpec, wherever it stands."""
    causes = volumes.volumes(f"{path}.volumes", spec.get("volumes")) + _all_containers(path, spec)
    causes += one_of(f"{path}.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES)
    causes += _dns(path, spec) + _names(path, spec)
    causes += _security(f"{path}.securityContext", spec.get("securityContext"))
    causes += labels(f"{path}.nodeSelector", spec.get("nodeSelector"))
    causes += scheduling.affinity(f"{path}.affinity", spec.get("affinity"))
    causes += each(f"{path}.tolerations", spec.get("tolerations"), scheduling.toleration)
    causes += scheduling.spread(f"{path}.topologySpreadConstraints", spec.get("topologySpreadConstraints"))
    causes += scheduling.gates(f"{path}.schedulingGates", spec.get("schedulingGates"))
    causes += not_negative(f"{path}.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
    causes += resources.quantities(f"{path}.overhead", spec.get("overhead"))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        causes.append(invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive"))
    if spec.get("schedulingGates") and spec.get("nodeName"):
        why = "cannot be set until all schedulingGates have been cleared"
        causes.append(forbidden(f"{path}.nodeName", why))
    return causes


def template(path: str, item: Obj | None) -> list[Cause]:
    """A PodTemplateSpec: labels, annotations and spec; no ephemeral containers."""
    if not item:
        return [required(path)]
    meta, spec = item.get("metadata") or {}, item.get("spec") or {}
    causes = labels(f"{path}.labels", meta.get("labels"))
    causes += annotations(f"{path}.annotations", meta.get("annotations"))
    causes += pod_spec(f"{path}.spec", spec)
    if spec.get("ephemeralContainers"):
        causes.append(forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"))
    return causes


def pod(obj: Obj) -> list[Cause]:
    """A Pod about to be created."""
    spec = obj.get("spec") or {}
    causes = pod_spec("spec", spec)
    if len(spec.get("tolerations") or ()) > 10000:
        causes.append(too_many("spec.tolerations", len(spec["tolerations"]), 10000))
    return causes
