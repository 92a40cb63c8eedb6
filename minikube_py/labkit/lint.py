"""What a lab must have before anybody gets to see it.

Who calls it: `labs dev lint` and the tests. Invariant: pure reading; nothing runs.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from minikube_py.api import yaml
from minikube_py.labkit import params
from minikube_py.labkit.errors import LabError
from minikube_py.labkit.lab import Lab

HINTS = 3
MUTANTS = 3
TOTAL = 100
_STAGE = re.compile(r"@stage\(\"([^\"]+)\"\)")
_GPUS = ("none", "mock", "real")
_VISIBLE = ("public", "hidden")


def problems(lab: Lab) -> list[str]:
    """One sentence per thing that is missing or wrong; empty for a complete lab."""
    return [
        f"{lab.id}: {problem}"
        for check in (_table, _files, _hints, _checks, _params, _mutants)
        for problem in check(lab)
    ]


def _table(lab: Lab) -> Iterator[str]:
    if lab.id != lab.directory.name:
        yield f"its directory is called {lab.directory.name}"
    if (total := sum(stage.points for stage in lab.stages)) != TOTAL:
        yield f"its points add up to {total}, not {TOTAL}"
    if lab.gpu not in _GPUS:
        yield f"requires.gpu is {lab.gpu!r}, not one of {', '.join(_GPUS)}"
    seen: set[str] = set()
    for stage in lab.stages:
        if stage.id in seen:
            yield f"two stages are called {stage.id}"
        if missing := set(stage.needs) - seen:
            yield f"stage {stage.id} needs {', '.join(sorted(missing))}, which does not come before it"
        if stage.points <= 0 or stage.timeout <= 0:
            yield f"stage {stage.id} needs points and a timeout above zero"
        if stage.visibility not in _VISIBLE:
            yield f"stage {stage.id} is neither {' nor '.join(_VISIBLE)}"
        seen.add(stage.id)


def _files(lab: Lab) -> Iterator[str]:
    for name in ("README.md", "scene.py"):
        if not (lab.directory / name).is_file():
            yield f"{name} is missing"
    for name in ("starter", "solution", "solution-alt"):
        if not any((lab.directory / name).glob("*")):
            yield f"{name}/ is missing or empty"


def _hints(lab: Lab) -> Iterator[str]:
    hints = lab.directory / "hints"
    for stage in lab.stages:
        for level in range(1, HINTS + 1):
            if not (hints / stage.id / f"{level}.md").is_file():
                yield f"hints/{stage.id}/{level}.md is missing"
    known = {stage.id for stage in lab.stages}
    for entry in hints.glob("*"):
        if entry.name not in known:
            yield f"hints/{entry.name} belongs to no stage"


def _checks(lab: Lab) -> Iterator[str]:
    marked = {
        name for file in (lab.directory / "checks").glob("test_*.py") for name in _STAGE.findall(file.read_text())
    }
    known = {stage.id for stage in lab.stages}
    for name in sorted(known - marked):
        yield f"no check is marked @stage({name!r})"
    for name in sorted(marked - known):
        yield f"a check is marked @stage({name!r}), which lab.yaml does not list"


def _params(lab: Lab) -> Iterator[str]:
    """The rules draw, and no template names a parameter that does not exist."""
    try:
        drawn = params.draw(lab.params, params.seed(b"lint", "lint", lab.id))
    except LabError as error:
        yield str(error)
        return
    trees = ("starter", "solution", "solution-alt", "hints", "mutants")
    files = [path for tree in trees for path in sorted((lab.directory / tree).rglob("*")) if path.is_file()]
    for file in [lab.directory / "README.md", *files]:
        if file.suffix == ".pyc" or not file.exists():
            continue
        try:
            params.render(file.read_text(), drawn)
        except LabError as error:
            yield f"{file.relative_to(lab.directory)}: {error}"


def _mutants(lab: Lab) -> Iterator[str]:
    known = {stage.id for stage in lab.stages}
    failed: set[str] = set()
    mutants = lab.mutants()
    if len(mutants) < MUTANTS:
        yield f"it has {len(mutants)} mutants, at least {MUTANTS} are needed"
    for mutant in mutants:
        try:
            fails, passes = expectation(mutant)
        except LabError as error:
            yield str(error)
            continue
        if unknown := {*fails, *passes} - known:
            yield f"mutants/{mutant.name} names stages that do not exist: {', '.join(sorted(unknown))}"
        if not fails or set(fails) & set(passes):
            yield f"mutants/{mutant.name} must fail something, and nothing that it passes"
        failed.update(fails)
    for name in sorted(known - failed):
        yield f"no mutant fails stage {name}: its check may be decoration"


def expectation(mutant: Path) -> tuple[list[str], list[str]]:
    """`expect.yaml` of a mutant: (the stages it must fail, the stages it must pass). Raises LabError."""
    try:
        data = yaml.load((mutant / "expect.yaml").read_text())
        return [str(s) for s in data["fails"]], [str(s) for s in data.get("passes") or []]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise LabError(f"mutants/{mutant.name}/expect.yaml: {error}") from None
