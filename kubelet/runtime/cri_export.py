"""The files of an image, for image volumes, from a runtime that can only run them: a container of it sleeps, we read its root.

Who calls it: `runtime.cri`. An image need not hold any program, so the container is given this machine's `sleep` with its
libraries. Invariants: the container has no rights and no node's label, so that no pod sees it; it is removed
however the reading ends; what the runtime mounts into every container is not part of the answer.
Upstream has the runtime mount the image instead, which containerd can since 2.1: Debian's cannot.
"""

import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator

from kubelet.runtime import labels
from kubelet.runtime.base import ContainerConfig, Mount, PodRef, Runtime, RuntimeFault, SandboxConfig, Security

_PLACE = "/.minikube-py"
_PIECE = 1 << 20


def files(runtime: Runtime, image: str, profile: str) -> Iterator[bytes]:
    """The pieces of a tar archive. Raises ImageNotFound, RuntimeFault."""
    pod = PodRef("image-volume", "kube-system", str(uuid.uuid4()))
    own = {labels.PROFILE: profile}
    sandbox = runtime.run_sandbox(SandboxConfig(pod, 0, "", own, hostname="image"))
    try:
        command, mounts = _sleeper()
        config = ContainerConfig(
            pod, "image", 0, image, own, command=command, mounts=mounts,
            security=Security(user="65534", drop_capabilities=("ALL",), no_new_privileges=True),
        )  # fmt: skip
        container = runtime.create_container(sandbox.id, config)
        try:
            runtime.start_container(container)
            yield from _archive(runtime.inspect(container).pid)
        finally:
            runtime.remove(container)
    finally:
        runtime.remove(sandbox.id)


def _sleeper() -> tuple[tuple[str, ...], tuple[Mount, ...]]:
    """A command that sleeps, and the mounts it needs, whatever the image holds."""
    program = shutil.which("sleep") or "/bin/sleep"
    listed = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    needed = re.findall(r"(?:=> |^\s*)(/\S+)", listed, re.MULTILINE)
    mounts = tuple(Mount(path, f"{_PLACE}/{path.rsplit('/', 1)[1]}", True) for path in (program, *needed))
    loader = next((m.container_path for m in mounts if "/ld-" in m.container_path or "/ld." in m.container_path), "")
    start = (loader, "--library-path", _PLACE) if loader else ()
    return (*start, mounts[0].container_path, "3600"), mounts


def _archive(pid: int) -> Iterator[bytes]:
    if not pid:
        raise RuntimeFault("the container runtime does not tell which process to read the image's files from")
    command = ["tar", "-C", f"/proc/{pid}/root", "--one-file-system", f"--exclude=.{_PLACE}", "-cf", "-", "."]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            while piece := process.stdout.read(_PIECE):
                yield piece
        finally:
            process.kill()
