"""Making libnvidia-ml.so.1 out of nvml_mock.c with the machine's C compiler.

Who calls it: the kubelet's GPU set-up, tests. Invariant: the file at the returned path is complete or absent (several kubelets
may build it at once); it is built again only when its source changed.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

SONAME = "libnvidia-ml.so.1"
_SOURCE = Path(__file__).with_name("nvml_mock.c")


def build(directory: Path) -> Path | None:
    """The library's path below `directory`; None when there is no compiler or it fails (then there is mock_pynvml)."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    digest = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    target = directory / digest / SONAME
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{SONAME}.{os.getpid()}")
    options = ["-O2", "-shared", "-fPIC", f"-Wl,-soname,{SONAME}"]
    done = subprocess.run([compiler, *options, "-o", str(temporary), str(_SOURCE)], capture_output=True)
    if done.returncode:
        temporary.unlink(missing_ok=True)
        return None
    temporary.replace(target)
    return target
