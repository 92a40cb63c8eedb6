"""A containerd of a test session's own: all of it in one directory, the base images in it, nothing left of it afterwards."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from kubelet import grpc_messages
from kubelet.runtime import cri_schema
from minikube_py.cluster.containerd import Containerd


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Containerd]:
    own = Containerd(directory)
    try:
        own.ensure()
        yield own
    finally:
        with contextlib.suppress(grpc_messages.CallFailed):
            _remove_sandboxes(own)
        own.stop()


def _remove_sandboxes(own: Containerd) -> None:
    """Of every profile: tests that failed leave theirs."""
    messages = cri_schema.messages()

    def call(method: str, answer: str, **fields: str) -> object:
        request = messages[f"{method}Request"](**fields)
        return grpc_messages.call(
            str(own.socket), f"/{cri_schema.PACKAGE}.RuntimeService/{method}", request, messages[answer], 30
        )

    for item in getattr(call("ListPodSandbox", "ListPodSandboxResponse"), "items", ()):
        call("StopPodSandbox", "StopPodSandboxResponse", pod_sandbox_id=item.id)
        call("RemovePodSandbox", "RemovePodSandboxResponse", pod_sandbox_id=item.id)
