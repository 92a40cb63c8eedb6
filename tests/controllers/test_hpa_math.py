"""How many replicas, and how fast: the pure parts of autoscaling, with the figures of upstream's documentation."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers import hpa_replicas as replicas
from controllers.hpa_behavior import Bounds, Memory, normalise
from controllers.hpa_metrics import MetricsError, Sample
from controllers.hpa_replicas import Settings, Tolerances
from minikube_py.api.clock import rfc3339
from minikube_py.api.types import Obj

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TEN_PER_CENT = Tolerances(0.1, 0.1)


def pod(
    name: str, ready: bool = True, age: float = 3600, phase: str = "Running", cpu: str = "1", **metadata: str
) -> Obj:
    since = rfc3339(NOW - timedelta(seconds=age))
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": since}
    return {
        "metadata": {"name": name, **metadata},
        "spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": cpu}}}]},
        "status": {"phase": phase, "startTime": since, "conditions": [condition]},
    }


def proposed(pods: list[Obj], used: dict[str, int], per_cent: int, current: int) -> int:
    samples = {name: Sample(value, NOW, 30.0) for name, value in used.items()}
    requests = replicas.requests_of(pods, "cpu", "")
    measure = replicas.utilization(requests, per_cent)
    return replicas.by_usage(
        pods, samples, "cpu", current, TEN_PER_CENT, NOW, Settings(), measure,
        lambda name: requests[name] * max(100, per_cent) // 100,
    )[0]  # fmt: skip


A, B, C = pod("a"), pod("b"), pod("c")


@pytest.mark.parametrize(("pods", "used", "per_cent", "wanted"), [
    ([A, B, C], {"a": 300, "b": 500, "c": 700}, 30, 5),  # 50 % used where 30 % is wanted
    ([A, B, C], {"a": 300, "b": 300, "c": 300}, 50, 2),
    ([A, B, C], {"a": 540, "b": 540, "c": 540}, 50, 3),  # within tolerance
    ([A, B, C], {"a": 900, "b": 900}, 50, 4),  # c is silent: counted as using nothing on the way up
    ([A, B, C], {"a": 100, "b": 100}, 50, 3),  # ... and everything on the way down, which turns the direction: stay
    ([A, B, pod("c", ready=False, age=10)], {"a": 1000, "b": 1000, "c": 10}, 50, 4),  # starting: not its cpu
    ([A, B, pod("c", phase="Pending")], {"a": 1000, "b": 1000}, 50, 4),
    ([A, B, pod("c", phase="Failed")], {"a": 1000, "b": 1000, "c": 5}, 50, 4),  # ended: not there at all
    ([A, B, pod("c", deletionTimestamp="2026-01-01T12:00:00Z")], {"a": 1000, "b": 1000, "c": 5}, 50, 4),
])  # fmt: skip
def test_utilization(pods: list[Obj], used: dict[str, int], per_cent: int, wanted: int) -> None:
    assert proposed(pods, used, per_cent, len(pods)) == wanted


@pytest.mark.parametrize(("pods", "used", "why"), [
    ([], {}, "no pods returned by selector while calculating replica count"),
    ([pod("a", phase="Pending")], {"a": 5}, "did not receive metrics for targeted pods (pods might be unready)"),
])  # fmt: skip
def test_no_answer_has_a_reason(pods: list[Obj], used: dict[str, int], why: str) -> None:
    with pytest.raises(MetricsError) as error:
        proposed(pods, used, 50, 1)
    assert str(error.value) == why


def test_requests_must_be_stated() -> None:
    silent = {**A, "spec": {"containers": [{"name": "main"}]}}
    with pytest.raises(MetricsError, match="missing request for cpu in container main of Pod a"):
        replicas.requests_of([silent], "cpu", "")
    with pytest.raises(MetricsError, match="container side not found in Pod a"):
        replicas.requests_of([A], "cpu", "side")


def test_one_value_for_the_whole_target() -> None:
    assert replicas.by_ratio([A, B], 2.0, 2, TEN_PER_CENT) == 4
    assert replicas.by_ratio([A, pod("b", ready=False)], 2.0, 2, TEN_PER_CENT) == 2, "only ready pods did the work"
    assert replicas.by_ratio([], 3.2, 0, TEN_PER_CENT) == 4, "from zero the ratio alone counts"
    assert replicas.by_ratio([], 0.0, 0, TEN_PER_CENT) == 0
    assert replicas.by_share(30_000, 10_000, 2, TEN_PER_CENT) == (3, 15_000)
    assert replicas.by_share(20_500, 10_000, 2, TEN_PER_CENT) == (2, 10_250)
    assert replicas.by_share(0, 10_000, 2, TEN_PER_CENT)[0] == 0


@given(
    used=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3000), min_size=1),
    ready=st.lists(st.booleans(), min_size=8, max_size=8), per_cent=st.integers(1, 200),
)  # fmt: skip
def test_silent_pods_never_turn_the_direction(used: dict[str, int], ready: list[bool], per_cent: int) -> None:
    pods = [pod(name, ready=ok, age=10 if not ok else 3600) for name, ok in zip("abcdefgh", ready, strict=True)]
    known = {name: value for name, value in used.items() if ready["abcdefgh".index(name)]}
    if not known:
        return
    wanted = proposed(pods, used, per_cent, 8)
    ratio = (sum(known.values()) * 100 // (1000 * len(known))) / per_cent
    assert (wanted <= 8) if ratio < 1 else (wanted >= 8)


def settle(memory: Memory, spec: Obj, current: int, desired: int, now: float) -> tuple[int, list[str]]:
    count, notes = normalise(memory, spec, Bounds(current, 1, 100), desired, now, 300.0)
    if count != current:
        memory.scaled(now, count - current, spec.get("behavior") or {})
    return count, [note.reason for note in notes]


def test_without_a_behaviour_up_at_once_and_down_after_five_minutes() -> None:
    memory = Memory()
    assert settle(memory, {}, 3, 40, 0) == (6, ["ReadyForNewScale", "ScaleUpLimit"])
    assert settle(memory, {}, 6, 5, 299) == (12, ["ScaleDownStabilized", "ScaleUpLimit"])
    assert settle(memory, {}, 6, 5, 301) == (5, ["ReadyForNewScale", "DesiredWithinRange"])
    assert normalise(Memory(), {}, Bounds(3, 2, 5), 9, 0, 300.0)[0] == 5
    assert normalise(Memory(), {}, Bounds(3, 2, 5), 1, 0, 300.0)[0] == 2


def rules(window: int, *policies: tuple[str, int, int], select: str = "Max") -> Obj:
    listed = [{"type": kind, "value": value, "periodSeconds": period} for kind, value, period in policies]
    return {"stabilizationWindowSeconds": window, "selectPolicy": select, "policies": listed}


def test_policies_bound_the_change_within_their_periods() -> None:
    spec = {
        "behavior": {"scaleUp": rules(0, ("Pods", 4, 60), ("Percent", 50, 60)), "scaleDown": rules(0, ("Pods", 2, 60))}
    }
    memory = Memory()
    assert settle(memory, spec, 10, 50, 0) == (15, ["ReadyForNewScale", "ScaleUpLimit"])
    assert settle(memory, spec, 15, 50, 30)[0] == 15, "the minute's share is used up"
    assert settle(memory, spec, 15, 50, 61)[0] == 23
    assert settle(Memory(), spec, 23, 1, 62) == (21, ["ReadyForNewScale", "ScaleDownLimit"])
    spec["behavior"]["scaleUp"]["selectPolicy"] = "Min"
    assert settle(Memory(), spec, 10, 50, 0)[0] == 14
    spec["behavior"]["scaleUp"]["selectPolicy"] = "Disabled"
    assert settle(Memory(), spec, 10, 50, 0)[0] == 10


def test_windows_take_the_most_cautious_recent_recommendation() -> None:
    quick = ("Percent", 1000, 1)
    spec = {"behavior": {"scaleUp": rules(60, quick), "scaleDown": rules(120, ("Percent", 100, 1))}}
    memory = Memory([(0.0, 10)])
    assert settle(memory, spec, 10, 20, 30) == (10, ["ScaleUpStabilized", "DesiredWithinRange"])
    assert settle(memory, spec, 10, 15, 61)[0] == 15, "the lowest of the last minute"
    assert settle(memory, spec, 15, 2, 100)[0] == 15
    assert settle(memory, spec, 15, 2, 152)[0] == 15
    assert settle(memory, spec, 15, 2, 182)[0] == 2


@given(st.lists(st.tuples(st.integers(50, 200), st.integers(0, 60)), min_size=1, max_size=30), st.integers(1, 9))
def test_no_minute_sees_more_growth_than_its_policy_allows(steps: list[tuple[int, int]], most: int) -> None:
    spec = {"behavior": {"scaleUp": rules(0, ("Pods", most, 60)), "scaleDown": rules(0, select="Disabled")}}
    memory, current, now, history = Memory(), 50, 0.0, [(0.0, 50)]
    for desired, pause in steps:
        now += pause
        current, _ = settle(memory, spec, current, desired, now)
        history.append((now, current))
    for at, size in history:
        assert size - min(other for moment, other in history if at - 60 < moment <= at) <= most
