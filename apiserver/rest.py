"""The REST edge: what each verb takes from the request, asks of the registry, and puts into the response.

Who calls it: the pipeline, for every path of a resource, after authorisation. Invariant: whatever comes in or goes out in
another version than the stored one is converted here, so that everything below knows one form of each kind.
Stop of the data path: 3 (decode), and the way back (encode).
Upstream: staging/src/k8s.io/apiserver/pkg/endpoints/handlers/{create,get,update,patch,delete}.go.
"""

from collections.abc import Callable

from apiserver import decode, deletion, encode, listing, patching, strategies, subresources
from apiserver.auth import reviews
from apiserver.decode import Kind
from apiserver.pipeline import Admitted, Response
from apiserver.registry import Call
from apiserver.request import Request, RequestInfo
from apiserver.resources import convert, schemas, table
from apiserver.resources.row import Row
from apiserver.server import Server
from apiserver.strategies.subresources import find
from minikube_py.api import errors
from minikube_py.api.clone import clone
from minikube_py.api.managed_fields import manager_name
from minikube_py.api.types import Obj


def serve(server: Server, request: Request, admitted: Admitted) -> Response:
    """Answer a request for a resource. Raises the errors of `api/errors`."""
    info = admitted.info
    row = check_route(info)
    if row.qualified == "bindings":
        return subresources.bind(server, request, admitted, row)
    if row.custom is not None and row.custom.deprecation:
        admitted.warnings.append(row.custom.deprecation)
    return _serve(server, request, admitted, row)


def _serve(server: Server, request: Request, admitted: Admitted, row: Row) -> Response:
    info = admitted.info
    if info.subresource and find(stored_row(row), info.subresource):
        call, sub = call_of(request, admitted, row), row.subresource(info.subresource)
        assert sub is not None, "check_route found it"
        return subresources.serve(server, request, call, row, sub, info.verb)
    return _VERBS[info.verb](server, request, admitted, row)


def check_route(info: RequestInfo) -> Row:
    """The row of a request. Raises NotFound for what is not served, MethodNotAllowed for a verb it does not have."""
    row = info.row
    if row is None or (info.namespace and not row.namespaced and row.plural != "namespaces"):
        raise errors.NotFound("the server could not find the requested resource")
    if info.subresource:
        sub = row.subresource(info.subresource)
        if sub is None or not info.name:
            raise errors.NotFound("the server could not find the requested resource")
        verbs = sub.verbs
    else:
        verbs = row.verbs
    unplaced = row.namespaced and not info.namespace and info.verb not in ("list", "watch")
    if unplaced and info.name:  # only whole collections are served across namespaces
        raise errors.NotFound("the server could not find the requested resource")
    misplaced = info.verb == "create" and bool(info.name) and not info.subresource
    if info.verb not in verbs or misplaced or unplaced:
        raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
    return row


def stored_row(row: Row) -> Row:
    """The row in whose form objects of `row` are stored."""
    return row if row.stored_as is None else table.by_path(*row.stored_as, row.plural) or row


def call_of(request: Request, admitted: Admitted, row: Row) -> Call:
    """The registry's view of a request."""
    info, query = admitted.info, request.query
    dry_run = query.get("dryRun", "")
    if dry_run not in ("", "All"):
        cause = errors.Cause(
            "FieldValueNotSupported", f'Unsupported value: "{dry_run}": supported values: "All"', "dryRun"
        )
        raise errors.invalid("CreateOptions", "", [cause], "meta.k8s.io")
    manager = manager_name(query.get("fieldManager", ""), request.headers.get("user-agent", ""))
    return Call(
        stored_row(row), info.namespace if row.namespaced else "", info.name, admitted.user, info.subresource,
        dry_run == "All", manager, warnings=admitted.warnings, annotations=admitted.annotations, requested=row, query=query,
        patches=info.verb == "patch",
    )  # fmt: skip


def body_of(request: Request, row: Row, call: Call) -> Obj:
    """The decoded body in stored form; warnings go to the call. Raises BadRequest and UnsupportedMediaType."""
    validation = decode.field_validation(request.query.get("fieldValidation", ""))
    node = schemas.node_of(row.group, row.version, row.kind)
    expected = Kind(row.group, row.version, row.kind)
    obj, warnings = decode.decode(
        request.body, request.headers.get("content-type"), expected, node, field_validation=validation
    )
    call.warnings += warnings
    return convert.to_stored(row, obj)


def _get(server: Server, request: Request, admitted: Admitted, row: Row) -> Response:
    info = admitted.info
    listing.not_newer(server.store, request.query.get("resourceVersion", ""))
    return encode.one(request, row, server.registry.get(stored_row(row), info.namespace, info.name))


def _list(server: Server, request: Request, admitted: Admitted, row: Row) -> Response:
    chosen = listing.selection(row, request.query)
    chunk = listing.run(server.store, stored_row(row), admitted.info.namespace, request.query, chosen)
    return encode.many(request, row, chunk)


def _create(server: Server, request: Request, admitted: Admitted, row: Row) -> Response:
    call = call_of(request, admitted, row)
    obj = body_of(request, row, call)
    if row.custom is None and reviews.is_review(row.kind):
        obj = server.registry.admit(call, obj)
        return encode.obj(request, reviews.review(row.kind, server, admitted.user, call.namespace, obj), 201)
    return encode.one(request, row, server.registry.create(call, obj), 201)


def _update(server: Server, request: Request, admitted: Admitted, row: Row) -> Response:
    call = call_of(request, admitted, row)
    obj = body_of(request, row, call)
    # An update without a version is asked for again when somebody was faster, so what was sent stays as it was.
    stored, created = server.registry.update(call, lambda _: clone(obj))
    return encode.one(request, row, stored, 201 if created else 200)


def _patch(server: Server, request: Request, admitted: Admitted, row: Row) -> Response:
    call = call_of(request, admitted, row)
    stored, created = server.registry.update(call, patching.maker(request, row, call), retry=True)
    return encode.one(request, row, stored, 201 if created else 200)


def _delete(server: Server, request: Request, admitted: Admitted, row: Row) -> Response:
    call = _delete_call(request, admitted, row)
    stored, removed = deletion.delete(server.registry, call)
    waits = not removed and call.options.get("orphanDependents") is False
    if not removed or strategies.for_row(call.row).returns_deleted:
        return encode.one(request, row, stored, 202 if waits else 200)
    details = {"name": call.name, "group": row.group, "kind": row.plural, "uid": stored.obj()["metadata"]["uid"]}
    status: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    status["details"] = {key: value for key, value in details.items() if value}
    response = encode.obj(request, status)
    response.revision = str(stored.revision)
    return response


def _delete_collection(server: Server, request: Request, admitted: Admitted, row: Row) -> Response:
    call = _delete_call(request, admitted, row)
    chosen = listing.selection(row, request.query)
    chunk = listing.run(server.store, call.row, admitted.info.namespace, request.query, chosen)
    deleted = deletion.delete_collection(server.registry, call, chunk.page.items)
    return encode.many(request, row, chunk._replace(page=chunk.page._replace(items=deleted)))


def _delete_call(request: Request, admitted: Admitted, row: Row) -> Call:
    """A delete, with its DeleteOptions from the body, or from the query when there is no body."""
    call, query = call_of(request, admitted, row), request.query
    options = decode.delete_options(request.body, request.headers.get("content-type"))
    if not request.body:
        for name in ("propagationPolicy", "gracePeriodSeconds", "orphanDependents"):
            if name in query:
                options[name] = _option(name, query[name])
        preconditions = {
            key: query[f"preconditions.{key}"] for key in _PRECONDITIONS if f"preconditions.{key}" in query
        }
        if preconditions:
            options["preconditions"] = preconditions
    if options.get("dryRun"):
        call.dry_run = True
    call.options = options
    return call


_PRECONDITIONS = ("uid", "resourceVersion")


def _option(name: str, text: str) -> str | int | bool:
    if name == "propagationPolicy":
        return text
    if name == "orphanDependents":
        return text in ("true", "1")
    try:
        return int(text)
    except ValueError:
        raise errors.BadRequest(f"{name}: {text!r} is not a number") from None


_VERBS: dict[str, Callable[[Server, Request, Admitted, Row], Response]] = {
    "get": _get, "list": _list, "create": _create, "update": _update, "patch": _patch, "delete": _delete,
    "deletecollection": _delete_collection,
}  # fmt: skip
