"""The pages below /metrics: the kubelet itself, what containers use (two forms), and what its probes saw.

Who calls it: `handlers`. Invariant: pure functions of a snapshot; names, labels and units are upstream's.
Upstream: pkg/kubelet/metrics/{metrics.go,collectors/resource_metrics.go,collectors/volume_stats.go},
google/cadvisor metrics/prometheus.go.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from kubelet.options import Options
from kubelet.runtime.base import Info, Resources, Stats, Status
from kubelet.stats.collect import Pod, Snapshot
from kubelet.stats.network import Interface
from minikube_py import KUBERNETES_RELEASE
from minikube_py.api import quantity
from minikube_py.api.exposition import Labels, Lines
from minikube_py.api.meta import annotations_of, name_of, namespace_of, uid_of
from minikube_py.api.podresources import qos_class
from minikube_py.api.types import Obj

_Value = Callable[[Stats], float]
_USED: tuple[tuple[str, str, str, _Value], ...] = (
    ("cpu_usage_seconds_total", "counter", "Cumulative cpu time in core-seconds", lambda s: s.cpu_nanoseconds / 1e9),
    ("memory_working_set_bytes", "gauge", "Current working set in bytes", lambda s: s.memory_working_set),
    ("swap_usage_bytes", "gauge", "Current amount of swap in bytes", lambda s: s.memory_swap),
)


def resources(snapshot: Snapshot | None) -> str:
    """/metrics/resource, which the metrics-server reads. In: None when the runtime could not be asked."""
    lines = Lines()
    if snapshot is not None:
        places: dict[str, list[tuple[Labels, Stats]]] = {
            "node": [((), snapshot.stats)], "container": list(_containers(snapshot)),
            "pod": [(_of_pod(pod), pod.stats) for pod in snapshot.pods],
        }  # fmt: skip
        for scope, found in places.items():
            for name, kind, text, value in _USED:
                lines.family(f"{scope}_{name}", kind, f"{text}, of the {scope}")
                for labels, stats in found:
                    lines.sample(f"{scope}_{name}", labels, value(stats), snapshot.at)
        lines.family("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds")
        for pod in snapshot.pods:
            for one in pod.containers:
                lines.sample(
                    "container_start_time_seconds", _of_container(pod, one.status), _start(one.status), snapshot.at
                )
    for name in ("resource_scrape_error", "scrape_error"):
        text = "1 if there was an error while getting container metrics, 0 otherwise"
        lines.single(name, "gauge", text, float(snapshot is None))
    return lines.text()


def _containers(snapshot: Snapshot) -> Iterator[tuple[Labels, Stats]]:
    for pod in snapshot.pods:
        for one in pod.containers:
            yield _of_container(pod, one.status), one.stats


def _of_pod(pod: Pod) -> Labels:
    return ("namespace", namespace_of(pod.pod)), ("pod", name_of(pod.pod))


def _of_container(pod: Pod, status: Status) -> Labels:
    return ("container", status.name), *_of_pod(pod)


def _start(status: Status) -> float:
    return status.started_at.timestamp() if status.started_at else 0.0


# ---- /metrics/cadvisor -----------------------------------------------------------------------------------------------

_BOTH: tuple[tuple[str, str, str, Labels, _Value], ...] = (
    (
        "cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time",
        (("cpu", "total"),),
        lambda s: s.cpu_nanoseconds / 1e9,
    ),
    ("cpu_user_seconds_total", "counter", "Cumulative user cpu time", (), lambda s: s.cpu_user / 1e9),
    ("cpu_system_seconds_total", "counter", "Cumulative system cpu time", (), lambda s: s.cpu_system / 1e9),
    ("cpu_cfs_periods_total", "counter", "Elapsed enforcement periods", (), lambda s: s.cfs_periods),
    ("cpu_cfs_throttled_periods_total", "counter", "Throttled periods", (), lambda s: s.cfs_throttled),
    ("cpu_cfs_throttled_seconds_total", "counter", "Time throttled", (), lambda s: s.cfs_throttled_nanoseconds / 1e9),
    ("memory_cache", "gauge", "Bytes of page cache", (), lambda s: s.memory_cache),
    ("memory_rss", "gauge", "Resident anonymous memory in bytes", (), lambda s: s.memory_rss),
    ("memory_mapped_file", "gauge", "Memory mapped files in bytes", (), lambda s: s.memory_mapped),
    ("memory_swap", "gauge", "Swap in bytes", (), lambda s: s.memory_swap),
    ("memory_failcnt", "counter", "How often the memory limit was hit", (), lambda s: s.memory_failures),
    ("memory_usage_bytes", "gauge", "Memory in use, cache included", (), lambda s: s.memory_usage),
    ("memory_max_usage_bytes", "gauge", "The most memory ever in use", (), lambda s: s.memory_peak),
    ("memory_working_set_bytes", "gauge", "The working set in bytes", (), lambda s: s.memory_working_set),
    ("memory_total_active_file_bytes", "gauge", "Active file cache", (), lambda s: s.active_file),
    ("memory_total_inactive_file_bytes", "gauge", "Inactive file cache", (), lambda s: s.inactive_file),
    ("fs_reads_bytes_total", "counter", "Bytes read from disks", (("device", ""),), lambda s: s.read_bytes),
    ("fs_writes_bytes_total", "counter", "Bytes written to disks", (("device", ""),), lambda s: s.written_bytes),
    ("fs_reads_total", "counter", "Reads from disks", (("device", ""),), lambda s: s.reads),
    ("fs_writes_total", "counter", "Writes to disks", (("device", ""),), lambda s: s.writes),
    ("processes", "gauge", "Processes running inside", (), lambda s: s.pids),
)
_NETWORK: tuple[tuple[str, Callable[[Interface], int]], ...] = (
    ("receive_bytes_total", lambda i: i.rx_bytes), ("receive_packets_total", lambda i: i.rx_packets),
    ("receive_packets_dropped_total", lambda i: i.rx_dropped), ("receive_errors_total", lambda i: i.rx_errors),
    ("transmit_bytes_total", lambda i: i.tx_bytes), ("transmit_packets_total", lambda i: i.tx_packets),
    ("transmit_packets_dropped_total", lambda i: i.tx_dropped), ("transmit_errors_total", lambda i: i.tx_errors),
)  # fmt: skip
_SPECIFIED: tuple[tuple[str, str, Callable[[Resources], int]], ...] = (
    ("spec_cpu_period", "CPU period of the container", lambda limits: limits.cpu_period),
    ("spec_cpu_quota", "CPU quota of the container", lambda limits: limits.cpu_quota),
    ("spec_cpu_shares", "CPU share of the container", lambda limits: limits.cpu_shares),
    ("spec_memory_limit_bytes", "Memory limit for the container", lambda limits: limits.memory),
)


def cadvisor(options: Options, info: Info, snapshot: Snapshot) -> str:
    """/metrics/cadvisor: everything the kernel counts, per container, per pod and for all pods together."""
    lines = Lines()
    lines.family("cadvisor_version_info", "gauge", "A metric with a constant 1, labelled by versions")
    versions = (("dockerVersion", info.version), ("kernelVersion", info.kernel), ("osVersion", info.operating_system))
    lines.sample("cadvisor_version_info", versions, 1)
    found = [(_cadvisor_labels("/", "", "", "", "", ""), snapshot.stats)]
    for pod in snapshot.pods:
        place = namespace_of(pod.pod), name_of(pod.pod)
        found.append((_cadvisor_labels(f"/pod{uid_of(pod.pod)}", "", "", "", *place), pod.stats))
        found += [(_labels_of(pod, one.status), one.stats) for one in pod.containers]
    for name, kind, text, extra, value in _BOTH:
        lines.family(f"container_{name}", kind, text)
        for labels, stats in found:
            lines.sample(f"container_{name}", (*labels, *extra), value(stats), snapshot.at)
    _faults(lines, found, snapshot.at)
    _network(lines, snapshot)
    _per_container(lines, snapshot)
    capacity = options.capacity
    lines.single("machine_cpu_cores", "gauge", "Number of logical CPU cores", quantity.milli(capacity["cpu"]) / 1000)
    lines.single("machine_memory_bytes", "gauge", "Amount of memory installed", quantity.value(capacity["memory"]))
    lines.single("container_scrape_error", "gauge", "1 if there was an error while getting container metrics", 0)
    return lines.text()


def _cadvisor_labels(id_: str, container: str, image: str, name: str, namespace: str, pod: str) -> Labels:
    return (
        ("container", container), ("id", id_), ("image", image), ("name", name), ("namespace", namespace), ("pod", pod),
    )  # fmt: skip


def _labels_of(pod: Pod, status: Status) -> Labels:
    id_ = f"/pod{uid_of(pod.pod)}/{status.id}"
    return _cadvisor_labels(id_, status.name, status.image, status.id, namespace_of(pod.pod), name_of(pod.pod))


def _faults(lines: Lines, found: Sequence[tuple[Labels, Stats]], at: float) -> None:
    lines.family("container_memory_failures_total", "counter", "Page faults")
    for labels, stats in found:
        for kind, count in (("pgfault", stats.page_faults), ("pgmajfault", stats.major_page_faults)):
            more = (("failure_type", kind), ("scope", "hierarchy"))
            lines.sample("container_memory_failures_total", (*labels, *more), count, at)


def _network(lines: Lines, snapshot: Snapshot) -> None:
    for name, value in _NETWORK:
        lines.family(f"container_network_{name}", "counter", f"Cumulative count: {name.replace('_', ' ')}")
        for pod in snapshot.pods:
            labels = _cadvisor_labels(f"/pod{uid_of(pod.pod)}", "", "", "", namespace_of(pod.pod), name_of(pod.pod))
            for interface in pod.network:
                named = (*labels, ("interface", interface.name))
                lines.sample(f"container_network_{name}", named, value(interface), snapshot.at)


def _per_container(lines: Lines, snapshot: Snapshot) -> None:
    found = [(_labels_of(pod, one.status), pod, one.status) for pod in snapshot.pods for one in pod.containers]
    lines.family("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds")
    for labels, _, status in found:
        lines.sample("container_start_time_seconds", labels, _start(status))
    lines.family("container_last_seen", "gauge", "Last time a container was seen by the exporter")
    for labels, _, _ in found:
        lines.sample("container_last_seen", labels, snapshot.at, snapshot.at)
    lines.family("container_fs_usage_bytes", "gauge", "Bytes that the container has on disk")
    for labels, pod, status in found:
        if (used := pod.disk.containers.get(status.name)) is not None:
            lines.sample("container_fs_usage_bytes", (*labels, ("device", "")), used.disk, snapshot.at)
    for name, text, value in _SPECIFIED:
        lines.family(f"container_{name}", "gauge", text)
        for labels, _, status in found:
            if status.limits is not None:
                lines.sample(f"container_{name}", labels, value(status.limits))


# ---- /metrics --------------------------------------------------------------------------------------------------------


def own(options: Options, pods: Sequence[Obj], snapshot: Snapshot | None, states: Mapping[str, int]) -> Lines:
    """/metrics: the kubelet itself. In: `states` containers by state. Out: what others go on writing to."""
    lines = Lines()
    lines.family("kubelet_node_name", "gauge", "The node's name. The count is always 1.")
    lines.sample("kubelet_node_name", (("node", options.node_name),), 1)
    lines.family("kubernetes_build_info", "gauge", "A metric with a constant 1, labelled by the release")
    major, minor = KUBERNETES_RELEASE.split(".")[:2]
    version = (("git_version", f"v{major}.{minor}.0+minikube-py"), ("major", major), ("minor", minor))
    lines.sample("kubernetes_build_info", version, 1)
    running = sum((pod.get("status") or {}).get("phase") == "Running" for pod in pods)
    lines.single("kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox", running)
    lines.family("kubelet_running_containers", "gauge", "Number of containers by state")
    for state, count in states.items():
        lines.sample("kubelet_running_containers", (("container_state", state),), count)
    static = [bool(annotations_of(pod).get("kubernetes.io/config.mirror")) for pod in pods]
    for name, text in (("desired", "is told to run"), ("active", "has not finished with")):
        lines.family(f"kubelet_{name}_pods", "gauge", f"The number of pods the kubelet {text}")
        chosen = [mirror for mirror, pod in zip(static, pods, strict=True) if name == "desired" or not _is_over(pod)]
        for mirror, count in sorted(Counter(chosen).items()):
            lines.sample(f"kubelet_{name}_pods", (("static", str(mirror).lower()),), count)
    lines.family("kubelet_pod_qos_classes", "gauge", "Pods by quality of service")
    for quality, count in sorted(Counter(map(qos_class, pods)).items()):
        lines.sample("kubelet_pod_qos_classes", (("qos_class", quality),), count)
    if snapshot is not None:
        _volumes(lines, snapshot)
    return lines


def _is_over(pod: Obj) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _volumes(lines: Lines, snapshot: Snapshot) -> None:
    """Upstream's names, for claims; ours are about what a claim's pod has written to its other volumes too."""
    lines.family("kubelet_volume_stats_used_bytes", "gauge", "Number of used bytes in the volume")
    for pod in snapshot.pods:
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in pod.pod["spec"].get("volumes") or () if volume.get("persistentVolumeClaim")
        }  # fmt: skip
        for name, used in pod.disk.volumes.items():
            if name in claims:
                labels = (("namespace", namespace_of(pod.pod)), ("persistentvolumeclaim", claims[name]))
                lines.sample("kubelet_volume_stats_used_bytes", labels, used)
