"""NodeMetrics and PodMetrics: single objects, lists with selectors, tables.

Who calls it: `Streams`, because an answer may have to wait for kubelets. Invariant: an object is there when its node or pod
is and its kubelet could tell; labels are those of the node or pod; what is missing is 404 as from the metrics-server.
Upstream: kubernetes-sigs/metrics-server pkg/api/{node,pod}.go.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from apiserver import encode, listing, negotiate, rest, table
from apiserver.pipeline import Response
from apiserver.request import Request, RequestInfo
from apiserver.resourcemetrics import kinds
from apiserver.resourcemetrics.reading import NODE, Use, used
from apiserver.resourcemetrics.scrape import Pair, Scraper
from apiserver.resources.row import Row
from apiserver.storage.cache import Store
from apiserver.streaming.asgi import Stream
from minikube_py.api import errors
from minikube_py.api.clock import rfc3339
from minikube_py.api.meta import labels_of, name_of, namespace_of
from minikube_py.api.types import Obj


def handles(info: RequestInfo) -> bool:
    """Whether a request is for one of these kinds."""
    return info.row is not None and info.row in kinds.ROWS


async def serve(stream: Stream, request: Request, scraper: Scraper) -> None:
    """Answer one request. Raises NotFound, MethodNotAllowed, BadRequest."""
    info = stream.info
    row = rest.check_route(info)
    about = _nodes(stream.server.store, info) if row is kinds.NODES else _pods(stream.server.store, info)
    chosen = listing.selection(row, request.query)
    about = [obj for obj in about if not chosen.labels or chosen.labels.matches(labels_of(obj))]
    about = [obj for obj in about if not chosen.fields or chosen.fields.matches(_fields(obj))]
    pairs = await scraper.nodes(filter(None, map(_node_of, about)))
    made = [shown for obj in about if (pair := pairs.get(_node_of(obj))) and (shown := _SHOW[row.kind](obj, pair))]
    if info.verb == "get" and not made:
        name = f"{info.namespace}/{info.name}" if row.namespaced else info.name
        raise errors.not_found(row.kind.lower(), name, kinds.GROUP)
    body, content_type = _encoded(request, row, made, single=info.verb == "get")
    await stream.whole(Response(200, body, content_type))


def _nodes(store: Store, info: RequestInfo) -> list[Obj]:
    return _read(store, f"/registry/nodes/{info.name}", info)


def _pods(store: Store, info: RequestInfo) -> list[Obj]:
    prefix = f"/registry/pods/{info.namespace}/" if info.namespace else "/registry/pods/"
    pods = _read(store, f"{prefix}{info.name}" if info.namespace else prefix, info)
    return [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Running"]


def _read(store: Store, key: str, info: RequestInfo) -> list[Obj]:
    if info.verb == "get":
        stored = store.get(key, fresh=False)
        return [stored.obj()] if stored else []
    return [stored.obj() for stored in store.list(key, fresh=False).items]


def _node_of(obj: Obj) -> str:
    return name_of(obj) if obj["kind"] == "Node" else str((obj.get("spec") or {}).get("nodeName") or "")


def _fields(obj: Obj) -> Mapping[str, str]:
    return {"metadata.name": name_of(obj), "metadata.namespace": namespace_of(obj)}


def _node(obj: Obj, pair: Pair) -> Obj | None:
    use = used(pair.before, pair.after, NODE)
    return None if use is None else {**_head(kinds.NODES, obj, [use]), "usage": _usage(use)}


def _pod(obj: Obj, pair: Pair) -> Obj | None:
    uses: dict[str, Use] = {}
    for place in pair.after.samples:
        if place[:2] == (namespace_of(obj), name_of(obj)) and (use := used(pair.before, pair.after, place)):
            uses[place[2]] = use
    if not uses:
        return None
    containers = [{"name": name, "usage": _usage(use)} for name, use in sorted(uses.items())]
    return {**_head(kinds.PODS, obj, uses.values()), "containers": containers}


_SHOW: dict[str, Callable[[Obj, Pair], Obj | None]] = {"NodeMetrics": _node, "PodMetrics": _pod}


def _head(row: Row, obj: Obj, uses: Iterable[Use]) -> Obj:
    oldest = min(uses, key=lambda use: use.at)
    at = rfc3339(datetime.fromtimestamp(oldest.at, UTC))
    metadata = {"name": name_of(obj), "creationTimestamp": at, "labels": labels_of(obj)}
    if row.namespaced:
        metadata["namespace"] = namespace_of(obj)
    return {
        "kind": row.kind, "apiVersion": row.api_version, "metadata": metadata, "timestamp": at,
        "window": f"{oldest.window:.3f}s",
    }  # fmt: skip


def _usage(use: Use) -> Obj:
    return {"cpu": f"{round(use.cores * 1e9)}n", "memory": f"{use.memory // 1024}Ki"}


def _encoded(request: Request, row: Row, objs: list[Obj], *, single: bool) -> tuple[bytes, str]:
    """The answer in the form the client asked for."""
    accepted = negotiate.negotiate(request.headers.get("accept"), negotiate.TRANSFORMS)
    if accepted.kind == "Table":
        included = request.query.get("includeObject", "")
        value = table.render(row, objs, included, metadata={}, api_version=accepted.api_version)
    elif accepted.kind:
        version = accepted.api_version
        value = table.partial(objs[0], version) if single else table.partial_list(objs, {}, version)
    elif single:
        value = objs[0]
    else:
        value = {"kind": f"{row.kind}List", "apiVersion": row.api_version, "metadata": {}, "items": objs}
    return encode.dumps(request, accepted, value), accepted.content_type
