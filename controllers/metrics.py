"""What the controllers and the scheduler count, under upstream's names.

Who calls it: the /metrics page (`serving.py`). Invariant: reading changes nothing and waits for nobody.
Upstream: client-go's workqueue metrics, pkg/scheduler/metrics, component-base/metrics/prometheus/clientgo/leaderelection.
"""

from collections.abc import Iterable

from controllers.scheduler.main import Scheduler
from controllers.scheduler.metrics import BUCKETS
from minikube_py.api.exposition import Lines
from minikube_py.client.controller import Controller


def render(controllers: Iterable[Controller], scheduler: Scheduler | None, leads: bool, started: float) -> str:
    """In: the process's start, epoch seconds. Out: the text of the page."""
    lines = Lines()
    lines.single("leader_election_master_status", "gauge", "1 while this instance leads.", float(leads))
    _queues(lines, list(controllers))
    if scheduler is not None:
        _scheduler(lines, scheduler)
    lines.process(started)
    return lines.text()


def _queues(lines: Lines, controllers: list[Controller]) -> None:
    counts = [(controller.reconciler.name, controller.queue.counts()) for controller in controllers]
    for field, kind, text in (
        ("depth", "gauge", "Keys waiting."), ("adds_total", "counter", "Keys added."),
        ("retries_total", "counter", "Keys added again after a failure."),
    ):  # fmt: skip
        lines.family(f"workqueue_{field}", kind, text)
        for name, count in counts:
            lines.sample(f"workqueue_{field}", (("name", name),), count[field])


def _scheduler(lines: Lines, scheduler: Scheduler) -> None:
    counted = scheduler.metrics
    attempts = sorted(counted.attempts.items())
    lines.family("scheduler_schedule_attempts_total", "counter", "Attempts by profile and result.")
    for (profile, result), histogram in attempts:
        labels = (("profile", profile), ("result", result))
        lines.sample("scheduler_schedule_attempts_total", labels, sum(histogram[:-1]))
    name = "scheduler_scheduling_attempt_duration_seconds"
    lines.family(name, "histogram", "Time for an attempt's decision.")
    for (profile, result), histogram in attempts:
        lines.histogram(name, (("profile", profile), ("result", result)), BUCKETS, histogram)
    lines.family("scheduler_pending_pods", "gauge", "Pods without a node, by queue.")
    for queue, number in scheduler.queue.counts().items():
        lines.sample("scheduler_pending_pods", (("queue", queue),), number)
    lines.single("scheduler_preemption_attempts_total", "counter", "Preemptions begun.", counted.preemptions)
    lines.single("scheduler_preemption_victims_total", "counter", "Pods chosen to make room.", counted.victims)
