"""`kctl rollout status|history|undo|restart|pause|resume`, for Deployments.

Who calls it: `main.py`. Upstream: staging/src/k8s.io/kubectl/pkg/cmd/rollout and pkg/polymorphichelpers.
"""

import time
from datetime import UTC, datetime

import click

from minikube_py.api.clock import rfc3339
from minikube_py.api.errors import NotFound
from minikube_py.api.gvr import DEPLOYMENTS, REPLICASETS
from minikube_py.api.meta import annotations_of, condition_of, controller_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.cli.kctl.durations import seconds
from minikube_py.cli.kctl.output import align
from minikube_py.cli.kctl.session import Session

_REVISION = "deployment.kubernetes.io/revision"
_CAUSE = "kubernetes.io/change-cause"
_POLL = 0.2


@click.group("rollout")
def rollout_command() -> None:
    """Watch and steer the rollout of a Deployment."""


def _deployment(session: Session, words: tuple[str, ...]) -> Obj:
    targets = session.targets(words)
    if len(targets) != 1 or not targets[0].name:
        raise click.UsageError("name one deployment, such as: deployment/web")
    if targets[0].resource.gvr != DEPLOYMENTS:
        raise click.ClickException(
            f"{targets[0].resource.qualified_plural}: kctl rolls out Deployments only; use kubectl"
        )
    return session.client.get(DEPLOYMENTS, targets[0].name, session.namespace)


def _replica_sets(session: Session, deployment: Obj) -> dict[int, Obj]:
    """The Deployment's ReplicaSets by revision."""
    owned = [
        rs for rs in session.client.list(REPLICASETS, session.namespace)["items"]
        if (controller_of(rs) or {}).get("uid") == uid_of(deployment)
    ]  # fmt: skip
    return {int(annotations_of(rs).get(_REVISION, 0)): rs for rs in owned}


@rollout_command.command()
@click.argument("words", nargs=-1, metavar="deployment/NAME")
@click.option("-w/", "--watch/--no-watch", "watch", default=True)
@click.option("--timeout", default="0s")
@click.pass_obj
def status(session: Session, words: tuple[str, ...], watch: bool, timeout: str) -> None:
    """Show how far a rollout is, until it is done."""
    name = _deployment(session, words)["metadata"]["name"]
    bound, start, said = seconds(timeout), time.monotonic(), ""
    while True:
        try:
            text, done = describe_progress(session.client.get(DEPLOYMENTS, name, session.namespace))
        except NotFound:
            raise click.ClickException("object has been deleted") from None
        if text != said:
            click.echo(text)
            said = text
        if done or not watch:
            return
        if bound and time.monotonic() - start > bound:
            raise click.ClickException("timed out waiting for the condition")
        time.sleep(_POLL)


def describe_progress(deployment: Obj) -> tuple[str, bool]:
    """A sentence in kubectl's words, and whether the rollout is complete. Raises ClickException past its deadline."""
    name, spec, state = deployment["metadata"]["name"], deployment["spec"], deployment.get("status") or {}
    wanted, updated = spec.get("replicas", 1), state.get("updatedReplicas", 0)
    if deployment["metadata"].get("generation", 0) > state.get("observedGeneration", 0):
        return "Waiting for deployment spec update to be observed...", False
    if (condition_of(deployment, "Progressing") or {}).get("reason") == "ProgressDeadlineExceeded":
        raise click.ClickException(f'deployment "{name}" exceeded its progress deadline')
    waiting = f'Waiting for deployment "{name}" rollout to finish: '
    if updated < wanted:
        return f"{waiting}{updated} out of {wanted} new replicas have been updated...", False
    if (old := state.get("replicas", 0) - updated) > 0:
        return f"{waiting}{old} old replicas are pending termination...", False
    if (available := state.get("availableReplicas", 0)) < updated:
        return f"{waiting}{available} of {updated} updated replicas are available...", False
    return f'deployment "{name}" successfully rolled out', True


@rollout_command.command()
@click.argument("words", nargs=-1, metavar="deployment/NAME")
@click.option("--revision", type=int, default=0, help="Show this revision's pod template.")
@click.pass_obj
def history(session: Session, words: tuple[str, ...], revision: int) -> None:
    """List a Deployment's revisions."""
    deployment = _deployment(session, words)
    sets = _replica_sets(session, deployment)
    title = f"deployment.apps/{deployment['metadata']['name']}"
    if revision:
        if revision not in sets:
            raise click.ClickException("unable to find the specified revision")
        from minikube_py.api import yaml

        click.echo(f"{title} with revision #{revision}\nPod Template:")
        click.echo(
            "".join(f"  {line}\n" for line in yaml.dump(sets[revision]["spec"]["template"]).splitlines()), nl=False
        )
        return
    rows = [[str(number), annotations_of(rs).get(_CAUSE, "<none>")] for number, rs in sorted(sets.items())]
    click.echo(f"{title} \n" + "\n".join(align([["REVISION", "CHANGE-CAUSE"], *rows], gap=2)))


@rollout_command.command()
@click.argument("words", nargs=-1, metavar="deployment/NAME")
@click.option("--to-revision", type=int, default=0, help="0: the one before the current.")
@click.pass_obj
def undo(session: Session, words: tuple[str, ...], to_revision: int) -> None:
    """Go back to an earlier revision."""
    deployment = _deployment(session, words)
    name = deployment["metadata"]["name"]
    if deployment["spec"].get("paused"):
        raise click.ClickException(
            f"cannot rollback a paused deployment; resume it first with: kctl rollout resume deployment/{name}"
        )
    sets = _replica_sets(session, deployment)
    current = int(annotations_of(deployment).get(_REVISION, 0))
    earlier = [number for number in sets if number != current]
    wanted = to_revision or max(earlier, default=0)
    if wanted not in sets:
        raise click.ClickException(
            f"unable to find specified revision {to_revision} in history"
            if to_revision
            else f'no rollout history found for deployment "{name}"'
        )
    template = sets[wanted]["spec"]["template"]
    labels = {k: v for k, v in (template["metadata"].get("labels") or {}).items() if k != "pod-template-hash"}
    old = {**template, "metadata": {**template["metadata"], "labels": labels}}
    if wanted == current or old == deployment["spec"]["template"]:
        click.echo(f"deployment.apps/{name} skipped rollback (current template already matches revision {wanted})")
        return
    patch = [{"op": "replace", "path": "/spec/template", "value": old}]
    session.client.patch(DEPLOYMENTS, name, patch, session.namespace, kind="json", field_manager="kctl")
    click.echo(f"deployment.apps/{name} rolled back")


def _patch(session: Session, words: tuple[str, ...], patch: Obj, done: str) -> None:
    name = _deployment(session, words)["metadata"]["name"]
    session.client.patch(DEPLOYMENTS, name, patch, session.namespace, kind="strategic", field_manager="kctl")
    click.echo(f"deployment.apps/{name} {done}")


@rollout_command.command()
@click.argument("words", nargs=-1, metavar="deployment/NAME")
@click.pass_obj
def restart(session: Session, words: tuple[str, ...]) -> None:
    """Replace every pod, at the rollout's pace."""
    stamp = {"kubectl.kubernetes.io/restartedAt": rfc3339(datetime.now(UTC))}
    _patch(session, words, {"spec": {"template": {"metadata": {"annotations": stamp}}}}, "restarted")


@rollout_command.command()
@click.argument("words", nargs=-1, metavar="deployment/NAME")
@click.pass_obj
def pause(session: Session, words: tuple[str, ...]) -> None:
    """Hold a rollout."""
    _patch(session, words, {"spec": {"paused": True}}, "paused")


@rollout_command.command()
@click.argument("words", nargs=-1, metavar="deployment/NAME")
@click.pass_obj
def resume(session: Session, words: tuple[str, ...]) -> None:
    """Let a held rollout go on."""
    _patch(session, words, {"spec": {"paused": False}}, "resumed")
