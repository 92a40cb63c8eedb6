"""Jobs: counted exactly once, whatever happens; indexed, suspended, failing, too slow, and removed after a while."""

import time
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controllers.job_state import FINALIZER, INDEX, format_indexes, parse_indexes
from minikube_py.api.clock import REAL, rfc3339
from minikube_py.api.gvr import JOBS, PODS, new_object
from minikube_py.api.meta import (
    annotations_of,
    condition_is,
    condition_of,
    is_terminating,
    key_of,
    name_of,
    namespace_of,
)
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers.play import CountingClient, Kubelet, live_pods, running
from tests.harness import eventually

Outcome = Callable[[Obj], str]


class Runner(Kubelet):
    """Ends pods as `outcome(pod)` says: "Succeeded", "Failed", or "" to keep them running."""

    def __init__(self, client: Client, namespace: str, outcome: Outcome) -> None:
        super().__init__(client, namespace)
        self.outcome = outcome
        self._api = client

    def reconcile(self, key: str) -> float | None:
        pod = self.pods.get_key(key)
        ended = pod is not None and (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if pod is None or is_terminating(pod):
            return super().reconcile(key) if not ended else None
        outcome = self.outcome(pod)
        if not outcome:
            return super().reconcile(key)
        if not ended:
            state = {"terminated": {"exitCode": int(outcome == "Failed"), "finishedAt": rfc3339(REAL.now())}}
            containers = [
                {"name": "main", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state}
            ]
            status = {"phase": outcome, "containerStatuses": containers}
            self._api.patch(PODS, name_of(pod), {"status": status}, namespace_of(pod), subresource="status")
        return None


def _job(name: str, namespace: str, **spec: Any) -> Obj:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1"}]}}
    return new_object(JOBS, name, namespace, spec={"template": template, **spec})


def _status(client: Client, namespace: str, name: str = "work") -> Obj:
    status: Obj = client.get(JOBS, name, namespace).get("status") or {}
    return status


def _done(client: Client, namespace: str, kind: str = "Complete") -> Callable[[], bool]:
    return lambda: condition_is(client.get(JOBS, "work", namespace), kind)


def test_runs_to_completion_and_counts(client: Client, namespace: str) -> None:
    with running(client, "job"), Runner(client, namespace, lambda pod: "Succeeded") as runner:
        client.create(JOBS, _job("work", namespace, completions=5, parallelism=2))
        eventually(_done(client, namespace))
        status = _status(client, namespace)
        assert status["succeeded"] == 5 and not status.get("failed") and not status.get("active")
        assert status["startTime"] <= status["completionTime"]
        done = condition_of({"status": status}, "Complete") or {}
        assert (done["reason"], done["message"]) == ("CompletionsReached", "Reached expected number of succeeded pods")
        assert len(runner.seen) == 5
        eventually(
            lambda: not [p for p in live_pods(client, namespace) if FINALIZER in p["metadata"].get("finalizers", [])]
        )


def test_parallelism_is_kept_and_changed(client: Client, namespace: str) -> None:
    with running(client, "job"), Runner(client, namespace, lambda pod: ""):
        client.create(JOBS, _job("work", namespace, completions=10, parallelism=3))
        eventually(lambda: _status(client, namespace).get("ready") == 3)
        client.patch(JOBS, "work", {"spec": {"parallelism": 1}}, namespace)
        eventually(lambda: len(live_pods(client, namespace)) == 1)
        eventually(lambda: _status(client, namespace).get("active") == 1)
        assert not _status(client, namespace).get("failed"), "pods the controller takes away have not failed"


def test_indexed_jobs_do_every_index_once(client: Client, namespace: str) -> None:
    with running(client, "job"), Runner(client, namespace, lambda pod: "Succeeded") as runner:
        client.create(JOBS, _job("work", namespace, completions=4, parallelism=3, completionMode="Indexed"))
        eventually(_done(client, namespace))
        assert _status(client, namespace)["completedIndexes"] == "0-3" and len(runner.seen) == 4
        pods = {annotations_of(p)[INDEX]: p for p in live_pods(client, namespace)}
        assert sorted(pods) == ["0", "1", "2", "3"]
        pod = pods["2"]
        assert pod["spec"]["hostname"] == "work-2" and name_of(pod).startswith("work-2-")
        assert [e["name"] for e in pod["spec"]["containers"][0]["env"]] == ["JOB_COMPLETION_INDEX"]


def test_gives_up_after_too_many_failures(client: Client, namespace: str) -> None:
    with running(client, "job"), Runner(client, namespace, lambda pod: "Failed") as runner:
        client.create(JOBS, _job("work", namespace, backoffLimit=0))
        eventually(_done(client, namespace, "Failed"))
        failed = condition_of(client.get(JOBS, "work", namespace), "Failed") or {}
        assert failed["reason"] == "BackoffLimitExceeded" and _status(client, namespace)["failed"] == 1
        assert len(runner.seen) == 1


def test_a_failed_pod_is_replaced_after_a_pause(client: Client, namespace: str) -> None:
    with running(client, "job"), Runner(client, namespace, lambda pod: "Failed") as runner:
        client.create(JOBS, _job("work", namespace, backoffLimit=3))
        eventually(lambda: _status(client, namespace).get("failed") == 1)
        runner.outcome = lambda pod: "Succeeded"
        time.sleep(1)
        assert len(runner.seen) == 1, "ten seconds of back-off"
        eventually(_done(client, namespace), timeout=25)
        assert len(runner.seen) == 2


def test_deadline_suspension_and_removal(client: Client, namespace: str) -> None:
    with running(client, "job"), Runner(client, namespace, lambda pod: "") as runner:
        client.create(JOBS, _job("work", namespace, suspend=True, activeDeadlineSeconds=2, ttlSecondsAfterFinished=1))
        eventually(
            lambda: (condition_of(client.get(JOBS, "work", namespace), "Suspended") or {}).get("status") == "True"
        )
        assert not runner.seen and not _status(client, namespace).get("startTime")
        client.patch(JOBS, "work", {"spec": {"suspend": False}}, namespace)
        eventually(lambda: len(live_pods(client, namespace)) == 1)
        eventually(_done(client, namespace, "Failed"), timeout=8)
        assert (condition_of(client.get(JOBS, "work", namespace), "Failed") or {})["reason"] == "DeadlineExceeded"
        eventually(lambda: not live_pods(client, namespace))
        eventually(lambda: is_terminating(client.get(JOBS, "work", namespace)), timeout=8)


def test_settled_jobs_are_not_written(client: Client, namespace: str) -> None:
    counting = CountingClient(client)
    with running(counting, "job"), Runner(client, namespace, lambda pod: "" if "long" in key_of(pod) else "Succeeded"):
        client.create(JOBS, _job("work", namespace))
        client.create(JOBS, _job("long", namespace))
        eventually(_done(client, namespace))
        eventually(lambda: _status(client, namespace, "long").get("ready") == 1)
        time.sleep(1)
        before = len(counting.writes)
        time.sleep(2)
        assert not [write for write in counting.writes[before:] if namespace in write]


@given(st.sets(st.integers(0, 60)))
def test_indexes_read_back(indexes: set[int]) -> None:
    assert parse_indexes(format_indexes(indexes)) == indexes


def test_indexes_as_upstream_writes_them() -> None:
    assert format_indexes({1, 3, 4, 5, 7, 8}) == "1,3-5,7,8"


def test_pods_that_leave_their_job_are_not_held(client: Client, namespace: str) -> None:
    def held(name: str) -> bool:
        return FINALIZER in client.get(PODS, name, namespace)["metadata"].get("finalizers", [])

    with running(client, "job"), Runner(client, namespace, lambda pod: ""):
        client.create(JOBS, _job("work", namespace, completions=2, parallelism=1))
        pod = eventually(lambda: next(iter(live_pods(client, namespace)), None))
        labels = pod["metadata"]["labels"]
        client.patch(PODS, name_of(pod), {"metadata": {"labels": dict.fromkeys(labels)}}, namespace)
        eventually(lambda: not held(name_of(pod)))
        eventually(lambda: len(live_pods(client, namespace)) == 2)


def test_an_adopted_pod_is_held_and_counts(client: Client, namespace: str) -> None:
    waiting = new_object(PODS, "waiting", namespace, spec=_job("x", namespace)["spec"]["template"]["spec"])
    waiting["metadata"]["labels"] = {"work": "mine"}
    client.create(PODS, waiting)
    job = _job("work", namespace, manualSelector=True, selector={"matchLabels": {"work": "mine"}})
    job["spec"]["template"]["metadata"] = {"labels": {"work": "mine"}}
    with running(client, "job"), Runner(client, namespace, lambda pod: "") as runner:
        client.create(JOBS, job)
        eventually(lambda: _status(client, namespace).get("active") == 1)
        adopted = client.get(PODS, "waiting", namespace)["metadata"]
        assert adopted["ownerReferences"][0]["name"] == "work" and FINALIZER in adopted["finalizers"]
        runner.outcome = lambda pod: "Succeeded"
        client.patch(PODS, "waiting", {"metadata": {"labels": {"now": "ends"}}}, namespace)
        eventually(_done(client, namespace))
        assert _status(client, namespace)["succeeded"] == 1 and len(live_pods(client, namespace)) == 1


def test_orphaned_pods_are_not_held(client: Client, namespace: str) -> None:
    with running(client, "job", "garbage-collector"), Runner(client, namespace, lambda pod: ""):
        client.create(JOBS, _job("work", namespace))
        pod = eventually(lambda: next(iter(live_pods(client, namespace)), None))
        client.delete(JOBS, "work", namespace, propagation_policy="Orphan")
        eventually(
            lambda: FINALIZER not in client.get(PODS, name_of(pod), namespace)["metadata"].get("finalizers", []),
            timeout=15,
        )


def test_a_job_somebody_else_manages_is_left_to_them(client: Client, namespace: str) -> None:
    with running(client, "job"):
        for name, manager in (("theirs", "example.com/queue"), ("ours", "kubernetes.io/job-controller")):
            template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1"}]}}
            client.create(JOBS, new_object(JOBS, name, namespace, spec={"managedBy": manager, "template": template}))
        eventually(lambda: len(live_pods(client, namespace)) == 1)
        assert not client.get(JOBS, "theirs", namespace).get("status")
