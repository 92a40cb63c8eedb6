"""Tables: golden cells for the kinds people look at, and no kind that fails on an empty object.

`UPDATE_GOLDEN=1 pytest tests/apiserver/test_table.py` writes the output file anew; read the difference before committing.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from apiserver import table
from apiserver.printers.columns import human_duration
from apiserver.printers.kinds import COLUMNS
from apiserver.resources.row import Row
from apiserver.resources.table import ROWS
from minikube_py.api import errors, yaml

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
BY_NAME = {row.qualified: row for row in reversed(ROWS)}
INPUTS = {case["resource"]: case["objects"] for case in yaml.load_all((GOLDEN / "tables.input.yaml").read_bytes())}


def rendered(resource: str) -> dict[str, Any]:
    made = table.render(BY_NAME[resource], INPUTS[resource], now=NOW)
    names = [column["name"] for column in made["columnDefinitions"]]
    rows = [dict(zip(names, row["cells"], strict=True)) for row in made["rows"]]
    return {"resource": resource, "columns": ", ".join(names), "rows": rows}


def test_golden() -> None:
    made = [rendered(resource) for resource in INPUTS]
    path = GOLDEN / "tables.output.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(yaml.dump_all(made))
    expected = {case["resource"]: case for case in yaml.load_all(path.read_bytes())}
    for case in made:
        assert case == expected[case["resource"]]
    assert set(expected) == set(INPUTS)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if "list" in row.verbs], ids=lambda row: f"{row.api_version}.{row.plural}"
)
def test_every_kind_survives_an_empty_object(row: Row) -> None:
    made = table.render(
        row, [{"metadata": {"name": "x"}}, {"metadata": {"name": "y"}, "spec": {}, "status": {}}], now=NOW
    )
    for one in made["rows"]:
        assert len(one["cells"]) == len(made["columnDefinitions"])
        assert all(isinstance(cell, str | int | bool) for cell in one["cells"])
    for column in made["columnDefinitions"]:
        kind = {"string": str, "integer": int, "boolean": bool}[column["type"]]
        index = made["columnDefinitions"].index(column)
        assert isinstance(made["rows"][0]["cells"][index], kind)


def test_column_tables_belong_to_kinds_that_exist() -> None:
    assert set(COLUMNS) <= {row.qualified for row in ROWS}


def test_the_whole_table() -> None:
    pod = {"metadata": {"name": "x", "labels": {"a": "b"}}, "status": {"phase": "Succeeded"}}
    metadata = {"resourceVersion": "7", "continue": "c", "remainingItemCount": 3, "uid": "dropped"}
    made = table.render(BY_NAME["pods"], [pod], now=NOW, metadata=metadata)
    assert made["metadata"] == {"resourceVersion": "7", "continue": "c", "remainingItemCount": 3}
    assert made["rows"][0]["object"] == {
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "x", "labels": {"a": "b"}},
    }  # fmt: skip
    assert made["rows"][0]["conditions"][0]["reason"] == "Succeeded"
    assert table.render(BY_NAME["pods"], [pod], "Object", now=NOW)["rows"][0]["object"] is pod
    assert table.render(BY_NAME["pods"], [pod], "None", now=NOW, header=False)["columnDefinitions"] == []
    with pytest.raises(errors.BadRequest):
        table.render(BY_NAME["pods"], [pod], "Everything")


DURATIONS = {
    -5: "<invalid>", 0: "0s", 119: "119s", 120: "2m", 125: "2m5s", 599: "9m59s", 600: "10m", 10799: "179m", 10800: "3h",
    11700: "3h15m", 28800: "8h", 172799: "47h", 172800: "2d", 180000: "2d2h", 691200: "8d", 63071999: "729d",
    63072000: "2y", 66000000: "2y33d", 252288000: "8y",
}  # fmt: skip


@pytest.mark.parametrize(("seconds", "shown"), DURATIONS.items())
def test_durations(seconds: int, shown: str) -> None:
    assert human_duration(seconds) == shown
