"""`minikube-py labs …`: list, start, check, hint, reset and solve labs; lint and self-test them.

Who calls it: `cli/main.py`. The work is done in `minikube_py.labkit`. Invariant: exit code 0 pass, 1 fail, 2 usage,
3 infrastructure, and `--json` says the same as the text.
"""

import getpass
import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minikube_py.api.errors import APIError
from minikube_py.cli.cluster_commands import profile_option
from minikube_py.cluster import profile as profiles
from minikube_py.cluster.errors import ClusterError

if TYPE_CHECKING:
    from minikube_py.labkit.grade import Report
    from minikube_py.labkit.lab import Lab
    from minikube_py.labkit.selftest import Outcome
    from minikube_py.labkit.workspace import Workspace

_EXIT_FAIL, _EXIT_USAGE, _EXIT_INFRASTRUCTURE = 1, 2, 3
_MARKS = {
    "passed": ("✓", "green"),
    "failed": ("✗", "red"),
    "blocked": ("·", "yellow"),
    "infrastructure": ("!", "magenta"),
}

json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
place_argument = click.argument("place", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))


class LabGroup(click.Group):
    """A group whose errors end in the labs' own exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        from minikube_py.labkit.errors import Infrastructure, LabError

        try:
            return super().invoke(ctx)
        except LabError as error:
            _fail(error, _EXIT_USAGE)
        except (Infrastructure, ClusterError, APIError, OSError) as error:
            _fail(error, _EXIT_INFRASTRUCTURE)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception:  # Python's own exit code for this is 1, which here would mean that the student failed
            traceback.print_exc()
            sys.exit(_EXIT_INFRASTRUCTURE)


def _fail(error: Exception, code: int) -> None:
    click.echo(f"{click.style('error:', fg='red')} {error}", err=True)
    sys.exit(code)


@click.group(cls=LabGroup)
def labs() -> None:
    """Learn by doing: exercises that observe your cluster. Exit codes: 0 pass, 1 fail, 2 usage, 3 infrastructure."""


@labs.command("list")
@json_option
def list_labs(as_json: bool) -> None:
    """Show the labs there are."""
    from minikube_py.labkit import lab as found

    every = found.load_all()
    if as_json:
        click.echo(json.dumps([_lab_data(lab) for lab in every], indent=2))
        return
    for lab in every:
        click.echo(f"{lab.id:<20} {lab.title}  ({len(lab.stages)} checks, {lab.nodes} node{'s' * (lab.nodes > 1)})")


def _lab_data(lab: "Lab") -> dict[str, object]:
    stages = [{"id": s.id, "title": s.title, "points": s.points} for s in lab.stages]
    requires = {"nodes": lab.nodes, "gpu": lab.gpu}
    return {"id": lab.id, "version": lab.version, "title": lab.title, "requires": requires, "stages": stages}


@labs.command()
@click.argument("lab")
@click.argument("place", metavar="[DIR]", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--student", default=getpass.getuser, help="Whose names and numbers to draw (default: you).")
@json_option
@profile_option
def start(lab: str, place: Path | None, student: str, as_json: bool, name: str) -> None:
    """Make a working directory (default: the lab's name) and prepare the cluster."""
    from minikube_py.labkit import lab as found
    from minikube_py.labkit import workspace

    profiles.load(name)
    made = workspace.create(place or Path(found.find(lab).id), lab, student, name)
    _prepare(made)
    if as_json:
        click.echo(json.dumps({"lab": made.lab, "directory": str(made.directory), "params": made.attempt().params}))
        return
    click.echo(
        f"{made.lab} is ready in {made.directory}: read README.md, then: minikube-py labs check {made.directory}"
    )


def _prepare(made: "Workspace") -> None:
    from minikube_py.labkit import scene

    attempt = made.attempt()
    scene.prepare(attempt.lab, attempt.world(), attempt.manager)


@labs.command()
@place_argument
@click.option("--only", multiple=True, metavar="CHECK", help="Only this check (may be repeated).")
@json_option
def check(place: Path, only: tuple[str, ...], as_json: bool) -> None:
    """Apply your files to a clean scene and observe what they do. What was applied stays, to look at."""
    from minikube_py.labkit import workspace
    from minikube_py.labkit.grade import EXIT_INFRASTRUCTURE, grade

    here = workspace.find(place)
    attempt = here.attempt()
    for one in only:
        attempt.lab.stage(one)
    report = grade(attempt, only)
    if report.exit_code != EXIT_INFRASTRUCTURE and not only:
        here.after(report)
    if as_json:
        click.echo(json.dumps(report.as_data(), indent=2))
    else:
        _show(report, attempt.lab, place)
    sys.exit(report.exit_code)


def _show(report: "Report", lab: "Lab", place: Path) -> None:
    for stage in report.stages:
        mark, colour = _MARKS[stage.verdict]
        click.echo(
            f" {click.style(mark, fg=colour)} {stage.id:<12} {stage.title:<60} {stage.points:>3}  {stage.seconds:5.1f} s"
        )
        for note in stage.notes:
            click.echo(f"     {note}")
        if stage.verdict in ("failed", "infrastructure") and lab.stage(stage.id).visibility == "public":
            for label, text in (("expected", stage.expected), ("observed", stage.observed), ("look at", stage.look)):
                if text:
                    click.echo(f"     {label + ':':<10}{text}")
    click.echo(f"{report.points} of {report.total} points  (seed {report.seed}, run {report.nonce})")
    failing = next((stage.id for stage in report.stages if stage.verdict == "failed"), "")
    if failing:
        click.echo(f"Stuck? minikube-py labs hint {place}")


@labs.command()
@place_argument
@click.option("--check", "check_name", default="", help="For this check (default: the one that failed first).")
@json_option
def hint(place: Path, check_name: str, as_json: bool) -> None:
    """Show the next of three hints for the check that failed: where to look, the mechanism, nearly the answer."""
    from minikube_py.labkit import workspace

    _, name, level, text = workspace.find(place).hint(check_name)
    if as_json:
        click.echo(json.dumps({"check": name, "level": level, "text": text}))
    else:
        click.echo(f"{name}, hint {level} of 3:\n\n{text}")


@labs.command()
@place_argument
@click.option("--files", is_flag=True, help="Restore README and starter files, too: your edits of them are lost.")
def reset(place: Path, files: bool) -> None:
    """Remove the lab's objects from the cluster and prepare the scene again."""
    from minikube_py.labkit import workspace

    here = workspace.find(place)
    _prepare(here)
    if files:
        here.write_files()
    click.echo(f"{here.lab}: the scene is as it was at the start")


@labs.command()
@place_argument
@click.option("--give-up", is_flag=True, help="Show it although you have not passed.")
def solution(place: Path, give_up: bool) -> None:
    """Put two different solutions beside your files. Opens when you have passed, or with --give-up."""
    from minikube_py.labkit import workspace
    from minikube_py.labkit.errors import LabError

    here = workspace.find(place)
    if not here.passed and not give_up:
        raise LabError(
            "the solution opens when every check has passed; to see it now: minikube-py labs solution --give-up"
        )
    for directory in here.write_solutions():
        click.echo(directory)


@labs.group()
def dev() -> None:
    """For authors: check that labs are complete and that they judge rightly."""


@dev.command()
@click.argument("lab", required=False)
@json_option
def lint(lab: str | None, as_json: bool) -> None:
    """Look for missing hints, checks, mutants, points, parameters. Exits 1 if something is missing."""
    from minikube_py.labkit import lab as found
    from minikube_py.labkit import lint as linter

    chosen = [found.find(lab)] if lab else found.load_all()
    problems = [problem for one in chosen for problem in linter.problems(one)]
    click.echo(json.dumps(problems) if as_json else "\n".join(problems) or f"{len(chosen)} labs are complete")
    sys.exit(_EXIT_FAIL if problems else 0)


@dev.command()
@click.argument("lab", required=False)
@click.option("--case", "only", multiple=True, help="Only this answer (may be repeated).")
@json_option
@profile_option
def selftest(lab: str | None, only: tuple[str, ...], as_json: bool, name: str) -> None:
    """Grade starter, solutions, mutants and junk; exits 1 if one of them is judged wrongly."""
    from minikube_py.labkit import lab as found
    from minikube_py.labkit import selftest as tester

    profiles.load(name)
    chosen = [found.find(lab)] if lab else found.load_all()
    outcomes = [(one.id, o) for one in chosen for o in tester.run(one, name, only, _quiet if as_json else _tell)]
    if as_json:
        data = [
            {"lab": lab, "case": o.case, "problems": o.problems, "report": o.report.as_data()} for lab, o in outcomes
        ]
        click.echo(json.dumps(data, indent=2))
    sys.exit(_EXIT_FAIL if any(outcome.problems for _, outcome in outcomes) else 0)


def _quiet(outcome: "Outcome") -> None:
    """JSON is printed at the end."""


def _tell(outcome: "Outcome") -> None:
    mark, colour = _MARKS["failed" if outcome.problems else "passed"]
    seconds = sum(stage.seconds for stage in outcome.report.stages)
    click.echo(f" {click.style(mark, fg=colour)} {outcome.report.lab} {outcome.case} ({seconds:.1f} s of checks)")
    for problem in outcome.problems:
        click.echo(f"     {problem}")
