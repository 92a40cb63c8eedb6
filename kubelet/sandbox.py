"""The pod sandbox: its config from the pod's spec, its files, its network.

Who calls it: `pod_worker`. Invariants: the pod's address is in the sandbox's label before the sandbox exists, so a restarted
kubelet knows it; a sandbox without network is never reported as one; whatever fails half-way can be repeated.
Stop of the data path: 10. Upstream: pkg/kubelet/kuberuntime/kuberuntime_sandbox.go.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kubelet import dns
from kubelet.cgroups import Cgroups
from kubelet.network.pod_network import PodNetwork
from kubelet.options import Options
from kubelet.pod_spec import containers_of, host_network
from kubelet.runtime import labels
from kubelet.runtime.base import Mount, NameConflict, Runtime, SandboxConfig, Status, Summary
from minikube_py.api.types import Obj


@dataclass(frozen=True)
class Sandboxes:
    """Makes and unmakes the sandboxes of one node. `isolate(pod, ip)` puts its network policies in place."""

    options: Options
    runtime: Runtime
    network: PodNetwork
    cgroups: Cgroups
    isolate: Callable[[Obj, str], None] = lambda pod, ip: None

    def address_for(self, pod: Obj) -> str:
        """The pod's IP: the node's own for hostNetwork, else one that stays the pod's until it is gone."""
        return self.options.node_ip if host_network(pod) else self.network.allocate(pod["metadata"]["uid"])

    def create(self, pod: Obj, attempt: int, directory: Path, handler: str = "") -> Status:
        """A running, connected sandbox. Raises RuntimeFault, OSError, AddressesExhausted.

        In: `directory` is the pod's on this machine, for the files mounted into every container; `handler` its RuntimeClass's.
        """
        ip = self.address_for(pod)
        write_files(self.options, pod, ip, directory)
        limited = self.cgroups.prepare(pod, self.options.pod_pids_limit)
        parent = self.cgroups.parent(pod)
        config = sandbox_config(self.options, parent, pod, attempt, ip, self.network.engine_network)
        config = replace(config, runtime_handler=handler)
        try:
            status = self.runtime.run_sandbox(config)
        except NameConflict:  # an earlier call that seemed to fail made it after all
            self._remove_leftover(pod, attempt)
            status = self.runtime.run_sandbox(config)
        if not limited:  # a slice is made by the engine, together with the sandbox, where systemd is out of reach
            self.cgroups.prepare(pod, self.options.pod_pids_limit)
        self.connect(pod, status)
        return status

    def connect(self, pod: Obj, status: Status) -> None:
        """Give a running sandbox its network; repeating it is fine. Raises OSError."""
        if not host_network(pod):
            self.isolate(pod, status.ip)
            self.network.setup(pod["metadata"]["uid"], status.pid, status.ip)

    def _remove_leftover(self, pod: Obj, attempt: int) -> None:
        for summary in self.runtime.list_all(pod["metadata"]["uid"]):
            if _is_sandbox(summary) and labels.attempt_of(summary.labels) == attempt:
                self.runtime.remove(summary.id)


def _is_sandbox(summary: Summary) -> bool:
    return summary.labels.get(labels.CONTAINER_NAME) == labels.SANDBOX_NAME


def sandbox_config(
    options: Options, cgroup_parent: str, pod: Obj, attempt: int, ip: str, engine_network: str
) -> SandboxConfig:
    """Pure. In: `engine_network` "" when we wire the pod ourselves."""
    spec = pod["spec"]
    hostname, _ = dns.names_of(pod, options.cluster_domain, options.node_name)
    context = spec.get("securityContext") or {}
    ports = [port for container in spec["containers"] for port in container.get("ports") or [] if port.get("hostPort")]
    return SandboxConfig(
        pod=labels.pod_ref(labels.of_pod(pod, options.profile, options.node_name)),
        attempt=attempt,
        image=options.pause_image,
        labels=labels.of_sandbox(pod, options.profile, options.node_name, attempt, ip),
        hostname=hostname,
        network="host" if host_network(pod) else engine_network,
        host_pid=bool(spec.get("hostPID")),
        share_pid=bool(spec.get("shareProcessNamespace")),
        host_ipc=bool(spec.get("hostIPC")),
        privileged=any((each.get("securityContext") or {}).get("privileged") for each in containers_of(pod)),
        sysctls={entry["name"]: entry["value"] for entry in context.get("sysctls") or []},
        cgroup_parent=cgroup_parent,
        port_mappings=tuple(
            (port.get("hostIP", ""), port["hostPort"], port["containerPort"], port.get("protocol", "TCP"))
            for port in ports
        ),
    )


def write_files(options: Options, pod: Obj, ip: str, directory: Path) -> None:
    """The pod's hosts, resolv.conf and hostname files. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    hostname, qualified = dns.names_of(pod, options.cluster_domain, options.node_name)
    host_hosts = Path("/etc/hosts").read_text() if host_network(pod) else ""
    host = dns.parse_resolv(Path("/etc/resolv.conf").read_text())
    resolver = dns.resolver_for(pod, options.cluster_dns, options.cluster_domain, host)
    dns.write(directory / "etc-hosts", dns.hosts_text(pod, ip, hostname, qualified, host_hosts))
    dns.write(directory / "resolv.conf", resolver.text())
    dns.write(directory / "hostname", f"{hostname}\n")


def file_mounts(container: Obj, directory: Path) -> tuple[Mount, ...]:
    """The mounts of those files, except where the container mounts something of its own."""
    own = {mount["mountPath"].rstrip("/") for mount in container.get("volumeMounts") or []}
    files = {"/etc/hosts": "etc-hosts", "/etc/resolv.conf": "resolv.conf", "/etc/hostname": "hostname"}
    return tuple(Mount(str(directory / file), path) for path, file in files.items() if path not in own)
