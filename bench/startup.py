"""Start-up phases of `minikube-py up`, as `up` itself recorded them, and how long a second `up` takes.

Who calls it: __main__.py. The cluster counts as usable when the API answers and all nodes are Ready; building images and
preparing the host happen once per machine and are shown apart.
"""

import json
import subprocess
import sys
import time

from bench.figures import Figure, missing
from bench.target import Options, Target

_ONCE_PER_MACHINE = ("host programs", "base images", "Docker Engine")


def minikube_py(*arguments: str, timeout: float = 300) -> float:
    """Run a `minikube-py` command. Out: the seconds it took. Raises CalledProcessError."""
    start = time.monotonic()
    command = [sys.executable, "-m", "minikube_py.cli.main", *arguments]
    subprocess.run(command, check=True, timeout=timeout, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def measure(target: Target, options: Options) -> list[Figure]:
    if target.profile is None:
        return [missing("start-up", "only for a cluster of ours")]
    recorded = target.profile.directory / "phases.json"
    if not recorded.exists():
        return [missing("start-up", "this profile has no record of its start")]
    phases: dict[str, float] = json.loads(recorded.read_text())
    usable = sum(seconds for name, seconds in phases.items() if not name.startswith((*_ONCE_PER_MACHINE, "sample")))
    figures = [Figure("up: usable after", usable, "s", note="API answers, all nodes Ready")]
    figures += [Figure(f"up: {name}", value, "s") for name, value in phases.items()]
    again = minikube_py("up", "-p", target.profile.name, "--no-merge-kubeconfig")
    recorded.write_text(json.dumps(phases, indent=2))  # the second `up` has overwritten what the first one took
    return [*figures, Figure("up again, nothing to do", again, "s", note="the whole command, interpreter included")]
