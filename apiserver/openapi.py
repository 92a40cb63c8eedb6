"""OpenAPI documents: /openapi/v2, the /openapi/v3 index, and one version 3 document per group and version.

Who calls it: the handlers of /openapi (`apiserver/public.py`). Invariant: a document is made once per set of rows and
schemas, kept on disk beside the schema cache, and read from there, so that an idle server holds none of them in memory;
its ETag depends on what it is made from, never on when. Custom kinds are merged into the built-in documents when asked for.
Upstream: kube-openapi/pkg/{handler,handler3}.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import orjson

from apiserver import openapi_schemas
from apiserver.customresources import openapi as custom_kinds
from apiserver.negotiate import negotiate
from apiserver.openapi_paths import DELETE_OPTIONS, PATCH, STATUS, Style, paths
from apiserver.openapi_schemas import V2_PREFIX, V3_PREFIX
from apiserver.resources.row import Row
from minikube_py.api import schema, schema_cache
from minikube_py.api.errors import NotFound
from minikube_py.api.types import Obj

_FORM = 1
_TITLE = "Kubernetes"
_SECURITY = {
    "BearerToken": {
        "description": "Bearer Token authentication",
        "in": "header",
        "name": "authorization",
        "type": "apiKey",
    }
}


class Document(NamedTuple):
    """`body` is empty when the client's copy is still good (answer 304)."""

    etag: str
    body: bytes


class Foreign(NamedTuple):
    """The part of a document that an aggregated server wrote about its group and version. `v3` is a URL's query."""

    etag: str
    v3: str
    paths: Obj
    definitions: Obj


def answer(
    rows: Sequence[Row], path: str, foreign: Mapping[str, Foreign] | None = None, *, accept: str | None = None,
    if_none_match: str | None = None,
) -> Document:  # fmt: skip
    """The document at a path: "/openapi/v2", "/openapi/v3", "/openapi/v3/apis/apps/v1".

    In: `foreign` by group and version ("apis/wardle.example.com/v1").
    Raises NotFound for a group or version that is not served, NotAcceptable when the client takes no JSON.
    """
    negotiate(accept, forms=("application/json",))
    parts = path.strip("/").split("/")[1:]
    group_version = "/".join(parts[1:])
    if group_version:
        rows = _of(rows, group_version)
        if not rows:
            raise NotFound("the server could not find the requested resource")
    others = {} if group_version else dict(foreign or {})
    tag = _tag(rows, "/".join(parts), [(name, one.etag, one.v3) for name, one in others.items()])
    etag = f'"{tag}"'
    if if_none_match and etag in [known.strip().removeprefix("W/") for known in if_none_match.split(",")]:
        return Document(etag, b"")
    if parts == ["v2"]:
        return Document(etag, _with_foreign(v2(rows), others.values()))
    if parts == ["v3"]:
        return Document(etag, v3_index(rows, others))
    return Document(etag, v3(rows, group_version))


def group_versions(rows: Iterable[Row]) -> list[str]:
    """Every served group and version as version 3 names it: "api/v1", "apis/apps/v1"."""
    return list(dict.fromkeys(row.gvr.root.lstrip("/") for row in rows))


def _tag(rows: Sequence[Row], what: str, others: object = "") -> str:
    """A text that changes whenever the document does."""
    custom = [row.custom.fingerprint for row in rows if row.custom is not None]
    facts = f"{_FORM} {schema_cache.stamp()} {rows!r} {custom} {what}{others or ''}"
    return hashlib.sha256(facts.encode()).hexdigest()[:40].upper()


def v3_index(rows: Sequence[Row], foreign: Mapping[str, Foreign]) -> bytes:
    """The documents there are, each with a hash that lets clients keep their copy for good."""
    found = {
        name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={_tag(_of(rows, name), f'v3/{name}')}"}
        for name in group_versions(rows)
    }
    others = {
        name: {"serverRelativeURL": f"/openapi/v3/{name}" + (f"?{one.v3}" if one.v3 else "")}
        for name, one in foreign.items()
    }
    return orjson.dumps({"paths": found | others})


def v2(rows: Sequence[Row]) -> bytes:
    """The one Swagger document of everything that is served."""
    built_in = _built_in(rows)
    body = schema_cache.derived("openapi-v2", lambda: orjson.dumps(_v2(built_in)), key=_tag(built_in, "v2"))
    return _with_custom(body, rows, Style(False, V2_PREFIX))


def v3(rows: Sequence[Row], group_version: str) -> bytes:
    """The document of one group and version ("apis/apps/v1"), which must be served."""
    built_in = _built_in(_of(rows, group_version))
    name = "openapi-v3-" + (group_version.replace("/", "-") if built_in else "custom")
    key = _tag(built_in, f"v3/{group_version}" if built_in else "v3")
    body = schema_cache.derived(name, lambda: orjson.dumps(_v3(built_in)), key=key)
    return _with_custom(body, _of(rows, group_version), Style(True, V3_PREFIX))


def _of(rows: Iterable[Row], group_version: str) -> list[Row]:
    return [row for row in rows if row.gvr.root.lstrip("/") == group_version]


def _built_in(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.custom is None]


def _with_custom(body: bytes, rows: Iterable[Row], style: Style) -> bytes:
    """A document of built-in kinds with the custom ones among `rows` put in."""
    custom = [row for row in rows if row.custom is not None]
    if not custom:
        return body
    known = {("autoscaling", "v1", "Scale"): custom_kinds.SHARED[-1], **custom_kinds.names(custom)}
    body = _put(body, b'"paths":{', paths(custom, style, known))
    schemas = b'"schemas":{' if style.v3 else b'"definitions":{'
    return _put(body, schemas, custom_kinds.definitions(custom, v3=style.v3))


def _with_foreign(body: bytes, others: Iterable[Foreign]) -> bytes:
    """The Swagger document with what aggregated servers say; a definition that we have too (metadata) stays ours."""
    for one in others:
        if one.paths:
            needed = openapi_schemas.closure(
                one.definitions, openapi_schemas.references(one.paths, V2_PREFIX), V2_PREFIX
            )
            missing = (name for name in needed if b"%b:{" % orjson.dumps(name) not in body)
            body = _put(body, b'"paths":{', one.paths)
            body = _put(body, b'"definitions":{', {name: one.definitions[name] for name in missing})
    return body


def _put(body: bytes, key: bytes, entries: Obj) -> bytes:
    """A document with entries added to the first object of this key, without parsing its megabytes."""
    at = body.index(key) + len(key)
    if not entries:
        return body
    comma = b"" if body[at : at + 1] == b"}" else b","
    return body[:at] + orjson.dumps(entries)[1:-1] + comma + body[at:]


def _info() -> Obj:
    return {"title": _TITLE, "version": f"v{schema.RELEASE}.0"}


def _v2(rows: Sequence[Row]) -> Obj:
    definitions = schema_cache.definitions()
    known = _kinds(definitions)
    chosen = openapi_schemas.closure(definitions, _roots(rows, known))
    return {
        "swagger": "2.0",
        "info": _info(),
        "paths": paths(rows, Style(False, V2_PREFIX), known),
        "definitions": {name: openapi_schemas.convert(name, definitions[name], v3=False) for name in chosen},
        "securityDefinitions": _SECURITY,
        "security": [{"BearerToken": []}],
    }


def _v3(served: Sequence[Row]) -> Obj:
    """The document of these built-in rows; of none, what custom kinds refer to."""
    definitions = schema_cache.definitions()
    known = _kinds(definitions)
    chosen = openapi_schemas.closure(definitions, _roots(served, known) + list(() if served else custom_kinds.SHARED))
    return {
        "openapi": "3.0.0",
        "info": _info(),
        "paths": paths(served, Style(True, V3_PREFIX), known),
        "components": {
            "schemas": {name: openapi_schemas.convert(name, definitions[name], v3=True) for name in chosen},
            "securitySchemes": _SECURITY,
        },
    }


def _kinds(definitions: dict[str, Obj]) -> dict[tuple[str, str, str], str]:
    found = {}
    for name, definition in definitions.items():
        gvks = definition.get("x-kubernetes-group-version-kind") or []
        if len(gvks) == 1:
            found[gvks[0]["group"], gvks[0]["version"], gvks[0]["kind"]] = name
    return found


def _roots(rows: Iterable[Row], known: dict[tuple[str, str, str], str]) -> list[str]:
    found = [STATUS, DELETE_OPTIONS, PATCH]
    for row in rows:
        found += [known.get((row.group, row.version, kind), "") for kind in (row.kind, f"{row.kind}List")]
        for sub in row.subresource_table:
            group, version = (sub.group, sub.version) if sub.version else (row.group, row.version)
            found.append(known.get((group, version, sub.kind), ""))
    return found
