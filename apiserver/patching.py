"""The four kinds of patch, each as the function that makes the new object from the newest stored one.

Who calls it: the REST edge for PATCH. Invariant: a patch is applied to the object in the version of the request, and again
from the start whenever somebody was faster; metadata that the patch merely repeats is tolerated.
Stop of the data path: 3, for patches.
Upstream: staging/src/k8s.io/apiserver/pkg/endpoints/handlers/patch.go.
"""

from collections.abc import Callable
from typing import Any

from apiserver import decode
from apiserver.decode import Kind
from apiserver.registry import Call, Make
from apiserver.request import Request
from apiserver.resources import convert, schemas
from apiserver.resources.row import Row
from minikube_py.api import apply, errors, patch, schema
from minikube_py.api.clock import REAL, rfc3339
from minikube_py.api.errors import BadRequest, Cause
from minikube_py.api.types import Obj


def maker(request: Request, row: Row, call: Call) -> Make:
    """The function from stored object to patched one, both in stored form.

    Raises UnsupportedMediaType for an unknown kind of patch, BadRequest for a body that is none.
    """
    patcher = patcher_of(request, Kind(row.group, row.version, row.kind), call)
    creates = decode.patch_kind(request.headers.get("content-type")) == "apply"

    def make(old: Obj) -> Obj:
        if not old and not creates:  # also for kinds that may be created by update: a patch needs something to patch
            raise errors.not_found(row.plural, call.name, row.group)
        return convert.to_stored(row, patcher(convert.to_served(row, old) if old else {}))

    return make


def patcher_of(request: Request, expected: Kind, call: Call) -> Callable[[Obj], Obj]:
    """The function from an object of the expected kind to the patched one. Warnings of its last run are the call's."""
    kind = decode.patch_kind(request.headers.get("content-type"), strategic=call.row.custom is None)
    validation = decode.field_validation(request.query.get("fieldValidation", ""))
    parsed, repeated = decode.parse_patch(request.body, kind)
    if kind == "apply":
        return _applier(request, expected, call, parsed, repeated)
    if kind != "json" and not isinstance(parsed, dict):
        raise BadRequest("error decoding patch: a merge patch is a JSON object")
    node = schemas.node_of(*expected)

    def make(live: Obj) -> Obj:
        patched = _patched(kind, live, parsed, node)
        try:
            new, unknown = decode.to_kind(patched, expected, node)
            found = [*repeated, *(f'unknown field "{path}"' for path in unknown)]
            call.warnings[:] = decode.settle(found, expected, validation)
        except BadRequest as error:
            why = error.message.partition(f"cannot be handled as a {expected.kind}: ")[2] or error.message
            raise errors.invalid("", "", [Cause("FieldValueInvalid", f"Invalid value: {why}", "patch")]) from None
        return new

    return make


def _has_status(row: Row, node: schema.Node) -> bool:
    """Whether status is written through an endpoint of its own."""
    return "status" in (node.properties if row.custom is None else row.subresources)


def _patched(kind: str, live: Obj, parsed: Any, node: schema.Node | None) -> Obj:
    if kind == "json":
        return patch.json_patch(live, parsed)
    if kind == "merge" or node is None:
        return patch.merge_patch(live, parsed)
    return patch.strategic_merge_patch(live, parsed, node)


def _applier(request: Request, expected: Kind, call: Call, parsed: Any, repeated: list[str]) -> Callable[[Obj], Obj]:
    """Server-side apply; the object need not exist yet."""
    manager, force = request.query.get("fieldManager", ""), request.query.flag("force")
    if not manager:
        cause = Cause("FieldValueRequired", "Required value: is required for apply patch", "fieldManager")
        raise errors.invalid("PatchOptions", "", [cause], "meta.k8s.io")
    if not isinstance(parsed, dict):
        raise BadRequest("error decoding YAML: an apply patch is an object")
    call.warnings[:] = decode.settle(
        repeated, expected, decode.field_validation(request.query.get("fieldValidation", ""))
    )
    for key, wanted in (("apiVersion", expected.api_version), ("kind", expected.kind)):
        if parsed.get(key) != wanted:
            raise BadRequest(
                f"the {key} of the applied object ({parsed.get(key)}) does not match the request's ({wanted})"
            )
    call.manager, call.applies = manager, True
    node = schemas.node_of(*expected)
    assert node is not None, f"{expected} has a schema"
    ignored = () if call.subresource or not _has_status(call.row, node) else ("status",)
    now = rfc3339(REAL.now())

    def make(live: Obj) -> Obj:
        return apply.apply(
            live or None, parsed, manager, force, node, now=now, subresource=call.subresource, ignore=ignored
        )

    return make
