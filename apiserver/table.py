"""Server-side tables, and objects reduced to their metadata: the forms in which `kubectl get` asks for lists.

Who calls it: the REST edge's encoding, for single objects, lists and watch events. Invariant: a row's object always carries
its metadata, so that kubectl can name, sort and label what it prints.
Stop of the data path: the way back.
Upstream: apiserver/pkg/endpoints/handlers/response.go (asTable, asPartialObjectMetadata), pkg/printers/internalversion.
"""

from collections.abc import Sequence
from datetime import datetime

from apiserver.printers.kinds import COLUMNS, GENERIC, VIEWS
from apiserver.printers.pods import row_conditions
from apiserver.resources.row import Row
from minikube_py.api.clock import REAL
from minikube_py.api.errors import BadRequest
from minikube_py.api.types import Obj

V1 = "meta.k8s.io/v1"
_INCLUDE = ("None", "Metadata", "Object")


def render(
    row: Row, objs: Sequence[Obj], include_object: str = "Metadata", *, now: datetime | None = None,
    metadata: Obj | None = None, api_version: str = V1, header: bool = True,
) -> Obj:  # fmt: skip
    """The objects as a Table.

    In: `include_object` None, Metadata or Object (the `includeObject` parameter; "" is Metadata); `metadata` that of the
    list, or of the one object; `header` False leaves out the column definitions, as later events of a watch do.
    Raises BadRequest when `include_object` is something else.
    """
    include_object = include_object or "Metadata"
    if include_object not in _INCLUDE:
        raise BadRequest(f'unrecognized includeObject value: "{include_object}"')
    moment = now or REAL.now()
    columns = COLUMNS.get(row.qualified, GENERIC) if row.custom is None else row.custom.columns
    view = VIEWS.get(row.qualified)
    rows = []
    for obj in objs:
        shown = view(obj) if view else obj
        made: Obj = {"cells": [column.cell(shown, moment) for column in columns]}
        if row.qualified == "pods" and (conditions := row_conditions(obj)):
            made["conditions"] = conditions
        if include_object == "Metadata":
            made["object"] = partial(obj, api_version)
        elif include_object == "Object":
            made["object"] = obj
        else:
            made["object"] = None
        rows.append(made)
    kept = {key: value for key, value in (metadata or {}).items() if key in _LIST_METADATA}
    definitions = [column.definition() for column in columns] if header else []
    return {
        "kind": "Table",
        "apiVersion": api_version,
        "metadata": kept,
        "columnDefinitions": definitions,
        "rows": rows,
    }


_LIST_METADATA = ("resourceVersion", "continue", "remainingItemCount")


def partial(obj: Obj, api_version: str = V1) -> Obj:
    """One object as PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": obj.get("metadata") or {}}


def partial_list(objs: Sequence[Obj], metadata: Obj, api_version: str = V1) -> Obj:
    """A list as PartialObjectMetadataList. In: `metadata` of the list."""
    items = [partial(obj, api_version) for obj in objs]
    return {"kind": "PartialObjectMetadataList", "apiVersion": api_version, "metadata": metadata, "items": items}
