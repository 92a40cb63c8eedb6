"""Objects and lists as response bytes: in the version asked for, plain, indented, or as a Table or metadata only.

Who calls it: the REST edge. Invariant: what is stored is sent as its stored bytes whenever the client takes plain JSON of
the stored version, so an object is encoded once however often it is read.
Stop of the data path: 10 (reading back).
Upstream: staging/src/k8s.io/apiserver/pkg/endpoints/handlers/response.go.
"""

import orjson

from apiserver.listing import Chunk
from apiserver.pipeline import JSON, Response
from apiserver.request import Request
from apiserver.resources import convert
from apiserver.resources.row import Row
from apiserver.storage.stored import Stored
from minikube_py.api.types import Obj


def obj(request: Request, value: Obj, code: int = 200) -> Response:
    """Any object as it is."""
    return Response(code, _dumps(request, value))


def one(request: Request, row: Row, stored: Stored, code: int = 200) -> Response:
    """One stored object in the form of `row`."""
    if row.stored_as is None and "pretty" not in request.query:
        body = stored.raw
    else:
        body = _dumps(request, convert.to_served(row, stored.obj()))
    return Response(code, body, revision=str(stored.revision))


def many(request: Request, row: Row, chunk: Chunk) -> Response:
    """A list in the form of `row`."""
    metadata: Obj = {"resourceVersion": str(chunk.page.revision)}
    if chunk.token:
        metadata["continue"] = chunk.token
    if chunk.remaining is not None:
        metadata["remainingItemCount"] = chunk.remaining
    head: Obj = {"kind": f"{row.kind}List", "apiVersion": row.api_version, "metadata": metadata}
    if row.stored_as is None and "pretty" not in request.query:
        items = b",".join([stored.raw for stored in chunk.page.items])
        return Response(200, b'%b,"items":[%b]}' % (orjson.dumps(head)[:-1], items), JSON)
    head["items"] = [convert.to_served(row, stored.obj()) for stored in chunk.page.items]
    return Response(200, _dumps(request, head))


def _dumps(request: Request, value: Obj) -> bytes:
    if request.query.get("pretty", "false") not in ("false", "0"):
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return orjson.dumps(value)
