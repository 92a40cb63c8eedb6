"""Claims, volumes and classes as the storage tests make them, and what they wait for."""

from typing import Any

from minikube_py.api.gvr import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES, new_object
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client

BINDER = ("persistentvolume-binder", "persistentvolume-reclaimer", "pvc-protection", "pv-protection")


def claim(name: str, namespace: str, size: str = "1Gi", **spec: Any) -> Obj:
    spec = {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, "storageClassName": namespace, **spec,
    }  # fmt: skip
    return new_object(PERSISTENTVOLUMECLAIMS, name, namespace, spec=spec)


def volume(name: str, storage_class: str, size: str = "1Gi", **spec: Any) -> Obj:
    spec = {
        "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": storage_class,
        "hostPath": {"path": f"/tmp/{name}"}, **spec,
    }  # fmt: skip
    return new_object(PERSISTENTVOLUMES, name, spec=spec)


def storage_class(name: str, **fields: Any) -> Obj:
    return new_object(STORAGECLASSES, name, **{"provisioner": "kubernetes.io/no-provisioner", **fields})


def phase(client: Client, name: str, namespace: str = "") -> str:
    """The phase of a claim, or of a volume when no namespace is given."""
    res = PERSISTENTVOLUMECLAIMS if namespace else PERSISTENTVOLUMES
    return str((client.get(res, name, namespace).get("status") or {}).get("phase"))


def volume_of(client: Client, name: str, namespace: str) -> str:
    """The volume a claim is bound to, "" while it is not Bound."""
    found = client.get(PERSISTENTVOLUMECLAIMS, name, namespace)
    return str(found["spec"].get("volumeName") or "") if found["status"]["phase"] == "Bound" else ""
