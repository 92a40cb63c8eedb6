"""What failures mean to a Job: rules, limits per index, what is enough; and indexes that survive the end of the process."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers import job_policy as policy
from controllers import job_state as state
from minikube_py.api.gvr import JOBS, new_object
from minikube_py.api.meta import annotations_of, condition_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers.play import CountingClient, live_pods, running
from tests.controllers.test_faults import dies_after
from tests.controllers.test_job import Runner, _done, _job, _status
from tests.harness import eventually

ON_ONE = {"containerName": "main", "operator": "In", "values": [1]}


def _indexed(namespace: str, **spec: Any) -> Obj:
    return _job("work", namespace, completionMode="Indexed", **{"completions": 4, "parallelism": 2, **spec})


def _odd_ones_fail(pod: Obj) -> str:
    return "Failed" if int(annotations_of(pod)[state.INDEX]) % 2 else "Succeeded"


def _ended(client: Client, namespace: str, kind: str) -> tuple[str, str]:
    eventually(_done(client, namespace, kind), timeout=30)
    found = condition_of(client.get(JOBS, "work", namespace), kind) or {}
    return found["reason"], found["message"]


def test_every_index_gets_its_own_chances(client: Client, namespace: str) -> None:
    with running(client, "job"), Runner(client, namespace, _odd_ones_fail) as runner:
        client.create(JOBS, _indexed(namespace, backoffLimitPerIndex=1))
        assert _ended(client, namespace, "Failed") == ("FailedIndexes", "Job has failed indexes")
        status = _status(client, namespace)
        assert (status["completedIndexes"], status["failedIndexes"]) == ("0,2", "1,3")
        assert (status["succeeded"], status["failed"], len(runner.seen)) == (2, 4, 6)
        tries = sorted(
            annotations_of(p)[policy.FAILURES] for p in live_pods(client, namespace) if _odd_ones_fail(p) == "Failed"
        )
        assert tries == ["0", "0", "1", "1"]


def test_too_many_lost_indexes_end_the_job(client: Client, namespace: str) -> None:
    outcome = lambda pod: "Failed" if annotations_of(pod)[state.INDEX] == "0" else ""  # noqa: E731
    with running(client, "job"), Runner(client, namespace, outcome):
        client.create(JOBS, _indexed(namespace, parallelism=4, backoffLimitPerIndex=0, maxFailedIndexes=0))
        assert _ended(client, namespace, "Failed")[0] == "MaxFailedIndexesExceeded"
        status = _status(client, namespace)
        assert (status["failedIndexes"], status["failed"], status.get("completedIndexes")) == ("0", 1, None)


def test_an_exit_code_fails_the_job_at_once(client: Client, namespace: str) -> None:
    rules = [{"action": "FailJob", "onExitCodes": ON_ONE}]
    with running(client, "job"), Runner(client, namespace, lambda pod: "Failed") as runner:
        client.create(JOBS, _job("work", namespace, backoffLimit=6, podFailurePolicy={"rules": rules}))
        reason, message = _ended(client, namespace, "Failed")
        assert reason == "PodFailurePolicy"
        assert message.startswith(f"Container main for pod {namespace}/work-")
        assert message.endswith(" failed with exit code 1 matching FailJob rule at index 0")
        assert len(runner.seen) == 1


def test_an_exit_code_fails_its_index(client: Client, namespace: str) -> None:
    rules = [{"action": "FailIndex", "onExitCodes": ON_ONE}]
    with running(client, "job"), Runner(client, namespace, _odd_ones_fail) as runner:
        job = _indexed(namespace, backoffLimitPerIndex=3, podFailurePolicy={"rules": rules})
        client.create(JOBS, job)
        assert _ended(client, namespace, "Failed")[0] == "FailedIndexes"
        assert _status(client, namespace)["failedIndexes"] == "1,3" and len(runner.seen) == 4


def test_an_ignored_failure_does_not_count(client: Client, namespace: str) -> None:
    rules = [{"action": "Ignore", "onExitCodes": ON_ONE}]
    with running(client, "job"), Runner(client, namespace, lambda pod: "Failed") as runner:
        client.create(JOBS, _job("work", namespace, backoffLimit=0, podFailurePolicy={"rules": rules}))
        eventually(lambda: len(runner.seen) >= 2, timeout=25)
        runner.outcome = lambda pod: "Succeeded"
        eventually(_done(client, namespace), timeout=25)
        assert not _status(client, namespace).get("failed")


@pytest.mark.parametrize(
    "rule", [{"succeededIndexes": "0-1"}, {"succeededCount": 1}, {"succeededIndexes": "0,3", "succeededCount": 1}]
)
def test_part_of_the_work_can_be_enough(client: Client, namespace: str, rule: Obj) -> None:
    outcome = lambda pod: "Succeeded" if annotations_of(pod)[state.INDEX] in "01" else ""  # noqa: E731
    with running(client, "job"), Runner(client, namespace, outcome):
        client.create(JOBS, _indexed(namespace, parallelism=4, successPolicy={"rules": [rule]}))
        assert _ended(client, namespace, "Complete") == ("SuccessPolicy", "Matched rules at index 0")
        met = condition_of(client.get(JOBS, "work", namespace), "SuccessCriteriaMet") or {}
        assert met["reason"] == "SuccessPolicy"
        status = _status(client, namespace)
        assert not status.get("active") and not status.get("ready") and not status.get("terminating")


@pytest.mark.parametrize("writes", range(2, 15, 3))
def test_indexes_survive_the_end_of_the_process(client: Client, namespace: str, writes: int) -> None:
    with Runner(client, namespace, _odd_ones_fail) as runner:
        client.create(JOBS, _indexed(namespace, backoffLimitPerIndex=0))
        dying = CountingClient(client, dies_after(writes))
        with running(dying, "job"):
            eventually(lambda: len(dying.writes) > writes or _done(client, namespace, "Failed")())
        with running(client, "job"):
            assert _ended(client, namespace, "Failed")[0] == "FailedIndexes"
        status = _status(client, namespace)
        assert (status["completedIndexes"], status["failedIndexes"], len(runner.seen)) == ("0,2", "1,3", 4)
        assert (status["succeeded"], status["failed"]) == (2, 2)


def _pod(**status: Any) -> Obj:
    return {"metadata": {"name": "p", "namespace": "n"}, "status": {"phase": "Failed", **status}}


def _policy(*rules: Obj) -> Obj:
    return new_object(JOBS, "j", "n", spec={"podFailurePolicy": {"rules": list(rules)}})


@given(st.integers(0, 255), st.lists(st.integers(1, 255), min_size=1))
def test_exit_codes_are_in_or_not_in(code: int, values: list[int]) -> None:
    pod = _pod(containerStatuses=[{"name": "a", "state": {"terminated": {"exitCode": code}}}])
    matched = {
        operator: policy.judge(
            _policy({"action": "FailJob", "onExitCodes": {"operator": operator, "values": values}}), pod
        )[0]
        for operator in ("In", "NotIn")
    }
    inside = code in values
    assert matched["In"] == ("FailJob" if code and inside else "Count")
    assert matched["NotIn"] == ("FailJob" if code and not inside else "Count")


def test_the_first_rule_decides() -> None:
    pod = _pod(conditions=[{"type": "DisruptionTarget", "status": "True"}])
    disrupted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    elsewhere = {"action": "FailJob", "onExitCodes": {"containerName": "b", "operator": "NotIn", "values": [9]}}
    why = "Pod n/p has condition DisruptionTarget matching Ignore rule at index 1"
    assert policy.judge(_policy(elsewhere, disrupted), pod) == ("Ignore", why)
    assert policy.judge(_policy(elsewhere), pod) == ("Count", "")
