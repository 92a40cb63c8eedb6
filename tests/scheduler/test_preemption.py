"""Who has to go when a more important pod fits nowhere: as few and as unimportant pods as possible."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.scheduler.cycle import fits
from controllers.scheduler.diagnosis import NoFit
from controllers.scheduler.framework import Cycle, PostFilter
from controllers.scheduler.podinfo import PodInfo, pod_info
from minikube_py.api.types import Obj
from tests.scheduler.build import Core, info, node, pod


def preempt(core: Core, newcomer: PodInfo) -> PostFilter:
    with pytest.raises(NoFit) as caught:
        core.search.place(core.snapshot, newcomer)
    result = core.profile.at("post_filter")[-1].plugin.post_filter(
        Cycle(newcomer, core.snapshot), core.profile, caught.value.rejected
    )
    assert result is not None
    return result


def running(core: Core, name: str, where: str, cpu: str, priority: int, **more: Any) -> None:
    core.snapshot.assume(info(name, requests={"cpu": cpu}, priority=priority, **more), where)


def names(result: PostFilter) -> list[str]:
    return [victim.key.removeprefix("default/") for victim in result.victims]


def test_the_lowest_priority_goes_and_only_as_much_as_needed() -> None:
    core = Core([node("a")])
    running(core, "low", "a", "1", 1)
    running(core, "lower", "a", "1", 0)
    running(core, "high", "a", "2", 50)
    result = preempt(core, info("new", requests={"cpu": "1"}, priority=100))
    assert (result.nominated, names(result), result.message) == ("a", ["lower"], "")
    assert sum(pod.requests["cpu"] for pod in core.snapshot.pods.values()) == core.snapshot.requested["cpu"][0] == 4000


def test_the_node_whose_victims_matter_least_is_chosen() -> None:
    core = Core([node("a"), node("b"), node("c")])
    running(core, "a1", "a", "4", 10)
    running(core, "b1", "b", "2", 5)
    running(core, "b2", "b", "2", 5)
    running(core, "c1", "c", "4", 5)
    assert preempt(core, info("new", requests={"cpu": "4"}, priority=100)).nominated == "c"


def test_equal_priority_is_never_preempted() -> None:
    core = Core([node("a"), node("b", taints=[{"key": "k", "effect": "NoSchedule"}])])
    running(core, "same", "a", "4", 100)
    result = preempt(core, info("new", requests={"cpu": "1"}, priority=100))
    assert result.message == (
        "preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, "
        "1 Preemption is not helpful for scheduling."
    )
    assert (result.nominated, result.victims) == ("", ())


def test_a_request_no_node_could_ever_meet_preempts_nobody() -> None:
    core = Core([node("a")])
    running(core, "low", "a", "4", 0)
    result = preempt(core, info("new", requests={"cpu": "5"}, priority=100))
    assert result.message == "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."


def test_policy_never() -> None:
    core = Core([node("a")])
    running(core, "low", "a", "4", 0)
    result = preempt(core, info("new", requests={"cpu": "1"}, priority=9, preemptionPolicy="Never"))
    assert result.message == "preemption: not eligible due to preemptionPolicy=Never."


def test_a_disruption_budget_is_respected_where_possible() -> None:
    pdb: Obj = {
        "metadata": {"name": "b", "namespace": "default"}, "spec": {"selector": {"matchLabels": {"app": "guarded"}}},
        "status": {"disruptionsAllowed": 0},
    }  # fmt: skip
    core = Core([node("a"), node("b")], poddisruptionbudgets=[pdb])
    running(core, "guarded", "a", "4", 0, labels={"app": "guarded"})
    running(core, "free", "b", "4", 5)
    result = preempt(core, info("new", requests={"cpu": "4"}, priority=100))
    assert (result.nominated, names(result)) == ("b", ["free"])


def test_room_made_for_one_pod_is_not_given_to_a_lesser_one() -> None:
    core = Core([node("a")])
    promised = info("promised", requests={"cpu": "4"}, priority=100)
    core.snapshot.nominated[promised.key] = promised.at("a")
    with pytest.raises(NoFit, match="Insufficient cpu"):
        core.search.place(core.snapshot, info("lesser", requests={"cpu": "1"}, priority=50))
    assert core.place(info("greater", requests={"cpu": "1"}, priority=200)) == "a"
    with pytest.raises(NoFit):
        core.place(promised)


def test_it_waits_for_its_victims_to_end() -> None:
    core = Core([node("a")])
    leaving = pod("leaving", requests={"cpu": "4"}, priority=0)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    core.snapshot.set_pod(pod_info(leaving).at("a"))
    newcomer = info("new", requests={"cpu": "4"}, priority=100)
    core.snapshot.nominated[newcomer.key] = newcomer.at("a")
    assert preempt(core, newcomer).message == (
        "preemption: not eligible due to a terminating pod on the nominated node."
    )


_pods = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(0, 2)), max_size=8)


@settings(max_examples=60, deadline=None)
@given(_pods, st.integers(1, 4))
def test_no_victim_could_have_been_spared(pods: list[tuple[int, int, int]], cpu: int) -> None:
    core = Core([node(name) for name in "abc"])
    for number, (size, priority, where) in enumerate(pods):
        if core.snapshot.requested.get("cpu", [0] * 3)[where] + size * 1000 <= 4000:
            running(core, f"p{number}", "abc"[where], str(size), priority)
    newcomer = info("new", requests={"cpu": str(cpu)}, priority=2)
    try:
        core.search.place(core.snapshot, newcomer)
    except NoFit:
        result = preempt(core, newcomer)
        lesser = [p for p in core.snapshot.pods.values() if p.priority < 2]
        if not result.victims:
            with core.snapshot.pretend(remove=lesser):
                assert all(fits(core.profile, core.snapshot, newcomer, row) for row in range(3))
            return
        assert all(victim.priority < 2 for victim in result.victims)
        row = core.snapshot.rows[str(result.nominated)]
        with core.snapshot.pretend(remove=result.victims):
            assert fits(core.profile, core.snapshot, newcomer, row) is None
        for spared in result.victims:
            with core.snapshot.pretend(remove=[v for v in result.victims if v is not spared]):
                assert fits(core.profile, core.snapshot, newcomer, row) is not None
