"""`kctl delete`: delete, say so, and wait until the objects are really gone.

Who calls it: `main.py`. Invariant: it waits for the object that was there (by uid), not for its name to be free.
Upstream: staging/src/k8s.io/kubectl/pkg/cmd/delete.
"""

import sys
import time
from typing import NamedTuple

import click

from minikube_py.api.errors import APIError, NotFound
from minikube_py.api.types import Obj
from minikube_py.cli.kctl import manifests
from minikube_py.cli.kctl.durations import seconds
from minikube_py.cli.kctl.manifests import files_option, recursive_option
from minikube_py.cli.kctl.session import Resource, Session, Target

_POLL = 0.1


@click.command("delete")
@click.argument("words", nargs=-1, metavar="TYPE[/NAME] [NAME...]")
@files_option
@recursive_option
@click.option("-l", "--selector", default="", help="Label selector.")
@click.option("--field-selector", default="")
@click.option("--all", "every", is_flag=True, help="Every object of the type in the namespace.")
@click.option("-A", "--all-namespaces", is_flag=True)
@click.option("--grace-period", type=int, default=-1)
@click.option("--force", is_flag=True, help="With --grace-period=0: do not wait for the node.")
@click.option("--now", is_flag=True, help="A grace period of one second.")
@click.option(
    "--cascade", type=click.Choice(["background", "foreground", "orphan"]), default="background", show_default=True
)
@click.option("--ignore-not-found", is_flag=True)
@click.option("--wait/--no-wait", default=True, help="Wait until the objects are gone.")
@click.option("--timeout", default="0s")
@click.pass_obj
def delete_command(
    session: Session, words: tuple[str, ...], sources: tuple[str, ...], recursive: bool, selector: str, field_selector: str,
    every: bool, all_namespaces: bool, grace_period: int, force: bool, now: bool, cascade: str, ignore_not_found: bool,
    wait: bool, timeout: str,
) -> None:  # fmt: skip
    """Delete objects by name, selector or file, and wait until they are gone."""
    targets: list[tuple[Target, str]] = []
    for obj in manifests.read(sources, recursive) if sources else []:
        resource = session.resource_of(obj)
        targets.append((Target(resource, obj["metadata"].get("name", "")), obj["metadata"].get("namespace", "")))
    if words:
        targets += [(target, "") for target in session.targets(words)]
    if not targets:
        raise click.UsageError("you must provide one or more resources by argument or filename")
    if any(not t.name for t, _ in targets) and not (selector or field_selector or every):
        raise click.UsageError("resource(s) were provided, but no name was specified; use --all or a selector")
    grace = 0 if force and grace_period < 0 else 1 if now else grace_period
    deletion = Deletion(session, None if grace < 0 else grace, cascade, force, all_namespaces)
    found = deletion.delete(targets, selector, field_selector, ignore_not_found)
    if wait and not (force and grace == 0):
        deletion.wait(timeout)
    sys.exit(0 if found else 1)


class _Deleted(NamedTuple):
    resource: Resource
    namespace: str
    name: str
    uid: str


class Deletion:
    """One `kctl delete`: `grace` None leaves the grace period to the object."""

    def __init__(self, session: Session, grace: int | None, cascade: str, force: bool, every: bool) -> None:
        self.session, self.grace, self.force, self.every = session, grace, force, every
        self.propagation = cascade.capitalize()
        self.deleted: list[_Deleted] = []

    def delete(self, targets: list[tuple[Target, str]], labels: str, fields: str, ignore: bool) -> bool:
        """Delete every target. Out: False if one that was named was not there, or could not be deleted."""
        good = True
        if self.force and self.grace == 0:
            click.echo(
                "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. "
                "The resource may continue to run on the cluster indefinitely.", err=True,
            )  # fmt: skip
        for target, namespace in targets:
            try:
                for obj in self._meant(target, namespace, labels, fields):
                    self._delete(target.resource, obj)
            except NotFound as error:
                if not ignore:
                    click.echo(f"Error from server (NotFound): {error}", err=True)
                    good = False
            except APIError as error:
                click.echo(f"Error from server ({error.reason}): {error}", err=True)
                good = False
        if good and not self.deleted and not ignore:
            click.echo("No resources found")
        return good

    def _meant(self, target: Target, namespace: str, labels: str, fields: str) -> list[Obj]:
        gvr = target.resource.gvr
        place = namespace or self.session.where(target.resource, self.every)
        if target.name:
            return [self.session.client.get(gvr, target.name, place)]
        if "list" not in target.resource.verbs:
            return []
        return list(self.session.client.list(gvr, place, label_selector=labels, field_selector=fields)["items"])

    def _delete(self, resource: Resource, obj: Obj) -> None:
        metadata = obj["metadata"]
        name, namespace = metadata["name"], metadata.get("namespace", "")
        self.session.client.delete(
            resource.gvr, name, namespace, grace_period_seconds=self.grace, propagation_policy=self.propagation
        )
        how = " force" if self.force and self.grace == 0 else ""
        place = (
            f" from {namespace} namespace"
            if namespace and resource.gvr.namespaced and namespace != self.session.namespace
            else ""
        )
        click.echo(f'{resource.qualified} "{name}"{how} deleted{place}')
        self.deleted.append(_Deleted(resource, namespace, name, metadata.get("uid", "")))

    def wait(self, timeout: str) -> None:
        """Until everything deleted is gone. Raises ClickException when `timeout` ("30s"; 0 = for ever) passes first."""
        bound = seconds(timeout)
        deadline = time.monotonic() + bound if bound else None
        for gone in self.deleted:
            while self._still_there(gone):
                if deadline and time.monotonic() > deadline:
                    raise click.ClickException(
                        f"timed out waiting for the condition on {gone.resource.gvr.plural}/{gone.name}"
                    )
                time.sleep(_POLL)

    def _still_there(self, gone: _Deleted) -> bool:
        try:
            return bool(
                self.session.client.get(gone.resource.gvr, gone.name, gone.namespace)["metadata"].get("uid") == gone.uid
            )
        except NotFound:
            return False
