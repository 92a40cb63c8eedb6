"""Builders for pure kubelet tests: pods, and what a runtime would show of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from kubelet.observation import Observation, observe
from kubelet.runtime import labels
from kubelet.runtime.base import CONTAINER, EXITED, RUNNING, SANDBOX, PodRef, Status
from minikube_py.api.types import Obj

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REF = PodRef("web", "default", "uid-1")


def pod(*containers: Obj, **spec: Any) -> Obj:
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default", "uid": "uid-1", "generation": 1},
        "spec": {"containers": list(containers) or [container("main")], "restartPolicy": "Always", **spec},
    }  # fmt: skip


def container(name: str, **fields: Any) -> Obj:
    return {"name": name, "image": "busybox:1", **fields}


def sandbox(attempt: int = 0, state: str = RUNNING) -> Status:
    return Status(
        id=f"sandbox-{attempt}", kind=SANDBOX, pod=REF, name="POD", attempt=attempt, state=state, labels={}, ip="10.0.0.9",
        created_at=T0 + timedelta(seconds=100 * attempt),
    )  # fmt: skip


def instance(
    name: str, attempt: int = 0, state: str = RUNNING, code: int = 0, *, sandbox_attempt: int = 0,
    image: str = "busybox:1", **fields: Any,
) -> Status:  # fmt: skip
    own = {
        labels.SANDBOX_ID: f"sandbox-{sandbox_attempt}", labels.HASH: labels.container_hash(container(name, image=image)),
    }  # fmt: skip
    began = T0 + timedelta(seconds=100 * attempt)
    return Status(
        id=f"{name}-{attempt}", kind=CONTAINER, pod=REF, name=name, attempt=attempt, state=state, labels=own, image=image,
        image_id="sha256:1", created_at=began, **{
            "started_at": None if state == "created" else began + timedelta(seconds=1),
            "finished_at": began + timedelta(seconds=9) if state == EXITED else None,
            "exit_code": code, **fields,
        },
    )  # fmt: skip


def seen(*statuses: Status) -> Observation:
    return observe(statuses)
