"""Taking a lab's objects away again, whatever the student made of them.

Who calls it: grading, before and after a run. Invariant: only namespaces that are named, and objects that labkit itself
applied (known by their field manager), are deleted; when a function returns they are gone.
"""

import contextlib
from collections.abc import Callable, Iterable

from minikube_py.api.clock import REAL, Clock
from minikube_py.api.errors import Conflict, Forbidden, MethodNotAllowed, NotFound
from minikube_py.api.gvr import GVR, NAMESPACES, PODS
from minikube_py.api.meta import name_of, namespace_of
from minikube_py.api.types import Obj
from minikube_py.client.discovery import discover
from minikube_py.client.rest import Client
from minikube_py.labkit.errors import Infrastructure

_SECONDS = 60.0


def applied_by(client: Client, manager: str) -> list[tuple[GVR, Obj]]:
    """Every object (metadata only) that this field manager has applied, in any namespace."""
    found = []
    for resource in discover(client).with_verbs("list", "delete", "get"):
        with contextlib.suppress(NotFound, MethodNotAllowed, Forbidden):
            items = client.list(resource.gvr, metadata_only=True)["items"]
            found += [(resource.gvr, item) for item in items if _managed(item, manager)]
    return found


def _managed(item: Obj, manager: str) -> bool:
    return any(entry.get("manager") == manager for entry in item["metadata"].get("managedFields") or [])


def remove_applied(client: Client, manager: str, clock: Clock = REAL) -> None:
    """Delete what `manager` applied. Raises Infrastructure when something will not go."""
    mine = applied_by(client, manager)
    spaces = [name_of(item) for resource, item in mine if resource == NAMESPACES]
    rest = [(r, item) for r, item in mine if r != NAMESPACES and namespace_of(item) not in spaces]
    for resource, item in rest:
        with contextlib.suppress(NotFound, Conflict):
            client.delete(resource, name_of(item), namespace_of(item), grace_period_seconds=1,
                          propagation_policy="Foreground", uid=item["metadata"]["uid"])  # fmt: skip
    remove_namespaces(client, spaces, clock)
    _await(clock, "objects of the lab are gone", lambda: [item for r, item in rest if _still(client, r, item)])


def remove_namespaces(client: Client, names: Iterable[str], clock: Clock = REAL) -> None:
    """Delete these namespaces with all that is in them. Raises Infrastructure when one will not go."""
    going = list(names)
    for name in going:
        with contextlib.suppress(NotFound, Conflict):
            client.delete(NAMESPACES, name)

    def left() -> list[Obj]:
        found = []
        for name in going:
            with contextlib.suppress(NotFound):
                found.append(client.get(NAMESPACES, name))
                _hurry(client, name)
        return found

    _await(clock, "namespaces of the lab are gone", left)


def _hurry(client: Client, namespace: str) -> None:
    """Pods need not be waited for: shorten their grace, and take away finalizers that nobody will ever act on."""
    for pod in client.list(PODS, namespace)["items"]:
        with contextlib.suppress(NotFound, Conflict):
            if pod["metadata"].get("finalizers"):
                client.patch(PODS, name_of(pod), {"metadata": {"finalizers": None}}, namespace)
            if pod["metadata"].get("deletionGracePeriodSeconds", 2) > 1:
                client.delete(PODS, name_of(pod), namespace, grace_period_seconds=1)


def _still(client: Client, resource: GVR, item: Obj) -> bool:
    with contextlib.suppress(NotFound):
        return bool(
            client.get(resource, name_of(item), namespace_of(item))["metadata"]["uid"] == item["metadata"]["uid"]
        )
    return False


def _await(clock: Clock, what: str, left: Callable[[], list[Obj]]) -> None:
    deadline = clock.monotonic() + _SECONDS
    while remaining := left():
        if clock.monotonic() > deadline:
            names = ", ".join(f"{item['kind']} {name_of(item)}" for item in remaining)
            raise Infrastructure(f"after {_SECONDS:.0f} s not all {what}: {names}")
        clock.sleep(0.1)
