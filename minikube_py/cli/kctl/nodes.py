"""`kctl cordon|uncordon|drain`: take a node out of use and back.

Who calls it: `main.py`. Invariant: drain evicts through the eviction API, so disruption budgets are honoured; it starts only
when every pod on the node may go. Upstream: staging/src/k8s.io/kubectl/pkg/drain.
"""

import time

import click

from minikube_py.api.errors import NotFound, TooManyRequests
from minikube_py.api.gvr import NODES, PODS
from minikube_py.api.meta import annotations_of, controller_of, name_of, namespace_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.cli.kctl.durations import seconds
from minikube_py.cli.kctl.session import Session

_RETRY, _POLL = 5.0, 0.2
_MIRROR = "kubernetes.io/config.mirror"


@click.command("cordon")
@click.argument("names", nargs=-1, required=True, metavar="NODE...")
@click.pass_obj
def cordon_command(session: Session, names: tuple[str, ...]) -> None:
    """Let no new pods onto a node."""
    for name in names:
        _set_schedulable(session, name, False)


@click.command("uncordon")
@click.argument("names", nargs=-1, required=True, metavar="NODE...")
@click.pass_obj
def uncordon_command(session: Session, names: tuple[str, ...]) -> None:
    """Let pods onto a node again."""
    for name in names:
        _set_schedulable(session, name, True)


def _set_schedulable(session: Session, name: str, wanted: bool) -> None:
    word = name.removeprefix("node/").removeprefix("nodes/")
    node = session.client.get(NODES, word)
    done = "uncordoned" if wanted else "cordoned"
    if bool(node["spec"].get("unschedulable")) != wanted:
        click.echo(f"node/{word} already {done}")
        return
    session.client.patch(NODES, word, {"spec": {"unschedulable": None if wanted else True}}, field_manager="kctl")
    click.echo(f"node/{word} {done}")


@click.command("drain")
@click.argument("names", nargs=-1, required=True, metavar="NODE...")
@click.option("--ignore-daemonsets", is_flag=True)
@click.option("--delete-emptydir-data", is_flag=True)
@click.option("--force", is_flag=True, help="Also pods no controller would make again.")
@click.option("--grace-period", type=int, default=-1)
@click.option("--timeout", default="0s")
@click.pass_obj
def drain_command(
    session: Session, names: tuple[str, ...], ignore_daemonsets: bool, delete_emptydir_data: bool, force: bool,
    grace_period: int, timeout: str,
) -> None:  # fmt: skip
    """Cordon a node and evict its pods."""
    bound = seconds(timeout)
    for name in names:
        word = name.removeprefix("node/").removeprefix("nodes/")
        _set_schedulable(session, word, False)
        pods = session.client.list(PODS, field_selector=f"spec.nodeName={word}")["items"]
        going, complaints = [], []
        for pod in pods:
            problem, skip = _judge(pod, ignore_daemonsets, delete_emptydir_data, force)
            if problem:
                complaints.append(problem)
            elif not skip:
                going.append(pod)
        if complaints:
            listed = "\n".join(sorted(set(complaints)))
            raise click.ClickException(f'unable to drain node "{word}" due to error: cannot delete {listed}')
        _evict_all(session, going, grace_period, time.monotonic() + bound if bound else None)
        click.echo(f"node/{word} drained")


def _judge(pod: Obj, ignore_daemonsets: bool, delete_data: bool, force: bool) -> tuple[str, bool]:
    """(why the pod forbids draining, or ""; whether it stays where it is)."""
    shown = f"{namespace_of(pod)}/{name_of(pod)}"
    if _MIRROR in annotations_of(pod):
        return "", True
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return "", False
    owner = controller_of(pod)
    if owner and owner["kind"] == "DaemonSet":
        return (
            ("", True)
            if ignore_daemonsets
            else (f"DaemonSet-managed Pods (use --ignore-daemonsets to ignore): {shown}", True)
        )
    if owner is None and not force:
        return f"Pods that declare no controller (use --force to override): {shown}", True
    if not delete_data and any("emptyDir" in volume for volume in pod["spec"].get("volumes") or []):
        return f"Pods with local storage (use --delete-emptydir-data to override): {shown}", True
    return "", False


def _evict_all(session: Session, pods: list[Obj], grace: int, deadline: float | None) -> None:
    waiting = list(pods)
    for pod in pods:
        click.echo(f"evicting pod {namespace_of(pod)}/{name_of(pod)}")
    evicted: set[str] = set()
    retry_at: dict[str, float] = {}
    while waiting:
        for pod in list(waiting):
            uid = uid_of(pod)
            if uid not in evicted and retry_at.get(uid, 0) <= time.monotonic():
                if _evict(session, pod, grace):
                    evicted.add(uid)
                else:
                    retry_at[uid] = time.monotonic() + _RETRY
            if uid in evicted and _gone(session, pod):
                click.echo(f"pod/{name_of(pod)} evicted")
                waiting.remove(pod)
        if deadline and time.monotonic() > deadline and waiting:
            raise click.ClickException(f"drain did not complete within the timeout: {len(waiting)} pods remain")
        time.sleep(_POLL)


def _evict(session: Session, pod: Obj, grace: int) -> bool:
    """Ask for the eviction; False while a disruption budget forbids it."""
    options = {"gracePeriodSeconds": grace} if grace >= 0 else {}
    body: Obj = {
        "apiVersion": "policy/v1", "kind": "Eviction", "deleteOptions": options,
        "metadata": {"name": name_of(pod), "namespace": namespace_of(pod)},
    }  # fmt: skip
    try:
        session.client.create(PODS, body, namespace_of(pod), name=name_of(pod), subresource="eviction")
    except TooManyRequests as error:
        click.echo(f'error when evicting pods/"{name_of(pod)}" (will retry after {_RETRY:.0f}s): {error}', err=True)
        return False
    except NotFound:
        return True
    return True


def _gone(session: Session, pod: Obj) -> bool:
    try:
        return uid_of(session.client.get(PODS, name_of(pod), namespace_of(pod))) != uid_of(pod)
    except NotFound:
        return True
