"""Builders of slices, classes and claims. Who uses it: the tests of dynamic resource allocation, here and of the kubelet."""

from collections.abc import Sequence
from typing import Any

from minikube_py.api.gvr import DEVICECLASSES, RESOURCECLAIMS, RESOURCECLAIMTEMPLATES, RESOURCESLICES, new_object
from minikube_py.api.types import Obj

DRIVER = "gpu.example.com"


def cel(*expressions: str) -> list[Obj]:
    return [{"cel": {"expression": expression}} for expression in expressions]


def device_class(name: str = "gpu", *expressions: str, **spec: Any) -> Obj:
    return new_object(DEVICECLASSES, name, spec={"selectors": cel(*expressions), **spec})


def device(name: str, attributes: Obj | None = None, **more: Any) -> Obj:
    """`attributes`: plain values, typed as the API wants them."""
    kinds = {bool: "bool", int: "int", str: "string"}
    typed = {key: {kinds[type(value)]: value} for key, value in (attributes or {}).items()}
    return {"name": name, **({"attributes": typed} if typed else {}), **more}


def resource_slice(
    name: str, devices: Sequence[Obj], *, node: str = "", pool: str = "", driver: str = DRIVER, count: int = 1,
    generation: int = 1, **spec: Any,
) -> Obj:  # fmt: skip
    """Of one node, or of all; a pool of its own unless one is named."""
    place: Obj = (
        {"nodeName": node}
        if node
        else {}
        if spec.keys() & {"nodeSelector", "perDeviceNodeSelection"}
        else {"allNodes": True}
    )
    belongs = {"name": pool or name, "generation": generation, "resourceSliceCount": count}
    return new_object(
        RESOURCESLICES,
        name,
        spec={"driver": driver, "pool": belongs, **({"devices": list(devices)} if devices else {}), **place, **spec},
    )


def request(name: str = "r", *expressions: str, wanted: str = "gpu", **more: Any) -> Obj:
    return {"name": name, "exactly": ask(*expressions, wanted=wanted, **more)}


def ask(*expressions: str, wanted: str = "gpu", **more: Any) -> Obj:
    selectors = {"selectors": cel(*expressions)} if expressions else {}
    return {"deviceClassName": wanted, "allocationMode": "ExactCount", **selectors, **more}


def claim(name: str, *requests: Obj, namespace: str = "default", **devices: Any) -> Obj:
    return new_object(
        RESOURCECLAIMS, name, namespace, spec={"devices": {"requests": list(requests or [request()]), **devices}}
    )


def template(name: str, *requests: Obj, namespace: str = "default", **devices: Any) -> Obj:
    spec = claim(name, *requests, **devices)["spec"]
    return new_object(RESOURCECLAIMTEMPLATES, name, namespace, spec={"spec": spec})
