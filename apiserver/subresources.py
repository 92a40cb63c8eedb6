"""Subresources that speak a kind of their own (scale, binding, eviction, token): from the request to their handler and back.

Who calls it: the REST edge. Invariant: the parent is read, and written, like any other object, preconditions and admission
included; the handler (`strategies/subresources.py`) only says what the parent becomes and what the answer is.
Stop of the data path: 3, for subresources.
Upstream: staging/src/k8s.io/apiserver/pkg/endpoints/installer.go (connecters, named creaters), the storage.go of each kind.
"""

from dataclasses import replace

from apiserver import decode, encode, patching
from apiserver.decode import Kind
from apiserver.pipeline import Admitted, Response
from apiserver.registry import Call
from apiserver.request import Request
from apiserver.resources import schemas, table
from apiserver.resources.row import Row, Subresource
from apiserver.server import Server
from apiserver.strategies import subresources
from minikube_py.api import errors
from minikube_py.api.clone import clone
from minikube_py.api.types import Obj


def serve(server: Server, request: Request, call: Call, row: Row, sub: Subresource, verb: str) -> Response:
    """Answer one request for a subresource of an object. In: `call` names the parent."""
    handlers = subresources.find(call.row, sub.name)
    assert handlers is not None, f"{call.row.qualified}/{sub.name} has no handler"
    ctx = replace(server.registry.context(call.user, call.dry_run), accounts=server.accounts)
    kind = Kind(sub.group, sub.version, sub.kind) if sub.version else Kind(row.group, row.version, sub.kind)
    read, update = handlers.read, handlers.update
    if verb == "create" and handlers.create is not None:
        body = _body(request, kind, call)
        parent = server.registry.get(call.row, call.namespace, call.name).obj()
        body = server.registry.admit(call, body)
        return encode.obj(request, handlers.create(ctx, parent, body), 201)
    if read is None:
        raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
    if verb == "get":
        return encode.obj(request, read(ctx, server.registry.get(call.row, call.namespace, call.name).obj()))
    if update is None:
        raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
    patches = verb == "patch"
    body = {} if patches else _body(request, kind, call)
    patcher = patching.patcher_of(request, kind, call) if patches else lambda _: clone(body)

    def make(old: Obj) -> Obj:
        seen = read(ctx, old)
        return update(ctx, old, server.registry.admit(call, patcher(clone(seen)), seen))

    stored, _ = server.registry.update(replace(call, subresource="", admitted=True), make, retry=patches)
    response = encode.obj(request, read(ctx, stored.obj()))
    response.revision = str(stored.revision)
    return response


def bind(server: Server, request: Request, admitted: Admitted, row: Row) -> Response:
    """POST …/bindings: the old way to pods/binding, the pod being named in the body."""
    pods = table.get("", "pods")
    sub = pods.subresource("binding")
    assert sub is not None, "pods have a binding"
    call = Call(
        pods, admitted.info.namespace, "", admitted.user, "binding", request.query.get("dryRun") == "All",
        warnings=admitted.warnings, annotations=admitted.annotations, query=request.query,
    )  # fmt: skip
    call.name = (_body(request, Kind("", "v1", "Binding"), call).get("metadata") or {}).get("name", "")
    return serve(server, request, call, pods, sub, "create")


def _body(request: Request, kind: Kind, call: Call) -> Obj:
    validation = decode.field_validation(request.query.get("fieldValidation", ""))
    node = schemas.node_of(*kind)
    obj, warnings = decode.decode(
        request.body, request.headers.get("content-type"), kind, node, field_validation=validation
    )
    call.warnings += warnings
    return obj
