"""`kctl apply|create`: make the cluster equal to files, add objects.

Who calls it: `main.py`. Differs from kubectl on purpose: `apply` is server-side apply with conflicts forced, so the server
merges by its own schema for every kind, and no last-applied annotation is kept.
Upstream: staging/src/k8s.io/kubectl/pkg/cmd/{apply,create}.
"""

import json
import sys

import click

from minikube_py.api.errors import APIError, NotFound
from minikube_py.api.types import Obj
from minikube_py.cli.kctl import create_kinds, manifests
from minikube_py.cli.kctl import output as out
from minikube_py.cli.kctl.manifests import files_option, recursive_option
from minikube_py.cli.kctl.session import Resource, Session

dry_run_option = click.option(
    "--dry-run", type=click.Choice(["none", "client", "server"]), default="none", help="Only say what would happen."
)
output_option = click.option("-o", "--output", default="", help=out.FORMATS)


@click.command("apply")
@files_option
@recursive_option
@dry_run_option
@output_option
@click.option("--field-manager", default="kctl", show_default=True)
@click.option("--server-side", is_flag=True, hidden=True, help="What kctl does anyway.")
@click.pass_obj
def apply_command(
    session: Session,
    sources: tuple[str, ...],
    recursive: bool,
    dry_run: str,
    output: str,
    field_manager: str,
    server_side: bool,
) -> None:
    """Make the cluster's objects equal to those in files."""
    if not sources:
        raise click.UsageError("must specify one of -f")
    failures = 0
    for obj in manifests.read(sources, recursive):
        try:
            resource = session.resource_of(obj)
            before = _revision(session, resource, obj)
            applied = _send(session, resource, obj, "PATCH", dry_run, field_manager)
            verb = "created" if before is None else "unchanged" if _same(before, applied) else "configured"
            _say(resource, applied, verb, dry_run, output)
        except (APIError, click.ClickException) as error:
            failures += 1
            click.echo(_failure(error), err=True)
    sys.exit(1 if failures else 0)


@click.group("create", invoke_without_command=True)
@files_option
@recursive_option
@dry_run_option
@output_option
@click.pass_context
def create_command(ctx: click.Context, sources: tuple[str, ...], recursive: bool, dry_run: str, output: str) -> None:
    """Create objects from files, or of a common kind from flags."""
    if ctx.invoked_subcommand:
        return
    if not sources:
        raise click.UsageError("must specify one of -f")
    session: Session = ctx.obj
    failures = 0
    for obj in manifests.read(sources, recursive):
        try:
            resource = session.resource_of(obj)
            _say(resource, _send(session, resource, obj, "POST", dry_run, "kctl"), "created", dry_run, output)
        except (APIError, click.ClickException) as error:
            failures += 1
            click.echo(_failure(error), err=True)
    sys.exit(1 if failures else 0)


def create_one(session: Session, obj: Obj, dry_run: str, output: str) -> None:
    """Create one object built from flags and say so."""
    resource = session.resource_of(obj)
    _say(resource, _send(session, resource, obj, "POST", dry_run, "kctl"), "created", dry_run, output)


create_kinds.register(create_command, create_one, dry_run_option, output_option)


def _revision(session: Session, resource: Resource, obj: Obj) -> Obj | None:
    name = obj["metadata"].get("name")
    if not name:
        raise click.ClickException("error: from generateName: cannot use generate name with apply")
    try:
        return session.client.get(resource.gvr, name, _namespace(session, resource, obj))
    except NotFound:
        return None


def _namespace(session: Session, resource: Resource, obj: Obj) -> str:
    return obj["metadata"].get("namespace", "") or session.where(resource)


def _send(session: Session, resource: Resource, obj: Obj, method: str, dry_run: str, manager: str) -> Obj:
    """PATCH (apply) or POST (create) the object; with `--dry-run=client` nothing is sent."""
    if dry_run == "client":
        return obj
    namespace = _namespace(session, resource, obj)
    query = {"fieldManager": manager, "fieldValidation": "Strict", "dryRun": "All" if dry_run == "server" else ""}
    if method == "PATCH":
        path, kind = resource.gvr.path(namespace, obj["metadata"]["name"]), "application/apply-patch+yaml"
        query["force"] = "true"
        obj = {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}
    else:
        path, kind = resource.gvr.path(namespace), "application/json"
    answer: Obj = json.loads(session.client.request(method, path, query=query, body=obj, content_type=kind)[2])
    return answer


def _same(before: Obj, after: Obj) -> bool:
    return bool(before["metadata"].get("resourceVersion") == after["metadata"].get("resourceVersion"))


def _say(resource: Resource, obj: Obj, verb: str, dry_run: str, output: str) -> None:
    name = f"{resource.qualified}/{obj['metadata'].get('name') or obj['metadata'].get('generateName', '')}"
    if output:
        click.echo(out.render(obj, output, [name]))
        return
    suffix = {"none": "", "client": " (dry run)", "server": " (server dry run)"}[dry_run]
    click.echo(f"{name} {verb}{suffix}")


def _failure(error: Exception) -> str:
    return f"Error from server ({error.reason}): {error}" if isinstance(error, APIError) else f"error: {error}"
