"""`kctl explain`: what a field means, from the server's own OpenAPI documents.

Who calls it: `main.py`. Upstream: staging/src/k8s.io/kubectl/pkg/explain.
"""

import json
import textwrap
from collections.abc import Sequence

import click

from minikube_py.api.types import Obj
from minikube_py.cli.kctl.session import Session


@click.command("explain")
@click.argument("path", metavar="TYPE[.FIELD...]")
@click.option("--recursive", is_flag=True, help="Every field below, without descriptions.")
@click.option("--api-version", default="", help="A group/version other than the preferred one.")
@click.pass_obj
def explain_command(session: Session, path: str, recursive: bool, api_version: str) -> None:
    """Describe a resource or one of its fields."""
    word, *fields = path.split(".")
    resource = session.resource(word)
    gvr = resource.gvr
    document = _document(session, f"apis/{api_version}" if "/" in api_version else gvr.root.lstrip("/"))
    schemas = document["components"]["schemas"]
    schema = next((s for s in schemas.values() if _is_kind(s, gvr.group, api_version or gvr.version, gvr.kind)), None)
    if schema is None:
        raise click.ClickException(f'couldn\'t find resource for "{gvr.api_version}, Kind={gvr.kind}"')
    field, node, described = "", schema, schema.get("description", "")
    for field in fields:
        properties = _resolve(node, schemas).get("properties") or {}
        if field not in properties:
            raise click.ClickException(f'field "{field}" does not exist')
        described, node = properties[field].get("description", ""), properties[field]
    head = [f"GROUP:      {gvr.group}"] if gvr.group else []
    head += [f"KIND:       {gvr.kind}", f"VERSION:    {gvr.version}", ""]
    if field:
        head += [f"FIELD: {field} <{type_name(node, schemas)}>", ""]
    resolved = _resolve(node, schemas)
    head += ["DESCRIPTION:", *_wrapped(described or resolved.get("description") or "<empty>", "    "), ""]
    click.echo("\n".join(head + _fields(resolved, schemas, recursive)))


def _document(session: Session, root: str) -> Obj:
    index: Obj = json.loads(session.client.request("GET", "/openapi/v3")[2])
    entry = index["paths"].get(root)
    if entry is None:
        raise click.ClickException(f"the server has no OpenAPI document for {root}")
    loaded: Obj = json.loads(session.client.request("GET", entry["serverRelativeURL"])[2])
    return loaded


def _is_kind(schema: Obj, group: str, version: str, kind: str) -> bool:
    wanted = {"group": group, "version": version.rpartition("/")[2], "kind": kind}
    return wanted in (schema.get("x-kubernetes-group-version-kind") or [])


def _resolve(node: Obj, schemas: Obj) -> Obj:
    """The object schema behind references, lists and maps."""
    while True:
        if "$ref" in node:
            node = schemas[node["$ref"].rpartition("/")[2]]
        elif len(node.get("allOf") or []) == 1:
            node = node["allOf"][0]
        elif "items" in node:
            node = node["items"]
        elif isinstance(node.get("additionalProperties"), dict):
            node = node["additionalProperties"]
        else:
            return node


def type_name(node: Obj, schemas: Obj) -> str:
    """A field's type in kubectl's words: string, []Container, map[string]string."""
    if "allOf" in node and len(node["allOf"]) == 1:
        return type_name(node["allOf"][0], schemas)
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        target = schemas[name]
        return (
            name.rpartition(".")[2]
            if "properties" in target
            else type_name(target, schemas)
            if target.get("type")
            else "Object"
        )
    if node.get("type") == "array":
        return "[]" + type_name(node["items"], schemas)
    if isinstance(node.get("additionalProperties"), dict):
        return "map[string]" + type_name(node["additionalProperties"], schemas)
    return str(node.get("type") or "Object")


def _fields(node: Obj, schemas: Obj, recursive: bool) -> list[str]:
    if not node.get("properties"):
        return []
    lines = ["FIELDS:"]
    return lines + (_tree(node, schemas, 2, ()) if recursive else _descriptions(node, schemas))


def _descriptions(node: Obj, schemas: Obj) -> list[str]:
    lines: list[str] = []
    required = set(node.get("required") or [])
    for name, field in sorted(node["properties"].items()):
        mark = " -required-" if name in required else ""
        lines += [f"  {name}\t<{type_name(field, schemas)}>{mark}"]
        lines += [*_wrapped(field.get("description", "<empty>"), "    "), ""]
    return lines


def _tree(node: Obj, schemas: Obj, indent: int, seen: Sequence[int]) -> list[str]:
    lines: list[str] = []
    for name, field in sorted((node.get("properties") or {}).items()):
        lines.append(f"{' ' * indent}{name}\t<{type_name(field, schemas)}>")
        below = _resolve(field, schemas)
        if id(below) not in seen:  # JSONSchemaProps contains itself
            lines += _tree(below, schemas, indent + 2, (*seen, id(below)))
    return lines


def _wrapped(text: str, indent: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.splitlines():
        lines += textwrap.wrap(paragraph, 80, initial_indent=indent, subsequent_indent=indent) or [""]
    return lines
