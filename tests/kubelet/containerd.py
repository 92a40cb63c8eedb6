"""A containerd of a test session's own: all of it in one directory, the base images in it, nothing left of it afterwards."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kubelet import grpc_messages
from kubelet.runtime import cni, cri_schema
from minikube_py.cluster import image_archive, images
from tests import harness

_CONFIG = """
version = 2
root = "{0}/root"
state = "{0}/state"
[grpc]
  address = "{0}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{0}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{1}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "{0}/cni/conf"
    bin_dir = "{0}/cni/bin"
"""


@contextlib.contextmanager
def running(directory: Path) -> Iterator[str]:
    """Its endpoint."""
    cni.install(directory / "cni/conf", directory / "cni/bin")
    config, socket = directory / "config.toml", directory / "containerd.sock"
    config.write_text(_CONFIG.format(directory, images.PAUSE))
    with (directory / "containerd.log").open("ab") as log:
        process = subprocess.Popen(["containerd", "-c", str(config)], stdout=log, stderr=log)
    try:
        harness.eventually(lambda: _answers(socket), what="containerd's answer")
        importing = ["ctr", "-a", str(socket), "-n", "k8s.io", "images", "import", "-"]
        subprocess.run(importing, input=image_archive.archive(), stdout=subprocess.DEVNULL, check=True)
        yield f"unix://{socket}"
    finally:
        with contextlib.suppress(grpc_messages.CallFailed):
            _remove_sandboxes(socket)
        harness.stop(process)
        subprocess.run(
            ["sh", "-c", f"grep -o ' {directory}[^ ]*' /proc/mounts | sort -r | xargs -r -n1 umount -l"], check=False
        )
        shutil.rmtree(directory, ignore_errors=True)


def _call(socket: Path, method: str, **fields: Any) -> Any:
    messages = cri_schema.messages()
    return grpc_messages.call(
        str(socket), f"/{cri_schema.PACKAGE}.RuntimeService/{method}", messages[f"{method}Request"](**fields),
        messages[f"{method}Response"], 30,
    )  # fmt: skip


def _answers(socket: Path) -> bool:
    with contextlib.suppress(grpc_messages.CallFailed):
        return all(condition.status for condition in _call(socket, "Status").status.conditions)
    return False


def _remove_sandboxes(socket: Path) -> None:
    for item in _call(socket, "ListPodSandbox").items:
        _call(socket, "StopPodSandbox", pod_sandbox_id=item.id)
        _call(socket, "RemovePodSandbox", pod_sandbox_id=item.id)
