"""Request bodies into objects: JSON and YAML, strict or not, with upstream's words for everything that is wrong with them.

Who calls it: the registry's create, update and patch, and every subresource that takes a body. Invariant: what `decode`
returns carries its apiVersion and kind, has only fields its schema knows, and is a fresh object.
Stop of the data path: 3 (decode).
Upstream: apiserver/pkg/endpoints/handlers/{create,rest}.go (transformDecodeError), apimachinery/pkg/runtime/serializer/json.
"""

import json
from typing import Any, NamedTuple

import orjson

from apiserver import protobuf
from apiserver.resources import schemas
from minikube_py.api import schema, yaml
from minikube_py.api.errors import BadRequest, Cause, RequestEntityTooLarge, UnsupportedMediaType, invalid
from minikube_py.api.schema import DecodeError, Node
from minikube_py.api.types import Obj

MAX_BODY = 3 * 1024 * 1024
"""Bytes a request body may have; more is answered with 413."""

_BODIES = {
    "": "json", "application/json": "json", "application/yaml": "yaml", "*/*": "json", protobuf.CONTENT_TYPE: "protobuf",
}  # fmt: skip
_PATCHES = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}
_GO_SYNTAX = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Illegal trailing comma before end of object": "looking for beginning of object key string",
    "Illegal trailing comma before end of array": "looking for beginning of value",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after object key:value pair",
    "Extra data": "after top-level value",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
}
_VALIDATIONS = ("Ignore", "Strict", "Warn")


class Kind(NamedTuple):
    """What the path expects: a group, version and kind."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


def field_validation(value: str) -> str:
    """The `fieldValidation` query parameter: Ignore, Strict or Warn (also when it is absent). Raises Invalid."""
    if value in _VALIDATIONS:
        return value
    if not value:
        return "Warn"
    listed = ", ".join(f'"{one}"' for one in _VALIDATIONS)
    cause = Cause(
        "FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {listed}', "fieldValidation"
    )
    raise invalid("CreateOptions", "", [cause], "meta.k8s.io")


def media_type(content_type: str | None) -> str:
    """A Content-Type without its parameters, in lower case."""
    return (content_type or "").partition(";")[0].strip().lower()


def check_size(length: int) -> None:
    """Raises RequestEntityTooLarge when a body of this many bytes is not taken."""
    if length > MAX_BODY:
        raise RequestEntityTooLarge(f"Request entity too large: limit is {MAX_BODY}")


def patch_kind(content_type: str | None, *, strategic: bool = True) -> str:
    """Which patch a Content-Type names: json, merge, strategic (for kinds that have it) or apply.

    Raises UnsupportedMediaType.
    """
    kind = _PATCHES.get(media_type(content_type))
    if kind is None or (kind == "strategic" and not strategic):
        raise _unknown_format([name for name, kind in _PATCHES.items() if strategic or kind != "strategic"])
    return kind


def _unknown_format(accepted: list[str]) -> UnsupportedMediaType:
    return UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    )


def parse_patch(body: bytes, kind: str) -> tuple[Any, list[str]]:
    """A patch body as data, and its duplicate fields as strict decoding texts. Raises BadRequest, RequestEntityTooLarge."""
    check_size(len(body))
    if kind == "apply":
        try:
            return yaml.load(body, unique=False), _yaml_duplicates(body)
        except yaml.YAMLError as error:
            raise BadRequest(f"error decoding YAML: {error}") from None
    try:
        patch = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest(f"error decoding patch: {_syntax(body)}") from None
    return patch, _json_strict(body, None, []) if isinstance(patch, dict) else []


def decode(
    body: bytes, content_type: str | None, expected: Kind, node: Node | None, *, field_validation: str = "Warn"
) -> tuple[Obj, list[str]]:
    """The object in a create or update body, and the warnings to send with the answer.

    In: `node` is the kind's schema (None takes any field). A body without apiVersion and kind gets the expected ones.
    Raises BadRequest, RequestEntityTooLarge, UnsupportedMediaType.
    """
    check_size(len(body))
    form = _BODIES.get(media_type(content_type))
    if form is None:
        raise _unknown_format([name for name in _BODIES if name not in ("", "*/*")])
    obj = _parse(body, form, expected)
    _check_kind(obj, expected)
    made, unknown = to_kind(obj, expected, node)
    if field_validation == "Ignore":
        return made, []
    if form == "protobuf":  # it can hold neither a duplicate nor a field we do not know
        return made, []
    if form != "json":
        strict = [*_yaml_duplicates(body), *_named(unknown)]
    elif node is not None and node.decoder is not None:  # upstream finds them in two passes
        strict = [*_json_strict(body, None, []), *_named(unknown)]
    else:
        strict = _json_strict(body, node, unknown)
    return made, settle(strict, expected, field_validation)


def to_kind(obj: Obj, expected: Kind, node: Node | None) -> tuple[Obj, list[str]]:
    """An object in its kind's stored form, and its unknown fields' paths (used by itself on what a patch left).

    Raises BadRequest when a value has the wrong type.
    """
    if node is None:
        return obj, []
    try:
        made, unknown = schema.coerce(node, obj)
    except DecodeError as error:
        raise _cannot_be_handled(expected, str(error)) from None
    return {"apiVersion": expected.api_version, "kind": expected.kind, **_without_type(made)}, unknown


def _without_type(obj: Obj) -> Obj:
    obj.pop("apiVersion", None)
    obj.pop("kind", None)
    return obj


def settle(strict: list[str], expected: Kind, field_validation: str) -> list[str]:
    """What becomes of strict decoding texts: warnings, or with Strict a BadRequest."""
    if strict and field_validation == "Strict":
        raise _cannot_be_handled(expected, f"strict decoding error: {', '.join(strict)}")
    return strict if field_validation == "Warn" else []


def _named(unknown: list[str]) -> list[str]:
    return [f'unknown field "{path}"' for path in unknown]


def _cannot_be_handled(expected: Kind, why: str, kind: str = "", version: str = "") -> BadRequest:
    kind, version = kind or expected.kind, version or expected.version
    return BadRequest(f'{kind} in version "{version}" cannot be handled as a {expected.kind}: {why}')


def _parse(body: bytes, form: str, expected: Kind) -> Obj:
    if form == "protobuf":
        return protobuf.decode(body)
    why = ""
    try:
        obj = orjson.loads(body) if form == "json" else yaml.load(body, unique=False)
    except orjson.JSONDecodeError:
        why = f"couldn't get version/kind; json parse error: {_syntax(body)}"
    except yaml.YAMLError as error:
        why = f"error converting YAML to JSON: {error}"
    else:
        if isinstance(obj, dict):
            return obj
        named = {list: "array", str: "string", bool: "bool", type(None): "null"}.get(type(obj), "number")
        why = (
            f"couldn't get version/kind; json parse error: json: cannot unmarshal {named} into Go value of type struct"
        )
    raise BadRequest(f"the object provided is unrecognized (must be of type {expected.kind}): {why} ({_summary(body)})")


def _syntax(body: bytes) -> str:
    """Go's sentence for the first thing wrong with a JSON text."""
    try:
        text = body.decode()
        json.loads(text)
    except UnicodeDecodeError:
        return "invalid UTF-8 in string"
    except RecursionError:
        return "exceeded max depth"
    except json.JSONDecodeError as error:
        if error.pos >= len(text) or "Unterminated string" in error.msg:
            return "unexpected end of JSON input"
        return f"invalid character '{text[error.pos]}' {_GO_SYNTAX.get(error.msg, 'looking for beginning of value')}"
    return "the text is nested too deeply or has numbers out of range"


def _summary(body: bytes) -> str:
    """The first bytes of a body that is not understood: as text when it looks like JSON, else in hexadecimal."""
    if not body:
        return "<empty>"
    if body[:1] == b"{":
        text = body.decode(errors="replace")
        return text if len(text) <= 30 else f"{text[:30]} ..."
    return body.hex() if len(body) <= 30 else f"{body[:30].hex()} ..."


def _check_kind(obj: Obj, expected: Kind) -> None:
    api_version, kind = obj.get("apiVersion") or "", obj.get("kind") or ""
    for key, value in (("apiVersion", api_version), ("kind", kind)):
        if not isinstance(value, str):
            why = f"couldn't get version/kind; json parse error: json: {key} is no string"
            raise BadRequest(f"the object provided is unrecognized (must be of type {expected.kind}): {why}")
    if (not kind or kind == expected.kind) and (not api_version or api_version == expected.api_version):
        return
    group, _, version = api_version.rpartition("/") if api_version else (expected.group, "", expected.version)
    kind = kind or expected.kind
    if schemas.node_of(group, version, kind) is None:
        why = (
            f'no kind "{kind}" is registered for version "{api_version or expected.api_version}" in scheme "apiserver"'
        )
        raise _cannot_be_handled(expected, why, kind, version)
    if kind != expected.kind:
        into = (expected.group or "core").partition(".")[0]
        why = f"converting ({version}.{kind}) to ({into}.{expected.kind}): unknown conversion"
        raise _cannot_be_handled(expected, why, kind, version)
    raise BadRequest(
        f"the API version in the data ({api_version}) does not match the expected API version ({expected.api_version})"
    )


class _Object(dict[str, Any]):
    """A JSON object that remembers every pair it was written with."""

    pairs: list[tuple[str, Any]]


def _remember(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    made.pairs = pairs
    return made


class _Repeated(Exception):
    pass


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _Repeated


def _json_strict(body: bytes, node: Node | None, unknown: list[str]) -> list[str]:
    """Strict decoding texts of a JSON body that is known to parse, in document order."""
    try:
        json.loads(body, object_pairs_hook=_refuse_repeats)
        return _named(unknown)
    except _Repeated:
        found: list[str] = []
        _strict(json.loads(body, object_pairs_hook=_remember), node, [], found)
        return found
    except RecursionError:
        raise BadRequest("the object provided is nested too deeply") from None


def _strict(value: Any, node: Node | None, path: list[str | int], found: list[str]) -> None:
    if isinstance(value, list):
        for index, item in enumerate(value):
            _strict(item, node.items if node else None, [*path, index], found)
    if not isinstance(value, _Object):
        return
    seen: set[str] = set()
    for key, item in value.pairs:
        here = [*path, key]
        child = (node.properties.get(key) or node.additional) if node else None
        if node is not None and node.type == "object" and child is None:
            found.append(f'unknown field "{schema.dotted(here)}"')
            continue
        if key in seen:
            found.append(f'duplicate field "{schema.dotted(here)}"')
        seen.add(key)
        _strict(item, child, here, found)


def _yaml_duplicates(body: bytes) -> list[str]:
    repeated = yaml.duplicates(body)
    if not repeated:
        return []
    listed = "\n".join(f'  line {line}: key "{key}" already set in map' for line, key in repeated)
    return [f"yaml: unmarshal errors:\n{listed}"]


def delete_options(body: bytes, content_type: str | None) -> Obj:
    """The DeleteOptions in a body of DELETE; {} when there is no body. Raises as `decode` does."""
    if not body:
        return {}
    options = Kind("", "v1", "DeleteOptions")
    check_size(len(body))
    form = _BODIES.get(media_type(content_type))
    if form is None:
        raise _unknown_format([name for name in _BODIES if name not in ("", "*/*")])
    obj = _parse(body, form, options)
    if obj.get("kind", "DeleteOptions") != "DeleteOptions":
        why = f"converting (v1.{obj['kind']}) to (core.DeleteOptions): unknown conversion"
        raise _cannot_be_handled(options, why, str(obj["kind"]))
    made, _ = to_kind(obj, options, schema.load().for_gvk("", "v1", "DeleteOptions"))
    return made
