"""How objects are printed: server-side tables, yaml, json, names, jsonpath, custom columns.

Who uses it: get, create, apply and others with `-o`. Invariant: tables come from the server and are only aligned here, so a
kind kctl has never heard of prints as its server meant it.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import click

from minikube_py.api import yaml
from minikube_py.api.types import Obj

TABLE_ACCEPT = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
FORMATS = "json|yaml|name|wide|jsonpath=...|custom-columns=..."

_COLOURS = {
    "green": ("Running", "Ready", "Active", "Bound", "Completed", "Available", "Succeeded"),
    "yellow": ("Pending", "ContainerCreating", "Terminating", "PodInitializing", "NotReady", "Unknown"),
    "red": ("Error", "CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "OOMKilled", "Failed", "Evicted"),
}
_COLOUR_OF = {word: colour for colour, words in _COLOURS.items() for word in words}


def is_table(output: str) -> bool:
    return output in ("", "wide")


def render(obj: Obj, output: str, names: Sequence[str] = ()) -> str:
    """An object or a List in the asked format. Raises ClickException for a format there is not."""
    kind, _, argument = output.partition("=")
    if kind == "yaml":
        return yaml.dump(obj).rstrip("\n")
    if kind == "json":
        return json.dumps(obj, indent=4, ensure_ascii=False)
    if kind == "name":
        return "\n".join(names)
    if kind in ("jsonpath", "jsonpath-as-json"):
        return jsonpath(obj, argument)
    if kind == "custom-columns":
        return _custom_columns(obj.get("items", [obj]), argument)
    raise click.ClickException(
        f'unable to match a printer suitable for the output format "{output}", allowed: {FORMATS}'
    )


def table_lines(table: Obj, *, wide: bool, headers: bool, prefix: str = "", namespaces: bool = False,
                labels: bool = False) -> list[str]:  # fmt: skip
    """Align a server-side Table. `prefix` goes before each name ("pod/"), `namespaces` adds that column."""
    columns = [(i, c) for i, c in enumerate(table["columnDefinitions"]) if wide or not c.get("priority")]
    head = [c["name"].upper() for _, c in columns]
    rows: list[list[str]] = []
    for row in table.get("rows") or []:
        cells = [_cell(row["cells"][i]) for i, _ in columns]
        cells[0] = prefix + cells[0]
        metadata = (row.get("object") or {}).get("metadata") or {}
        if namespaces:
            cells.insert(0, metadata.get("namespace", ""))
        if labels:
            cells.append(",".join(f"{k}={v}" for k, v in sorted((metadata.get("labels") or {}).items())) or "<none>")
        rows.append(cells)
    head = (["NAMESPACE"] if namespaces else []) + head + (["LABELS"] if labels else [])
    return align([head, *rows] if headers else rows, colour=True)


def align(rows: list[list[str]], *, gap: int = 3, colour: bool = False) -> list[str]:
    """Columns padded to their widest cell; states coloured on a terminal (click drops colours elsewhere)."""
    if not rows:
        return []
    widths = [max((len(row[i]) for row in rows if i < len(row)), default=0) for i in range(max(map(len, rows)))]
    return ["".join(_padded(cell, widths[i] + gap, colour) for i, cell in enumerate(row)).rstrip() for row in rows]


def _padded(cell: str, width: int, colour: bool) -> str:
    text = cell.ljust(width)
    known = _COLOUR_OF.get(cell.split(",")[0]) if colour else None
    return click.style(cell, fg=known) + text[len(cell) :] if known else text


def _cell(value: Any) -> str:
    if value is None:
        return "<none>"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _custom_columns(items: Sequence[Obj], specification: str) -> str:
    columns = [column.partition(":")[::2] for column in specification.split(",")]
    if not all(path for _, path in columns):
        raise click.ClickException("custom-columns format must be HEADER:path,HEADER:path")
    rows = [[",".join(_text(v) for v in find(item, path)) or "<none>" for _, path in columns] for item in items]
    rows.insert(0, [head for head, _ in columns])
    return "\n".join(align(rows))


def jsonpath(obj: Obj, template: str) -> str:
    """A kubectl JSONPath template: `{.path}` pieces and quoted text between literal text; `{range}…{end}` loops."""
    pieces = re.findall(r"\{((?:'[^']*'|\"[^\"]*\"|[^{}'\"])*)\}|([^{]+)", template.strip())
    if not pieces:
        raise click.ClickException("template format specified but no template given")
    out, _ = _evaluate(pieces, 0, obj)
    return out


def _evaluate(pieces: list[tuple[str, str]], start: int, context: Any) -> tuple[str, int]:
    out, index = "", start
    while index < len(pieces):
        expression, literal = pieces[index]
        index += 1
        if literal:
            out += literal
        elif expression == "end":
            return out, index
        elif expression.startswith("range "):
            after = index
            for item in find(context, expression[6:].strip()):
                text, after = _evaluate(pieces, index, item)
                out += text
            index = after if after != index else _skip(pieces, index)
        elif expression[:1] in "'\"":
            out += expression[1:-1].encode().decode("unicode_escape")
        else:
            out += " ".join(_text(value) for value in find(context, expression))
    return out, index


def _skip(pieces: list[tuple[str, str]], index: int) -> int:
    depth = 1
    while index < len(pieces) and depth:
        expression = pieces[index][0]
        depth += expression.startswith("range ") - (expression == "end")
        index += 1
    return index


def find(obj: Any, path: str) -> list[Any]:
    """The values a JSONPath selects. Raises ClickException for a path that cannot be read."""
    from jsonpath_ng.exceptions import JSONPathError
    from jsonpath_ng.ext.parser import parse

    text = path.strip().lstrip("$@").replace("\\.", "\0")
    text = re.sub(r"\.?([^.\[\]]*\0[^.\[\]]*)", lambda m: f"['{m[1]}']".replace("\0", "."), text)
    text = re.sub(r"(==|!=)\s*'([^']*)'", r'\1 "\2"', text)
    text = text.lstrip(".") if not text.startswith("..") else text
    try:
        return [match.value for match in parse(f"$.{text}" if text and text[0] not in ".[" else f"${text}").find(obj)]
    except (JSONPathError, ValueError, AttributeError, TypeError) as error:
        raise click.ClickException(f"error parsing jsonpath {path}: {error}") from None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
