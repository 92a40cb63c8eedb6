"""Probes on a clock that only moves when told: thresholds, delays, the precedence of startup, and that followers change."""

import threading
from dataclasses import replace

import pytest

from kubelet.probe_action import FAILURE, SUCCESS, Outcome
from kubelet.probes import Probe, Probes
from kubelet.runtime.base import Status
from minikube_py.api.clock import FakeClock
from minikube_py.api.types import Obj
from tests import harness
from tests.kubelet.build import container, instance, pod


class World:
    """Probes whose outcome the test decides."""

    def __init__(self, failing: str = "", **probes: Obj) -> None:
        self.clock = FakeClock()
        self.outcome = {kind: FAILURE if kind == failing else SUCCESS for kind in ("liveness", "readiness", "startup")}
        self.calls: list[str] = []
        self.woken: list[str] = []
        self.events: list[str] = []
        self.lock = threading.Lock()
        spec = {
            f"{kind}Probe": {**probe, "periodSeconds": probe.get("periodSeconds", 10)} for kind, probe in probes.items()
        }
        self.pod = pod(container("main", **spec))
        self.status = replace(instance("main"), started_at=self.clock.now())
        self.probes = Probes(self.clock, self._run, self.woken.append, lambda *told: self.events.append(told[4]))
        self.probes.follow(self.pod, [self.status], "10.0.0.9")

    def _run(self, pod_: Obj, container_: Obj, probe: Obj, status: Status, ip: str) -> Outcome:
        kind = next(kind for kind in self.outcome if container_.get(f"{kind}Probe") is probe)
        with self.lock:
            self.calls.append(kind)
        return Outcome(self.outcome[kind], "because")

    def count(self, kind: str) -> int:
        with self.lock:
            return self.calls.count(kind)

    def step(self, kind: str, seconds: float = 10) -> None:
        """Let time pass until the probe has run once more."""
        before = self.count(kind)
        key = f"{kind}/{self.status.id}"
        harness.eventually(lambda: self.probes._executor.planned(key), 5, what="the next one to be planned")
        self.clock.advance(seconds)
        harness.eventually(lambda: self.count(kind) == before + 1, 5, what=f"a {kind} probe")


def test_readiness_needs_a_success_and_loses_it_after_three_failures() -> None:
    world = World(readiness={"initialDelaySeconds": 5})
    assert not world.probes.ready(world.status)
    world.step("readiness", 5)
    harness.eventually(lambda: world.probes.ready(world.status), 5)
    world.outcome["readiness"] = FAILURE
    for _ in range(2):
        world.step("readiness")
        assert world.probes.ready(world.status)
    world.step("readiness")
    harness.eventually(lambda: not world.probes.ready(world.status), 5)
    assert world.woken == ["uid-1", "uid-1"]
    assert world.events[0] == "Readiness probe failed: because"
    world.probes.stop()


def test_liveness_failure_asks_for_a_restart_once() -> None:
    world = World("liveness", liveness={"failureThreshold": 2})
    harness.eventually(lambda: world.count("liveness") == 1, 5)
    assert world.probes.failing("uid-1") == {}
    world.step("liveness")
    expected = {"main-0": "Container main failed liveness probe, will be restarted"}
    harness.eventually(lambda: world.probes.failing("uid-1") == expected, 5)
    world.clock.advance(100)
    assert world.count("liveness") == 2
    world.probes.follow(world.pod, [], "")
    assert world.probes.failing("uid-1") == {}
    assert not world.probes.ready(world.status), "a container nobody runs is not ready"
    world.probes.stop()


def test_the_others_wait_for_startup() -> None:
    world = World("startup", startup={"failureThreshold": 5}, liveness={}, readiness={})
    harness.eventually(lambda: world.count("startup") == 1, 5)
    world.step("startup")
    assert (world.count("liveness"), world.count("readiness")) == (0, 0)
    assert not world.probes.started(world.status)
    world.outcome["startup"] = SUCCESS
    world.step("startup")
    harness.eventually(lambda: world.probes.started(world.status), 5)
    harness.eventually(lambda: world.count("liveness") == 1 and world.count("readiness") == 1, 5)
    world.step("liveness")
    assert world.count("startup") == 3, "a startup probe that has passed is over"
    world.probes.stop()


def test_without_probes_running_is_ready() -> None:
    world = World()
    assert world.probes.ready(world.status) and world.probes.started(world.status)
    assert not world.probes.ready(instance("main", 1)), "of a container nobody follows nothing is said"
    world.probes.stop()


@pytest.mark.parametrize(
    ("outcomes", "results"),
    [
        ("ffs", [None, False, True]),
        ("sfsff", [True, True, True, True, False]),
        ("fsffs", [None, True, True, False, True]),
    ],
)
def test_thresholds(outcomes: str, results: list[bool | None]) -> None:
    probe = Probe("readiness", {"failureThreshold": 2}, {}, {}, instance("main"), "")
    got = []
    for letter in outcomes:
        probe.note(SUCCESS if letter == "s" else FAILURE)
        got.append(probe.result)
    assert got == results
