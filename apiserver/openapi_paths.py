"""The paths of OpenAPI documents: every verb of every resource, with the kind it is about and the parameters it takes.

Who uses it: `openapi.py`. Invariant: pure; a path is there exactly when the server routes it, and each operation says its
group, version and kind, which is how kubectl finds a kind's schema and learns that the server checks fields itself.
Upstream: apiserver/pkg/endpoints/installer.go (operation names, parameters).
"""

from collections.abc import Iterable
from typing import NamedTuple

from apiserver.resources.row import Row, Subresource
from minikube_py.api.types import Obj

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
STATUS, DELETE_OPTIONS, PATCH = _META + "Status", _META + "DeleteOptions", _META + "Patch"
_PATCH_TYPES = (
    "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)  # fmt: skip
_CUSTOM_PATCH_TYPES = tuple(kind for kind in _PATCH_TYPES if "strategic" not in kind)
_BODY_TYPES = ("application/json", "application/yaml")

# name, type, what it is
_TEXT, _WHOLE, _FLAG = "string", "integer", "boolean"
_WRITE = (
    ("dryRun", _TEXT, "With `All` everything is checked and nothing is stored."),
    ("fieldManager", _TEXT, "Who is making the change, for managedFields."),
    ("fieldValidation", _TEXT, "What to do with unknown and duplicate fields: Ignore, Warn or Strict."),
)
_FORCE = (("force", _FLAG, "Take over fields that others manage; for apply patches only."),)
_LIST = (
    ("allowWatchBookmarks", _FLAG, "Whether a watch may send bookmarks."),
    ("continue", _TEXT, "The token with which the previous page ended."),
    ("fieldSelector", _TEXT, "Restricts the list by fields."),
    ("labelSelector", _TEXT, "Restricts the list by labels."),
    ("limit", _WHOLE, "The most items a page may have."),
    ("resourceVersion", _TEXT, "How fresh the answer has to be."),
    ("resourceVersionMatch", _TEXT, "How resourceVersion is meant: Exact or NotOlderThan."),
    ("sendInitialEvents", _FLAG, "Whether a watch begins with what is there."),
    ("timeoutSeconds", _WHOLE, "When the server ends the answer."),
    ("watch", _FLAG, "Stream changes instead of listing."),
)
_DELETE = (
    ("dryRun", _TEXT, "With `All` everything is checked and nothing is deleted."),
    ("gracePeriodSeconds", _WHOLE, "How long the object may take to end."),
    ("propagationPolicy", _TEXT, "What becomes of dependents: Orphan, Background or Foreground."),
)


class _Verb(NamedTuple):
    """How a verb appears: HTTP method, x-kubernetes-action, first word of the operation's name, query parameters."""

    method: str
    action: str
    word: str
    parameters: tuple[tuple[str, str, str], ...] = ()


_ON_COLLECTION = {
    "list": _Verb("get", "list", "list", _LIST),
    "create": _Verb("post", "post", "create", _WRITE),
    "deletecollection": _Verb("delete", "deletecollection", "deleteCollection", (*_DELETE, *_LIST)),
}
_ON_OBJECT = {
    "get": _Verb("get", "get", "read"),
    "update": _Verb("put", "put", "replace", _WRITE),
    "patch": _Verb("patch", "patch", "patch", (*_WRITE, *_FORCE)),
    "delete": _Verb("delete", "delete", "delete", _DELETE),
    "create": _Verb("post", "post", "create", _WRITE),
}


class Style(NamedTuple):
    """What differs between version 2 and 3 of OpenAPI."""

    v3: bool
    prefix: str

    def reference(self, definition: str) -> Obj:
        return {"$ref": self.prefix + definition}

    def parameter(self, where: str, name: str, kind: str, description: str) -> Obj:
        typed: Obj = {"schema": {"type": kind, "uniqueItems": True}} if self.v3 else {"type": kind, "uniqueItems": True}
        required: Obj = {"required": True} if where == "path" else {}
        return {"name": name, "in": where, "description": description, **required, **typed}

    def body(self, operation: Obj, definition: str, types: Iterable[str], required: bool) -> None:
        """Add the request body to an operation."""
        schema = self.reference(definition)
        if self.v3:
            operation["requestBody"] = {"content": {kind: {"schema": schema} for kind in types}}
            if required:
                operation["requestBody"]["required"] = True
            return
        operation["consumes"] = list(types)
        operation.setdefault("parameters", []).append(
            {"in": "body", "name": "body", "required": required, "schema": schema}
        )

    def response(self, description: str, definition: str = "") -> Obj:
        made: Obj = {"description": description}
        if definition and self.v3:
            made["content"] = {kind: {"schema": self.reference(definition)} for kind in _BODY_TYPES}
        elif definition:
            made["schema"] = self.reference(definition)
        return made


def paths(rows: Iterable[Row], style: Style, definition_of: dict[tuple[str, str, str], str]) -> Obj:
    """The paths of these rows. In: `definition_of` maps (group, version, kind) to the definition's name."""
    made: Obj = {}
    for row in rows:
        base, name = row.gvr.root, _operation_tail(row)
        if row.namespaced:
            if "list" in row.verbs:
                everywhere = _operations(
                    row, {"list": _ON_COLLECTION["list"]}, f"{name}ForAllNamespaces", style, definition_of
                )
                made[f"{base}/{row.plural}"] = everywhere
            base, name = f"{base}/namespaces/{{namespace}}", name.replace(row.kind, f"Namespaced{row.kind}")
        collection = {verb: how for verb, how in _ON_COLLECTION.items() if verb in row.verbs}
        single = {verb: how for verb, how in _ON_OBJECT.items() if verb in row.verbs and verb != "create"}
        made[f"{base}/{row.plural}"] = _operations(
            row, collection, name, style, definition_of, namespaced=row.namespaced
        )
        if single:
            path = f"{base}/{row.plural}/{{name}}"
            made[path] = _operations(row, single, name, style, definition_of, namespaced=row.namespaced, named=True)
        for sub in row.subresource_table:
            verbs = {verb: how for verb, how in _ON_OBJECT.items() if verb in sub.verbs}
            path = f"{base}/{row.plural}/{{name}}/{sub.name}"
            made[path] = _operations(
                row,
                verbs,
                name + sub.name.capitalize(),
                style,
                definition_of,
                namespaced=row.namespaced,
                named=True,
                sub=sub,
            )
    return made


def _operation_tail(row: Row) -> str:
    group = "".join(part.capitalize() for part in (row.group.removesuffix(".k8s.io") or "core").split("."))
    return f"{group}{row.version.capitalize()}{row.kind}"


def _operations(
    row: Row, verbs: dict[str, _Verb], name: str, style: Style, definition_of: dict[tuple[str, str, str], str], *,
    namespaced: bool = False, named: bool = False, sub: Subresource | None = None,
) -> Obj:  # fmt: skip
    gvk = (row.group, row.version, row.kind)
    if sub is not None:
        gvk = (sub.group, sub.version, sub.kind) if sub.version else (row.group, row.version, sub.kind)
    item: Obj = {how.method: _operation(verb, how, gvk, name, style, definition_of, row) for verb, how in verbs.items()}
    shared = []
    if named:
        shared.append(style.parameter("path", "name", _TEXT, f"name of the {row.kind}"))
    if namespaced:
        shared.append(style.parameter("path", "namespace", _TEXT, "the namespace the object is in"))
    shared.append(style.parameter("query", "pretty", _TEXT, "Indent the answer for people."))
    item["parameters"] = shared
    return item


def _operation(
    verb: str, how: _Verb, gvk: tuple[str, str, str], name: str, style: Style,
    definition_of: dict[tuple[str, str, str], str], row: Row,
) -> Obj:  # fmt: skip
    definition = definition_of.get(gvk, "")
    listed = definition_of.get((gvk[0], gvk[1], f"{gvk[2]}List"), "")
    made: Obj = {
        "description": f"{how.word} {'objects of kind' if verb == 'list' else 'the specified'} {gvk[2]}",
        "operationId": f"{how.word}{name}",
        "parameters": [style.parameter("query", *parameter) for parameter in how.parameters],
        "tags": [f"{row.group.removesuffix('.k8s.io') or 'core'}_{row.version}"],
        "x-kubernetes-action": how.action,
        "x-kubernetes-group-version-kind": {"group": gvk[0], "kind": gvk[2], "version": gvk[1]},
    }
    if verb in ("create", "update") and definition:
        style.body(made, definition, _BODY_TYPES, True)
    elif verb == "patch":
        style.body(made, PATCH, _PATCH_TYPES if row.custom is None else _CUSTOM_PATCH_TYPES, True)
    elif verb in ("delete", "deletecollection"):
        style.body(made, DELETE_OPTIONS, _BODY_TYPES, False)
    answer = {"list": listed, "delete": STATUS, "deletecollection": STATUS}.get(verb, definition)
    responses = {"200": style.response("OK", answer), "401": style.response("Unauthorized")}
    if verb == "create":
        responses |= {"201": style.response("Created", answer), "202": style.response("Accepted", answer)}
    made["responses"] = responses
    if not style.v3:
        made |= {"produces": list(_BODY_TYPES), "schemes": ["https"]}
    return made
