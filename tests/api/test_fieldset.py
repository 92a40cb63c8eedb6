"""Sets of field paths: their algebra against plain Python sets, and their texts."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from minikube_py.api import fieldset
from minikube_py.api.fieldset import Set

elements = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])
paths = st.frozensets(st.lists(elements, min_size=1, max_size=4).map(tuple), max_size=8)


def build(members: Any) -> Set:
    made: Set = {}
    for path in members:
        one: Set = {}
        for element in reversed(path):
            one = {element: one}
        made = fieldset.union(made, one)
    return made


def members(fields: Set, prefix: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for key, inner in fields.items():
        if key == ".":
            found.add(prefix)
        elif not inner:
            found.add((*prefix, key))
        else:
            found |= members(inner, (*prefix, key))
    return found


@given(paths, paths)
def test_the_algebra_is_that_of_sets(a: frozenset[tuple[str, ...]], b: frozenset[tuple[str, ...]]) -> None:
    left, right = build(a), build(b)
    assert members(left) == a
    assert members(fieldset.union(left, right)) == a | b
    assert members(fieldset.difference(left, right)) == a - b
    assert members(fieldset.intersection(left, right)) == a & b
    assert fieldset.contains(left, right) == (b <= a)
    below = {path for path in a if any(path[: len(other)] == other for other in b)}
    assert members(fieldset.without(left, right)) == a - below


def test_texts() -> None:
    fields = {
        "f:spec": {
            "f:replicas": {},
            "f:containers": {'k:{"name":"a"}': {".": {}, "f:image": {}}},
            "f:ports": {'k:{"port":80,"protocol":"TCP"}': {}},
        },
        "f:metadata": {"f:finalizers": {'v:"x"': {}}},
    }
    assert fieldset.paths(fields) == [
        '.metadata.finalizers[="x"]',
        '.spec.containers[name="a"]',
        '.spec.containers[name="a"].image',
        '.spec.ports[port=80,protocol="TCP"]',
        ".spec.replicas",
    ]


def test_elements() -> None:
    assert fieldset.item_element({"name": "a"}, ("name",)) == 'k:{"name":"a"}'
    assert (
        fieldset.item_element({"containerPort": 80}, ("containerPort", "protocol"))
        == 'k:{"containerPort":80,"protocol":"TCP"}'
    )
    assert fieldset.item_element({}, ("name",)) == 'k:{"name":""}'
    assert fieldset.value_element("x") == 'v:"x"'
