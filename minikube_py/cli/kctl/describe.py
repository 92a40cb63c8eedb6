"""`kctl describe`: everything about an object, laid out to be read, with its events.

Who calls it: `main.py`. Kinds people look at most have a layout of their own (`layouts.py`, data); every other kind, also one
kctl has never heard of, is shown field by field. Upstream: staging/src/k8s.io/kubectl/pkg/describe.
"""

import sys
from typing import Any

import click

from minikube_py.api.errors import APIError, NotFound
from minikube_py.api.gvr import EVENTS
from minikube_py.api.meta import annotations_of, labels_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.cli.kctl import layouts
from minikube_py.cli.kctl.durations import age
from minikube_py.cli.kctl.output import align
from minikube_py.cli.kctl.session import Resource, Session, Target

_HIDDEN = {"managedFields", "name", "namespace", "labels", "annotations", "selfLink"}


@click.command("describe")
@click.argument("words", nargs=-1, metavar="TYPE[/NAME] [NAME...]")
@click.option("-l", "--selector", default="")
@click.option("-A", "--all-namespaces", is_flag=True)
@click.option("--show-events/--no-show-events", default=True)
@click.pass_obj
def describe_command(
    session: Session, words: tuple[str, ...], selector: str, all_namespaces: bool, show_events: bool
) -> None:
    """Show objects in detail."""
    shown, failed = 0, False
    for target in session.targets(words):
        try:
            objects = _meant(session, target, selector, all_namespaces)
        except NotFound as error:
            click.echo(f"Error from server (NotFound): {error}", err=True)
            failed = True
            continue
        for obj in objects:
            click.echo(("\n\n" if shown else "") + describe(session, target.resource, obj, show_events))
            shown += 1
    if not shown and not failed:
        click.echo(f"No resources found in {session.namespace} namespace.", err=True)
    sys.exit(1 if failed else 0)


def _meant(session: Session, target: Target, selector: str, every: bool) -> list[Obj]:
    """The object called so, or else those whose name begins with it, as kubectl does."""
    gvr, place = target.resource.gvr, session.where(target.resource, every)
    if target.name:
        try:
            return [session.client.get(gvr, target.name, place)]
        except NotFound:
            items = session.client.list(gvr, place)["items"]
            begun = [item for item in items if item["metadata"]["name"].startswith(target.name)]
            if not begun:
                raise
            return begun
    return list(session.client.list(gvr, place, label_selector=selector)["items"])


def describe(session: Session, resource: Resource, obj: Obj, events: bool) -> str:
    """The whole text of one object."""
    metadata = obj["metadata"]
    rows: list[tuple[str, Any]] = [("Name", metadata["name"])]
    if resource.gvr.namespaced:
        rows.append(("Namespace", metadata.get("namespace", "")))
    rows += [("Labels", _pairs(labels_of(obj), "=")), ("Annotations", _pairs(annotations_of(obj), ": "))]
    layout = layouts.LAYOUTS.get(resource.gvr.kind)
    if layout:
        rows += layout(session.client, obj)
    else:
        rest = {k: v for k, v in obj.items() if k not in ("metadata", "apiVersion", "kind")}
        rows += [("API Version", resource.gvr.api_version), ("Kind", resource.gvr.kind)]
        rows.append(("Metadata", {k: v for k, v in metadata.items() if k not in _HIDDEN}))
        rows += [(title(key), value) for key, value in rest.items()]
    lines = layouts.lay_out(rows)
    if events:
        lines += _events(session, resource, obj)
    return "\n".join(lines)


def title(key: str) -> str:
    """ "terminationGracePeriodSeconds" → "Termination Grace Period Seconds"."""
    return layouts.title(key)


def _pairs(values: dict[str, str], sign: str) -> Any:
    return [f"{key}{sign}{value}" for key, value in sorted(values.items())] or "<none>"


def _events(session: Session, resource: Resource, obj: Obj) -> list[str]:
    chosen = f"involvedObject.uid={uid_of(obj)}" if uid_of(obj) else f"involvedObject.name={obj['metadata']['name']}"
    namespace = obj["metadata"].get("namespace", "") if resource.gvr.namespaced else ""
    if resource.gvr.kind == "Node":  # a node's events name it by name and carry its name as uid
        chosen = f"involvedObject.kind=Node,involvedObject.name={obj['metadata']['name']}"
    try:
        items = session.client.list(EVENTS, namespace, field_selector=chosen)["items"]
    except APIError as error:
        return [f"Events:  <could not be listed: {error}>"]
    if not items:
        return ["Events:  <none>"]
    items.sort(
        key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or e["metadata"].get("creationTimestamp") or ""
    )
    rows = [["Type", "Reason", "Age", "From", "Message"], ["----", "------", "----", "----", "-------"]]
    for event in items:
        seen = age(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp"))
        if event.get("count", 1) > 1:
            seen += f" (x{event['count']} over {age(event.get('firstTimestamp'))})"
        source = (event.get("source") or {}).get("component") or event.get("reportingComponent") or ""
        rows.append(
            [event.get("type", ""), event.get("reason", ""), seen, source, (event.get("message") or "").strip()]
        )
    return ["Events:", *(f"  {line}" for line in align(rows, gap=2))]
