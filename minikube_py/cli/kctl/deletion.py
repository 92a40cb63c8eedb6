"""What `kctl delete` does: delete, say so, and wait until the objects are really gone.

Who calls it: `apply.py`. Invariant: it waits for the object that was there (by uid), not for its name to be free.
Upstream: staging/src/k8s.io/kubectl/pkg/cmd/delete.
"""

import time
from typing import NamedTuple

import click

from minikube_py.api.errors import APIError, NotFound
from minikube_py.api.types import Obj
from minikube_py.cli.kctl.durations import seconds
from minikube_py.cli.kctl.session import Resource, Session, Target

_POLL = 0.1


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
