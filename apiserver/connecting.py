"""Admission of connections: exec, attach, port-forward and the proxies, as the CONNECT operation.

Who calls it: the streams, before anything is dialled. Invariant: what webhooks and policies see is
the options object that upstream makes of the query (PodExecOptions and its like).
Upstream: staging/src/k8s.io/apiserver/pkg/endpoints/handlers/rest.go (ConnectResource).
"""

from collections.abc import Callable

from apiserver import pipeline
from apiserver.admission import chain
from apiserver.admission.attributes import kind_of
from apiserver.pipeline import Admitted
from apiserver.request import Query, Request
from apiserver.resources.row import Row
from apiserver.server import Server
from minikube_py.api import errors
from minikube_py.api.types import Obj

_TRUE = frozenset(("true", "1", "t", "T", "TRUE", "True"))


_READS = ("log",)


def admit(server: Server, request: Request) -> Admitted:
    """Authenticate, authorise, and ask admission. Raises the first refusal."""
    admitted = pipeline.admit(server, request)
    try:
        _ask(server, request, admitted)
    except Exception as error:
        pipeline.ended(server, request, admitted, error)
        raise
    return admitted


def _ask(server: Server, request: Request, admitted: Admitted) -> None:
    info = admitted.info
    if info.subresource in _READS:
        return
    row = info.row
    if row is None or row.subresource(info.subresource) is None:
        raise errors.NotFound("the server could not find the requested resource")
    attributes = chain.Attributes(
        verb=chain.CONNECT, row=row, namespace=info.namespace, name=info.name, old=None, user=admitted.user,
        obj=_options(row, info.subresource, info.rest, request.query), ctx=server.registry.context(admitted.user),
        subresource=info.subresource, query=request.query, warnings=admitted.warnings, annotations=admitted.annotations,
    )  # fmt: skip
    chain.admit(attributes)
    chain.validate(attributes)


def _options(row: Row, subresource: str, rest: str, query: Query) -> Obj:
    """The query as an object of the subresource's kind."""
    kind = kind_of(row, subresource)
    options: Obj = {"kind": kind.kind, "apiVersion": kind.version}
    for name, make in _FIELDS.get(kind.kind, {}).items():
        values = [value for key, value in query.all if key == name]
        if values:
            options[name] = make(values)
    if subresource == "proxy" and rest:
        options["path"] = f"/{rest}"
    return options


def _flag(values: list[str]) -> bool:
    return values[0] in _TRUE


def _first(values: list[str]) -> str:
    return values[0]


def _numbers(values: list[str]) -> list[int]:
    return [int(part) for value in values for part in value.split(",") if part.isdecimal()]


_ATTACH: dict[str, Callable[[list[str]], object]] = {
    "stdin": _flag, "stdout": _flag, "stderr": _flag, "tty": _flag, "container": _first,
}  # fmt: skip
_FIELDS: dict[str, dict[str, Callable[[list[str]], object]]] = {
    "PodExecOptions": {**_ATTACH, "command": list},
    "PodAttachOptions": _ATTACH,
    "PodPortForwardOptions": {"ports": _numbers},
}
