"""What `up` and `status` print: nodes, pods, processes, phases, and what to try next.

Who calls it: `cli/cluster_commands.py`. Invariant: states are coloured and columns aligned; nothing here changes anything.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from minikube_py.api.gvr import PODS
from minikube_py.api.meta import condition_of, name_of, namespace_of
from minikube_py.api.types import Obj
from minikube_py.cluster import access, process
from minikube_py.cluster.components import components
from minikube_py.cluster.profile import Profile
from minikube_py.cluster.progress import Progress

_GOOD, _BAD, _BUSY = "green", "red", "yellow"


def after_up(profile: Profile, progress: Progress, sample: bool) -> None:
    """The nodes, the pods, the time it took, and three things to try."""
    click.echo()
    _table(("NODE", "STATUS", "ADDRESS"), (_node_row(node) for node in access.nodes(profile)))
    pods = access.client(profile).list(PODS)["items"]
    if pods:
        click.echo()
        _table(("NAMESPACE", "POD", "STATUS", "IP", "NODE"), (_pod_row(pod) for pod in pods))
    total = sum(progress.phases.values())
    click.echo(f"\n{profile.name} is up after {total:.1f} s (context {profile.context!r}). Try next:")
    context = f"kubectl --context {profile.context}"
    target = "hello" if sample else "NAME"
    for line in (
        f"{context} get nodes,pods -A -o wide",
        f"{context} scale deployment {target} --replicas 5"
        if sample
        else f"{context} create deployment web --image busybox -- sleep 3600",
        f"{_own_command()} node stop {profile.nodes[-1].name} -p {profile.name}",
    ):
        click.echo(f"  {click.style(line, bold=True)}")


def _own_command() -> str:
    """How the user calls us: `make up` installs into .venv, which is not on the PATH unless it is activated."""
    own = Path(sys.executable).with_name("minikube-py")
    return "minikube-py" if shutil.which("minikube-py") or not own.exists() else os.path.relpath(own)


def status(profile: Profile) -> bool:
    """Print processes and nodes. Out: True if everything that should run does."""
    rows, healthy = [], True
    known = _read(profile.directory / "run" / "components.json")
    supervisor = process.read_pid(profile.directory / "run" / "supervisor.pid")
    rows.append(("supervisor", *_process(supervisor), ""))
    healthy &= bool(supervisor)
    for component in components(profile):
        pid = process.read_pid(profile.directory / "run" / f"{component.name}.pid")
        healthy &= bool(pid)
        rows.append((component.name, *_process(pid), _history(known.get(component.name, {}))))
    click.echo(f"profile {profile.name}: {profile.server}, store {profile.store}, {profile.timing} timing")
    _table(("COMPONENT", "STATE", "PID", "MEMORY", "HISTORY"), rows)
    nodes = access.nodes(profile) if supervisor else []
    if nodes:
        click.echo()
        _table(("NODE", "STATUS", "ADDRESS"), (_node_row(node) for node in nodes))
    if not supervisor:
        click.echo("the supervisor is not running; start it again with: minikube-py up -p " + profile.name)
    return healthy


def _read(path: Path) -> dict[str, Obj]:
    try:
        loaded: dict[str, Obj] = json.loads(path.read_text())
        return loaded
    except (FileNotFoundError, ValueError):
        return {}


def _process(pid: int) -> tuple[str, str, str]:
    if not pid:
        return click.style("down", fg=_BAD), "-", "-"
    pages = Path(f"/proc/{pid}/statm").read_text().split()
    return click.style("running", fg=_GOOD), str(pid), f"{int(pages[1]) * 4096 / 1e6:.0f} MB"


def _history(known: Obj) -> str:
    if not known.get("restarts"):
        return ""
    ago = time.time() - float(known.get("since") or 0)
    return f"restarted {known['restarts']} times, last {ago:.0f} s ago ({known.get('last_exit')})"


def _node_row(node: Obj) -> tuple[str, str, str]:
    ready = (condition_of(node, "Ready") or {}).get("status")
    shown = click.style("Ready", fg=_GOOD) if ready == "True" else click.style("NotReady", fg=_BAD)
    if (node.get("spec") or {}).get("unschedulable"):
        shown += ",SchedulingDisabled"
    addresses = (node.get("status") or {}).get("addresses") or []
    return name_of(node), shown, next((a["address"] for a in addresses if a["type"] == "InternalIP"), "")


def _pod_row(pod: Obj) -> tuple[str, str, str, str, str]:
    state = pod.get("status") or {}
    phase = state.get("phase", "")
    colour = {"Running": _GOOD, "Succeeded": _GOOD, "Failed": _BAD}.get(phase, _BUSY)
    node = (pod.get("spec") or {}).get("nodeName", "")
    return namespace_of(pod), name_of(pod), click.style(phase, fg=colour), state.get("podIP", ""), node


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns; colour codes do not count towards a width."""
    table = [list(head), *[list(row) for row in rows]]
    widths = [max(len(click.unstyle(row[column])) for row in table) for column in range(len(head))]
    for row in table:
        cells = [cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(row, widths, strict=True)]
        click.echo(("  " + "   ".join(cells)).rstrip())
