"""`kctl wait`: until objects have a condition, a value, or are gone.

Who calls it: `main.py`. Upstream: staging/src/k8s.io/kubectl/pkg/cmd/wait.
"""

import sys
import time

import click

from minikube_py.api.errors import NotFound
from minikube_py.api.meta import condition_of
from minikube_py.api.types import Obj
from minikube_py.cli.kctl import output as out
from minikube_py.cli.kctl.durations import seconds
from minikube_py.cli.kctl.session import Resource, Session

_POLL = 0.1


@click.command("wait")
@click.argument("words", nargs=-1, metavar="TYPE[/NAME] [NAME...]")
@click.option(
    "--for", "wanted", required=True, help="condition=NAME[=VALUE], delete, create or jsonpath={PATH}[=VALUE]."
)
@click.option("--timeout", default="30s", show_default=True)
@click.option("-l", "--selector", default="")
@click.option("--field-selector", default="")
@click.option("--all", "every", is_flag=True)
@click.option("-A", "--all-namespaces", is_flag=True)
@click.pass_obj
def wait_command(
    session: Session, words: tuple[str, ...], wanted: str, timeout: str, selector: str, field_selector: str, every: bool,
    all_namespaces: bool,
) -> None:  # fmt: skip
    """Wait until objects are as asked."""
    bound = seconds(timeout)
    deadline = time.monotonic() + bound if bound >= 0 else float("inf")
    failed = False
    for target in session.targets(words):
        place = session.where(target.resource, all_namespaces)
        if target.name:
            found = [(place, target.name)]
        else:
            items = session.client.list(
                target.resource.gvr, place, label_selector=selector, field_selector=field_selector
            )["items"]
            found = [(item["metadata"].get("namespace", ""), item["metadata"]["name"]) for item in items]
            if not found and wanted != "delete":
                raise click.ClickException("no matching resources found")
        for namespace, name in found:
            failed |= not _wait_one(session, target.resource, namespace, name, wanted, deadline)
    sys.exit(1 if failed else 0)


def _wait_one(session: Session, resource: Resource, namespace: str, name: str, wanted: str, deadline: float) -> bool:
    shown = f"{resource.qualified}/{name}"
    first = True
    while True:
        try:
            obj: Obj | None = session.client.get(resource.gvr, name, namespace)
        except NotFound:
            if first and wanted not in ("delete", "create"):
                raise
            obj = None
        first = False
        if met(obj, wanted):
            click.echo(f"{shown} {'deleted' if wanted == 'delete' else 'condition met'}")
            return True
        if obj is None and wanted not in ("delete", "create"):
            raise click.ClickException(f"{shown} was deleted while waiting")
        if time.monotonic() > deadline:
            click.echo(f"error: timed out waiting for the condition on {resource.gvr.plural}/{name}", err=True)
            return False
        time.sleep(_POLL)


def met(obj: Obj | None, wanted: str) -> bool:
    """Whether the object (None: it is not there) is as `--for` asks. Raises UsageError."""
    if wanted in ("delete", "create"):
        return (obj is None) == (wanted == "delete")
    kind, _, rest = wanted.partition("=")
    if obj is None:
        return False
    if kind == "condition":
        name, _, value = rest.partition("=")
        found = next(
            (c for c in (obj.get("status") or {}).get("conditions") or [] if c["type"].lower() == name.lower()), None
        )
        current = found or condition_of(obj, name)
        return current is not None and current["status"].lower() == (value or "true").lower() and _observed(obj)
    if kind == "jsonpath":
        path, _, value = rest.strip("'").partition("}=")
        values = out.find(obj, path.strip("{}"))
        return bool(values) and (not value or any(str(v) == value.strip("'\"") for v in values))
    raise click.UsageError(f'unrecognized condition: "{wanted}"')


def _observed(obj: Obj) -> bool:
    """A condition counts once the controller has seen the current spec."""
    seen = (obj.get("status") or {}).get("observedGeneration")
    return seen is None or seen >= obj["metadata"].get("generation", 0)
