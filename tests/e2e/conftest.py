"""Objects that the end-to-end tests create in the shared cluster (the `cluster` fixture of tests/conftest.py)."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from minikube_py.api.meta import name_of
from minikube_py.api.types import Obj
from tests.clusters import Cluster, running_cluster


@pytest.fixture
def apply(cluster: Cluster) -> Iterator[Callable[[Obj], None]]:
    """Create objects for one test; they are deleted after it."""
    made: list[Obj] = []

    def create(obj: Obj) -> None:
        made.append(obj)
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(obj))

    yield create
    for obj in reversed(made):
        cluster.kubectl(
            "delete",
            "-f",
            "-",
            "--ignore-not-found",
            "--wait=false",
            "--grace-period=1",
            stdin=json.dumps(obj),
            check=False,
        )


_BUSYBOX = {"name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent"}


def deployment(name: str, replicas: int, command: str, **container: Any) -> Obj:
    """A Deployment of busybox running a shell command."""
    labels = {"app": name}
    spec = {
        "name": "main",
        "image": "busybox",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", command],
        **container,
    }
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [spec], "terminationGracePeriodSeconds": 1}},
        },
    }  # fmt: skip


def pod(name: str, command: str, *, restart: str = "Never", namespace: str = "default", **container: Any) -> Obj:
    """A busybox Pod running a shell command."""
    spec = {
        "name": "main",
        "image": "busybox",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", command],
        **container,
    }
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"containers": [spec], "restartPolicy": restart, "terminationGracePeriodSeconds": 1},
    }  # fmt: skip


SLEEP = "trap 'exit 0' TERM; while true; do sleep 1; done"
WEB = "mkdir -p /www && echo $HOSTNAME > /www/index.html && exec httpd -f -p 8080 -h /www"

__all__ = ["SLEEP", "WEB", "Cluster", "deployment", "name_of", "pod", "running_cluster"]
