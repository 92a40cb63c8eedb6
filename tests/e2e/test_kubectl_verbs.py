"""Every verb of stock kubectl against a real cluster, scene by scene (kubectl_verbs.yaml).

KUBECTL=PATH runs the same scenes with another kubectl, for example the newest one.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minikube_py.api import yaml
from tests.clusters import Cluster

TABLE = Path(__file__).with_name("kubectl_verbs.yaml")
SCENES: dict[str, list[dict[str, Any]]] = yaml.load_all(TABLE.read_bytes())[0]
KUBECTL = os.environ.get("KUBECTL", "kubectl")
PATIENCE = 60.0


def _commands(*path: str) -> set[str]:
    """The commands that `kubectl PATH --help` lists."""
    shown = subprocess.run([KUBECTL, *path, "--help"], capture_output=True, text=True, check=True).stdout
    listed = (
        shown.partition("Usage:")[0] if not path else shown.partition("Available Commands:")[2].partition("\n\n")[0]
    )
    return set(re.findall(r"^  ([a-z-]+) {2,}\S", listed, re.MULTILINE))


def test_every_verb_has_a_scene() -> None:
    """kubeconfig editing below `config` never reaches a server; one word of it is enough."""
    lines = "\n".join(step["run"] for scene in SCENES.values() for step in scene)
    used = set(re.findall(r"kubectl (?:--\S+ )*([a-z-]+)", lines))
    assert _commands() - {"kuberc"} <= used
    for group in ("create", "create service", "create secret", "set", "rollout", "auth", "certificate", "top", "apply"):
        used = set(re.findall(rf"kubectl (?:--\S+ )*{group} ([a-z-]+)", lines))
        missing = {verb for verb in _commands(*group.split()) if verb not in used}
        aliases = {"poddisruptionbudget": "pdb"}
        assert not {verb for verb in missing if aliases.get(verb) not in used}, group


class Stage:
    """One scene's namespace, directory and environment."""

    def __init__(self, cluster: Cluster, namespace: str, directory: Path) -> None:
        self.directory = directory
        path = directory / "kubeconfig"
        shutil.copy(cluster.kubeconfig, path)
        (directory / "bin").mkdir()
        found = shutil.which(KUBECTL)
        assert found, "kubectl is not installed (make test installs it)"
        (directory / "bin" / "kubectl").symlink_to(Path(found).resolve())
        node = cluster.client.request("GET", "/api/v1/nodes?limit=1")[2]
        self.environment = {
            **cluster.environment, "KUBECONFIG": str(path), "NS": namespace, "DIR": str(directory), "LC_ALL": "C",
            "NODE": re.findall(rb'"name":\s*"([^"]+)"', node)[0].decode(),
            "PATH": f"{directory / 'bin'}:{os.environ['PATH']}",
        }  # fmt: skip
        self.line(
            f"kubectl create namespace {namespace} && kubectl config set-context --current --namespace={namespace}"
        )
        self.line("until kubectl get serviceaccount default >/dev/null 2>&1; do sleep 0.1; done")

    def line(self, run: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", run],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
            cwd=self.directory,
        )


@pytest.fixture
def stage(cluster: Cluster, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    namespace = f"verbs-{list(SCENES).index(request.node.callspec.params['scene'])}"
    one = Stage(cluster, namespace, tmp_path)
    yield one
    one.line(f"kubectl delete namespace {namespace} --wait=false")


def _wrong(step: dict[str, Any], done: subprocess.CompletedProcess[str]) -> str:
    """What of a step's expectations does not hold; empty if all do."""
    if not re.fullmatch(str(step.get("code", 0)), str(done.returncode)):
        return f"exit status {done.returncode}"
    for stream, printed in (("out", done.stdout), ("err", done.stderr)):
        wanted = step.get(stream, [])
        for pattern in [wanted] if isinstance(wanted, str) else wanted:
            if not re.search(pattern, printed, re.MULTILINE):
                return f"no {pattern!r} in {stream}"
    return ""


@pytest.mark.parametrize("scene", SCENES)
def test_scene(stage: Stage, scene: str) -> None:
    for step in SCENES[scene]:
        give_up = time.monotonic() + PATIENCE
        while wrong := _wrong(step, done := stage.line(step["run"], step.get("in", ""))):
            if not step.get("until") or time.monotonic() > give_up:
                raise AssertionError(f"{step['run']}\n{wrong}\n--- out\n{done.stdout}\n--- err\n{done.stderr}")
            time.sleep(0.3)
