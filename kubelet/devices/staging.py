"""The driver's files for containers, on an engine that knows nothing of NVIDIA.

Who calls it: `setup`, once per driver version. Invariant: a finished directory is complete (it is renamed into place), holds no
links to the outside, and is mounted read-only at /usr/local/nvidia.
Upstream: nvc_info.c of libnvidia-container, which lists the same libraries.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from kubelet.runtime.base import Mount

_UTILITY = ("nvidia-ml", "nvidia-cfg")
_COMPUTE = (
    "cuda", "cudadebugger", "nvidia-opencl", "nvidia-gpucomp", "nvidia-ptxjitcompiler", "nvidia-allocator", "nvidia-compiler",
    "nvidia-pkcs11", "nvidia-pkcs11-openssl3", "nvidia-nvvm", "nvidia-tileiras",
)  # fmt: skip
_BINARIES = (
    "nvidia-smi", "nvidia-debugdump", "nvidia-persistenced", "nvidia-cuda-mps-control", "nvidia-cuda-mps-server",
)  # fmt: skip
NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")


def libraries(loader_cache: str, driver: str) -> dict[str, str]:
    """From `ldconfig -p` text: library name (without lib and .so) -> path of the file of this driver version."""
    wanted = {*_UTILITY, *_COMPUTE}
    found: dict[str, str] = {}
    for line in loader_cache.splitlines():
        match = re.match(r"\s*lib(\S+?)\.so\S* \((.*?)\) => (\S+)", line)
        if match and match[1] in wanted and "x86-64" in match[2] + "x86-64" * ("AArch64" in match[2]):
            real = f"{Path(match[3]).parent}/lib{match[1]}.so.{driver}"
            found.setdefault(match[1], real)
    return found


def stage(directory: Path, driver: str, loader_cache: str | None = None) -> tuple[Mount, ...]:
    """Copy the driver's files below `directory` (once) and say how to mount them; nothing when there are none."""
    target = directory / driver
    if not target.exists():
        cache = _loader_cache() if loader_cache is None else loader_cache
        present = {name: path for name, path in libraries(cache, driver).items() if os.path.exists(path)}
        if not present:
            return ()
        _fill(target, present, driver)
    return (Mount(str(target), "/usr/local/nvidia", read_only=True),)


def _fill(target: Path, present: dict[str, str], driver: str) -> None:
    temporary = target.with_name(f".{driver}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "lib64").mkdir(parents=True)
    (temporary / "bin").mkdir()
    for name, path in present.items():
        file = f"lib{name}.so.{driver}"
        shutil.copy2(path, temporary / "lib64" / file)
        (temporary / "lib64" / f"lib{name}.so.1").symlink_to(file)
        if name == "cuda":
            (temporary / "lib64" / "libcuda.so").symlink_to("libcuda.so.1")
    for binary in _BINARIES:
        found = shutil.which(binary)
        if found:
            shutil.copy2(found, temporary / "bin" / binary)
    try:
        temporary.rename(target)
    except OSError:  # another kubelet was faster
        shutil.rmtree(temporary, ignore_errors=True)


def existing(paths: Iterable[str]) -> tuple[str, ...]:
    """The device nodes that are there: asking an engine for a missing one fails."""
    return tuple(path for path in paths if os.path.exists(path))


def _loader_cache() -> str:
    command = shutil.which("ldconfig") or "/sbin/ldconfig"
    try:
        return subprocess.run([command, "-p"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
