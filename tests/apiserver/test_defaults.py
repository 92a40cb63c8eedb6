"""Defaulting: golden files for the main kinds, and for any object: doing it twice changes nothing.

`UPDATE_GOLDEN=1 pytest tests/apiserver/test_defaults.py` writes the output files anew; read the difference before committing.
"""

import copy
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver import strategies
from apiserver.resources import table
from apiserver.resources.row import Row
from apiserver.strategies import defaults
from apiserver.strategies.defaults.engine import NonZero, compiled, under
from apiserver.strategies.table import TABLE
from minikube_py.api import schema, yaml
from minikube_py.api.types import Obj

GOLDEN = Path(__file__).parent / "golden" / "defaults"
NAMES = sorted(path.name.removesuffix(".input.yaml") for path in GOLDEN.glob("*.input.yaml"))


def row_of(obj: Obj) -> Row:
    group, _, version = obj["apiVersion"].rpartition("/")
    row = table.by_kind(group, version, obj["kind"])
    assert row is not None, obj["kind"]
    return row


def read(name: str) -> list[Obj]:
    return list(yaml.load_all((GOLDEN / f"{name}.input.yaml").read_bytes()))


def defaulted(obj: Obj) -> Obj:
    made = copy.deepcopy(obj)
    strategies.for_row(row_of(obj)).default(made)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str) -> None:
    made = [defaulted(obj) for obj in read(name)]
    path = GOLDEN / f"{name}.output.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(yaml.dump_all(made))
    expected = list(yaml.load_all(path.read_bytes()))
    assert len(made) == len(expected)
    for got, want in zip(made, expected, strict=True):
        assert got == want


ALL = [obj for name in NAMES for obj in read(name)]


@pytest.mark.parametrize("obj", ALL, ids=lambda obj: f"{obj['kind']}-{obj['metadata']['name']}")
def test_golden_outputs_are_stable_and_valid(obj: Obj) -> None:
    made = defaulted(obj)
    assert defaulted(made) == made
    row = row_of(obj)
    node = schema.load().for_gvk(row.group, row.version, row.kind)
    assert node is not None
    assert schema.validate(node, made) == []
    assert strategies.for_row(row).validate(made) == []


def test_every_table_belongs_to_a_row() -> None:
    keys = {row.plural_key for row in table.ROWS}
    assert set(defaults.TABLE) <= keys
    assert set(TABLE) <= keys


# ---- the interpreter -------------------------------------------------------------------------------------------------

json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "RollingUpdate", "25%"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["spec", "containers", "template", "type", "name", "a", "ports"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(json_values.filter(lambda value: isinstance(value, dict)))
def test_running_rules_twice_changes_nothing(obj: Obj) -> None:
    rules = (
        ("type", "RollingUpdate"),
        ("a", {}),
        ("a.name", lambda parent: "made" if "name" not in parent else None),
        *under("spec.containers[]", (("name", "c"), ("ports[].a", NonZero(5)))),
        ("spec.template.", lambda template: template.update(type=template.get("type") or "x")),
    )
    run = compiled(rules)
    run(obj)
    once = copy.deepcopy(obj)
    run(obj)
    assert obj == once


def test_only_what_is_absent_is_filled() -> None:
    run = compiled((("zero", 1), ("empty", "x"), ("null", "x"), ("false", True), ("plain", NonZero(3)), ("kept", "no")))
    obj = {"zero": 0, "empty": "", "null": None, "false": False, "plain": 0, "kept": "yes"}
    run(obj)
    assert obj == {"zero": 0, "empty": "x", "null": "x", "false": False, "plain": 3, "kept": "yes"}


def test_filled_values_are_never_shared() -> None:
    run = compiled((("labels", {"a": 1}),))
    one: Obj = {}
    other: Obj = {}
    run(one)
    run(other)
    one["labels"]["a"] = 2
    assert other["labels"] == {"a": 1}


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.25", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:00", "IfNotPresent"),
    ],
)
def test_pull_policy_by_tag(image: str, policy: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": [{"name": "c", "image": image}]}}
    assert defaulted(pod)["spec"]["containers"][0]["imagePullPolicy"] == policy
