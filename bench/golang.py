"""Builds the Go load clients in load/ and hands them a cluster's address and credentials.

Who uses it: api.py, scale.py. A load generator in Python would measure itself. Invariant: built once per source version;
without a Go compiler the measurement says so instead of measuring with something slower.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.target import Target, state_directory
from minikube_py.client import kubeconfig

NO_GO = "needs the Go compiler to build the load client: apt-get install golang-go"


def build(name: str) -> Path | None:
    """The binary of load/<name>.go; None when there is no compiler. Raises CalledProcessError when it does not compile."""
    source = Path(__file__).resolve().parent / "load" / f"{name}.go"
    binary = state_directory() / "bin" / name
    if binary.exists() and binary.stat().st_mtime >= source.stat().st_mtime:
        return binary
    go = shutil.which("go")
    if go is None:
        return None
    binary.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "GO111MODULE": "off", "CGO_ENABLED": "0"}
    subprocess.run([go, "build", "-o", str(binary), str(source)], check=True, env=environment, cwd=source.parent)
    return binary


@contextlib.contextmanager
def credentials(target: Target) -> Iterator[list[str]]:
    """The flags that lead a load client to the cluster; key material lies in files (mode 0600) only meanwhile."""
    config = kubeconfig.load(target.kubeconfig)
    flags = ["-server", config.server]
    token = config.token or (Path(config.token_file).read_text().strip() if config.token_file else "")
    if token:
        flags += ["-token", token]
    with tempfile.TemporaryDirectory(prefix="minikube-py-bench-") as scratch:
        for flag, file, data in (
            ("cert", config.cert_file, config.cert_data),
            ("key", config.key_file, config.key_data),
        ):
            if data:
                file = str(Path(scratch) / flag)
                Path(file).touch(mode=0o600)
                Path(file).write_bytes(data)
            if file:
                flags += [f"-{flag}", file]
        yield flags
