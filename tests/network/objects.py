"""Services and EndpointSlices for tests, as short as they can be said."""

from typing import Any

from minikube_py.api.types import Obj


def service(name: str, ip: str, ports: list[Obj] | None = None, namespace: str = "default", **spec: Any) -> Obj:
    """In: `ports` as in spec.ports; default TCP 80."""
    spec = {"clusterIP": ip, "clusterIPs": [ip], "type": "ClusterIP", "ports": ports or [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def slice_of(
    name: str, addresses: list[str], port: int = 8080, namespace: str = "default", port_name: str = "",
    protocol: str = "TCP", suffix: str = "1", node: str = "n1", **conditions: bool,
) -> Obj:  # fmt: skip
    """One slice; all its endpoints on one node with the same conditions."""
    endpoints = [{"addresses": [a], "nodeName": node, "conditions": {"ready": True, **conditions}} for a in addresses]
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": f"{name}-{suffix}", "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
        "endpoints": endpoints, "ports": [{"name": port_name, "port": port, "protocol": protocol}],
    }  # fmt: skip
