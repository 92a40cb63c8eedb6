"""GET /stats/summary and /metrics: what pods and node use.

Who calls it: `server`. Invariant: numbers come from the runtime when asked; nothing is sampled while nobody asks.
Upstream: kubelet/pkg/apis/stats/v1alpha1, pkg/kubelet/server/stats, pkg/kubelet/metrics.
"""

import os
from collections.abc import Awaitable, Callable

from kubelet.asgi import Call, HttpError, in_thread
from kubelet.observation import observe
from kubelet.options import Options
from kubelet.pod_manager import PodManager
from kubelet.runtime import labels
from kubelet.runtime.base import CONTAINER, RUNNING, Runtime, RuntimeFault, Stats
from minikube_py.api.clock import Clock, rfc3339
from minikube_py.api.meta import uid_of
from minikube_py.api.types import Obj

Handler = Callable[[Call], Awaitable[None]]


def summary_handler(options: Options, runtime: Runtime, pods: PodManager, clock: Clock) -> Handler:
    async def serve(call: Call) -> None:
        if call.parts != ("stats", "summary"):
            raise HttpError(404, "404 page not found")
        await call.json(await in_thread(summary, options, runtime, pods, clock))

    return serve


def summary(options: Options, runtime: Runtime, pods: PodManager, clock: Clock) -> Obj:
    """The Summary object. Raises HttpError when the runtime is away."""
    now = rfc3339(clock.now())
    try:
        running = [s for s in runtime.list_all() if s.state == RUNNING and s.labels.get(labels.TYPE) == CONTAINER]
        statuses = observe(runtime.inspect(s.id) for s in running)
        usage = {stats.container_id: stats for stats in runtime.stats([s.id for s in running])}
    except RuntimeFault as error:
        raise HttpError(500, str(error)) from error
    by_pod: dict[str, list[Obj]] = {}
    totals: dict[str, list[Stats]] = {}
    for group in statuses.containers.values():
        for status in group:
            used = usage.get(status.id, Stats(status.id))
            began = rfc3339(status.started_at) if status.started_at else now
            entry = {"name": status.name, "startTime": began, **_usage(used, now)}
            by_pod.setdefault(status.pod.uid, []).append(entry)
            totals.setdefault(status.pod.uid, []).append(used)
    entries = []
    for pod in pods.pods():
        uid, meta = uid_of(pod), pod["metadata"]
        reference = {"name": meta["name"], "namespace": meta["namespace"], "uid": uid}
        began = (pod.get("status") or {}).get("startTime", now)
        used_by_pod = _usage(_sum(totals.get(uid, [])), now)
        entries.append({"podRef": reference, "startTime": began, "containers": by_pod.get(uid, []), **used_by_pod})
    whole = _sum([stats for group in totals.values() for stats in group])
    return {"node": {"nodeName": options.node_name, "startTime": now, **_usage(whole, now)}, "pods": entries}


def _usage(stats: Stats, now: str) -> Obj:
    return {
        "cpu": {"time": now, "usageCoreNanoSeconds": stats.cpu_nanoseconds},
        "memory": {
            "time": now, "usageBytes": stats.memory_usage, "workingSetBytes": stats.memory_working_set,
            "rssBytes": stats.memory_rss,
        },
    }  # fmt: skip


def _sum(group: list[Stats]) -> Stats:
    return Stats(
        "", sum(s.cpu_nanoseconds for s in group), sum(s.memory_usage for s in group),
        sum(s.memory_working_set for s in group), sum(s.memory_rss for s in group), sum(s.pids for s in group),
    )  # fmt: skip


def metrics_handler(options: Options, runtime: Runtime, pods: PodManager) -> Handler:
    """/metrics: the kubelet itself; /metrics/resource: what containers and pods use."""

    async def serve(call: Call) -> None:
        if call.parts == ("metrics",):
            await call.text(own_metrics(options, pods), kind="text/plain; version=0.0.4")
        elif call.parts == ("metrics", "resource"):
            text = await in_thread(resource_metrics, runtime)
            await call.text(text, kind="text/plain; version=0.0.4")
        else:
            raise HttpError(404, "404 page not found")

    return serve


def own_metrics(options: Options, pods: PodManager) -> str:
    phases: dict[str, int] = {}
    for pod in pods.pods():
        phase = (pod.get("status") or {}).get("phase", "Pending")
        phases[phase] = phases.get(phase, 0) + 1
    times = os.times()
    lines = [
        "# TYPE kubelet_node_name gauge", f'kubelet_node_name{{node="{options.node_name}"}} 1',
        "# TYPE kubelet_running_pods gauge", f"kubelet_running_pods {phases.get('Running', 0)}",
        "# TYPE process_cpu_seconds_total counter", f"process_cpu_seconds_total {times.user + times.system:.2f}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def resource_metrics(runtime: Runtime) -> str:
    try:
        running = {s.id: s for s in runtime.list_all() if s.state == RUNNING and s.labels.get(labels.TYPE) == CONTAINER}
        usage = runtime.stats(list(running))
    except RuntimeFault as error:
        raise HttpError(500, str(error)) from error
    cpu = ["# TYPE container_cpu_usage_seconds_total counter"]
    memory = ["# TYPE container_memory_working_set_bytes gauge"]
    for stats in usage:
        own = running[stats.container_id].labels
        names = (
            f'container="{own.get(labels.CONTAINER_NAME, "")}",namespace="{own.get(labels.POD_NAMESPACE, "")}",'
            f'pod="{own.get(labels.POD_NAME, "")}"'
        )
        cpu.append(f"container_cpu_usage_seconds_total{{{names}}} {stats.cpu_nanoseconds / 1e9:.3f}")
        memory.append(f"container_memory_working_set_bytes{{{names}}} {stats.memory_working_set}")
    return "\n".join([*cpu, *memory]) + "\n"
