"""Volumes of a pod: exactly one source each, and what the common sources need.

Who calls it: `pod.py`; `storage.py` for PersistentVolumes. Invariant: pure.
Upstream: pkg/apis/core/validation (ValidateVolumes, validateVolumeSource).
"""

from apiserver.strategies.checks import (
    duplicate,
    forbidden,
    invalid,
    optional_one_of,
    required,
    required_syntax,
    unique,
)
from apiserver.strategies.validation import resources
from apiserver.strategies.validation.containers import PULL_POLICIES, field_ref, local_path
from minikube_py.api import names
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_HOST_PATHS = ("BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
_DOWNWARD_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_NEEDS: dict[str, str] = {
    "secret": "secretName",
    "configMap": "name",
    "persistentVolumeClaim": "claimName",
    "hostPath": "path",
    "nfs": "server",
    "csi": "driver",
    "image": "reference",
    "local": "path",
}
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"


def _mode(path: str, value: int | None) -> list[Cause]:
    return [] if value is None or 0 <= value <= 0o777 else [invalid(path, value, _MODE)]


def _items(path: str, items: list[Obj] | None) -> list[Cause]:
    causes = []
    for index, item in enumerate(items or ()):
        at = f"{path}.items[{index}]"
        causes += [] if item.get("key") else [required(f"{at}.key")]
        causes += local_path(f"{at}.path", item["path"]) if item.get("path") else [required(f"{at}.path")]
        causes += _mode(f"{at}.mode", item.get("mode"))
    return causes


def _downward(path: str, source: Obj) -> list[Cause]:
    causes = _mode(f"{path}.defaultMode", source.get("defaultMode"))
    for index, item in enumerate(source.get("items") or ()):
        at = f"{path}[{index}]"
        causes += local_path(f"{at}.path", item["path"]) if item.get("path") else [required(f"{at}.path")]
        if item.get("fieldRef") is not None:
            causes += field_ref(item["fieldRef"], f"{at}.fieldRef", _DOWNWARD_FIELDS)
            if item.get("resourceFieldRef") is not None:
                causes.append(
                    invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
                )
        elif item.get("resourceFieldRef") is None:
            causes.append(required(at, "one of fieldRef and resourceFieldRef is required"))
    return causes


def _projected(path: str, source: Obj) -> list[Cause]:
    causes = _mode(f"{path}.defaultMode", source.get("defaultMode"))
    for index, item in enumerate(source.get("sources") or ()):
        at = f"{path}.sources[{index}]"
        given = [name for name, value in item.items() if value is not None]
        if not given:
            causes.append(required(at))
        causes += [
            forbidden(f"{at}.{name}", "may not specify more than 1 volume type per source") for name in given[1:]
        ]
        for name in given:
            inner = item[name]
            if name in ("secret", "configMap"):
                causes += [] if inner.get("name") else [required(f"{at}.{name}.name")]
                causes += _items(f"{at}.{name}", inner.get("items"))
            elif name == "downwardAPI":
                causes += _downward(f"{at}.downwardAPI", inner)
            elif name == "serviceAccountToken":
                causes += [] if inner.get("path") else [required(f"{at}.{name}.path")]
                if not 600 <= (inner.get("expirationSeconds") or 3600) <= 1 << 32:
                    why = "may not specify a duration less than 10 minutes"
                    causes.append(invalid(f"{at}.{name}.expirationSeconds", inner["expirationSeconds"], why))
    return causes


def source(volume: Obj, path: str, ignore: frozenset[str] = frozenset({"name"})) -> list[Cause]:
    """Exactly one volume source, complete."""
    given = [name for name, value in volume.items() if name not in ignore and value is not None]
    if not given:
        return [required(path, "must specify a volume type")]
    causes = [forbidden(f"{path}.{name}", "may not specify more than 1 volume type") for name in given[1:]]
    kind, inner = given[0], volume[given[0]]
    at = f"{path}.{kind}"
    if kind in _NEEDS and not inner.get(_NEEDS[kind]):
        causes.append(required(f"{at}.{_NEEDS[kind]}"))
    if kind in ("secret", "configMap"):
        causes += _mode(f"{at}.defaultMode", inner.get("defaultMode")) + _items(at, inner.get("items"))
    elif kind == "downwardAPI":
        causes += _downward(at, inner)
    elif kind == "projected":
        causes += _projected(at, inner)
    elif kind == "hostPath":
        causes += optional_one_of(f"{at}.type", inner.get("type"), _HOST_PATHS)
        if ".." in (inner.get("path") or "").split("/"):
            causes.append(invalid(f"{at}.path", inner["path"], "must not contain '..'"))
    elif kind == "emptyDir" and inner.get("sizeLimit") is not None:
        causes += resources.amount(f"{at}.sizeLimit", inner["sizeLimit"])
    elif kind == "image":
        causes += optional_one_of(f"{at}.pullPolicy", inner.get("pullPolicy"), PULL_POLICIES)
    return causes


def volumes(path: str, items: list[Obj] | None) -> list[Cause]:
    """`spec.volumes`: names and sources."""
    causes = unique(path, [v for v in items or () if v.get("name")], "name", leaf="name")
    claims: set[str] = set()
    for index, volume in enumerate(items or ()):
        at = f"{path}[{index}]"
        causes += required_syntax(f"{at}.name", volume.get("name"), names.label) + source(volume, at)
        if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
            if volume.get("ephemeral") is not None and claim in claims:
                causes.append(duplicate(f"{at}.persistentVolumeClaim.claimName", claim))
            claims.add(claim)
    return causes
