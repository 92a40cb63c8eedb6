"""API throughput: create, get, list, merge-patch, watch fan-out, delete of 1.5 kB ConfigMaps, driven by load/kbench.go.

Who calls it: __main__.py. HTTP/1.1 over TLS, 16 connections (list: 4). The same client gave upstream's published figures.
"""

import re
import subprocess

from bench import golang
from bench.figures import Figure, missing
from bench.target import Options, Target

_LINE = re.compile(r"\S+ (\w+) +(\d+) /s +p50 +([\d.]+) ms +p99 +([\d.]+) ms +n=(\d+)(?: fails=(\d+))?")
_NAMES = {
    "create": "API create", "get": "API get", "list": "API list of all", "patch": "API merge-patch",
    "watch": "API watch deliveries", "delete": "API delete",
}  # fmt: skip

_WORST = frozenset(("create", "get", "patch", "delete"))


def measure(target: Target, options: Options) -> list[Figure]:
    binary = golang.build("kbench")
    if binary is None:
        return [missing("API throughput", golang.NO_GO)]
    with target.namespace() as namespace, golang.credentials(target) as flags:
        command = [
            str(binary), *flags, "-ns", namespace, "-name", target.name, "-secs", str(options.seconds),
            "-objs", str(options.objects), "-conc", str(options.connections), "-watchers", str(options.watchers),
        ]  # fmt: skip
        limit = 12 * options.seconds + 240
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    figures = []
    for verb, rate, median, worst, number, fails in _LINE.findall(done.stdout):
        note = f"p50 {median} ms, p99 {worst} ms, {number} calls" + (
            f", {fails} FAILED" if fails not in ("", "0") else ""
        )
        figures.append(Figure(_NAMES[verb], float(rate), "/s", "higher", note))
        if verb in _WORST:
            figures.append(
                Figure(f"{_NAMES[verb]}, p99", float(worst), "ms", note=f"{options.connections} connections")
            )
    if not figures:
        return [missing("API throughput", f"the load client said: {(done.stderr or done.stdout).strip()[-200:]}")]
    return figures
