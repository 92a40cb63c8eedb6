"""The images a cluster needs before it can reach any registry, made from what this machine has.

Who calls it: `up` (only what is missing) and `minikube-py image`.
Invariant: an image that exists is never replaced. Everything here works without a registry: the images hold the host's own
busybox with the few libraries it loads (so that name look-ups work, which a static busybox cannot do with glibc).
"""

import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from minikube_py.cluster import engine, host
from minikube_py.cluster.errors import ClusterError

PAUSE = "registry.k8s.io/pause:3.10"


class BaseImage(NamedTuple):
    """An image made from the busybox tree: its name, and the configuration laid over the tree (Dockerfile syntax)."""

    name: str
    changes: tuple[str, ...]


BASE_IMAGES = (
    BaseImage(PAUSE, ('ENTRYPOINT ["/bin/sleep", "2147483647"]',)),
    BaseImage("busybox:latest", ('CMD ["sh"]',)),
)
"""Sleeping forever is all a sandbox's first process does; busybox is what the samples and labs run."""


def missing() -> list[BaseImage]:
    """The base images the engine does not have."""
    present = {tag for image in engine.connect().api.images() for tag in image.get("RepoTags") or []}
    return [image for image in BASE_IMAGES if image.name not in present]


def build(images: list[BaseImage], progress: Callable[[str], None] = lambda text: None) -> None:
    """Make these images on the engine."""
    if not images:
        return
    api = engine.connect().api
    archive = busybox_tree()
    for image in images:
        progress(image.name)
        repository, _, tag = image.name.rpartition(":")
        api.import_image_from_data(archive, repository=repository, tag=tag, changes=list(image.changes))


def busybox_tree(more: Callable[[tarfile.TarFile], None] = lambda tar: None) -> bytes:
    """A tar archive of a minimal root directory: busybox under all its names, its libraries, the few files of /etc.

    In: `more` adds to it, by `add`; what it adds lies over what is there.
    """
    with tempfile.TemporaryDirectory() as scratch:
        binary = _busybox(Path(scratch))
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for directory in (
                "bin",
                "sbin",
                "usr",
                "usr/bin",
                "usr/sbin",
                "etc",
                "proc",
                "sys",
                "dev",
                "root",
                "tmp",
                "var",
            ):
                add(tar, directory, kind=tarfile.DIRTYPE, mode=0o1777 if directory == "tmp" else 0o755)
            add(tar, "bin/busybox", binary.read_bytes(), mode=0o755)
            for library in libraries(binary):
                add(tar, str(library).lstrip("/"), library.resolve().read_bytes(), mode=0o755)
            for name in _applets(binary):
                if name != "busybox":
                    add(tar, f"bin/{name}", kind=tarfile.SYMTYPE, link="/bin/busybox")
            for path, text in _ETC.items():
                add(tar, path, text.encode(), mode=0o644)
            more(tar)
        return buffer.getvalue()


_ETC = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnobody:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def add(
    tar: tarfile.TarFile,
    path: str,
    data: bytes = b"",
    *,
    kind: bytes = tarfile.REGTYPE,
    mode: int = 0o777,
    link: str = "",
) -> None:
    """Put one file, directory or link into the archive."""
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode, entry.linkname, entry.size = kind, mode, link, len(data)
    tar.addfile(entry, io.BytesIO(data))


def _busybox(scratch: Path) -> Path:
    """A busybox that can resolve names: the installed one if it is dynamic, else Debian's dynamic build, unpacked aside."""
    installed = host.which("busybox")
    if installed and libraries(Path(installed)):
        return Path(installed)
    if host.which("apt-get") and host.which("dpkg-deb"):
        fetched = subprocess.run(["apt-get", "download", "-q", "busybox"], cwd=scratch, capture_output=True)
        packages = list(scratch.glob("busybox_*.deb"))
        if fetched.returncode == 0 and packages:
            subprocess.run(["dpkg-deb", "-x", str(packages[0]), str(scratch / "root")], check=True)
            found = [scratch / "root" / place for place in ("bin/busybox", "usr/bin/busybox")]
            return next(path for path in found if path.exists())
    if installed:
        return Path(installed)
    raise ClusterError("the base images need busybox; run: sudo apt-get install busybox")


def libraries(binary: Path) -> list[Path]:
    """The shared libraries `binary` loads, loader included; none for a static one."""
    listed = subprocess.run(["ldd", str(binary)], capture_output=True, text=True).stdout
    return [Path(path) for path in re.findall(r"(?:=> |^\s*)(/\S+)", listed, re.MULTILINE)]


def _applets(binary: Path) -> list[str]:
    return subprocess.run([str(binary), "--list"], capture_output=True, text=True, check=True).stdout.split()


def build_from(directory: Path, name: str) -> None:
    """`docker build` of a directory with a Dockerfile. Raises ClusterError with the failing step."""
    import docker

    if not (directory / "Dockerfile").exists():
        raise ClusterError(f"{directory} has no Dockerfile")
    if shutil.which("docker"):
        if subprocess.run(["docker", "build", "-q", "-t", name, str(directory)]).returncode:
            raise ClusterError(f"docker build of {directory} failed; its output is above")
        return
    try:
        engine.connect().images.build(path=str(directory), tag=name, rm=True)
    except docker.errors.BuildError as error:
        raise ClusterError(f"the build of {directory} failed: {error.msg}") from None


def load(archive: Path) -> list[str]:
    """`docker load` of a tar archive. Out: the names it brought."""
    try:
        with archive.open("rb") as file:
            return [tag for image in engine.connect().images.load(file) for tag in image.tags]
    except OSError as error:
        raise ClusterError(f"cannot read {archive}: {error.strerror}") from None


def names() -> list[tuple[str, int]]:
    """Every tagged image on the engine, with its size in bytes (nodes share the engine, so nodes share images)."""
    found = engine.connect().api.images()
    return sorted(
        (tag, image["Size"]) for image in found for tag in image.get("RepoTags") or [] if tag != "<none>:<none>"
    )
