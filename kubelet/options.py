"""The kubelet's command line: one frozen dataclass, filled from flags.

Who calls it: `kubelet.main`; the supervisor, which parses before it forks; tests, which build `Options` directly.
Invariant: everything a kubelet needs to know about its place in the world is in here; nothing is read from the environment.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field

from kubelet.eviction import thresholds
from minikube_py.api import quantity

_DEFAULT_CAPACITY = {"cpu": "2", "memory": "4Gi", "pods": "110", "ephemeral-storage": "20Gi"}


@dataclass(frozen=True)
class Options:
    """Durations in seconds, sizes as Kubernetes quantities."""

    kubeconfig: str
    node_name: str
    root_dir: str
    profile: str = "minikube-py"
    runtime: str = "docker"
    docker_host: str = ""
    runtime_endpoint: str = ""
    pod_cidr: str = "10.244.1.0/24"
    node_ip: str = "127.0.0.1"
    bridge: str = ""
    engine_network: str = ""
    infrastructure_cidr: str = ""
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    port: int = 10250
    tls_cert: str = ""
    tls_key: str = ""
    client_ca: str = ""
    bootstrap_kubeconfig: str = ""
    rotate_server_certificates: bool = False
    capacity: dict[str, str] = field(default_factory=lambda: dict(_DEFAULT_CAPACITY))
    node_labels: dict[str, str] = field(default_factory=dict)
    register_taints: tuple[str, ...] = ()
    node_status_update_frequency: float = 10.0
    node_lease_renew_interval: float = 10.0
    node_lease_duration: int = 40
    sync_frequency: float = 60.0
    relist_period: float = 60.0
    crash_backoff: float = 10.0
    crash_backoff_max: float = 300.0
    image_backoff: float = 10.0
    nvml_library: str = "none"
    gpus: str = ""
    network: str = "own"
    service_proxy: bool = True
    service_cluster_ip_range: str = ""
    load_balancer_range: str = ""
    pause_image: str = "registry.k8s.io/pause:3.10"
    pod_pids_limit: int = 0
    max_pids: int = 0
    allowed_unsafe_sysctls: tuple[str, ...] = ()
    cdi_spec_dirs: tuple[str, ...] = ("/etc/cdi", "/var/run/cdi")
    default_ulimits: dict[str, str] = field(default_factory=dict)
    pod_manifest_path: str = ""
    simulated_nodes: int = 0
    runtime_request_timeout: float = 120.0
    image_gc_high_threshold: int = 85
    image_gc_low_threshold: int = 80
    image_gc_period: float = 300.0
    minimum_image_ttl_duration: float = 120.0
    maximum_image_age: float = 0.0
    eviction_hard: str = thresholds.DEFAULT_HARD
    eviction_soft: str = ""
    eviction_soft_grace_period: str = ""
    eviction_minimum_reclaim: str = ""
    eviction_max_pod_grace_period: int = 0
    eviction_pressure_transition_period: float = 300.0
    eviction_monitoring_period: float = 10.0

    @property
    def eviction_thresholds(self) -> tuple[thresholds.Threshold, ...]:
        """Raises ValueError with one sentence."""
        return thresholds.parse(
            self.eviction_hard, self.eviction_soft, self.eviction_soft_grace_period, self.eviction_minimum_reclaim
        )


def parse(argv: Sequence[str]) -> Options:
    """Options from flags. Exits with one sentence on a flag that makes no sense."""
    parser = argparse.ArgumentParser(prog="kubelet", description="The node agent: runs the pods bound to one node.")
    text = [
        "kubeconfig", "node-name", "root-dir", "profile", "docker-host", "runtime-endpoint", "pod-cidr", "node-ip", "bridge",
        "engine-network", "infrastructure-cidr", "cluster-domain", "service-cluster-ip-range", "load-balancer-range",
        "tls-cert", "tls-key", "client-ca", "nvml-library", "gpus", "pause-image", "eviction-hard", "eviction-soft",
        "eviction-soft-grace-period", "eviction-minimum-reclaim", "pod-manifest-path", "bootstrap-kubeconfig",
    ]  # fmt: skip
    required = {"kubeconfig", "node-name", "root-dir"}
    for name in text:
        parser.add_argument(f"--{name}", required=name in required, default=argparse.SUPPRESS)
    for name in (
        "node-status-update-frequency", "node-lease-renew-interval", "sync-frequency", "relist-period",
        "crash-backoff", "crash-backoff-max", "image-backoff", "eviction-pressure-transition-period",
        "eviction-monitoring-period", "runtime-request-timeout", "image-gc-period",
        "minimum-image-ttl-duration", "maximum-image-age",
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=float, default=argparse.SUPPRESS, metavar="SECONDS")
    for name in (
        "port",
        "node-lease-duration",
        "pod-pids-limit",
        "max-pids",
        "simulated-nodes",
        "eviction-max-pod-grace-period",
        "image-gc-high-threshold",
        "image-gc-low-threshold",
    ):
        parser.add_argument(f"--{name}", type=int, default=argparse.SUPPRESS)
    parser.add_argument("--runtime", choices=("docker", "cri", "simulated"), default=argparse.SUPPRESS)
    parser.add_argument("--network", choices=("own", "docker", "none"), default=argparse.SUPPRESS)
    parser.add_argument(
        "--rotate-server-certificates", action="store_true", default=argparse.SUPPRESS,
        help="have the serving certificate signed by the cluster, once somebody approves it",
    )  # fmt: skip
    parser.add_argument("--service-proxy", action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS)
    parser.add_argument("--cluster-dns", type=_listed, default=argparse.SUPPRESS)
    parser.add_argument("--allowed-unsafe-sysctls", type=_listed, default=argparse.SUPPRESS, metavar="NAME,NAME*,…")
    parser.add_argument("--default-ulimits", type=_ulimits, default=argparse.SUPPRESS, metavar="nofile=1024:4096,…")
    parser.add_argument("--cdi-spec-dirs", type=_listed, default=argparse.SUPPRESS, metavar="DIRECTORY,…")
    parser.add_argument("--register-taints", type=_listed, default=argparse.SUPPRESS, metavar="KEY=VALUE:EFFECT,…")
    parser.add_argument("--capacity", type=_capacity, default=argparse.SUPPRESS, metavar="cpu=2,memory=4Gi,pods=110")
    parser.add_argument("--node-labels", type=_pairs, default=argparse.SUPPRESS, metavar="K=V,…")
    options = Options(**vars(parser.parse_args(argv)))
    if options.runtime == "cri" and options.network == "docker":
        parser.error("--runtime cri goes with --network own: a CRI runtime knows no networks of Docker's")
    if options.runtime == "cri" and options.default_ulimits:
        parser.error("--default-ulimits goes with --runtime docker: the CRI has no ulimits; set them in the runtime")
    try:
        _ = options.eviction_thresholds
    except ValueError as error:
        parser.error(str(error))
    return options


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _pairs(text: str) -> dict[str, str]:
    pairs = {}
    for part in _listed(text):
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise argparse.ArgumentTypeError(f"{part!r} is not NAME=VALUE")
        pairs[name] = value
    return pairs


def _ulimits(text: str) -> dict[str, str]:
    given = _pairs(text)
    for name, value in given.items():
        if not all(part.lstrip("-").isdigit() for part in value.split(":", 1)):
            raise argparse.ArgumentTypeError(f"ulimit {name}={value} is not SOFT or SOFT:HARD")
    return given


def _capacity(text: str) -> dict[str, str]:
    given = _pairs(text)
    for name, value in given.items():
        try:
            quantity.parse(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"capacity {name}={value}: {error}") from error
    return {**_DEFAULT_CAPACITY, **given}
