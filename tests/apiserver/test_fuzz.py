"""Whatever shape an object has, the answer is a verdict, never a 500: objects made at random along the official schemas."""

import random
from typing import Any

import pytest

from apiserver.resources import table
from minikube_py.api import schema
from minikube_py.api.schema import Node
from tests.apiserver.wire import APPLY, MERGE, STRATEGIC, Wire

_TEXTS = [
    "a", "b", "x y", "", "Always", "80", "10Mi", "1", "-1", "x" * 300, "10.96.0.1", "http", "TCP", "ClusterIP", "None", "*",
    "2026-01-01T00:00:00Z", "app=web", "0.0.0.0/0", "v1", "Pod", "default",
]  # fmt: skip
_VALUES: dict[str, list[Any]] = {
    "string": _TEXTS, "integer": [0, 1, -1, 80, 30000, 65536, 2**31, 2**40], "number": [0, 1.5, -2], "boolean": [True, False],
    "quantity": ["1", "100m", "1Gi", "-1", "x", "", 0, 1.5, "1e3"], "int-or-string": [1, "50%", "http", -1, "x", 0, "150%"],
    "time": ["2026-01-01T00:00:00Z", "x", None], "micro-time": ["2026-01-01T00:00:00.000000Z", "x", None],
    "bytes": ["dg==", "%%", ""], "any": [{}, {"a": 1}, "x", 1, None, []],
}  # fmt: skip


class Maker:
    """Random objects of a kind: mostly of the right types, rarely of the right meaning."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, node: Node, depth: int = 0) -> Any:
        pick = self.random
        if pick.random() < 0.02:
            return pick.choice([None, {}, [], "", 0, True, "x"])
        if node.type == "object":
            likely = 0.0 if depth > 7 else 0.35 if depth < 2 else 0.18
            wanted = (
                name for name in node.properties if pick.random() < (0.9 if name in (node.required or ()) else likely)
            )
            return {name: self.value(node.properties[name], depth + 1) for name in wanted}
        if node.type == "map" and node.additional:
            return {pick.choice(_TEXTS): self.value(node.additional, depth + 1) for _ in range(pick.randrange(3))}
        if node.type == "array" and node.items:
            return [self.value(node.items, depth + 1) for _ in range(pick.randrange(3))]
        return pick.choice(_VALUES.get(node.type, [None]))


@pytest.mark.parametrize("seed", range(4))
def test_no_object_breaks_the_server(wire: Wire, ns: str, seed: int) -> None:
    maker = Maker(seed)
    pick, schemas = maker.random, schema.load()
    rows = [row for row in table.ROWS if row.namespaced]  # what it makes goes with the namespace
    for _ in range(250):
        row = pick.choice(rows)
        node = schemas.for_gvk(row.group, row.version, row.kind)
        assert node is not None
        name = f"f{pick.randrange(20)}"
        made = maker.value(node)
        obj = {**(made if isinstance(made, dict) else {}), "apiVersion": row.api_version, "kind": row.kind}
        obj["metadata"] = {"name": name}
        path = row.gvr.path(ns)
        if pick.random() < 0.6:
            answer = wire("POST", path, obj)
        elif pick.random() < 0.5:
            answer = wire("PUT", f"{path}/{name}", obj)
        else:
            kind = pick.choice([MERGE, STRATEGIC, APPLY])
            query: dict[str, Any] = {"fieldManager": f"f{pick.randrange(2)}"} if kind == APPLY else {}
            answer = wire("PATCH", f"{path}/{name}", obj, content_type=kind, **query)
        assert answer.status < 500, f"{path}: {answer.body}\n{obj}"
        if answer.status < 300 and row.stored:
            table_form = wire("GET", path, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})
            assert table_form.status == 200, table_form.body
