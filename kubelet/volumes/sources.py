"""What files a configMap, secret, downwardAPI or projected volume consists of. Pure but for the getters.

Who calls it: `volumes.manager`. Invariant: an item's mode wins over the volume's default; a missing source is an error unless
it is optional, and then contributes nothing.
Upstream: pkg/volume/{configmap,secret,downwardapi,projected}.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kubelet import downward
from kubelet.env import Getter, data_of
from kubelet.errors import ConfigError, VolumeError
from kubelet.volumes.atomic import File
from minikube_py.api.types import Obj

Files = dict[str, File]
TokenGetter = Callable[[Obj, str, int], str]
"""(pod, audience, seconds) → a service-account token bound to the pod."""
ImageGetter = Callable[[Obj], Iterator[bytes]]
"""Image volume source → the image's files as the pieces of a tar. Raises VolumeError."""


def _no_images(source: Obj) -> Iterator[bytes]:
    raise VolumeError("image volumes are not supported on this node")


@dataclass(frozen=True)
class Sources:
    """Where contents come from."""

    get: Getter
    token: TokenGetter
    view: downward.View
    image: ImageGetter = _no_images


def is_projected(volume: Obj) -> bool:
    """Whether the volume is made of files we write (and rewrite)."""
    return any(kind in volume for kind in ("configMap", "secret", "downwardAPI", "projected"))


def files_of(pod: Obj, volume: Obj, sources: Sources) -> Files:
    """Relative path → file. Raises VolumeError when a required source is missing."""
    if source := volume.get("configMap"):
        return _keys(pod, "configmaps", source["name"], source, source.get("defaultMode", 0o644), sources)
    if source := volume.get("secret"):
        return _keys(pod, "secrets", source["secretName"], source, source.get("defaultMode", 0o644), sources)
    if source := volume.get("downwardAPI"):
        return _downward(pod, source.get("items") or [], source.get("defaultMode", 0o644), sources)
    result: Files = {}
    projected = volume["projected"]
    mode = projected.get("defaultMode", 0o644)
    for source in projected.get("sources") or []:
        result.update(_projected(pod, source, mode, sources))
    return result


def _projected(pod: Obj, source: Obj, mode: int, sources: Sources) -> Files:
    if part := source.get("configMap"):
        return _keys(pod, "configmaps", part["name"], part, mode, sources)
    if part := source.get("secret"):
        return _keys(pod, "secrets", part["name"], part, mode, sources)
    if part := source.get("downwardAPI"):
        return _downward(pod, part.get("items") or [], mode, sources)
    if part := source.get("serviceAccountToken"):
        token = sources.token(pod, part.get("audience", ""), part.get("expirationSeconds", 3600))
        owner = single_user(pod)
        private = owner != -1 or (pod["spec"].get("securityContext") or {}).get("fsGroup") is not None
        return {part["path"]: File(token.encode(), 0o600 if private else mode, owner)}
    return {}


def single_user(pod: Obj) -> int:
    """The one user id all containers run as, when the spec says so; −1 otherwise."""
    default: Any = (pod["spec"].get("securityContext") or {}).get("runAsUser")
    group = [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or [])]
    users = {(container.get("securityContext") or {}).get("runAsUser", default) for container in group}
    only = users.pop() if len(users) == 1 else None
    return -1 if only is None else int(only)


def _keys(pod: Obj, plural: str, name: str, source: Obj, mode: int, sources: Sources) -> Files:
    namespace = pod["metadata"]["namespace"]
    found = sources.get(plural, namespace, name)
    optional = bool(source.get("optional"))
    if found is None:
        if optional:
            return {}
        raise VolumeError(f'{plural[:-1]} "{name}" not found')
    data = data_of(found)
    items = source.get("items")
    if not items:
        return {key: File(value, mode) for key, value in data.items()}
    result: Files = {}
    for item in items:
        if item["key"] in data:
            result[item["path"]] = File(data[item["key"]], item.get("mode", mode))
        elif not optional:
            raise VolumeError(f"{plural[:-1]} references non-existent {plural[:-1]} key: {item['key']}")
    return result


def _downward(pod: Obj, items: list[Obj], mode: int, sources: Sources) -> Files:
    result: Files = {}
    try:
        for item in items:
            if reference := item.get("fieldRef"):
                text = downward.field(pod, reference["fieldPath"], sources.view)
            else:
                text = downward.resource(pod, {}, item["resourceFieldRef"], sources.view)
            result[item["path"]] = File(text.encode(), item.get("mode", mode))
    except ConfigError as error:
        raise VolumeError(error.message) from error
    return result
