"""Objects, lists and watch events as response bytes: the version and form the client asked for.

Who calls it: the REST edge and the watch. Invariant: what is stored is sent as its stored bytes whenever the client takes
plain JSON of the stored version, so an object is encoded once however often it is read; every other form (another version,
a Table, metadata only, YAML, indented) is made for the one who asks.
The way back of the data path: reading.
Upstream: staging/src/k8s.io/apiserver/pkg/endpoints/handlers/response.go, responsewriters.
"""

from collections.abc import Callable

import orjson

from apiserver import negotiate, table
from apiserver.listing import Chunk
from apiserver.negotiate import NONE, PLAIN, TRANSFORMS, Accepted
from apiserver.pipeline import Response
from apiserver.request import Request
from apiserver.resources import convert
from apiserver.resources.row import Row
from apiserver.storage.stored import Stored
from apiserver.storage.subscription import WatchEvent
from minikube_py.api import yaml
from minikube_py.api.types import Obj

_SLICE = 128 * 1024


def obj(request: Request, value: Obj, code: int = 200) -> Response:
    """Any object as it is. Raises NotAcceptable when the client wants it as something else."""
    accepted = negotiate.negotiate(request.headers.get("accept"), NONE)
    return Response(code, dumps(request, accepted, value), accepted.content_type)


def one(request: Request, row: Row, stored: Stored, code: int = 200) -> Response:
    """One stored object in the form of `row`."""
    accepted = negotiate.negotiate(request.headers.get("accept"), TRANSFORMS)
    if accepted is PLAIN and row.verbatim and "pretty" not in request.query:
        return Response(code, stored.raw, revision=str(stored.revision), name=stored.name)
    value = convert.to_served(row, stored.obj())
    if accepted.kind == "Table":
        included = request.query.get("includeObject", "")
        value = table.render(row, [value], included, metadata=value["metadata"], api_version=accepted.api_version)
    elif accepted.kind:
        value = table.partial(value, accepted.api_version)
    body = dumps(request, accepted, value)
    return Response(code, body, accepted.content_type, revision=str(stored.revision), name=stored.name)


def many(request: Request, row: Row, chunk: Chunk) -> Response:
    """A list in the form of `row`."""
    accepted = negotiate.negotiate(request.headers.get("accept"), TRANSFORMS)
    metadata: Obj = {"resourceVersion": str(chunk.page.revision)}
    if chunk.token:
        metadata["continue"] = chunk.token
    if chunk.remaining is not None:
        metadata["remainingItemCount"] = chunk.remaining
    head: Obj = {"kind": f"{row.kind}List", "apiVersion": row.api_version, "metadata": metadata}
    if accepted is PLAIN and row.verbatim and "pretty" not in request.query:
        first, *more = _slices([stored.raw for stored in chunk.page.items])
        body = b'%b,"items":[%b' % (orjson.dumps(head)[:-1], first)
        return Response(200, body, more=[*more, b"]}"]) if more else Response(200, body + b"]}")
    objs = convert.all_served(row, [stored.obj() for stored in chunk.page.items])
    if accepted.kind == "Table":
        included = request.query.get("includeObject", "")
        head = table.render(row, objs, included, metadata=metadata, api_version=accepted.api_version)
    elif accepted.kind:
        head = table.partial_list(objs, metadata, accepted.api_version)
    else:
        head["items"] = objs
    return Response(200, dumps(request, accepted, head), accepted.content_type)


def _slices(items: list[bytes]) -> list[bytes]:
    """Joined with commas, in pieces of about `_SLICE`: larger blocks of memory would be mapped afresh each time."""
    count = max(1, _SLICE * len(items) // max(1, sum(map(len, items))))
    starts = range(count, len(items), count)
    return [b",".join(items[:count]), *(b",".join((b"", *items[at : at + count])) for at in starts)]


def events(request: Request, row: Row) -> tuple[str, str, Callable[[WatchEvent], bytes] | None]:
    """How a watch shows its objects: apiVersion and kind of its bookmarks, and what makes an event's line.

    None for the line as it is, shared by all watchers. Raises NotAcceptable.
    """
    accepted = negotiate.negotiate(_without_stream(request.headers.get("accept")), TRANSFORMS, (negotiate.JSON,))
    if not accepted.kind:
        return row.api_version, row.kind, None if row.verbatim else _converted(row)
    included, first = request.query.get("includeObject", ""), [True]

    def show(event: WatchEvent) -> bytes:
        value = convert.to_served(row, event.stored.obj())
        if accepted.kind == "Table":
            shown = table.render(
                row, [value], included, metadata=value["metadata"], api_version=accepted.api_version, header=first[0]
            )
            first[0] = False
        else:
            shown = table.partial(value, accepted.api_version)
        return orjson.dumps({"type": event.type, "object": shown}) + b"\n"

    return accepted.api_version, accepted.kind, show


def _converted(row: Row) -> Callable[[WatchEvent], bytes]:
    def show(event: WatchEvent) -> bytes:
        return orjson.dumps({"type": event.type, "object": convert.to_served(row, event.stored.obj())}) + b"\n"

    return show


def _without_stream(accept: str | None) -> str | None:
    """`application/json;stream=watch` asks for what every watch is."""
    return accept.replace(";stream=watch", "") if accept else accept


def dumps(request: Request, accepted: Accepted, value: Obj) -> bytes:
    """JSON or YAML, as accepted; indented when the query asks for it."""
    if accepted.form == "yaml":
        return yaml.dump(value).encode()
    if request.query.get("pretty", "false") not in ("false", "0"):
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return orjson.dumps(value)
