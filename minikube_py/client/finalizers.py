"""Finalizers put on an object and taken off it again.

Who calls it: whoever keeps an object until something is done. Invariant: the write is guarded by the revision that was read, so
two holders never take each other's finalizer away.
"""

from minikube_py.api.gvr import GVR
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client


def put(client: Client, res: GVR, obj: Obj, *finalizers: str) -> Obj:
    """Out: the object with them; written only if one was missing. Raises Conflict, APIError."""
    held = obj["metadata"].get("finalizers") or []
    return _write(client, res, obj, held, [*held, *(name for name in finalizers if name not in held)])


def take(client: Client, res: GVR, obj: Obj, *finalizers: str) -> Obj:
    """Out: the object without them; written only if one was there. Raises Conflict, APIError."""
    held = obj["metadata"].get("finalizers") or []
    return _write(client, res, obj, held, [name for name in held if name not in finalizers])


def _write(client: Client, res: GVR, obj: Obj, held: list[str], wanted: list[str]) -> Obj:
    if wanted == held:
        return obj
    return client.update(res, {**obj, "metadata": {**obj["metadata"], "finalizers": wanted}})
