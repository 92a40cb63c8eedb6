"""The environment of a container: literals, configMap and secret keys, the downward API, Services. Pure but for the getters.

Who calls it: `container_config`. Invariants: later entries win over earlier ones, `env` over `envFrom` over Services; a
`$(NAME)` is replaced by what was defined before it, stays as written when unknown, and `$$` is a plain dollar.
Upstream: makeEnvironmentVariables in pkg/kubelet/kubelet_pods.go, third_party/forked/golang/expansion, pkg/kubelet/envvars.
"""

import base64
import re
from collections.abc import Callable, Iterable, Mapping

from kubelet import downward
from kubelet.errors import ConfigError
from minikube_py.api.types import Obj

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
Getter = Callable[[str, str, str], Obj | None]
"""(plural, namespace, name) → the ConfigMap or Secret, or None when there is none."""
ServiceEnv = Callable[[Obj], dict[str, str]]
"""pod → the variables for the Services it shall know."""


def expand(text: str, known: Mapping[str, str]) -> str:
    """Replace `$(NAME)`."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        return "$" if name is None else known.get(name, match.group(0))

    return _REFERENCE.sub(value, text)


def build(pod: Obj, container: Obj, services: Mapping[str, str], get: Getter, view: downward.View) -> dict[str, str]:
    """All variables, in the order they are defined. Raises ConfigError when a required source is missing."""
    result = dict(services)
    for source in container.get("envFrom") or []:
        result.update(_all_keys(pod, source, get))
    for entry in container.get("env") or []:
        value = _one(pod, container, entry, get, view, result)
        if value is not None:
            result[entry["name"]] = value
    return result


def _all_keys(pod: Obj, source: Obj, get: Getter) -> dict[str, str]:
    prefix = source.get("prefix", "")
    for field, plural in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
        if reference := source.get(field):
            found = get(plural, pod["metadata"]["namespace"], reference["name"])
            if found is None:
                if reference.get("optional"):
                    return {}
                raise ConfigError(f'{plural[:-1]} "{reference["name"]}" not found')
            return {prefix + key: value.decode(errors="replace") for key, value in data_of(found).items()}
    return {}


def data_of(obj: Obj) -> dict[str, bytes]:
    """All keys of a ConfigMap or Secret as bytes."""
    if obj.get("kind") == "Secret":
        return {key: base64.b64decode(value or "") for key, value in (obj.get("data") or {}).items()}
    plain = {key: value.encode() for key, value in (obj.get("data") or {}).items()}
    return plain | {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}


def _one(
    pod: Obj, container: Obj, entry: Obj, get: Getter, view: downward.View, known: Mapping[str, str]
) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return expand(entry.get("value") or "", known)
    if reference := source.get("fieldRef"):
        return downward.field(pod, reference["fieldPath"], view)
    if reference := source.get("resourceFieldRef"):
        return downward.resource(pod, container, reference, view)
    for field, plural in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
        if reference := source.get(field):
            return _key(pod, plural, reference, get)
    return None


def _key(pod: Obj, plural: str, reference: Obj, get: Getter) -> str | None:
    namespace, name, key = pod["metadata"]["namespace"], reference["name"], reference["key"]
    found = get(plural, namespace, name)
    if found is None:
        if reference.get("optional"):
            return None
        raise ConfigError(f'{plural[:-1]} "{name}" not found')
    data = data_of(found)
    if key not in data:
        if reference.get("optional"):
            return None
        kind = "ConfigMap" if plural == "configmaps" else "Secret"
        raise ConfigError(f"couldn't find key {key} in {kind} {namespace}/{name}")
    return data[key].decode(errors="replace")


def services(namespace: str, all_services: Iterable[Obj], enable_links: bool = True) -> dict[str, str]:
    """The variables for the Services of the pod's namespace, and always those of `default/kubernetes`."""
    result: dict[str, str] = {}
    for service in sorted(all_services, key=lambda service: str(service["metadata"]["name"])):
        meta, spec = service["metadata"], service["spec"]
        address = spec.get("clusterIP")
        if not address or address == "None":
            continue
        is_master = meta["namespace"] == "default" and meta["name"] == "kubernetes"
        if is_master or (enable_links and meta["namespace"] == namespace):
            result.update(_service(meta["name"], address, spec.get("ports") or []))
    return result


def _service(name: str, address: str, ports: list[Obj]) -> dict[str, str]:
    prefix = name.upper().replace("-", "_")
    if not ports:
        return {}
    result = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            result[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    for index, port in enumerate(ports):
        protocol = port.get("protocol", "TCP")
        url = f"{protocol.lower()}://{_bracketed(address)}:{port['port']}"
        if index == 0:
            result[f"{prefix}_PORT"] = url
        each = f"{prefix}_PORT_{port['port']}_{protocol}"
        result.update({
            each: url, f"{each}_PROTO": protocol.lower(), f"{each}_PORT": str(port["port"]), f"{each}_ADDR": address,
        })  # fmt: skip
    return result


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
