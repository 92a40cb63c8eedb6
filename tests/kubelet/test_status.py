"""Pod statuses: golden files, phases, and that an unchanged pod gives an unchanged status.

`UPDATE_GOLDEN=1 pytest tests/kubelet/test_status.py` writes the file anew; read the difference before committing.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubelet.container_status import Facts
from kubelet.observation import Observation
from kubelet.runtime.base import CREATED, EXITED
from kubelet.status import Verdict, generate, phase_of, rejected
from minikube_py.api.types import Obj
from tests.kubelet.build import container, instance, pod, sandbox, seen

GOLDEN = Path(__file__).parent / "golden" / "status.yaml"
NOW = "2026-01-02T03:05:00Z"
CRASHED = {"main": ("CrashLoopBackOff", "back-off 10s restarting failed container=main pod=web_default(uid-1)")}
INITS = pod(initContainers=[container("i1"), container("side", restartPolicy="Always")])
LIMITED = pod(container("main", resources={"limits": {"cpu": "1", "memory": "1Gi"}}, volumeMounts=[
    {"name": "v", "mountPath": "/v", "readOnly": True}]))  # fmt: skip

LOOP = [instance("main", 2, EXITED, 1), instance("main", 1, EXITED, 3)]
BACK_OFF = {"i1": ("CrashLoopBackOff", "back-off")}
NO: dict[str, Any] = {"started": lambda status: False}
CASES: dict[str, tuple[Obj, Observation, dict[str, Any]]] = {
    "nothing yet": (pod(), seen(), {}),
    "creating": (pod(), seen(sandbox()), {}),
    "running": (LIMITED, seen(sandbox(), instance("main")), {}),
    "not ready": (pod(), seen(sandbox(), instance("main")), {"ready": lambda status: False}),
    "image": (pod(), seen(sandbox()), {"waiting": {"main": ("ErrImagePull", "no such image")}}),
    "crash loop": (pod(), seen(sandbox(), *LOOP), {"waiting": CRASHED}),
    "restarted": (pod(), seen(sandbox(), instance("main", 1), instance("main", 0, EXITED, 137, oom_killed=True)), {}),
    "init running": (INITS, seen(sandbox(), instance("i1")), {}),
    "init failing": (INITS, seen(sandbox(), instance("i1", 1, EXITED, 1)), {"waiting": BACK_OFF}),
    "sidecar starting": (INITS, seen(sandbox(), instance("i1", 0, EXITED), instance("side")), NO),
    "with a sidecar": (INITS, seen(sandbox(), instance("i1", 0, EXITED), instance("side"), instance("main")), {}),
    "succeeded": (
        pod(restartPolicy="Never"), seen(sandbox(state=EXITED), instance("main", 0, EXITED)),
        {"terminal": True, "messages": {"main-0": "bye"}},
    ),
    "deleted": (pod(), seen(sandbox(state=EXITED), instance("main", 0, EXITED, 143)), {"terminal": True}),
    "start error": (pod(restartPolicy="Never"), seen(sandbox(), instance(
        "main", 0, EXITED, 128, started_at=None, error="no such file")), {}),
    "created": (pod(), seen(sandbox(), instance("main", 0, CREATED)), {}),
}  # fmt: skip


def build(name: str, old: Obj | None = None) -> Obj:
    target, shown, facts = CASES[name]
    target = {**target, "status": old or {}}
    ip = shown.sandboxes[0].ip if shown.sandboxes else ""
    return generate(
        target, shown, Facts(**facts), now=NOW, start_time="2026-01-02T03:04:05Z", host_ip="10.0.0.1", pod_ip=ip
    )


def test_golden() -> None:
    got = {name: build(name) for name in CASES}
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(yaml.safe_dump(got, sort_keys=False, width=120))
    assert got == yaml.safe_load(GOLDEN.read_text())


@pytest.mark.parametrize("name", CASES)
def test_an_unchanged_pod_has_an_unchanged_status(name: str) -> None:
    first = build(name)
    target, shown, facts = CASES[name]
    again = generate(
        {**target, "status": first}, shown, Facts(**facts), now="2027-01-01T00:00:00Z", start_time="x", host_ip="10.0.0.1",
        pod_ip=first.get("podIP", ""),
    )  # fmt: skip
    assert again == first


def test_foreign_conditions_and_terminal_phases_stay() -> None:
    condition = {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": NOW}
    status = build("running", {"phase": "Failed", "reason": "Evicted", "conditions": [condition]})
    assert condition in status["conditions"]
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")


def test_readiness_gates() -> None:
    target = pod(readinessGates=[{"conditionType": "example.com/gate"}])
    shown = seen(sandbox(), instance("main"))

    def ready(*conditions: Obj) -> Obj:
        given = {**target, "status": {"conditions": list(conditions)}}
        status = generate(given, shown, Facts(), now=NOW, start_time=NOW, host_ip="", pod_ip="1")
        return next(c for c in status["conditions"] if c["type"] == "Ready")

    assert ready()["message"] == 'corresponding condition of pod readiness gate "example.com/gate" does not exist.'
    assert ready({"type": "example.com/gate", "status": "False"})["reason"] == "ReadinessGatesNotReady"
    assert ready({"type": "example.com/gate", "status": "True"})["status"] == "True"


def test_a_verdict_decides() -> None:
    verdict = Verdict("DeadlineExceeded", "too long")
    status = generate(
        pod(), seen(sandbox(), instance("main", 0, EXITED)), Facts(terminal=True), now=NOW, start_time=NOW, host_ip="",
        verdict=verdict,
    )  # fmt: skip
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
    refused = rejected({**pod(), "status": {"phase": "Pending", "conditions": []}}, Verdict("OutOfcpu", "no room"), NOW)
    assert (refused["phase"], refused["reason"], refused["startTime"]) == ("Failed", "OutOfcpu", NOW)


def test_phases() -> None:
    def entry(**state: Obj) -> Obj:
        return {"state": state, "lastState": {}, "ready": False}

    def ended(code: int) -> Obj:
        return entry(terminated={"exitCode": code})

    def phase(policy: str, *entries: Obj, terminal: bool = False) -> str:
        spec = {"restartPolicy": policy, "containers": [{}] * len(entries)}
        return phase_of(spec, [], entries, True, terminal=terminal)

    running, waiting = entry(running={}), entry(waiting={})
    assert phase("Always", running, ended(1)) == "Running"
    assert phase("Always", waiting, running) == "Pending"
    assert phase("Always", ended(0)) == "Running"
    assert phase("OnFailure", ended(1)) == "Running"
    assert phase("OnFailure", ended(0), ended(0)) == "Succeeded"
    assert phase("Never", ended(0), ended(1)) == "Failed"
    assert phase("Never", ended(0), running) == "Running"
    assert phase("Always", ended(0), terminal=True) == "Succeeded"
    assert phase("Always", ended(137), terminal=True) == "Failed"
    assert phase("Always", waiting, terminal=True) == "Failed"
