"""The resource table against the official definitions and against the client's own names; conversions there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.resources import convert, table
from apiserver.resources.row import Row
from minikube_py.api import gvr, schema, yaml
from minikube_py.api.types import Obj
from tests import harness

ADDONS, DEFINITION = harness.ROOT / "minikube_py" / "addons", "CustomResourceDefinition"


@pytest.mark.parametrize("row", table.ROWS, ids=lambda row: f"{row.api_version}/{row.plural}")
def test_every_row_has_a_definition_and_finds_its_stored_form(row: Row) -> None:
    assert schema.load().definition_of(row.group, row.version, row.kind) == row.definition
    stored = table.by_plural_key(row.plural_key)
    assert stored is not None
    assert stored.stored_as is None
    assert stored.key_prefix == row.key_prefix
    assert table.by_kind(row.group, row.version, row.kind) is row
    for sub in row.subresource_table:
        assert row.subresource(sub.name) is sub


def test_rows_are_unique_and_grouped() -> None:
    assert len({(row.group, row.version, row.plural) for row in table.ROWS}) == len(table.ROWS)
    seen = list(dict.fromkeys((row.group, row.version) for row in table.ROWS))
    assert [(row.group, row.version) for row in table.ROWS] == sorted(
        [(row.group, row.version) for row in table.ROWS], key=seen.index
    )


def test_the_client_names_only_what_is_served() -> None:
    """Built in, or defined by an add-on's CustomResourceDefinition."""
    crds = [
        o for file in ADDONS.rglob("*.yaml") for o in yaml.load_all(file.read_bytes()) if o.get("kind") == DEFINITION
    ]
    added = {(crd["spec"]["group"], crd["spec"]["names"]["plural"]) for crd in crds}
    named = [value for value in vars(gvr).values() if isinstance(value, gvr.GVR)]
    named = [one for one in named if (one.group, one.plural) not in added]
    assert len(named) > 20 and added
    for resource in named:
        row = table.by_path(resource.group, resource.version, resource.plural)
        assert row is not None
        assert row.gvr == resource


def _event(**fields: object) -> Obj:
    return {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod"}, **fields}


def test_events_have_two_faces() -> None:
    row = table.get("events.k8s.io", "events")
    stored = _event(message="m", count=2, source={"component": "c"}, reason="R", firstTimestamp="t")
    served = convert.to_served(row, stored)
    assert served["apiVersion"] == "events.k8s.io/v1"
    assert (served["note"], served["deprecatedCount"], served["regarding"]) == ("m", 2, {"kind": "Pod"})
    assert served["reportingController"] == "c"
    back = convert.to_stored(row, served)
    assert {**back, "reportingComponent": None} == {**stored, "reportingComponent": None}


_TARGET = {"type": "Utilization", "averageUtilization": 50}
_METRIC = st.sampled_from(["cpu", "memory"]).map(
    lambda name: {"type": "Resource", "resource": {"name": name, "target": _TARGET}}
)


@given(metrics=st.lists(_METRIC, max_size=3), behavior=st.booleans(), annotated=st.booleans())
def test_an_autoscaler_survives_its_old_version(metrics: list[Obj], behavior: bool, annotated: bool) -> None:
    row = table.by_path("autoscaling", "v1", "horizontalpodautoscalers")
    assert row is not None
    spec: Obj = {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}
    if metrics:
        spec["metrics"] = metrics
    if behavior:
        spec["behavior"] = {"scaleDown": {"stabilizationWindowSeconds": 5}}
    metadata: Obj = {"name": "h", **({"annotations": {"a": "b"}} if annotated else {})}
    stored: Obj = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata,
        "spec": spec,
    }
    back = convert.to_stored(row, convert.to_served(row, stored))
    key = lambda metric: metric["resource"]["name"]  # noqa: E731
    for side in (back, stored):
        side["spec"]["metrics"] = sorted(side["spec"].get("metrics", []), key=key)
    assert back == stored
