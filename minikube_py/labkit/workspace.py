"""A student's working directory: rendered README and starter files, and what has been reached so far.

Who calls it: `minikube-py labs`. Invariant: `.lab.json` holds which lab, student and cluster this is, the last report's
verdicts, hint levels and whether the solution is open; parameters are not stored but drawn again from the seed.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from minikube_py.labkit import lab as labs
from minikube_py.labkit import params
from minikube_py.labkit.errors import LabError
from minikube_py.labkit.grade import Attempt, Report
from minikube_py.labkit.lint import HINTS
from minikube_py.labkit.plugin import PASSED

STATE = ".lab.json"


@dataclass(frozen=True)
class Workspace:
    """One student's copy of one lab. `failing` is the first stage that did not pass in the last check."""

    directory: Path
    lab: str
    version: int
    student: str
    profile: str
    failing: str = ""
    passed: bool = False
    hints: dict[str, int] = field(default_factory=dict)

    def attempt(self) -> Attempt:
        """What grading needs. Raises LabError when the lab's version is not the one that was started."""
        lab = labs.find(self.lab)
        if lab.version != self.version:
            raise LabError(
                f"{self.directory} was made for version {self.version} of {lab.id}, now it is {lab.version}; start anew"
            )
        return Attempt(lab, self.profile, self.student, self.directory, params.local_key())

    def save(self) -> "Workspace":
        data = {key: value for key, value in asdict(self).items() if key != "directory"}
        temporary = self.directory / f"{STATE}.new"
        temporary.write_text(json.dumps(data, indent=2) + "\n")
        temporary.replace(self.directory / STATE)
        return self

    def after(self, report: Report) -> "Workspace":
        """The state after a check that could be made."""
        failing = next((stage.id for stage in report.stages if stage.verdict != PASSED), "")
        return replace(self, failing=failing, passed=self.passed or not failing).save()

    def hint(self, check: str = "") -> tuple["Workspace", str, int, str]:
        """The next hint: (new state, the check, its level from 1, the text). Raises LabError when no check is meant."""
        attempt = self.attempt()
        name = check or self.failing
        if not name:
            raise LabError("nothing has failed yet; run a check first, or name one: minikube-py labs hint --check NAME")
        attempt.lab.stage(name)
        level = min(self.hints.get(name, 0) + 1, HINTS)
        text = (attempt.lab.directory / "hints" / name / f"{level}.md").read_text()
        return (
            replace(self, hints={**self.hints, name: level}).save(),
            name,
            level,
            params.render(text, attempt.params).strip(),
        )

    def write_files(self) -> None:
        """README and starter files, over what is there."""
        attempt = self.attempt()
        readme = (attempt.lab.directory / "README.md").read_text()
        (self.directory / "README.md").write_text(params.render(readme, attempt.params))
        params.render_tree(attempt.lab.directory / "starter", self.directory, attempt.params)

    def write_solutions(self) -> list[Path]:
        """Both solutions, as directories inside the working directory."""
        attempt, made = self.attempt(), []
        for name in ("solution", "solution-alt"):
            made.append(self.directory / name)
            params.render_tree(attempt.lab.directory / name, made[-1], attempt.params)
        return made


def create(directory: Path, lab: str, student: str, profile: str) -> Workspace:
    """A new working directory. Raises LabError when files are there already."""
    if directory.exists() and any(directory.iterdir()):
        raise LabError(f"{directory} is not empty; go on there with: minikube-py labs check {directory}")
    found = labs.find(lab)
    directory.mkdir(parents=True, exist_ok=True)
    made = Workspace(directory, found.id, found.version, student, profile).save()
    made.write_files()
    return made


def find(place: Path) -> Workspace:
    """The working directory at `place`. Raises LabError when there is none."""
    file = place / STATE
    try:
        data = json.loads(file.read_text())
        return Workspace(directory=place.resolve(), **data)
    except FileNotFoundError:
        raise LabError(f"{place} is no lab's working directory; make one with: minikube-py labs start LAB") from None
    except (ValueError, TypeError) as error:
        raise LabError(f"{file} cannot be read ({error}); start anew") from None
