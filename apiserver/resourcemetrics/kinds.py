"""The two kinds of the resource metrics API, which are computed and never stored: their rows, schemas and columns.

Who uses it: the catalogue puts the rows beside the custom kinds', so that routing, discovery and OpenAPI know them; `answers`
serves them. Invariant: pure data; a `Computed` offers of a custom kind's `Version` what those three ask of a row.
Upstream: staging/src/k8s.io/metrics/pkg/apis/metrics/v1beta1/types.go, the metrics-server's table.
"""

from dataclasses import dataclass, field

from apiserver.customresources.version import definition_name
from apiserver.printers.columns import NAME, Column, column, dig
from apiserver.resources.row import Row
from apiserver.strategies.base import Strategy
from minikube_py.api import quantity
from minikube_py.api.types import Obj

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
_VERBS = ("get", "list")
_TIMES: Obj = {
    "timestamp": {"type": "string", "format": "date-time", "description": "The end of the time that was measured."},
    "window": {"type": "string", "description": "How long that time was, such as 15s."},
}
_USAGE: Obj = {
    "type": "object", "additionalProperties": {"x-kubernetes-int-or-string": True},
    "description": "Quantities by resource: cpu in cores, memory as the working set in bytes.",
}  # fmt: skip
_CONTAINER: Obj = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "usage": _USAGE}}


@dataclass(frozen=True)
class Names:
    """What is asked of a definition: its names."""

    names: Obj


@dataclass(frozen=True)
class Computed:
    """`Row.custom` of a kind that is computed."""

    schema: Obj
    columns: tuple[Column, ...]
    definition: Names
    deprecation: str = ""
    fingerprint: str = f"{GROUP}/{VERSION}"
    strategy: Strategy = field(default_factory=Strategy)
    rows: list[Row] = field(default_factory=list, repr=False)

    @property
    def row(self) -> Row:
        return self.rows[0]


def _total(resource: str) -> Column:
    """What the object, or its containers together, use of a resource."""

    def cell(obj: Obj) -> str:
        uses = [dig(obj, "usage", resource)] if "usage" in obj else [
            dig(each, "usage", resource) for each in obj.get("containers") or ()
        ]  # fmt: skip
        total = "0"
        for use in filter(None, uses):
            total = quantity.add(total, use)
        if resource == "cpu":
            return f"{quantity.milli(total)}m"
        return f"{quantity.value(total) // 1024}Ki"

    return column(resource, cell)


def _row(plural: str, kind: str, namespaced: bool, described: Obj) -> Row:
    columns = (NAME, _total("cpu"), _total("memory"), column("window", lambda obj: obj.get("window") or ""))
    schema = {"type": "object", "description": f"{kind} is what of the {plural} one uses.", "properties": described}
    computed = Computed(schema, columns, Names({"kind": kind, "plural": plural}))
    row = Row(
        GROUP, VERSION, plural, kind, namespaced, "", verbs=_VERBS, definition=definition_name(GROUP, VERSION, kind),
        custom=computed,
    )  # fmt: skip
    computed.rows.append(row)
    return row


NODES = _row("nodes", "NodeMetrics", False, {**_TIMES, "usage": _USAGE})
PODS = _row("pods", "PodMetrics", True, {**_TIMES, "containers": {"type": "array", "items": _CONTAINER}})
ROWS = (NODES, PODS)
