"""Every lab judges right and wrong answers rightly, on the one shared cluster; and the student's commands, end to end."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minikube_py.api.gvr import NAMESPACES
from minikube_py.api.meta import name_of
from minikube_py.labkit import cleanup, selftest, submission, workspace
from minikube_py.labkit import lab as labs
from tests.clusters import Cluster


@pytest.fixture
def work(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    """A started lab 1."""
    place = tmp_path / "work"
    cluster.minikube("labs", "start", "1", str(place), "--student", "ada")
    yield place
    cluster.run(["rm", "-rf", str(place)])


def _labs(cluster: Cluster, *arguments: str) -> tuple[int, str]:
    """`minikube-py labs …` (these commands take no profile: the working directory knows it)."""

    done = cluster.run([sys.executable, "-m", "minikube_py.cli.main", "labs", *arguments], check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_student_fails_gets_hints_passes_and_sees_the_solution(cluster: Cluster, work: Path) -> None:
    code, said = _labs(cluster, "check", str(work), "--json")
    report = json.loads(said)
    assert code == 1 and report["points"] == 0
    assert [stage["verdict"] for stage in report["stages"]] == ["failed", "blocked", "blocked", "blocked"]
    levels = [json.loads(_labs(cluster, "hint", str(work), "--json")[1]) for _ in range(4)]
    assert [(hint["check"], hint["level"]) for hint in levels] == [
        ("serve", 1),
        ("serve", 2),
        ("serve", 3),
        ("serve", 3),
    ]
    assert len({hint["text"] for hint in levels}) == 3
    assert _labs(cluster, "solution", str(work))[0] == 2
    assert _labs(cluster, "solution", str(work), "--give-up")[0] == 0
    for file in (work / "solution").iterdir():
        (work / file.name).write_text(file.read_text())
    code, said = _labs(cluster, "check", str(work))
    assert code == 0 and "100 of 100 points" in said, said
    assert _labs(cluster, "solution", str(work))[0] == 0


def test_starting_over_a_directory_with_files_is_refused(cluster: Cluster, work: Path) -> None:
    code, said = _labs(cluster, "start", "1", str(work), "-p", cluster.name)
    assert code == 2 and "not empty" in said
    assert _labs(cluster, "reset", str(work), "--files")[0] == 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [lab.id for lab in labs.load_all()])
def test_right_answers_pass_and_wrong_ones_fail_where_they_should(cluster: Cluster, name: str) -> None:
    before = {name_of(n) for n in cluster.client.list(NAMESPACES)["items"]}
    lab = labs.find(name)
    outcomes = selftest.run(lab, cluster.name)
    assert {outcome.case: outcome.problems for outcome in outcomes if outcome.problems} == {}
    assert len(outcomes) == len(selftest.cases(lab))
    assert {name_of(n) for n in cluster.client.list(NAMESPACES)["items"]} <= before
    seeds = [f"lab-{lab.id}-{outcome.report.seed[:12]}" for outcome in outcomes]
    assert [manager for manager in seeds[:3] if cleanup.applied_by(cluster.client, manager)] == []
    assert all(not node.stopped for node in cluster.profile.nodes)


def test_a_world_shows_processes_and_runs_commands_inside(cluster: Cluster, work: Path) -> None:
    attempt = workspace.find(work).attempt()
    manifests, _ = submission.parse(sorted(work.glob("*.yaml")))
    world = attempt.world()
    assert submission.apply(world, manifests, attempt.manager) == ""
    pod = world.ready_pod(world.text("namespace"), world.text("pod"), 30)
    [container] = world.containers.running(world.text("namespace"), world.text("pod"))
    assert container.uid == pod["metadata"]["uid"] and container.node == pod["spec"]["nodeName"]
    assert b"sleep" in Path(f"/proc/{world.containers.process_id(container)}/cmdline").read_bytes()
    assert world.containers.execute(container, ["hostname"]) == (0, f"{name_of(pod)}\n")
    assert world.containers.execute(container, ["false"])[0] == 1
