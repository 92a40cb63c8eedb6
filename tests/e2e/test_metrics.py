"""What is used, from end to end on simulated nodes: stock kubectl's `top`, kctl's, and an autoscaler that acts on it."""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import Cluster, running_cluster
from tests.harness import eventually


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two simulated nodes, and a Deployment whose containers say that they are busy."""
    with pytest.MonkeyPatch.context() as patch:
        home: Path = tmp_path_factory.mktemp("metrics")
        port = 21000 + os.getpid() % 5000  # the kubelets' ports follow from it: below those that connections are given
        flags = ("--port", str(port), "--runtime", "simulated", "--nodes", "2")
        with running_cluster(f"metrics-{os.getpid()}", home, patch, *flags) as cluster:
            cluster.kubectl("apply", "-f", "-", stdin=json.dumps(_deployment()))
            cluster.kubectl("rollout", "status", "deployment/busy", "--timeout=60s")
            yield cluster


def _deployment() -> dict[str, object]:
    env = [{"name": "SIMULATED_CPU", "value": "90m"}, {"name": "SIMULATED_MEMORY", "value": "32Mi"}]
    container = {"name": "main", "image": "busybox", "env": env, "resources": {"requests": {"cpu": "100m"}}}
    labels = {"app": "busy"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [container, {"name": "side", "image": "busybox"}]},
    }
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "busy"},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ("nodes",), ("nodes", "--no-headers", "--sort-by=cpu"), ("pods",), ("pods", "-A"), ("pods", "--containers"),
        ("pods", "-l", "app=busy", "--sort-by=memory"), ("pods", "-l", "app=nobody"), ("pods", "--sum"), ("pod", "nobody"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_kubectl_and_kctl_show_the_same(measured: Cluster, arguments: tuple[str, ...]) -> None:
    kubectl = measured.run(["kubectl", "top", *arguments], check=False)
    kctl = measured.run([sys.executable, "-m", "minikube_py.cli.kctl", "top", *arguments], check=False)
    assert kctl.returncode == kubectl.returncode, (kubectl, kctl)
    assert _words(kctl.stdout) == _words(kubectl.stdout), (kubectl, kctl)
    assert kctl.stderr.split() == kubectl.stderr.split()


def _words(text: str) -> list[str]:
    """Processor time is a matter of the moment."""
    return re.sub(r"\b\d+m\b|\b\d+%", "N", text).split()


def test_an_autoscaler_acts_on_it(measured: Cluster) -> None:
    measured.kubectl("set", "resources", "deployment/busy", "-c", "side", "--requests=cpu=100m")
    measured.kubectl("rollout", "status", "deployment/busy", "--timeout=60s")
    measured.kubectl("autoscale", "deployment/busy", "--cpu-percent=20", "--min=2", "--max=5")
    shown = ("get", "deployment/busy", "-o", "jsonpath={.spec.replicas}")
    eventually(lambda: measured.kubectl(*shown) == "5", timeout=90, what="five replicas")
