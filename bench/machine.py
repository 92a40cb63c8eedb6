"""Names the machine a figure was measured on: a number without it means nothing.

Who uses it: __main__.py. Invariant: reads only, and never names the host.
"""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def _first(path: str, key: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.partition(":")[2].strip()
    return ""


def _version(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def describe() -> dict[str, Any]:
    """Cores, processor, memory (GiB), kernel, Python, Docker Engine, and the load before anything was measured."""
    memory = int(_first("/proc/meminfo", "MemTotal").split()[0]) / 2**20
    return {
        "cores": len(os.sched_getaffinity(0)), "processor": _first("/proc/cpuinfo", "model name"),
        "memory_gib": round(memory, 1), "kernel": platform.release(), "python": platform.python_version(),
        "docker": _version("docker", "version", "--format", "{{.Server.Version}}"),
        "load_before": round(os.getloadavg()[0], 2),
    }  # fmt: skip
