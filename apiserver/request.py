"""What a request asks for: verb, resource, namespace, name, subresource, from method, path and query.

Who calls it: the pipeline (`apiserver/pipeline.py`), for routing, authorisation and audit. Invariant: pure; a path that is
not a resource path gives `row` None and `is_resource` False; an unknown resource keeps its names and has `row` None.
Stop of the data path: 2 (routing).
Upstream: staging/src/k8s.io/apiserver/pkg/endpoints/request/requestinfo.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from apiserver.resources import table
from apiserver.resources.row import Row
from minikube_py.api.selectors import parse_fields, parse_labels

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_TRUE = frozenset({"true", "1", "t", "T", "TRUE", "True"})


class Query(dict[str, str]):
    """Query parameters, the first value of each; `all` has every pair in order (exec's repeated `command`)."""

    def __init__(self, text: str = "") -> None:
        self.all: list[tuple[str, str]] = parse_qsl(text, keep_blank_values=True) if text else []
        super().__init__(reversed(self.all))

    def flag(self, name: str) -> bool:
        return self.get(name, "") in _TRUE


@dataclass(slots=True)
class RequestInfo:
    """One request, routed. For non-resource paths only `verb`, `path` and `method` mean anything."""

    method: str
    path: str
    verb: str
    is_resource: bool = False
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    rest: str = ""
    row: Row | None = None
    fields: tuple[tuple[str, str], ...] = ()
    """The equalities that a field selector demands of what is listed, watched or deleted."""
    labels: tuple[tuple[str, str], ...] = ()
    """The same of a label selector."""


@dataclass(slots=True)
class Request:
    """One HTTP request as the shell received it. `certificate` is the verified client certificate (DER) or b""."""

    method: str
    path: str
    query_string: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    certificate: bytes = b""
    remote: str = ""
    query: Query = field(default_factory=Query)

    def __post_init__(self) -> None:
        if self.query_string:
            self.query = Query(self.query_string)

    @property
    def uri(self) -> str:
        return f"{self.path}?{self.query_string}" if self.query_string else self.path


def parse(method: str, path: str, query: Query) -> RequestInfo:
    """Route one request. In: the decoded path without query. Out: what it asks for."""
    info = RequestInfo(method, path, method.lower())
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 3:
        info.version, parts = parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        info.group, info.version, parts = parts[1], parts[2], parts[3:]
    else:
        return info
    info.is_resource = True
    info.verb = _VERBS.get(method, "")
    watching = parts[0] == "watch" and len(parts) > 1
    if watching:
        parts = parts[1:]
    _names(info, parts)
    info.row = table.by_path(info.group, info.version, info.resource)
    _collection_verbs(info, query, watching)
    return info


def _names(info: RequestInfo, parts: list[str]) -> None:
    """Namespace, resource, name, subresource and the rest of the path."""
    if parts[0] == "namespaces" and len(parts) > 1:
        info.namespace = parts[1]
        if len(parts) > 2 and not (parts[2] in _NAMESPACE_SUBRESOURCES and len(parts) == 3):
            parts = parts[2:]
    info.resource = parts[0]
    if len(parts) > 1:
        info.name = parts[1]
    if len(parts) > 2:
        info.subresource = parts[2]
        info.rest = "/".join(parts[3:])


def _collection_verbs(info: RequestInfo, query: Query, watching: bool) -> None:
    """GET and DELETE mean list, watch or deletecollection when no name is given; watch also with one."""
    if info.method in ("GET", "HEAD") and not info.subresource:
        if watching or query.flag("watch"):
            info.verb = "watch"
        elif not info.name:
            info.verb = "list"
        if info.verb in ("list", "watch"):
            info.fields, info.labels = _selected(query), _labelled(query)
            info.name = info.name or dict(info.fields).get("metadata.name", "")
    elif info.method == "DELETE" and not info.name:
        info.verb, info.fields = "deletecollection", _selected(query)


def _selected(query: Query) -> tuple[tuple[str, str], ...]:
    """`metadata.name=x` narrows a list or watch to one object, for authorisation too."""
    try:
        found = parse_fields(query.get("fieldSelector", "")).requirements
    except ValueError:
        return ()  # refused when the request is served
    return tuple((path, value) for path, operator, value in found if operator == "=")


def _labelled(query: Query) -> tuple[tuple[str, str], ...]:
    try:
        found = parse_labels(query.get("labelSelector", "")).requirements
    except ValueError:
        return ()
    return tuple((one.key, *one.values) for one in found if one.op == "In" and len(one.values) == 1)  # type: ignore[misc]
