"""The scheduler's counters.

Who calls it: main.py counts, `controllers/metrics.py` shows. Invariant: counted under the scheduler's lock.
Upstream: pkg/scheduler/metrics/metrics.go.
"""

from minikube_py.api import exposition

BUCKETS = tuple(0.001 * 2**n for n in range(15))
SCHEDULED, UNSCHEDULABLE = "scheduled", "unschedulable"


class Metrics:
    """`attempts` maps (profile, result) to a histogram of seconds."""

    def __init__(self) -> None:
        self.attempts: dict[tuple[str, str], list[float]] = {}
        self.preemptions = self.victims = 0

    def attempt(self, profile: str, result: str, seconds: float) -> None:
        exposition.observe(self.attempts.setdefault((profile, result), exposition.empty(BUCKETS)), BUCKETS, seconds)
