"""Defaults of the core group's other kinds: Services and endpoints, storage, Secrets, LimitRanges, Namespaces. Data.

Who calls it: `defaults/__init__.py`. Invariant: see engine.py.
Upstream: pkg/apis/core/v1/defaults.go, pkg/apis/discovery/v1/defaults.go, pkg/apis/storage/v1/defaults.go.
"""

import base64
from typing import Any

from apiserver.strategies.defaults.engine import Rules, under
from apiserver.strategies.defaults.pod import CLAIM_SPEC, VOLUME_SOURCES
from minikube_py.api.types import Obj

_THREE_HOURS = 10800


def _affinity_config(spec: Obj) -> Obj | None:
    return {} if spec.get("sessionAffinity") == "ClientIP" else None


def _no_affinity_config(spec: Obj) -> None:
    if spec.get("sessionAffinity") == "None":
        spec.pop("sessionAffinityConfig", None)


def _if_type(value: Any, *types: str) -> Any:
    return lambda spec: value if spec.get("type") in types else None


def _target_port(port: Obj) -> Any:
    return port.get("port")


SERVICE: Rules = (
    ("spec.sessionAffinity", "None"),
    ("spec.", _no_affinity_config),
    ("spec.sessionAffinityConfig", _affinity_config),
    ("spec.sessionAffinityConfig.clientIP", {}),
    ("spec.sessionAffinityConfig.clientIP.timeoutSeconds", _THREE_HOURS),
    ("spec.type", "ClusterIP"),
    ("spec.ports[].protocol", "TCP"),
    ("spec.ports[].targetPort", _target_port),
    ("spec.externalTrafficPolicy", _if_type("Cluster", "NodePort", "LoadBalancer")),
    ("spec.internalTrafficPolicy", _if_type("Cluster", "ClusterIP", "NodePort", "LoadBalancer")),
    ("spec.allocateLoadBalancerNodePorts", _if_type(True, "LoadBalancer")),
    ("status.loadBalancer.ingress[].ipMode", lambda ingress: "VIP" if ingress.get("ip") else None),
)

ENDPOINTS: Rules = (("subsets[].ports[].protocol", "TCP"),)

ENDPOINTSLICE: Rules = (
    ("endpoints", []),
    ("ports[].name", lambda port: None if "name" in port and port["name"] is not None else ""),
    ("ports[].protocol", "TCP"),
)


def _string_data(secret: Obj) -> None:
    """`stringData` is write-only: its values go into `data`, encoded, and it is gone."""
    plain = secret.pop("stringData", None)
    if plain:
        encoded = {key: base64.b64encode(str(text).encode()).decode() for key, text in plain.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}


SECRET: Rules = (("type", "Opaque"), ("", _string_data))


def _own_name_label(namespace: Obj) -> None:
    meta = namespace["metadata"]
    if meta.get("name"):
        meta["labels"] = {**(meta.get("labels") or {}), "kubernetes.io/metadata.name": meta["name"]}


NAMESPACE: Rules = (("", _own_name_label),)


def _limits(item: Obj) -> None:
    """A container limit's default is its max; its default request is its default, or else its min."""
    if item.get("type") != "Container":
        return
    limit = {**(item.get("max") or {}), **(item.get("default") or {})}
    request = {**(item.get("min") or {}), **limit, **(item.get("defaultRequest") or {})}
    if limit:
        item["default"] = limit
    if request:
        item["defaultRequest"] = request


LIMITRANGE: Rules = (("spec.limits[].", _limits),)

PERSISTENTVOLUME: Rules = (
    ("spec.persistentVolumeReclaimPolicy", "Retain"),
    ("spec.volumeMode", "Filesystem"),
    ("spec.claimRef.apiVersion", "v1"),
    ("spec.claimRef.kind", "PersistentVolumeClaim"),
    *under("spec", VOLUME_SOURCES),
)


def _data_source(spec: Obj) -> None:
    """`dataSource` and `dataSourceRef` say the same thing unless the reference crosses namespaces."""
    old, new = spec.get("dataSource"), spec.get("dataSourceRef")
    if old and not new:
        spec["dataSourceRef"] = dict(old)
    elif new and not old and not new.get("namespace"):
        group = new.get("apiGroup") or ""
        if (group, new.get("kind")) in (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot")):
            spec["dataSource"] = {key: value for key, value in new.items() if key != "namespace"}


PERSISTENTVOLUMECLAIM: Rules = (*under("spec", CLAIM_SPEC), ("spec.", _data_source))

NODE: Rules = (
    ("spec.podCIDRs", lambda spec: [spec["podCIDR"]] if spec.get("podCIDR") else None),
    ("spec.podCIDR", lambda spec: (spec.get("podCIDRs") or [None])[0]),
    ("status.allocatable", lambda status: status.get("capacity") or None),
)

STORAGECLASS: Rules = (("reclaimPolicy", "Delete"), ("volumeBindingMode", "Immediate"))

CSIDRIVER: Rules = (
    ("spec.attachRequired", True),
    ("spec.podInfoOnMount", False),
    ("spec.storageCapacity", False),
    ("spec.fsGroupPolicy", "ReadWriteOnceWithFSType"),
    ("spec.volumeLifecycleModes", ["Persistent"]),
    ("spec.requiresRepublish", False),
    ("spec.seLinuxMount", False),
)
