"""Reading what `-f` names: a file, a directory, or standard input; YAML or JSON; Lists taken apart.

Who uses it: apply, create, delete, edit. Invariant: everything is read and checked before the first request is sent.
Upstream: staging/src/k8s.io/cli-runtime/pkg/resource/builder.go.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from minikube_py.api import yaml
from minikube_py.api.errors import APIError
from minikube_py.api.types import Obj

files_option = click.option("-f", "--filename", "sources", multiple=True, help="File, directory, or - for stdin.")
recursive_option = click.option("-R", "--recursive", is_flag=True, help="Directories with everything below them.")

_SUFFIXES = (".yaml", ".yml", ".json")


def read(sources: Sequence[str], recursive: bool = False) -> list[Obj]:
    """Every object in the sources, in order. Raises ClickException naming the source that cannot be read."""
    found: list[Obj] = []
    for source in sources:
        for name, text in _texts(source, recursive):
            try:
                documents = yaml.load_all(text)
            except (ValueError, APIError) as error:
                raise click.ClickException(f"error parsing {name}: {error}") from None
            for document in documents:
                found += [_checked(item, name) for item in _flat(document)]
    if not found:
        raise click.ClickException(
            f"no objects passed to {'apply' if sources else 'kctl'}: {', '.join(sources) or 'use -f'}"
        )
    return found


def _texts(source: str, recursive: bool) -> Iterator[tuple[str, str]]:
    if source == "-":
        yield "STDIN", sys.stdin.read()
        return
    if source.startswith(("http://", "https://")):
        raise click.ClickException("kctl reads files only; fetch the URL first: curl -fsSL URL | kctl apply -f -")
    path = Path(source)
    if path.is_dir():
        pattern = "**/*" if recursive else "*"
        for file in sorted(p for p in path.glob(pattern) if p.suffix in _SUFFIXES and p.is_file()):
            yield str(file), file.read_text()
        return
    try:
        yield source, path.read_text()
    except FileNotFoundError:
        raise click.ClickException(f'the path "{source}" does not exist') from None
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"cannot read {source}: {error}") from None


def _flat(document: Obj) -> Iterator[Obj]:
    if (
        isinstance(document, dict)
        and str(document.get("kind", "")).endswith("List")
        and isinstance(document.get("items"), list)
    ):
        for item in document["items"]:
            yield from _flat(item)
    elif document:
        yield document


def _checked(obj: Obj, source: str) -> Obj:
    if not isinstance(obj, dict):
        raise click.ClickException(f"{source}: an object is expected, not {type(obj).__name__}")
    for field in ("apiVersion", "kind"):
        if not obj.get(field):
            raise click.ClickException(f"error validating {source!r}: {field} not set")
    if not isinstance(obj.get("metadata"), dict):
        raise click.ClickException(f"error validating {source!r}: metadata not set")
    for field in ("name", "namespace", "generateName"):
        if not isinstance(obj["metadata"].get(field, ""), str):
            value = obj["metadata"][field]
            raise click.ClickException(f"{source}: metadata.{field} is {value!r}, not text; put it in quotes")
    return obj
