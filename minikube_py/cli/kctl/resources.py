"""`kctl api-resources|api-versions|version`: what the server offers.

Who calls it: `main.py`. Upstream: staging/src/k8s.io/kubectl/pkg/cmd/{apiresources,version}.
"""

import json

import click

from minikube_py import KUBERNETES_RELEASE, __version__
from minikube_py.cli.kctl.output import align
from minikube_py.cli.kctl.session import Session


@click.command("api-resources")
@click.option("-o", "--output", type=click.Choice(["", "wide", "name"]), default="")
@click.option("--namespaced", type=click.BOOL, default=None)
@click.option("--api-group", default=None)
@click.option("--no-headers", is_flag=True)
@click.pass_obj
def api_resources_command(
    session: Session, output: str, namespaced: bool | None, api_group: str | None, no_headers: bool
) -> None:
    """List the resources the server serves."""
    rows = []
    for r in sorted(session.resources, key=lambda r: (r.gvr.group, r.gvr.plural)):
        if not r.preferred or ("list" not in r.verbs and not r.verbs):
            continue
        if namespaced not in (None, r.gvr.namespaced) or api_group not in (None, r.gvr.group):
            continue
        row = [r.gvr.plural, ",".join(r.short_names), r.gvr.api_version, str(r.gvr.namespaced).lower(), r.gvr.kind]
        rows.append(
            [r.qualified_plural] if output == "name" else row + ([",".join(r.verbs)] if output == "wide" else [])
        )
    head = ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"] + (["VERBS"] if output == "wide" else [])
    click.echo("\n".join(align(rows if output == "name" or no_headers else [head, *rows])))


@click.command("api-versions")
@click.pass_obj
def api_versions_command(session: Session) -> None:
    """List the group versions the server serves."""
    click.echo("\n".join(sorted({r.gvr.api_version for r in session.resources})))


@click.command("version")
@click.option("--client", "client_only", is_flag=True)
@click.option("-o", "--output", type=click.Choice(["", "json"]), default="")
@click.pass_obj
def version_command(session: Session, client_only: bool, output: str) -> None:
    """Print the client's and the server's version."""
    server = {} if client_only else json.loads(session.client.request("GET", "/version")[2])
    if output == "json":
        click.echo(json.dumps({"clientVersion": {"gitVersion": f"v{__version__}"}, "serverVersion": server}, indent=2))
        return
    click.echo(f"Client Version: v{__version__} (speaks Kubernetes {KUBERNETES_RELEASE})")
    if server:
        click.echo(f"Server Version: {server['gitVersion']}")
