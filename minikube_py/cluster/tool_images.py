"""Images of programs this machine has: a busybox tree with packaged programs and, if wanted, our Python with some modules.

Who calls it: addons.py. Invariant: made without a registry; one that we made is made again when its programs or modules
change, one that was brought from elsewhere is left alone (`docker tag minikube-py:latest NAME` serves a compose cluster).
A program that is missing is installed from the distribution where we may, and never started here.
"""

import hashlib
import importlib.util
import sys
import sysconfig
import tarfile
from pathlib import Path
from typing import NamedTuple

from minikube_py.cluster import engine, host, images
from minikube_py.cluster.errors import ClusterError

_APP, _DIGEST = "/app", "minikube-py.io/digest"
_NOT_NEEDED = {"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "__pycache__"}
_NOT_NEEDED |= {"site-packages", "dist-packages"}


class ToolImage(NamedTuple):
    """`programs` as in `host.PACKAGES`; `modules` are importable here, each with everything below it."""

    name: str
    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


def ensure(image: ToolImage) -> bool:
    """Make the image unless the engine has it as it would be now. Out: whether it was made. Raises ClusterError."""
    api = engine.connect().api
    there = [found for found in api.images() if image.name in (found.get("RepoTags") or [])]
    if there and _DIGEST not in (there[0].get("Labels") or {}):
        return False
    missing = [program for program in image.programs if host.which(program) is None]
    if missing:
        host.install(missing)
    archive = _tree(image)
    digest = hashlib.sha256(archive).hexdigest()
    if there and there[0]["Labels"][_DIGEST] == digest:
        return False
    repository, _, tag = image.name.rpartition(":")
    changes = [f"ENV PYTHONPATH={_APP} PYTHONUNBUFFERED=1", f"LABEL {_DIGEST}={digest}", 'CMD ["sh"]']
    api.import_image_from_data(archive, repository=repository, tag=tag, changes=changes)
    return True


def _tree(image: ToolImage) -> bytes:
    def more(tar: tarfile.TarFile) -> None:
        binaries = [Path(str(host.which(program))).resolve() for program in image.programs]
        for program, binary in zip(image.programs, binaries, strict=True):
            images.add(tar, f"usr/bin/{program}", binary.read_bytes(), mode=0o755)
        if image.modules:
            binaries += _python(tar)
            for module in image.modules:
                binaries += _module(tar, module)
            images.add(tar, f"{_APP[1:]}/minikube_py/__init__.py", _source("minikube_py"), mode=0o644)
        there = set(tar.getnames())
        libraries = {str(path).lstrip("/"): path for binary in binaries for path in images.libraries(binary)}
        for name in libraries.keys() - there:
            images.add(tar, name, libraries[name].resolve().read_bytes(), mode=0o755)

    return images.busybox_tree(more)


def _python(tar: tarfile.TarFile) -> list[Path]:
    """The interpreter and its library, at the places it knows them by. Out: what loads shared libraries."""
    binary = Path(sys.executable).resolve()
    images.add(tar, str(binary).lstrip("/"), binary.read_bytes(), mode=0o755)
    images.add(tar, "usr/bin/python3", kind=tarfile.SYMTYPE, link=str(binary))
    library = Path(sysconfig.get_paths()["stdlib"])
    return [binary, *_copy(tar, library, str(library).lstrip("/"))]


def _module(tar: tarfile.TarFile, name: str) -> list[Path]:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ClusterError(f"Python has no module {name!r} here")
    where = f"{_APP[1:]}/{name.replace('.', '/')}"
    if found.submodule_search_locations:
        return _copy(tar, Path(found.submodule_search_locations[0]), where)
    images.add(tar, f"{_APP[1:]}/{Path(found.origin).name}", Path(found.origin).read_bytes(), mode=0o755)
    return [Path(found.origin)]


def _copy(tar: tarfile.TarFile, directory: Path, where: str) -> list[Path]:
    """The files below a directory. Out: those that load shared libraries."""
    loading = []
    for path in sorted(directory.rglob("*")):
        inner = path.relative_to(directory)
        if (
            _NOT_NEEDED & set(inner.parts)
            or inner.parts[0].startswith("config-")
            or not path.is_file()
            or path.suffix == ".a"
        ):
            continue
        images.add(tar, f"{where}/{inner}", path.read_bytes(), mode=0o644)
        if path.suffix == ".so":
            loading.append(path)
    return loading


def _source(module: str) -> bytes:
    found = importlib.util.find_spec(module)
    return Path(found.origin).read_bytes() if found and found.origin else b""
