"""The flags of the controllers process.

Who calls it: `controllers.main`. Invariant: names and defaults are kube-controller-manager's where it has the flag.
Upstream: cmd/kube-controller-manager/app/options.
"""

import argparse
import os
import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Durations in seconds. `controllers` are names, "*" for all, "-name" to leave one out."""

    kubeconfig: str = ""
    leader_elect: bool = True
    leader_elect_resource_name: str = "kube-controller-manager"
    leader_elect_lease_duration: float = 15.0
    leader_elect_renew_deadline: float = 10.0
    leader_elect_retry_period: float = 2.0
    identity: str = ""
    controllers: tuple[str, ...] = ("*",)
    scheduler: bool = True
    scheduler_config: str = ""
    node_monitor_period: float = 5.0
    node_monitor_grace_period: float = 50.0
    terminated_pod_gc_threshold: int = 12500
    horizontal_pod_autoscaler_sync_period: float = 15.0
    horizontal_pod_autoscaler_downscale_stabilization: float = 300.0
    horizontal_pod_autoscaler_cpu_initialization_period: float = 300.0
    horizontal_pod_autoscaler_initial_readiness_delay: float = 30.0
    horizontal_pod_autoscaler_tolerance: float = 0.1
    cluster_ca: str = ""
    cluster_signing_cert: str = ""
    cluster_signing_key: str = ""
    cluster_cidr: str = ""
    node_cidr_mask_size: int = 24
    node_eviction_rate: float = 0.1
    secondary_node_eviction_rate: float = 0.01
    unhealthy_zone_threshold: float = 0.55
    large_cluster_size_threshold: int = 50
    service_cluster_ip_range: str = "10.96.0.0/16"
    load_balancer_range: str = ""
    bind_address: str = "127.0.0.1"
    secure_port: int = 0
    tls_cert: str = ""
    tls_key: str = ""
    client_ca: str = ""
    verbosity: int = 0


def parse(argv: list[str]) -> Options:
    """Options from the command line; a wrong flag ends the process with a sentence, as argparse does."""
    parser = argparse.ArgumentParser(prog="controllers", description="The controllers and the scheduler.")
    default, on_off = Options(), argparse.BooleanOptionalAction
    parser.add_argument("--kubeconfig", default="", help="how to reach the API server (default: as kubectl)")
    parser.add_argument("--leader-elect", action=on_off, default=True, help="act only while holding the lease")
    parser.add_argument("--leader-elect-resource-name", default=default.leader_elect_resource_name, help="of the lease")
    for name in ("lease_duration", "renew_deadline", "retry_period"):
        option = f"leader_elect_{name}"
        parser.add_argument(f"--{option.replace('_', '-')}", type=_seconds, default=getattr(default, option))
    parser.add_argument("--identity", default=f"{socket.gethostname()}_{os.getpid()}", help="our name in the lease")
    parser.add_argument(
        "--controllers", default="*", help="comma-separated names; * is all of them, -name leaves one out"
    )
    parser.add_argument("--scheduler", action=on_off, default=True, help="run the scheduler in this process too")
    parser.add_argument(
        "--scheduler-config", default="", help="a KubeSchedulerConfiguration: profiles, plugins, arguments"
    )
    parser.add_argument("--node-monitor-period", type=_seconds, default=default.node_monitor_period)
    parser.add_argument("--node-monitor-grace-period", type=_seconds, default=default.node_monitor_grace_period)
    parser.add_argument("--terminated-pod-gc-threshold", type=int, default=default.terminated_pod_gc_threshold)
    for name in ("sync_period", "downscale_stabilization", "cpu_initialization_period", "initial_readiness_delay"):
        option = f"horizontal_pod_autoscaler_{name}"
        parser.add_argument(f"--{option.replace('_', '-')}", type=_seconds, default=getattr(default, option))
    parser.add_argument("--horizontal-pod-autoscaler-tolerance", type=float, default=0.1)
    parser.add_argument("--cluster-ca", default="", help="the CA certificate published in every namespace")
    parser.add_argument("--cluster-signing-cert", default="", help="the CA that signs certificate requests")
    parser.add_argument("--cluster-signing-key", default="")
    parser.add_argument("--cluster-cidr", default="", help="where nodes that bring no pod range get theirs from")
    for name in ("node_cidr_mask_size", "large_cluster_size_threshold"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(default, name))
    for name in ("node_eviction_rate", "secondary_node_eviction_rate", "unhealthy_zone_threshold"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(default, name))
    parser.add_argument("--service-cluster-ip-range", default=default.service_cluster_ip_range)
    parser.add_argument("--load-balancer-range", default="", help="addresses for Services of type LoadBalancer")
    parser.add_argument(
        "--bind-address", default=default.bind_address, help="where health, metrics and scheduling are served"
    )
    parser.add_argument("--secure-port", type=int, default=0, help="the port for that; 0 serves nothing")
    for name in ("tls-cert", "tls-key", "client-ca"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("-v", "--verbosity", type=int, default=0, help="0 warnings, 1 what happens, 2 everything")
    values = vars(parser.parse_args(argv))
    values["controllers"] = tuple(name.strip() for name in values["controllers"].split(",") if name.strip())
    return Options(**values)


def enabled(options: Options, name: str) -> bool:
    """Whether a controller shall run."""
    if f"-{name}" in options.controllers:
        return False
    return name in options.controllers or "*" in options.controllers


def _seconds(text: str) -> float:
    """Plain seconds, or Go's "5s", "500ms", "1m30s"."""
    units, total, number = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}, 0.0, ""
    rest = text
    while rest:
        if rest[0].isdigit() or rest[0] == ".":
            number, rest = number + rest[0], rest[1:]
            continue
        unit = "ms" if rest.startswith("ms") else rest[0]
        if unit not in units or not number:
            raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 5, 0.5 or 1m30s")
        total, number, rest = total + float(number) * units[unit], "", rest[len(unit) :]
    if number:
        total += float(number)
    elif not text:
        raise argparse.ArgumentTypeError("a duration is missing")
    return total
