"""Memory and idle CPU of every process of a cluster of ours.

Who calls it: __main__.py. Memory is the proportional set size, which counts a page shared by n processes 1/n in each, so that
the sum is what the cluster really takes. CPU is what the kernel charged over some seconds in which nobody asked for anything.
"""

import os
import re
import time
from pathlib import Path

from bench.figures import Figure, missing
from bench.target import Options, Target
from minikube_py.cluster import process

_TICKS = os.sysconf("SC_CLK_TCK")


def pss_bytes(pid: int) -> int:
    """Proportional set size of one process."""
    found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def cpu_seconds(pid: int) -> float:
    """User and system time the process has used so far, its finished children's included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[i]) for i in (11, 12, 13, 14)) / _TICKS


def measure(target: Target, options: Options) -> list[Figure]:
    if target.profile is None:
        return [missing("memory and idle CPU", "only for a cluster of ours")]
    run = target.profile.directory / "run"
    pids = {file.stem: pid for file in sorted(run.glob("*.pid")) if (pid := process.read_pid(file))}
    time.sleep(3)  # let what earlier measurements left behind settle
    before, start = {name: cpu_seconds(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(options.idle_seconds)
    elapsed = time.monotonic() - start
    percent = {name: 100 * (cpu_seconds(pid) - before[name]) / elapsed for name, pid in pids.items()}
    memory = {name: pss_bytes(pid) / 1e6 for name, pid in pids.items()}
    over = f"{options.idle_seconds} s, % of one core"
    figures = [Figure("memory, whole cluster", sum(memory.values()), "MB", note=f"PSS of {len(pids)} processes")]
    figures += [Figure(f"memory, {name}", value, "MB") for name, value in memory.items()]
    figures.append(Figure("idle CPU, whole cluster", sum(percent.values()), "%", note=f"over {over}"))
    figures += [Figure(f"idle CPU, {name}", value, "%") for name, value in percent.items()]
    return figures
