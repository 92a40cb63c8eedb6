"""Every lab is complete, and lint sees what an incomplete one lacks."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from minikube_py.api import yaml
from minikube_py.cli.main import main
from minikube_py.labkit import lab as labs
from minikube_py.labkit import lint, params, selftest
from minikube_py.labkit.errors import LabError

IDS = [lab.id for lab in labs.load_all()]
FIRST = "01-first-pod"


def test_there_are_labs() -> None:
    assert FIRST in IDS


@pytest.mark.parametrize("name", IDS)
def test_every_lab_is_complete(name: str) -> None:
    assert lint.problems(labs.find(name)) == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    target = tmp_path / FIRST
    shutil.copytree(labs.find(FIRST).directory, target)
    return target


def _edit(directory: Path, old: str, new: str) -> None:
    text = (directory / "lab.yaml").read_text()
    assert old in text
    (directory / "lab.yaml").write_text(text.replace(old, new))


def test_points_must_add_up(copy: Path) -> None:
    _edit(copy, "points: 30", "points: 31")
    assert lint.problems(labs.load(copy)) == ["01-first-pod: its points add up to 101, not 100"]


def test_a_missing_hint_is_seen(copy: Path) -> None:
    (copy / "hints/serve/2.md").unlink()
    assert lint.problems(labs.load(copy)) == ["01-first-pod: hints/serve/2.md is missing"]


def test_a_stage_without_mutant_is_seen(copy: Path) -> None:
    shutil.rmtree(copy / "mutants/never-restarts")
    assert lint.problems(labs.load(copy)) == [
        "01-first-pod: no mutant fails stage survive: its check may be decoration"
    ]


def test_a_stage_without_check_is_seen(copy: Path) -> None:
    check = copy / "checks/test_first_pod.py"
    check.write_text(check.read_text().replace('@stage("follow")', '@stage("elsewhere")'))
    assert len(lint.problems(labs.load(copy))) == 2


def test_a_template_that_names_no_parameter_is_seen(copy: Path) -> None:
    (copy / "starter/pod.yaml").write_text("name: {{ nobody }}\n")
    assert len(lint.problems(labs.load(copy))) == 1


@pytest.mark.parametrize(
    ("old", "new"), [("version: 1", "version: one"), ("stages:", "stadiums:"), ("submit:", "submit")]
)
def test_a_malformed_table_is_one_sentence(copy: Path, old: str, new: str) -> None:
    _edit(copy, old, new)
    with pytest.raises(LabError, match=r"lab\.yaml"):
        labs.load(copy)


@pytest.mark.parametrize("name", IDS)
def test_every_answer_is_rendered_as_yaml(name: str, tmp_path: Path) -> None:
    lab = labs.find(name)
    for case in selftest.cases(lab):
        drawn = params.draw(lab.params, params.seed(b"key", case.name, lab.id))
        for directory in case.files:
            params.render_tree(directory, tmp_path / case.name, drawn)
        if case.files:
            found = [obj for file in (tmp_path / case.name).glob("*.yaml") for obj in yaml.load_all(file.read_text())]
            assert found and all(obj["metadata"]["name"] for obj in found)


def test_list_and_exit_codes() -> None:
    run = CliRunner().invoke
    assert FIRST in run(main, ["labs", "list"]).output
    assert run(main, ["labs", "dev", "lint"]).exit_code == 0
    assert run(main, ["labs", "dev", "lint", "nobody"]).exit_code == 2
    assert run(main, ["labs", "check", "/nowhere"]).exit_code == 2
    assert run(main, ["labs", "no-such-command"]).exit_code == 2


def test_without_a_cluster_the_exit_code_is_infrastructure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIKUBE_PY_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(main, ["labs", "start", "1", str(tmp_path / "work"), "-p", "nobody"])
    assert result.exit_code == 3
    assert not (tmp_path / "work").exists()
