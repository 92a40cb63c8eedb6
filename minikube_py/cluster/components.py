"""Which processes make up a cluster, and with which flags: the profile's desired state as a table of components.

Who calls it: the supervisor, each time it (re)reads `cluster.json`.
Invariant: a pure function of the profile; a node that is stopped has no component. The order is the start-up order.
"""

from collections.abc import Mapping
from typing import NamedTuple

from minikube_py.cluster.profile import Node, Profile
from minikube_py.cluster.timing import TIMINGS


class Component(NamedTuple):
    """One process: `module` offers `parse(argv) -> Options` and `run(Options)`, which blocks until SIGTERM."""

    name: str
    module: str
    argv: tuple[str, ...]


def components(profile: Profile) -> list[Component]:
    """Every process this profile should be running now."""
    table = [_apiserver(profile), _controllers(profile)]
    table += [_kubelet(profile, node) for node in profile.nodes if not node.stopped]
    if profile.runs_containers:
        table.append(_kube_proxy(profile))
    return table


def kubelet_name(node: Node) -> str:
    return f"kubelet-{node.name}"


def _apiserver(profile: Profile) -> Component:
    pki, timing = profile.pki, TIMINGS[profile.timing]
    on_bridge = profile.runs_containers
    flags = {
        "data-dir": profile.directory / "store",
        "store": profile.store,
        "bind": "127.0.0.1",
        "port": profile.port,
        "tls-cert": pki / "apiserver.crt",
        "tls-key": pki / "apiserver.key",
        "client-ca": pki / "ca.crt",
        "requestheader-client-ca": pki / "front-proxy-ca.crt",
        "proxy-client-cert": pki / "front-proxy-client.crt",
        "proxy-client-key": pki / "front-proxy-client.key",
        "service-account-key": pki / "sa.key",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "encryption-key": pki / "encryption.key",
        "service-cluster-ip-range": profile.service_cidr,
        "cluster-dns": profile.dns_ip if on_bridge else "",
        "advertise-address": profile.gateway if on_bridge else "127.0.0.1",
        "advertise-port": profile.port,
        "kubelet-client-cert": pki / "apiserver-kubelet-client.crt",
        "kubelet-client-key": pki / "apiserver-kubelet-client.key",
        "kubelet-ca": pki / "ca.crt",
        "default-not-ready-toleration-seconds": timing.toleration_seconds,
        "default-unreachable-toleration-seconds": timing.toleration_seconds,
        "audit-log": profile.logs / "audit.log",
    }
    more = [*([profile.gateway] if on_bridge else []), *([profile.listen] if profile.listen else [])]
    return Component("apiserver", "apiserver.main", (*_argv(flags), *(f"--bind={address}" for address in more)))


def _controllers(profile: Profile) -> Component:
    timing, pki, (address, port) = TIMINGS[profile.timing], profile.pki, profile.controllers_address
    flags = {
        "kubeconfig": component_kubeconfig(profile, "controllers"),
        "bind-address": address,
        "secure-port": port,
        "tls-cert": pki / "controllers.crt",
        "tls-key": pki / "controllers.key",
        "client-ca": pki / "ca.crt",
        "identity": "controllers",
        "node-monitor-period": timing.node_monitor_period,
        "node-monitor-grace-period": timing.node_monitor_grace_period,
        "node-eviction-rate": timing.node_eviction_rate,
        "cluster-cidr": profile.pod_cidr,
        "cluster-ca": pki / "ca.crt",
        "cluster-signing-cert": pki / "ca.crt",
        "cluster-signing-key": pki / "ca.key",
        "service-cluster-ip-range": profile.service_cidr,
        "load-balancer-range": profile.balancer_cidr if profile.runs_containers else "",
    }
    if profile.scheduler_config:
        flags["scheduler-config"] = profile.scheduler_config
    return Component("controllers", "controllers.main", ("--no-leader-elect", *_argv(flags)))


def _kubelet(profile: Profile, node: Node) -> Component:
    timing, pki, name = TIMINGS[profile.timing], profile.pki, kubelet_name(node)
    flags = {
        "kubeconfig": component_kubeconfig(profile, name),
        "node-name": node.name,
        "root-dir": profile.node_directory(node),
        "profile": profile.name,
        "runtime": profile.runtime,
        "pod-cidr": profile.node_cidr(node),
        "node-ip": profile.node_ip(node) if profile.runs_containers else "127.0.0.1",
        "cluster-dns": profile.dns_ip,
        "service-cluster-ip-range": profile.service_cidr,
        "port": 10250 if profile.runs_containers else profile.port + 1000 + node.index,
        "tls-cert": pki / f"{name}.crt",
        "tls-key": pki / f"{name}.key",
        "client-ca": pki / "ca.crt",
        "capacity": f"cpu={profile.cpu_milli}m,memory={profile.memory_bytes // 1024}Ki,pods=30",
        "node-status-update-frequency": timing.node_status_update_frequency,
        "node-lease-renew-interval": timing.node_lease_renew_interval,
        "node-lease-duration": timing.node_lease_duration,
    }
    if profile.gpus:
        flags["gpus"] = profile.gpus
    # The machine's own cards, and described ones that name no node, are in the first node: a card has one owner.
    if node.index == min(other.index for other in profile.nodes) and (profile.gpus or profile.runs_containers):
        flags["nvml-library"] = "auto"
    if profile.runs_containers:
        flags["bridge"] = profile.bridge
        flags["load-balancer-range"] = profile.balancer_cidr
        flags["network"] = "own"
        if profile.runtime == "cri":
            from minikube_py.cluster import containerd

            flags["runtime-endpoint"] = containerd.of(profile).endpoint
        return Component(name, "kubelet.main", _argv(flags))
    flags["network"] = "none"
    return Component(name, "kubelet.main", ("--no-service-proxy", *_argv(flags)))


def _kube_proxy(profile: Profile) -> Component:
    flags = {
        "kubeconfig": component_kubeconfig(profile, "kube-proxy"),
        "profile": profile.name,
        "bridge": profile.bridge,
        "cluster-cidr": profile.pod_cidr,
        "service-cidr": profile.service_cidr,
        "load-balancer-range": profile.balancer_cidr,
        "cluster-dns": profile.dns_ip,
    }
    return Component("kube-proxy", "kubelet.network.main", _argv(flags))


def component_kubeconfig(profile: Profile, component: str) -> str:
    return str(profile.directory / "kubeconfigs" / f"{component}.conf")


def _argv(flags: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(f"--{flag}={value}" for flag, value in flags.items())
