"""`kctl get`: objects as tables or in any other format, once or watched.

Who calls it: `main.py`. Upstream: staging/src/k8s.io/kubectl/pkg/cmd/get.
"""

import json
from collections.abc import Iterator

import click

from minikube_py.api.errors import NotFound
from minikube_py.api.types import Obj
from minikube_py.cli.kctl import output as out
from minikube_py.cli.kctl.session import Resource, Session, Target
from minikube_py.client.stream import lines

_CHUNK = 500


@click.command("get")
@click.argument("words", nargs=-1, metavar="TYPE[/NAME] [NAME...]")
@click.option("-o", "--output", default="", help=out.FORMATS)
@click.option("-l", "--selector", default="", help="Label selector.")
@click.option("--field-selector", default="", help="Field selector.")
@click.option("-A", "--all-namespaces", is_flag=True)
@click.option("-w", "--watch", is_flag=True, help="List, then print every change.")
@click.option("--watch-only", is_flag=True, help="Print changes without the list.")
@click.option("--no-headers", is_flag=True)
@click.option("--show-labels", is_flag=True)
@click.option("--sort-by", default="", help="A JSONPath whose value sorts the list.")
@click.option("--ignore-not-found", is_flag=True)
@click.pass_obj
def get_command(
    session: Session, words: tuple[str, ...], output: str, selector: str, field_selector: str, all_namespaces: bool,
    watch: bool, watch_only: bool, no_headers: bool, show_labels: bool, sort_by: str, ignore_not_found: bool,
) -> None:  # fmt: skip
    """Display one or many objects."""
    targets = session.targets(words)
    query = {"labelSelector": selector, "fieldSelector": field_selector}
    if watch or watch_only:
        if len(targets) > 1:
            raise click.UsageError("you may only specify a single resource type with --watch")
        printer = _Watch(session, targets[0], query, output, all_namespaces, not no_headers, listing=not watch_only)
        printer.run()
        return
    if out.is_table(output) and not sort_by:
        _print_tables(session, targets, query, output, all_namespaces, not no_headers, show_labels, ignore_not_found)
        return
    _print_objects(session, targets, query, output, all_namespaces, sort_by, ignore_not_found)


def _print_tables(
    session: Session, targets: list[Target], query: dict[str, str], output: str, every: bool, headers: bool, labels: bool,
    ignore: bool,
) -> None:  # fmt: skip
    several = len({t.resource.gvr for t in targets}) > 1
    printed, failed = 0, False
    tables: list[tuple[Resource, Obj]] = []
    for target in targets:
        try:
            table = _fetch(session, target, query, every, out.TABLE_ACCEPT)
        except NotFound as error:
            if not ignore:
                click.echo(f"Error from server (NotFound): {error}", err=True)
                failed = True
            continue
        if tables and target.name and tables[-1][0].gvr == target.resource.gvr:
            tables[-1][1]["rows"] += table.get("rows") or []
        else:
            tables.append((target.resource, table))
    for resource, table in tables:
        if not table.get("rows"):
            continue
        lines = out.table_lines(
            table, wide=output == "wide", headers=headers, prefix=f"{resource.qualified}/" if several else "",
            namespaces=every and resource.gvr.namespaced, labels=labels,
        )  # fmt: skip
        click.echo(("\n" if printed else "") + "\n".join(lines))
        printed += 1
    if not printed and not failed and not any(t.name for t in targets):
        namespaced = any(t.resource.gvr.namespaced for t in targets)
        place = f" in {session.namespace} namespace" if namespaced and not every else ""
        click.echo(f"No resources found{place}{'.' if place else ''}", err=True)
    if failed:
        raise SystemExit(1)


def _print_objects(
    session: Session, targets: list[Target], query: dict[str, str], output: str, every: bool, sort_by: str, ignore: bool
) -> None:
    items: list[Obj] = []
    names: list[str] = []
    failed = False
    for target in targets:
        try:
            found = _fetch(session, target, query, every, "application/json")
        except NotFound as error:
            if not ignore:
                click.echo(f"Error from server (NotFound): {error}", err=True)
                failed = True
            continue
        kind = {"apiVersion": target.resource.gvr.api_version, "kind": target.resource.gvr.kind}
        members = [found] if target.name else [{**kind, **item} for item in found["items"]]
        items += members
        names += [f"{target.resource.qualified}/{item['metadata']['name']}" for item in members]
    for item in items:
        item["metadata"].pop("managedFields", None)
    if sort_by:
        items.sort(key=lambda item: [str(v) for v in out.find(item, sort_by.strip("{}"))])
    single = len(items) == 1 and len(targets) == 1 and bool(targets[0].name)
    if items or not failed:
        document = items[0] if single else _as_list(items)
        if sort_by and out.is_table(output):
            rows = [[i["kind"], i["metadata"].get("namespace", ""), i["metadata"]["name"]] for i in items]
            click.echo("\n".join(out.align([["KIND", "NAMESPACE", "NAME"], *rows])))
        elif text := out.render(document, output, names):
            click.echo(text)
    if failed:
        raise SystemExit(1)


def _as_list(items: list[Obj]) -> Obj:
    return {"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}


def _fetch(session: Session, target: Target, query: dict[str, str], every: bool, accept: str) -> Obj:
    """One object or Table; a collection is read in chunks and put together."""
    gvr = target.resource.gvr
    path = gvr.path(session.where(target.resource, every), target.name)
    if target.name:
        loaded: Obj = json.loads(session.client.request("GET", path, accept=accept)[2])
        return loaded
    whole: Obj = {}
    token = ""
    while True:
        paged = {**query, "limit": str(_CHUNK), "continue": token}
        page: Obj = json.loads(session.client.request("GET", path, query=paged, accept=accept)[2])
        member = "rows" if page.get("kind") == "Table" else "items"
        page[member] = page.get(member) or []
        if whole:
            whole[member] += page[member]
        else:
            whole = page
        token = (page.get("metadata") or {}).get("continue", "")
        if not token:
            return whole


class _Watch:
    """`get -w`: the list first, then one line (or document) per change, until interrupted."""

    def __init__(
        self,
        session: Session,
        target: Target,
        query: dict[str, str],
        output: str,
        every: bool,
        headers: bool,
        listing: bool,
    ) -> None:
        self.session, self.target, self.output, self.every = session, target, output, every
        self.headers, self.listing = headers, listing
        self.columns: list[Obj] | None = None
        name = f"metadata.name={target.name}" if target.name else ""
        fields = ",".join(part for part in (query["fieldSelector"], name) if part)
        self.query = {**query, "fieldSelector": fields}

    def run(self) -> None:
        accept = out.TABLE_ACCEPT if out.is_table(self.output) else "application/json"
        whole = Target(self.target.resource, "")
        page = _fetch(self.session, whole, self.query, self.every, accept)
        self.columns = page.get("columnDefinitions")  # later tables leave them out
        if self.listing:
            self._print_list(page)
        try:
            for event in self._events(accept, page["metadata"]["resourceVersion"]):
                if event["type"] in ("ADDED", "MODIFIED", "DELETED"):
                    self._print(event["object"])
        except KeyboardInterrupt:
            return

    def _print_list(self, page: Obj) -> None:
        if page.get("kind") == "Table":
            if page.get("rows"):
                self._print(page)
            return
        for item in page["items"]:
            self._print(
                {**item, "apiVersion": self.target.resource.gvr.api_version, "kind": self.target.resource.gvr.kind}
            )

    def _events(self, accept: str, revision: str) -> Iterator[Obj]:
        path = self.target.resource.gvr.path(self.session.where(self.target.resource, self.every))
        query = {**self.query, "watch": "true", "resourceVersion": revision}
        stream = self.session.client.open("GET", path, query=query, accept=accept)
        for line in lines(stream):
            yield json.loads(line)

    def _print(self, obj: Obj) -> None:
        if obj.get("kind") == "Table":
            obj["columnDefinitions"] = obj.get("columnDefinitions") or self.columns
            lines = out.table_lines(
                obj,
                wide=self.output == "wide",
                headers=self.headers,
                namespaces=self.every and self.target.resource.gvr.namespaced,
            )
            self.headers = False
            click.echo("\n".join(lines))
        else:
            obj["metadata"].pop("managedFields", None)
            click.echo(out.render(obj, self.output, [f"{self.target.resource.qualified}/{obj['metadata']['name']}"]))
