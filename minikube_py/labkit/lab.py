"""A lab as it lies on disk: `lab.yaml` and the directories beside it.

Who calls it: the CLI, grading, lint and self-test. Invariant: a `Lab` that was loaded has every field well-formed (LabError
otherwise); whether it is complete (points, hints, mutants) is `lint.py`'s question.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minikube_py.api import yaml
from minikube_py.labkit.errors import LabError

_STAGE_FIELDS = {"id", "title", "points", "timeout", "visibility", "needs", "disruptive"}
_FIELDS = {"id", "version", "title", "requires", "params", "stages", "submit"}


@dataclass(frozen=True)
class Stage:
    """One graded step. `timeout` in seconds; `needs` names stages without which it is not tried."""

    id: str
    title: str
    points: int
    timeout: float
    visibility: str = "public"
    needs: tuple[str, ...] = ()
    disruptive: bool = False


@dataclass(frozen=True)
class Lab:
    """`params` is the raw table that `params.draw` reads; `submit` holds the globs of what a student hands in."""

    id: str
    version: int
    title: str
    directory: Path
    nodes: int
    gpu: str
    params: Mapping[str, Mapping[str, Any]]
    stages: tuple[Stage, ...]
    submit: tuple[str, ...]

    def stage(self, name: str) -> Stage:
        """The stage called `name`. Raises LabError."""
        for stage in self.stages:
            if stage.id == name:
                return stage
        raise LabError(f"lab {self.id} has no check {name!r} (it has: {', '.join(s.id for s in self.stages)})")

    def mutants(self) -> list[Path]:
        """The directories of the wrong answers, by name."""
        directory = self.directory / "mutants"
        return sorted(path for path in directory.iterdir() if path.is_dir()) if directory.is_dir() else []


def root() -> Path:
    """Where the labs lie: beside the packages, in a checkout and in an installation alike."""
    return Path(__file__).resolve().parents[2] / "labs"


def load_all() -> list[Lab]:
    """Every lab, in order of their names. Raises LabError for the first that is malformed."""
    return [load(file.parent) for file in sorted(root().glob("*/lab.yaml"))]


def find(name: str) -> Lab:
    """The lab with this id; its number ("1", "01") is enough. Raises LabError naming the ones there are."""
    labs = load_all()
    for lab in labs:
        number = lab.id.partition("-")[0]
        if name in (lab.id, number, number.lstrip("0")):
            return lab
    raise LabError(f"no lab {name!r} (there are: {', '.join(lab.id for lab in labs) or 'none'})")


def load(directory: Path) -> Lab:
    """Read `lab.yaml`. Raises LabError."""
    file = directory / "lab.yaml"
    try:
        data = yaml.load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise LabError(f"{file}: {error}") from None
    if not isinstance(data, dict):
        raise LabError(f"{file} holds no mapping")
    try:
        return _lab(directory, data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LabError(f"{file}: missing or malformed: {error}") from None


def _lab(directory: Path, data: Mapping[str, Any]) -> Lab:
    if unknown := set(data) - _FIELDS:
        raise ValueError(f"unknown fields {', '.join(sorted(unknown))}")
    requires = data.get("requires") or {}
    return Lab(
        id=str(data["id"]), version=int(data["version"]), title=str(data["title"]), directory=directory,
        nodes=int(requires.get("nodes", 1)), gpu=str(requires.get("gpu", "none")), params=data.get("params") or {},
        stages=tuple(_stage(entry) for entry in data["stages"]), submit=tuple(data["submit"]),
    )  # fmt: skip


def _stage(entry: Mapping[str, Any]) -> Stage:
    if unknown := set(entry) - _STAGE_FIELDS:
        raise ValueError(f"unknown fields of a stage: {', '.join(sorted(unknown))}")
    return Stage(
        id=str(entry["id"]), title=str(entry["title"]), points=int(entry["points"]), timeout=float(entry["timeout"]),
        visibility=str(entry.get("visibility", "public")), needs=tuple(entry.get("needs") or ()),
        disruptive=bool(entry.get("disruptive", False)),
    )  # fmt: skip
