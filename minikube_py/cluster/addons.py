"""Add-ons: directories of plain manifests, switched on and off.

Who calls it: `minikube-py addon`. An add-on is a directory of `minikube_py/addons`: `addon.yaml` (what it is, and the images it
needs from this machine) and manifests, applied in the order of their names. Adding one is adding a directory.
Invariant: what is on is what the cluster says: every object of an add-on carries its label, and nothing is recorded elsewhere.
Switching on twice changes nothing; switching off removes what carries the label, and so also what an older version brought.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from minikube_py.api import errors
from minikube_py.api.gvr import DAEMONSETS, DEPLOYMENTS, GVR, STATEFULSETS
from minikube_py.api.meta import name_of, namespace_of
from minikube_py.api.types import Obj
from minikube_py.client.discovery import discover
from minikube_py.client.rest import Client
from minikube_py.cluster import access, tool_images
from minikube_py.cluster.errors import ClusterError
from minikube_py.cluster.tool_images import ToolImage

LABEL = "minikube-py.io/addon"
DIRECTORY = Path(__file__).resolve().parents[1] / "addons"
BUILT_IN = {
    "dns": "names of Services and pods, answered on every node",
    "storage": "volumes of every built-in kind",
    "metrics": "CPU and memory at the kubelets' /metrics and /stats",
}
"""What needs no switching on; said in the list, so that nobody looks for it."""
_WORKLOADS = (DEPLOYMENTS, DAEMONSETS, STATEFULSETS)
_MANAGER = "minikube-py-addon"
_SERVED_SECONDS, _READY_SECONDS = 20.0, 90.0


class Addon(NamedTuple):
    """One directory, read."""

    name: str
    description: str
    images: tuple[ToolImage, ...]
    objects: tuple[Obj, ...]


def known() -> list[str]:
    """The names of the add-ons there are."""
    return sorted(path.parent.name for path in DIRECTORY.glob("*/addon.yaml"))


def read(name: str) -> Addon:
    """Raises ClusterError, naming those there are."""
    if name in BUILT_IN:
        raise ClusterError(f"{name} is built in and always on: {BUILT_IN[name]}")
    directory = DIRECTORY / name
    if name not in known():
        raise ClusterError(f"no add-on {name!r} (there are: {', '.join([*known(), *BUILT_IN])})")
    about = yaml.safe_load((directory / "addon.yaml").read_text())
    images = tuple(
        ToolImage(i["name"], tuple(i.get("programs") or ()), tuple(i.get("modules") or ()))
        for i in about.get("images") or []
    )
    return Addon(name, about["description"], images, tuple(_objects(directory)))


def _objects(directory: Path) -> Iterator[Obj]:
    for path in sorted(directory.glob("*.yaml")):
        if path.name != "addon.yaml":
            yield from (obj for obj in yaml.safe_load_all(path.read_text()) if obj)


def enabled(client: Client) -> set[str]:
    """The add-ons whose label some object of the kinds they begin with carries."""
    found = set()
    for name in known():
        for obj in read(name).objects:
            resource = discover(client).by_kind(obj["apiVersion"], obj["kind"])
            if resource is not None:
                listed = client.list(resource, namespace_of(obj), label_selector=f"{LABEL}={name}")["items"]
                found |= {name} if any(name_of(o) == name_of(obj) for o in listed) else set()
                break
    return found


def enable(
    client: Client, name: str, progress: Callable[[str], None] = lambda text: None,
    provide: Callable[[str], None] = lambda image: None,
) -> None:  # fmt: skip
    """Make its images, apply its objects, wait until its workloads are available. Raises ClusterError, APIError.

    In: `provide` brings an image from Docker to where the cluster's nodes look for it.
    """
    addon = read(name)
    for image in addon.images:
        if tool_images.ensure(image):
            progress(f"image/{image.name} built")
        provide(image.name)
    for obj in addon.objects:
        _apply(client, addon.name, obj)
        progress(f"{obj['kind'].lower()}/{name_of(obj)} applied")
    for obj in addon.objects:
        resource = next((r for r in _WORKLOADS if (r.api_version, r.kind) == (obj["apiVersion"], obj["kind"])), None)
        if resource and not access.until(lambda r=resource, o=obj: _available(client, r, o), _READY_SECONDS, 0.1):  # type: ignore[misc]
            where = f"kubectl -n {namespace_of(obj)} describe {resource.kind.lower()} {name_of(obj)}"
            raise ClusterError(f"add-on {name} is not ready after {_READY_SECONDS:.0f} s; see: {where}")


def disable(client: Client, name: str, progress: Callable[[str], None] = lambda text: None) -> None:
    """Remove its objects, the last applied first; no error when there are none. Raises ClusterError, APIError."""
    for obj in reversed(read(name).objects):
        resource = discover(client).by_kind(obj["apiVersion"], obj["kind"])
        if resource is None:
            continue  # its definition is gone, and the objects with it
        try:
            client.delete(resource, name_of(obj), namespace_of(obj), propagation_policy="Background")
        except errors.NotFound:
            continue
        progress(f"{obj['kind'].lower()}/{name_of(obj)} deleted")


def _apply(client: Client, name: str, obj: Obj) -> None:
    """A kind that the add-on itself defines is served a moment after its definition was applied."""
    found: list[GVR] = []

    def served() -> bool:
        found[:] = [resource for resource in [discover(client).by_kind(obj["apiVersion"], obj["kind"])] if resource]
        return bool(found)

    if not access.until(served, _SERVED_SECONDS, 0.1):
        raise ClusterError(f"this cluster does not serve {obj['kind']} of {obj['apiVersion']}")
    metadata = {**obj["metadata"], "labels": {**(obj["metadata"].get("labels") or {}), LABEL: name}}
    labelled = {**obj, "metadata": metadata}
    client.patch(found[0], name_of(obj), labelled, namespace_of(obj), kind="apply", field_manager=_MANAGER, force=True)


def _available(client: Client, resource: GVR, obj: Obj) -> bool:
    live = client.get(resource, name_of(obj), namespace_of(obj))
    status, generation = live.get("status") or {}, live["metadata"].get("generation", 0)
    wanted = status.get("desiredNumberScheduled") if resource == DAEMONSETS else live["spec"].get("replicas", 1)
    ready = status.get("numberReady") if resource == DAEMONSETS else status.get("readyReplicas")
    return bool(status.get("observedGeneration", 0) >= generation and wanted is not None and (ready or 0) >= wanted)
