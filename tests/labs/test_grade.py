"""Verdicts: what the pytest process says becomes data, and whatever goes wrong there is never a pass and never a zero."""

from pathlib import Path

import pytest

from minikube_py.labkit import grade as grading
from minikube_py.labkit import lab as labs
from minikube_py.labkit import submission
from minikube_py.labkit.errors import Infrastructure
from minikube_py.labkit.grade import Attempt, Report, StageResult

TABLE = """
id: 99-paper
version: 1
title: on paper
stages:
  - {id: one, title: first, points: 40, timeout: 20}
  - {id: two, title: second, points: 30, timeout: 0.5, needs: [one]}
  - {id: three, title: third, points: 30, timeout: 20, needs: [two]}
submit: ["*.yaml", "steps.sh"]
"""
HEAD = """
import os, time
from minikube_py.labkit.errors import CheckFailed, Infrastructure
from minikube_py.labkit.plugin import stage
"""
PASS = '@stage("{0}")\ndef test_{0}(world):\n    world.note("seen")\n'


@pytest.fixture
def paper(tmp_path: Path) -> Attempt:
    directory = tmp_path / "99-paper"
    (directory / "checks").mkdir(parents=True)
    (directory / "lab.yaml").write_text(TABLE)
    return Attempt(labs.load(directory), "nobody", "ada", tmp_path, b"key")


def _check(paper: Attempt, tmp_path: Path, *checks: str) -> list[StageResult]:
    (paper.lab.directory / "checks/test_paper.py").write_text(HEAD + "\n".join(checks))
    return grading._check(paper, list(paper.lab.stages), [], "nonce", tmp_path)


def _body(stage: str, line: str) -> str:
    return f'@stage("{stage}")\ndef test_{stage}():\n    {line}\n'


def _exit(results: list[StageResult]) -> int:
    return Report("99-paper", 1, "ada", "seed", "nonce", tuple(results)).exit_code


def test_all_stages_pass_in_the_order_of_the_table(paper: Attempt, tmp_path: Path) -> None:
    results = _check(paper, tmp_path, PASS.format("three"), PASS.format("two"), PASS.format("one"))
    assert [(r.id, r.verdict, list(r.notes)) for r in results] == [
        (s, "passed", ["seen"]) for s in ("one", "two", "three")
    ]
    assert _exit(results) == 0


def test_a_failure_blocks_what_needs_it(paper: Attempt, tmp_path: Path) -> None:
    failing = _body("two", 'raise CheckFailed("a cat", "a dog", "the basket")')
    results = _check(paper, tmp_path, PASS.format("one"), failing, PASS.format("three"))
    assert [r.verdict for r in results] == ["passed", "failed", "blocked"]
    assert (results[1].expected, results[1].observed, results[1].look) == ("a cat", "a dog", "the basket")
    assert _exit(results) == 1


def test_the_worst_test_of_a_stage_counts(paper: Attempt, tmp_path: Path) -> None:
    second = '@stage("one")\ndef test_another():\n    assert 1 == 2\n'
    results = _check(paper, tmp_path, second, PASS.format("one"), PASS.format("two"), PASS.format("three"))
    assert results[0].verdict == "failed"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ('raise Infrastructure("engine away")', "engine away"),
        ("time.sleep(9)", "did not end"),
    ],
)
def test_a_checker_that_breaks_is_infrastructure(paper: Attempt, tmp_path: Path, line: str, said: str) -> None:
    results = _check(paper, tmp_path, PASS.format("one"), _body("two", line), PASS.format("three"))
    assert [r.verdict for r in results] == ["passed", "infrastructure", "blocked"]
    assert said in results[1].observed
    assert _exit(results) == 3


def test_a_stage_without_a_check_is_infrastructure(paper: Attempt, tmp_path: Path) -> None:
    results = _check(paper, tmp_path, PASS.format("one"), PASS.format("two"))
    assert [r.verdict for r in results] == ["passed", "passed", "infrastructure"]
    assert _exit(results) == 3


@pytest.mark.parametrize("line", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_a_process_that_dies_leaves_no_verdict(paper: Attempt, tmp_path: Path, line: str) -> None:
    with pytest.raises(Infrastructure, match="no result"):
        _check(paper, tmp_path, PASS.format("one"), _body("two", line), PASS.format("three"))


def test_a_file_that_cannot_be_imported_is_infrastructure(paper: Attempt, tmp_path: Path) -> None:
    assert _exit(_check(paper, tmp_path, "import no_such_module")) == 3


def test_no_stage_at_all_is_no_pass() -> None:
    assert _exit([]) == 3


def test_without_a_cluster_every_stage_is_infrastructure(
    paper: Attempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIKUBE_PY_HOME", str(tmp_path / "home"))
    (tmp_path / "pod.yaml").write_text("kind: Pod\nmetadata: {name: a}\n")
    report = grading.grade(paper)
    assert {stage.verdict for stage in report.stages} == {"infrastructure"}
    assert report.exit_code == 3 and "nobody" in report.problem


def test_nothing_handed_in_is_a_failure_not_an_error(paper: Attempt) -> None:
    report = grading.grade(paper)
    assert [stage.verdict for stage in report.stages] == ["failed", "blocked", "blocked"]
    assert report.exit_code == 1 and report.points == 0


def test_only_named_files_are_taken_and_no_links(paper: Attempt, tmp_path: Path) -> None:
    secret, target = tmp_path / "secret", tmp_path / "target"
    secret.write_text("a: b")
    for name in ("a.yaml", "b.txt", "steps.sh"):
        (tmp_path / name).write_text("kind: Pod")
    (tmp_path / "link.yaml").symlink_to(secret)
    assert [f.name for f in submission.collect(paper.lab, tmp_path, target)] == ["a.yaml", "steps.sh"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "a.yaml"),
        ("- 1\n- 2", "no object"),
        ("kind: Pod", "metadata.name"),
        ("kind: List\nitems: [1]", "kind"),
        ("kind: Pod\nmetadata: {name: yes}", "metadata.name"),
        ("metadata: {name: a}", "kind"),
    ],
)
def test_bad_manifests_are_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    objects, problem = submission.parse([tmp_path / "a.yaml"])
    assert objects == [] and said in problem


def test_namespaces_come_first_and_lists_are_unpacked(tmp_path: Path) -> None:
    pod, space = "{kind: Pod, metadata: {name: pod}}", "{kind: Namespace, metadata: {name: space}}"
    (tmp_path / "a.yaml").write_text(f"{{kind: List, items: [{pod}, {space}]}}\n---\n{pod}\n")
    objects, problem = submission.parse([tmp_path / "a.yaml"])
    assert [obj["kind"] for obj in objects] == ["Namespace", "Pod", "Pod"] and problem == ""
