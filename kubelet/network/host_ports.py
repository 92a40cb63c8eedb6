"""Ports of pods that their node answers for (`hostPort`): pods -> what the node's table must map. Pure.

Who calls it: the kubelet, for the scope of its service proxy. Invariant: only pods with an address of their own have any;
hostNetwork pods listen on the node themselves.
Upstream: the portmap plugin of containernetworking/plugins; pkg/kubelet/kuberuntime (PortMappings).
"""

from collections.abc import Iterable
from typing import NamedTuple

from kubelet.pod_spec import lasting_containers
from minikube_py.api.types import Obj


class HostPort(NamedTuple):
    """`host_ip` "" = the node's address."""

    host_ip: str
    protocol: str
    port: int
    pod_ip: str
    container_port: int


def host_ports(pods: Iterable[Obj | None]) -> tuple[HostPort, ...]:
    """Every host port of these pods, sorted; None among the pods is skipped."""
    found = set()
    for pod in pods:
        status = (pod or {}).get("status") or {}
        ip = status.get("podIP")
        if pod is None or not ip or status.get("phase") in ("Succeeded", "Failed") or pod["spec"].get("hostNetwork"):
            continue
        for container in lasting_containers(pod):
            for port in container.get("ports") or []:
                if port.get("hostPort"):
                    host_ip = port.get("hostIP") or ""
                    found.add(HostPort(
                        "" if host_ip == "0.0.0.0" else host_ip, port.get("protocol") or "TCP", port["hostPort"], ip,
                        port["containerPort"],
                    ))  # fmt: skip
    return tuple(sorted(found))
