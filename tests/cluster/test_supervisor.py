"""The supervisor, with components that are two lines long: starts, restarts, obeys `cluster.json`, ends everything."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minikube_py.cluster import process
from tests import harness

_COMPONENT = """
import signal, time
def parse(argv): return argv
def run(argv):
    if "crash" in argv: raise SystemExit("no such store; start it first")
    signal.pause()
"""
_DRIVER = """
import sys
from minikube_py.cluster import supervisor
from minikube_py.cluster.components import Component
from minikube_py.cluster.profile import Profile
def table(profile):
    return [Component(node.name, "two_lines", (profile.gpus,)) for node in profile.nodes if not node.stopped]
supervisor.components = table
supervisor.main(sys.argv[1])
"""


@pytest.fixture
def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    from minikube_py.cluster.profile import Profile

    monkeypatch.setenv("MINIKUBE_PY_HOME", str(tmp_path))
    (tmp_path / "two_lines.py").write_text(_COMPONENT)
    (tmp_path / "driver.py").write_text(_DRIVER)
    Profile("test", 0, 1).with_nodes(2).save()
    environment = {
        **harness.environment(),
        "PYTHONPATH": f"{harness.ROOT}:{tmp_path}",
        "MINIKUBE_PY_HOME": str(tmp_path),
    }
    child = subprocess.Popen([sys.executable, str(tmp_path / "driver.py"), "test"], env=environment)
    directory = tmp_path / "profiles" / "test"
    harness.eventually(lambda: _pid(directory, "node-1") and _pid(directory, "node-2"), what="both components")
    yield directory
    harness.stop(child)


def _pid(directory: Path, name: str) -> int:
    return process.read_pid(directory / "run" / f"{name}.pid")


def test_a_killed_component_is_back_and_counted(supervised: Path) -> None:
    first = _pid(supervised, "node-1")
    os.kill(first, signal.SIGKILL)
    harness.eventually(lambda: _pid(supervised, "node-1") not in (0, first), what="a new process")
    report = json.loads((supervised / "run" / "components.json").read_text())
    assert report["node-1"]["restarts"] == 1
    assert report["node-1"]["last_exit"] == "signal SIGKILL"
    assert report["node-2"]["restarts"] == 0


def test_desired_state_is_obeyed(supervised: Path) -> None:
    from dataclasses import replace

    from minikube_py.cluster import profile as profiles

    profile = profiles.load("test")
    kept = _pid(supervised, "node-1")
    profile.with_node(replace(profile.node("node-2"), stopped=True)).save()
    os.kill(int((supervised / "run" / "supervisor.pid").read_text()), signal.SIGHUP)
    harness.eventually(lambda: not _pid(supervised, "node-2"), what="node-2 stopped")
    profile.save()
    os.kill(int((supervised / "run" / "supervisor.pid").read_text()), signal.SIGHUP)
    harness.eventually(lambda: _pid(supervised, "node-2"), what="node-2 started")
    assert _pid(supervised, "node-1") == kept


def test_its_end_is_everybodys(supervised: Path) -> None:
    pids = [_pid(supervised, "node-1"), _pid(supervised, "node-2")]
    os.kill(int((supervised / "run" / "supervisor.pid").read_text()), signal.SIGTERM)
    harness.eventually(lambda: not any(process.alive(pid) for pid in pids), what="the components gone")
    harness.eventually(lambda: not list((supervised / "run").glob("*.pid")), what="its pid files gone")


def test_a_component_that_cannot_start_says_why_and_is_tried_ever_less_often(supervised: Path) -> None:
    from dataclasses import replace

    from minikube_py.cluster import profile as profiles

    replace(profiles.load("test"), gpus="crash").save()
    os.kill(int((supervised / "run" / "supervisor.pid").read_text()), signal.SIGHUP)
    report = supervised / "run" / "components.json"
    harness.eventually(lambda: json.loads(report.read_text())["node-1"]["restarts"] >= 3, what="three attempts")
    assert "no such store; start it first" in (supervised / "logs" / "node-1.log").read_text()
    assert json.loads(report.read_text())["node-1"]["last_exit"] == "exit code 1"
