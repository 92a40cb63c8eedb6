"""The downward API: fields of the pod and resources of its containers, as text. Pure.

Who calls it: `env` and `volumes.sources`. Invariant: the text is exactly upstream's: sorted `key="value"` lines for maps,
resources divided and rounded up, missing limits read as what the node can give.
Upstream: pkg/fieldpath, pkg/api/v1/resource/helpers.go (ExtractContainerResourceValue).
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from decimal import Decimal

from kubelet.errors import ConfigError
from minikube_py.api import quantity
from minikube_py.api.types import Obj

_SUBSCRIPT = re.compile(r"metadata\.(annotations|labels)\['(.*)'\]")


@dataclass(frozen=True)
class View:
    """What only the node knows about the pod."""

    host_ip: str = ""
    pod_ip: str = ""
    allocatable: Mapping[str, str] = dataclass_field(default_factory=dict)


def field(pod: Obj, path: str, view: View) -> str:
    """The value of a fieldRef. Raises ConfigError for a path that is not supported."""
    meta, spec = pod["metadata"], pod["spec"]
    if match := _SUBSCRIPT.fullmatch(path):
        return str((meta.get(match.group(1)) or {}).get(match.group(2), ""))
    if path in ("metadata.annotations", "metadata.labels"):
        return format_map(meta.get(path.split(".")[1]) or {})
    values = {
        "metadata.name": meta["name"], "metadata.namespace": meta["namespace"], "metadata.uid": meta["uid"],
        "spec.nodeName": spec.get("nodeName", ""), "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": view.host_ip, "status.hostIPs": view.host_ip, "status.podIP": view.pod_ip,
        "status.podIPs": view.pod_ip,
    }  # fmt: skip
    if path not in values:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(values[path])


def format_map(values: Mapping[str, str]) -> str:
    """Sorted lines `key="value"`, quoted as Go quotes strings."""
    return "\n".join(f"{key}={json.dumps(values[key], ensure_ascii=False)}" for key in sorted(values))


def resource(pod: Obj, container: Obj, reference: Obj, view: View) -> str:
    """The value of a resourceFieldRef. Raises ConfigError when it names no resource or container."""
    name = reference.get("containerName")
    if name and name != container.get("name"):
        group = [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or [])]
        found = next((candidate for candidate in group if candidate["name"] == name), None)
        if found is None:
            raise ConfigError(f"container {name} not found")
        container = found
    kind, _, resource_name = reference["resource"].partition(".")
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    if kind == "limits":
        value = limits.get(resource_name, view.allocatable.get(resource_name, "0"))
    elif kind == "requests":
        value = requests.get(resource_name, limits.get(resource_name, "0"))
    else:
        raise ConfigError(f"unsupported container resource: {reference['resource']}")
    divisor = quantity.parse(reference.get("divisor") or "0") or Decimal(1)
    return str(math.ceil(quantity.parse(value) / divisor))
