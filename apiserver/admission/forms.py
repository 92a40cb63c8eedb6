"""The object of a write in the version that somebody wants to see it in, and back.

Who calls it: webhooks and policies, whose rules may name another version than the request's (matchPolicy Equivalent).
Invariant: the caller gets objects of its own: what it does to them is not done to the write, until it puts one back.
Upstream: staging/src/k8s.io/apiserver/pkg/admission/conversion.go.
"""

from functools import lru_cache

from apiserver import decode, strategies
from apiserver.admission.attributes import Attributes, Kind, kind_of
from apiserver.resources import convert, schemas, table
from apiserver.resources.row import Row
from minikube_py.api.clone import clone
from minikube_py.api.types import Obj


@lru_cache(maxsize=256)
def _built_in_versions(row: Row) -> tuple[Row, ...]:
    return tuple(one for one in table.ROWS if one.plural_key == row.plural_key)


def versions(row: Row) -> tuple[Row, ...]:
    """Every row under which the objects of this one are served, itself included."""
    if row.custom is None:
        return _built_in_versions(row)
    return tuple(version.row for version in row.custom.definition.served)


class Forms:
    """The object and the old object of one write, in any version. What was asked for is kept."""

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes
        self._olds: dict[Kind, Obj | None] = {}
        self._news: dict[Kind, Obj | None] = {}

    def old(self, row: Row) -> Obj | None:
        """The object before the write; None when there is none."""
        kind = kind_of(row, self._attributes.subresource)
        if kind not in self._olds:
            self._olds[kind] = self._form(self._attributes.old, row, kind)
        return self._olds[kind]

    def new(self, row: Row) -> Obj | None:
        """The object as it is about to be written; None for a DELETE."""
        kind = kind_of(row, self._attributes.subresource)
        if kind not in self._news:
            self._news[kind] = self._form(self._attributes.obj, row, kind)
        return self._news[kind]

    def _form(self, obj: Obj | None, row: Row, kind: Kind) -> Obj | None:
        if obj is None:
            return None
        made: Obj = clone(obj)
        if _is_of_row(kind, row):
            if row.custom is not None:
                made = row.custom.definition.convert([made], row.api_version)[0]
            else:
                made = convert.to_served(row, made)
        group_version = f"{kind.group}/{kind.version}" if kind.group else kind.version
        return {**made, "kind": kind.kind, "apiVersion": group_version}

    def put(self, row: Row, obj: Obj) -> None:
        """Let the write go on with this object, which is of that version; unknown fields go, defaults come."""
        attributes = self._attributes
        kind = kind_of(row, attributes.subresource)
        made, _ = decode.to_kind(obj, decode.Kind(*kind), schemas.node_of(*kind))
        if _is_of_row(kind, row):
            if row.custom is None:
                made = convert.to_stored(row, made)
            else:
                made = row.custom.definition.convert([made], attributes.row.api_version)[0]
            strategies.for_row(attributes.row).default(made)
        attributes.obj = made
        self._news.clear()


def _is_of_row(kind: Kind, row: Row) -> bool:
    """Whether an endpoint speaks of the object itself, not of something smaller (Scale, Binding, PodExecOptions)."""
    return kind.kind == row.kind
