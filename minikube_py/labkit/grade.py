"""Grading one submission: clean scene, replay, checks in a process of their own, results as data.

Who calls it: `labs check`, self-test. Invariants: the verdict comes from the results file that our own plugin wrote, never
from an exit code or from output; a missing or incomplete file, a scene that cannot be prepared, or a check that broke is
"infrastructure" (exit 3), never a pass and never a zero; the checks come from the lab's directory, not from the student's.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from minikube_py.api.errors import APIError
from minikube_py.api.types import Obj
from minikube_py.cluster import profile as profiles
from minikube_py.cluster.errors import ClusterError
from minikube_py.labkit import params, scene, submission
from minikube_py.labkit.errors import Infrastructure
from minikube_py.labkit.lab import Lab, Stage
from minikube_py.labkit.plugin import BLOCKED, BROKEN, FAILED, PASSED
from minikube_py.labkit.world import World

EXIT_PASS, EXIT_FAIL, EXIT_USAGE, EXIT_INFRASTRUCTURE = 0, 1, 2, 3
_START_SECONDS = 30.0


@dataclass(frozen=True)
class StageResult:
    """`verdict`: passed, failed, blocked (an earlier stage must pass first) or infrastructure."""

    id: str
    title: str
    points: int
    verdict: str
    seconds: float = 0.0
    expected: str = ""
    observed: str = ""
    look: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """`problem` is why nothing could be checked at all, if so; `seed` and `nonce` repeat the run."""

    lab: str
    version: int
    student: str
    seed: str
    nonce: str
    stages: tuple[StageResult, ...]
    problem: str = ""

    @property
    def points(self) -> int:
        return sum(stage.points for stage in self.stages if stage.verdict == PASSED)

    @property
    def total(self) -> int:
        return sum(stage.points for stage in self.stages)

    @property
    def exit_code(self) -> int:
        verdicts = {stage.verdict for stage in self.stages}
        if BROKEN in verdicts or not verdicts:
            return EXIT_INFRASTRUCTURE
        return EXIT_PASS if verdicts == {PASSED} else EXIT_FAIL

    def as_data(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**asdict(self), "points": self.points, "total": self.total, "passed": self.exit_code == EXIT_PASS}


@dataclass(frozen=True)
class Attempt:
    """What to grade: whose, on which cluster (profile), and where the files are."""

    lab: Lab
    profile: str
    student: str
    files: Path
    key: bytes

    @property
    def seed(self) -> str:
        return params.seed(self.key, self.student, self.lab.id)

    @property
    def params(self) -> params.Params:
        return params.draw(self.lab.params, self.seed)

    @property
    def manager(self) -> str:
        """The field manager by which what this attempt applied is known again."""
        return f"lab-{self.lab.id}-{self.seed[:12]}"

    def world(self, nonce: str = "", manifests: list[Obj] | None = None) -> World:
        return World(self.profile, self.params, nonce=nonce, manifests=manifests)


def grade(attempt: Attempt, only: Iterable[str] = (), steps_seconds: float = submission.STEPS_SECONDS) -> Report:
    """Replay and check. In: `only` limits the stages. The cluster keeps the replayed objects; `scene.clear` removes them."""
    lab, nonce = attempt.lab, secrets.token_hex(4)
    chosen = [stage for stage in lab.stages if not only or stage.id in set(only)]

    try:
        results, problem = _observe(attempt, chosen, nonce, steps_seconds)
    except (Infrastructure, ClusterError, APIError, OSError) as error:
        results, problem = [_unchecked(stage, BROKEN, str(error)) for stage in chosen], str(error)
    return Report(lab.id, lab.version, attempt.student, attempt.seed[:16], nonce, tuple(results), problem)


def _observe(attempt: Attempt, chosen: list[Stage], nonce: str, steps_seconds: float) -> tuple[list[StageResult], str]:
    """Replay, check, mend. Out: the results, and the student's mistake if it kept us from checking."""
    try:
        with tempfile.TemporaryDirectory(prefix="minikube-py-lab-") as scratch:
            files = Path(scratch) / "files"
            files.mkdir()
            manifests, problem = _replay(attempt, files, steps_seconds)
            if not problem:
                return _check(attempt, chosen, manifests, nonce, Path(scratch)), ""
            return [_unchecked(s, FAILED if s is chosen[0] else BLOCKED, problem) for s in chosen], problem
    finally:
        if any(stage.disruptive for stage in chosen) and profiles.find(attempt.profile):
            attempt.world().mend()


def _replay(attempt: Attempt, files: Path, steps_seconds: float) -> tuple[list[Obj], str]:
    """Scene, manifests, steps. Out: the objects applied, and the student's mistake, if there was one."""
    handed_in = submission.collect(attempt.lab, attempt.files, files)
    if not handed_in:
        return [], f"nothing to check: no file matches {', '.join(attempt.lab.submit)} in {attempt.files}"
    manifests, problem = submission.parse(handed_in)
    world = attempt.world()
    scene.prepare(attempt.lab, world, attempt.manager)
    problem = problem or submission.apply(world, manifests, attempt.manager)
    return manifests, problem or submission.run_steps(world, files, steps_seconds)


def _unchecked(stage: Stage, verdict: str, why: str) -> StageResult:
    expected = "the submitted files can be applied" if verdict == FAILED else ""
    return StageResult(stage.id, stage.title, stage.points, verdict, 0.0, expected, why)


def _check(attempt: Attempt, chosen: list[Stage], manifests: list[Obj], nonce: str, scratch: Path) -> list[StageResult]:
    request, result = scratch / "request.json", scratch / "result.json"
    request.write_text(json.dumps({
        "lab": str(attempt.lab.directory), "profile": attempt.profile, "params": attempt.params, "nonce": nonce,
        "manifests": manifests, "stages": [stage.id for stage in chosen], "result": str(result),
    }))  # fmt: skip
    checks = attempt.lab.directory / "checks"
    command = [
        sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "minikube_py.labkit.plugin",
        "--import-mode=importlib", "-c", "/dev/null", "--rootdir", str(checks), "--labkit-request", str(request), str(checks),
    ]  # fmt: skip
    # Only our own plugin: others cost start-up time, and what the user has installed or set must not decide a verdict.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    limit = _START_SECONDS + sum(stage.timeout for stage in chosen)
    try:
        done = subprocess.run(
            command,
            cwd=scratch,
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise Infrastructure(f"the checks did not end within {limit:g} s") from None
    if not result.exists():
        raise Infrastructure(f"the checks left no result; they said: {(done.stdout + done.stderr)[-1500:].strip()}")
    outcomes = json.loads(result.read_text())["stages"]
    return [_result(stage, outcomes.get(stage.id), done.stdout) for stage in chosen]


def _result(stage: Stage, outcome: dict[str, Any] | None, said: str) -> StageResult:
    if outcome is None:
        return _unchecked(stage, BROKEN, f"no check of this stage ran: {said[-500:].strip()}")
    return StageResult(stage.id, stage.title, stage.points, **outcome)
