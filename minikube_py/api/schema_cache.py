"""Finds the official schemas on disk and keeps small derived forms of them, so that a start costs milliseconds.

Who uses it: `schema.load`, and OpenAPI generation for the full text. Invariant: a cache file is only ever a copy of what the
source gives; it is keyed by the source's size and time and by `_FORM`, written atomically, and quietly not used when its
directory cannot be written or what it holds cannot be read.
The source is the PyPI package kubernetes-validate (official schemas of every release, one `_definitions.json` each).
"""

import contextlib
import hashlib
import importlib.util
import marshal
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from minikube_py.api.types import Obj

RELEASE = "1.36"
"""The Kubernetes release whose API is served. Moving on is changing this and the package's version."""

_FORM = 1
PREFIX = "#/$defs/"


def source(release: str = RELEASE) -> Path:
    """The release's `_definitions.json`. Raises FileNotFoundError, naming the package to install, when it is not there."""
    found = importlib.util.find_spec("kubernetes_validate")  # finds, does not import: the package pulls in jsonschema
    for directory in (found.submodule_search_locations or ()) if found else ():
        path = Path(directory) / "kubernetes-json-schema" / f"v{release}.0-local" / "_definitions.json"
        if path.exists():
            return path
    raise FileNotFoundError(
        f"no schemas of Kubernetes {release}: install the Python package kubernetes-validate {release}"
    )


def directory() -> Path:
    """Where derived files live: $XDG_CACHE_HOME/minikube-py, or ~/.cache/minikube-py."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "minikube-py"


def stamp(release: str = RELEASE) -> str:
    """A short text that changes whenever anything derived from the schemas has to be derived again."""
    stat = source(release).stat()
    facts = f"{release} {stat.st_size} {stat.st_mtime_ns} {_FORM} {sys.version_info[:2]} {marshal.version}"
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def derived(name: str, make: Callable[[], bytes], *, key: str = "", release: str = RELEASE) -> bytes:
    """The cached bytes called `name`, made (and kept, if possible) when they are not there yet.

    In: `key` is added to the stamp for what depends on more than the schemas.
    """
    path = directory() / f"{name}-{stamp(release)}{'-' + key if key else ''}"
    with contextlib.suppress(OSError):
        return path.read_bytes()
    made = make()
    write(path, made)
    _forget_older(path, name)
    return made


def _forget_older(path: Path, name: str) -> None:
    """Remove files of this name that other versions left behind and nobody has made anew for a day."""
    pattern = re.compile(re.escape(name) + r"-[0-9a-f]{16}(-[0-9A-F]+)?")
    with contextlib.suppress(OSError):
        oldest = path.stat().st_mtime - 86_400
        for other in path.parent.iterdir():
            if pattern.fullmatch(other.name) and other.stat().st_mtime < oldest:
                other.unlink()


def write(path: Path, content: bytes) -> None:
    """Put the file there whole or not at all; an unwritable directory is no error, the next start derives again."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def definitions(release: str = RELEASE) -> dict[str, Obj]:
    """The official definitions in full, descriptions included, by upstream's names. About 20 MB: do not hold on to it."""
    found: dict[str, Obj] = orjson.loads(source(release).read_bytes())["$defs"]
    return found


def compact(release: str = RELEASE) -> dict[str, bytes]:
    """Every definition without its texts: name → marshalled `squeeze`d schema."""
    blob = derived("schemas", lambda: marshal.dumps(_squeezed(release)), release=release)
    try:
        found = marshal.loads(blob)
        if isinstance(found, dict) and found:
            return found
    except (ValueError, EOFError, TypeError):
        pass
    return _squeezed(release)


def _squeezed(release: str) -> dict[str, bytes]:
    return {name: marshal.dumps(squeeze(schema)) for name, schema in definitions(release).items()}


_KEPT = {
    "format": "format",
    "x-kubernetes-list-type": "list_type",
    "x-kubernetes-map-type": "map_type",
    "x-kubernetes-patch-merge-key": "merge_key",
}


def squeeze(schema: Obj) -> dict[str, Any]:
    """One schema, and those inside it, reduced to what a `schema.Node` holds."""
    small: dict[str, Any] = {ours: schema[theirs] for theirs, ours in _KEPT.items() if theirs in schema}
    if "$ref" in schema:
        small["ref"] = schema["$ref"].removeprefix(PREFIX)
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        small["type"] = next(kind for kind in types if kind != "null")
    if "properties" in schema:
        small["properties"] = {name: squeeze(inner) for name, inner in schema["properties"].items()}
    for key, ours in (("items", "items"), ("additionalProperties", "additional")):
        if isinstance(schema.get(key), dict):
            small[ours] = squeeze(schema[key])
    if schema.get("required"):
        small["required"] = tuple(schema["required"])
    if schema.get("x-kubernetes-list-map-keys"):
        small["map_keys"] = tuple(schema["x-kubernetes-list-map-keys"])
    if schema.get("x-kubernetes-patch-strategy"):
        small["strategy"] = tuple(schema["x-kubernetes-patch-strategy"].split(","))
    kinds = schema.get("x-kubernetes-group-version-kind")
    if kinds:
        small["gvks"] = tuple((kind["group"], kind["version"], kind["kind"]) for kind in kinds)
    return small
