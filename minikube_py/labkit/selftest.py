"""Testing a lab with right and wrong answers: the starter, both solutions, every mutant, and junk.

Who calls it: `labs dev selftest` and the tests. Invariants: a case is judged by the verdict of each stage alone; every case
is another student, so that several seeds must agree; cases that touch no node run side by side, the others one by one.
A mutant's files lie over the solution's. Stages that its `expect.yaml` does not name are neither run nor judged, unless a
judged one needs them.
"""

import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from minikube_py.labkit import lint, params, scene
from minikube_py.labkit.grade import EXIT_INFRASTRUCTURE, EXIT_PASS, Attempt, Report, grade
from minikube_py.labkit.lab import Lab
from minikube_py.labkit.plugin import FAILED, PASSED

_KEY = b"selftest"
_SIDE_BY_SIDE = 5
_JUNK_SECONDS = 2.0
_JUNK = {
    "junk-empty": {},
    "junk-text": {"pod.yaml": "this is no manifest: [\n"},
    "junk-says-passed": {"steps.sh": 'echo PASSED; echo \'{"verdict": "passed"}\'; exit 0\n'},
    "junk-crashes": {"steps.sh": "kill -SEGV $$\n"},
    "junk-hangs": {"steps.sh": "sleep 600 & sleep 600\n"},
}


@dataclass(frozen=True)
class Case:
    """One answer to grade. `files` are directories of the lab, each lying over the one before, or literal junk."""

    name: str
    files: tuple[Path, ...] = ()
    literal: tuple[tuple[str, str], ...] = ()
    fails: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()
    junk: bool = False


@dataclass(frozen=True)
class Outcome:
    """`problems` is empty when the lab judged the answer as it should."""

    case: str
    problems: tuple[str, ...]
    report: Report


def cases(lab: Lab) -> list[Case]:
    """Every answer the lab must judge rightly."""
    every, solution = tuple(stage.id for stage in lab.stages), lab.directory / "solution"
    found = [
        Case("starter", (lab.directory / "starter",), fails=every, junk=True),
        Case("solution", (solution,), passes=every),
        Case("solution-alt", (lab.directory / "solution-alt",), passes=every),
    ]
    for mutant in lab.mutants():
        fails, passes = lint.expectation(mutant)
        found.append(Case(mutant.name, (solution, mutant), fails=tuple(fails), passes=tuple(passes)))
    return found + [Case(name, literal=tuple(files.items()), fails=every, junk=True) for name, files in _JUNK.items()]


def run(
    lab: Lab, profile: str, only: Iterable[str] = (), tell: Callable[[Outcome], None] = lambda outcome: None
) -> list[Outcome]:
    """Judge every case (or those named in `only`) on the cluster; `tell` hears of each as it ends."""
    wanted = set(only)
    chosen = [case for case in cases(lab) if not wanted or case.name in wanted]
    alone = [case for case in chosen if any(lab.stage(name).disruptive for name in _reached(lab, case))]

    def one(case: Case) -> Outcome:
        outcome = _run(lab, profile, case)
        tell(outcome)
        return outcome

    with ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="selftest") as pool:
        outcomes = list(pool.map(one, [case for case in chosen if case not in alone]))
    return outcomes + [one(case) for case in alone]


def _judged(lab: Lab, case: Case) -> set[str]:
    """The named stages and whatever they need."""
    names = {*case.fails, *case.passes}
    while more := {needed for name in names for needed in lab.stage(name).needs} - names:
        names |= more
    return names


def _reached(lab: Lab, case: Case) -> set[str]:
    """The stages that will really run. Junk and starters are meant to fail the first, so the rest is blocked."""
    judged = _judged(lab, case)
    return {name for name in judged if not lab.stage(name).needs} if case.junk else judged


def _run(lab: Lab, profile: str, case: Case) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="minikube-py-selftest-") as scratch:
        files = Path(scratch)
        attempt = Attempt(lab, profile, f"selftest-{case.name}", files, _KEY)
        for directory in case.files:
            params.render_tree(directory, files, attempt.params)
        for name, text in case.literal:
            (files / name).write_text(text)
        report = grade(attempt, _judged(lab, case), _JUNK_SECONDS if case.junk else 60.0)
        problems = _differences(case, report)
        try:
            scene.clear(lab, attempt.world(), attempt.manager)
        except Exception as error:  # the report tells of it; the next case starts from a clean scene anyway
            problems.append(f"clean-up failed: {error}")
        return Outcome(case.name, tuple(problems), report)


def _differences(case: Case, report: Report) -> list[str]:
    if report.exit_code == EXIT_INFRASTRUCTURE:
        broken = report.problem or "; ".join(
            f"{s.id}: {s.observed}" for s in report.stages if s.verdict == "infrastructure"
        )
        return [f"infrastructure: {broken}"]
    problems = []
    for stage in report.stages:
        said = f"{stage.observed} (expected: {stage.expected})"
        if stage.id in case.passes and stage.verdict != PASSED:
            problems.append(f"{stage.id} should pass, but {stage.verdict}: {said}")
        elif stage.id in case.fails and (stage.verdict == PASSED or (not case.junk and stage.verdict != FAILED)):
            problems.append(f"{stage.id} should fail, but {stage.verdict}: {stage.observed}")
    if case.fails and report.exit_code == EXIT_PASS:
        problems.append("it passed as a whole")
    return problems
