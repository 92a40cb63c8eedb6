"""A whole cluster on a real Docker Engine, started and removed with the commands users type.

Who uses it: the `cluster` fixture in conftest.py, and tests that want clusters of their own.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minikube_py.api.gvr import PODS
from minikube_py.api.meta import condition_is
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from minikube_py.cluster import access, engine, process
from minikube_py.cluster import profile as profiles
from tests import harness


class Cluster:
    """One profile, and what tests do with it: run kubectl, kctl and minikube-py, look at containers and processes."""

    def __init__(self, name: str, home: Path, *flags: str) -> None:
        self.name, self.home, self.flags = name, home, flags
        self.kubeconfig = home / "user-kubeconfig"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **harness.environment(), "MINIKUBE_PY_HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig),
            "HOME": str(self.home), "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        }  # fmt: skip

    @property
    def profile(self) -> profiles.Profile:
        return profiles.load(self.name)

    @property
    def client(self) -> Client:
        return access.client(self.profile)

    def minikube(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run([sys.executable, "-m", "minikube_py.cli.main", *arguments, "-p", self.name], check=check)

    def kubectl(self, *arguments: str, check: bool = True, stdin: str = "") -> str:
        return self.run(["kubectl", *arguments], check=check, stdin=stdin).stdout

    def kctl(self, *arguments: str, check: bool = True, stdin: str = "") -> str:
        return self.run([sys.executable, "-m", "minikube_py.cli.kctl", *arguments], check=check, stdin=stdin).stdout

    def run(self, command: list[str], check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, input=stdin, timeout=180, cwd=harness.ROOT
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def up(self) -> None:
        port = ("--port", str(harness.free_port())) if profiles.find(self.name) is None else ()
        self.minikube("up", *port, *self.flags)

    def down(self) -> None:
        self.minikube("down")

    def pods(self, selector: str, namespace: str = "default") -> list[Obj]:
        """Pods that are not being deleted."""
        found = self.client.list(PODS, namespace, label_selector=selector)["items"]
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def ready_pods(self, selector: str, count: int, namespace: str = "default", timeout: float = 60) -> list[Obj]:
        """Exactly `count` pods, all Ready, as soon as that holds."""

        def check() -> list[Obj] | None:
            pods = self.pods(selector, namespace)
            return pods if len(pods) == count and all(condition_is(pod, "Ready") for pod in pods) else None

        found: list[Obj] = harness.eventually(check, timeout, what=f"{count} ready pods of {selector}")
        return found

    def component(self, name: str) -> int:
        """The pid of a component (or of the supervisor); 0 while it is down."""
        return process.read_pid(self.profile.directory / "run" / f"{name}.pid")

    def containers(self, pod: str = "", *, running_only: bool = False) -> list[dict[str, Any]]:
        """This cluster's containers as the engine sees them (sandboxes are those called POD)."""
        labels = [f"{engine.PROFILE_LABEL}={self.name}"] + ([f"io.kubernetes.pod.name={pod}"] if pod else [])
        listed: list[dict[str, Any]] = engine.connect().api.containers(all=not running_only, filters={"label": labels})
        return listed

    def containers_of(self, prefix: str) -> list[dict[str, Any]]:
        """The containers of every pod whose name begins with `prefix`."""
        return [c for c in self.containers() if c["Labels"]["io.kubernetes.pod.name"].startswith(prefix)]

    def app_container(self, pod: Obj) -> str:
        """The engine's id of a pod's (first) application container."""
        status = pod["status"]["containerStatuses"][0]
        return str(status["containerID"]).removeprefix("docker://")

    def no_strays(self) -> bool:
        """True if every running container belongs to a live pod and no pod's container runs twice."""
        live = {pod["metadata"]["uid"] for pod in self.client.list(PODS)["items"]}
        seen = [
            (c["Labels"]["io.kubernetes.pod.uid"], c["Labels"]["io.kubernetes.container.name"])
            for c in self.containers(running_only=True)
        ]
        return len(seen) == len(set(seen)) and {uid for uid, _ in seen} <= live


@contextlib.contextmanager
def running_cluster(name: str, home: Path, monkeypatch: pytest.MonkeyPatch, *flags: str) -> Iterator[Cluster]:
    """A cluster for the length of the block, and nothing of it afterwards."""
    monkeypatch.setenv("MINIKUBE_PY_HOME", str(home))
    one = Cluster(name, home, *flags)
    try:
        one.up()
        yield one
    finally:
        if profiles.find(name) is not None:
            one.down()
