"""JSON patch and merge patch: the RFCs' own cases, upstream's refusals, and round trips."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube_py.api import errors, patch
from minikube_py.api.clone import clone

OPERATIONS: list[tuple[Any, list[dict[str, Any]], Any]] = [
    ({"a": 1}, [{"op": "add", "path": "/b", "value": {"c": [1]}}], {"a": 1, "b": {"c": [1]}}),
    ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
    ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
    ({"a": 1, "b": 2}, [{"op": "remove", "path": "/b"}], {"a": 1}),
    ({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}),
    ({"a": {"b": 1}}, [{"op": "replace", "path": "/a/b", "value": None}], {"a": {"b": None}}),
    ({"a": [1, 2]}, [{"op": "replace", "path": "/a/1", "value": 5}], {"a": [1, 5]}),
    ({"a": {"b": 1}}, [{"op": "move", "from": "/a/b", "path": "/c"}], {"a": {}, "c": 1}),
    ({"a": {"b": [1]}}, [{"op": "copy", "from": "/a/b", "path": "/c"}], {"a": {"b": [1]}, "c": [1]}),
    ({"a/b": {"~": 1}}, [{"op": "replace", "path": "/a~1b/~0", "value": 2}], {"a/b": {"~": 2}}),
    ({"a": 1}, [{"op": "test", "path": "/a", "value": 1.0}, {"op": "test", "path": "/zz", "value": None}], {"a": 1}),
    ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 1}}], {"b": 1}),
]


@pytest.mark.parametrize(("obj", "ops", "expected"), OPERATIONS)
def test_json_patch(obj: Any, ops: list[dict[str, Any]], expected: Any) -> None:
    before = clone(obj)
    assert patch.json_patch(obj, ops) == expected
    assert obj == before


@pytest.mark.parametrize(
    "op",
    [
        {"op": "remove", "path": "/zz"},
        {"op": "replace", "path": "/zz", "value": 1},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/a", "value": True},
        {"op": "add", "path": "/l/5", "value": 1},
        {"op": "add", "path": "/l/01", "value": 1},
        {"op": "add", "path": "/zz/b", "value": 1},
        {"op": "move", "from": "/o", "path": "/o/p/q"},
        {"op": "replace", "path": "", "value": 3},
    ],
)
def test_operations_that_do_not_apply_are_422(op: dict[str, Any]) -> None:
    with pytest.raises(errors.Invalid, match="the server rejected our request due to an error in our request"):
        patch.json_patch({"a": 1, "l": [1], "o": {"p": {}}}, [op])


@pytest.mark.parametrize("bad", [{}, [1], [{"op": "add", "path": "/a"}], [{"op": "jump", "path": "/a"}], [{"op": "add"}],
                                 [{"op": "copy", "path": "/a"}], [{"op": "remove", "path": "a"}]])  # fmt: skip
def test_what_is_no_json_patch_is_400(bad: Any) -> None:
    with pytest.raises(errors.BadRequest):
        patch.json_patch({"a": 1}, bad)


def test_too_many_operations() -> None:
    with pytest.raises(errors.RequestEntityTooLarge, match="10000, got 10001"):
        patch.json_patch({}, [{"op": "add", "path": "/a", "value": 1}] * 10_001)


MERGES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("obj", "change", "expected"), MERGES)
def test_merge_patch_as_rfc_7386(obj: Any, change: Any, expected: Any) -> None:
    before = clone(obj)
    assert patch.merge_patch(obj, change) == expected
    assert obj == before


def test_merge_patch_must_be_an_object() -> None:
    with pytest.raises(errors.BadRequest):
        patch.merge_patch({}, [1])


scalars = st.one_of(st.booleans(), st.integers(-3, 3), st.sampled_from(["", "x", "~", "a/b"]), st.just(1.5))
keys = st.sampled_from(["a", "b", "c/d", "~e", "0"])
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=8,
)
objects = st.dictionaries(keys, values, max_size=4)


@given(objects, objects)
def test_a_created_merge_patch_makes_one_of_the_other(a: dict[str, Any], b: dict[str, Any]) -> None:
    change = patch.create_merge_patch(a, b)
    made = patch.merge_patch(a, change)
    assert made == b
    assert patch.create_merge_patch(made, b) == {}


def pointers(value: Any, prefix: str = "") -> list[str]:
    found = [prefix] if prefix else []
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in steps:
        found += pointers(item, f"{prefix}/{str(step).replace('~', '~0').replace('/', '~1')}")
    return found


@given(objects, values, st.data())
def test_json_patch_add_then_test_then_remove_comes_back(obj: dict[str, Any], value: Any, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(["/new", *[p for p in pointers(obj) if p.rpartition("/")[2].isdigit()]]))
    try:
        added = patch.json_patch(
            obj, [{"op": "add", "path": path, "value": value}, {"op": "test", "path": path, "value": value}]
        )
    except errors.Invalid:
        assert not path.rpartition("/")[2].isdigit()
        return
    removed = patch.json_patch(added, [{"op": "remove", "path": path}])
    assert removed == obj or path not in ("/new", *pointers(removed))
