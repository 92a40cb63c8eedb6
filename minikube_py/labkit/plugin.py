"""The pytest plugin in which a lab's checks run: fixtures, stages in order, results as data.

Who loads it: `grade.py`, in a pytest process of its own (`-p minikube_py.labkit.plugin --labkit-request FILE`).
Invariants: a stage whose `needs` did not pass is "blocked", not run; a check that fails otherwise than by an assertion is
"infrastructure"; the results file is written whole at the end, so that a process that died has none.
"""

import json
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from minikube_py.api.clock import REAL
from minikube_py.labkit import lab as labs
from minikube_py.labkit.errors import CheckFailed, Infrastructure
from minikube_py.labkit.lab import Lab, Stage
from minikube_py.labkit.params import Params
from minikube_py.labkit.world import World

PASSED, FAILED, BLOCKED, BROKEN = "passed", "failed", "blocked", "infrastructure"
_FIRST = (PASSED, BLOCKED, FAILED, BROKEN)  # a stage is as bad as the worst of its tests


def stage(name: str) -> pytest.MarkDecorator:
    """Marks a check with the stage of `lab.yaml` it belongs to."""
    return pytest.mark.stage(name)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--labkit-request", help="the JSON file that says what to check")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "stage(id): the stage a check belongs to")
    if path := config.getoption("--labkit-request"):
        config.pluginmanager.register(Run(json.loads(Path(path).read_text())), "labkit-run")


class Run:
    """One run of one lab's checks."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.lab: Lab = labs.load(Path(request["lab"]))
        self.asked: list[str] = request["stages"]
        self.result = Path(request["result"])
        self.world_ = World(
            request["profile"], request["params"], nonce=request["nonce"], manifests=request["manifests"]
        )  # fmt: skip
        self.outcomes: dict[str, dict[str, Any]] = {}

    @pytest.fixture(scope="session")
    def world(self) -> Iterator[World]:
        yield self.world_

    @pytest.fixture(scope="session")
    def params(self) -> Params:
        return self.world_.params

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Checks run in the order of the stages in `lab.yaml`; those of stages nobody asked for are left out."""
        order = {stage.id: place for place, stage in enumerate(self.lab.stages)}
        items[:] = sorted((i for i in items if _stage_of(i) in self.asked), key=lambda i: order.get(_stage_of(i), 0))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        for needed in self.lab.stage(_stage_of(item)).needs:
            if needed in self.asked and self.outcomes.get(needed, {}).get("verdict") != PASSED:
                pytest.skip(f"check {needed!r} must pass first")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        one = self.lab.stage(_stage_of(item))

        def ring(signum: int, frame: FrameType | None) -> None:
            raise Infrastructure(f"the check {one.id!r} did not end within its {one.timeout:g} s")

        before = signal.signal(signal.SIGALRM, ring)
        self.world_.notes.clear()
        signal.setitimer(signal.ITIMER_REAL, one.timeout)
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when == "call" or call.excinfo is not None:
            self._record(self.lab.stage(_stage_of(item)), {**_outcome(call), "notes": list(self.world_.notes)})
        return report

    def _record(self, stage: Stage, outcome: dict[str, Any]) -> None:
        known = self.outcomes.get(stage.id)
        seconds = outcome["seconds"] + (known["seconds"] if known else 0)
        if known and _FIRST.index(known["verdict"]) >= _FIRST.index(outcome["verdict"]):
            outcome = known
        self.outcomes[stage.id] = {**outcome, "seconds": round(seconds, 2)}

    def pytest_sessionfinish(self) -> None:
        temporary = self.result.with_suffix(".partial")
        temporary.write_text(json.dumps({"finished": REAL.time(), "stages": self.outcomes}))
        temporary.replace(self.result)


def _stage_of(item: pytest.Item) -> str:
    mark = item.get_closest_marker("stage")
    return str(mark.args[0]) if mark else ""


def _outcome(call: pytest.CallInfo[None]) -> dict[str, Any]:
    seconds = call.duration
    if call.excinfo is None:
        return {"verdict": PASSED, "seconds": seconds}
    error = call.excinfo.value
    if isinstance(error, CheckFailed):
        details = {"expected": error.expected, "observed": error.observed, "look": error.look}
        return {"verdict": FAILED, "seconds": seconds, **details}
    if isinstance(error, AssertionError):
        return {"verdict": FAILED, "seconds": seconds, "expected": "what the README asks", "observed": str(error)}
    if isinstance(error, pytest.skip.Exception):
        return {"verdict": BLOCKED, "seconds": seconds, "observed": str(error)}
    return {"verdict": BROKEN, "seconds": seconds, "observed": f"{type(error).__name__}: {error}"}
