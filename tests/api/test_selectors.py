"""Selectors: known matches, known refusals, and text that parses back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube_py.api import selectors

MATCHES = [
    ("a=b", {"a": "b"}, True), ("a==b", {"a": "c"}, False), ("a!=b", {}, True), ("a!=b", {"a": "b"}, False),
    ("a in (b, c)", {"a": "c"}, True), ("a in (b,c)", {}, False), ("a notin (b,c)", {}, True), ("a", {"a": ""}, True),
    ("!a", {"a": ""}, False), ("! a", {}, True), ("a=", {"a": ""}, True), ("a=,b=c", {"a": "", "b": "c"}, True),
    ("x>3", {"x": "4"}, True), ("x<3", {"x": "4"}, False), ("x>3", {"x": "nan"}, False), ("", {"q": "r"}, True),
    ("a in (,x)", {"a": ""}, True), ("in=notin", {"in": "notin"}, True),
    ("example.com/a=b,c,!d", {"example.com/a": "b", "c": "1"}, True),
]  # fmt: skip


@pytest.mark.parametrize(("text", "labels", "expected"), MATCHES)
def test_label_selectors_match(text: str, labels: dict[str, str], expected: bool) -> None:
    assert selectors.parse_labels(text).matches(labels) is expected


@pytest.mark.parametrize(
    "bad", ["a=b,", "=b", "a in b", "a in (b", "a b", "a=b c", "a=%", "-a=b", "x>y", "a=b,,c=d", "a in (b c)"]
)
def test_label_selectors_that_are_refused(bad: str) -> None:
    with pytest.raises(ValueError):
        selectors.parse_labels(bad)


def test_object_form() -> None:
    assert not selectors.from_label_selector(None).matches({})
    assert selectors.from_label_selector({}).matches({"a": "b"})
    both = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["d"]}]}
    assert selectors.from_label_selector(both).matches({"a": "b"})
    assert not selectors.from_label_selector(both).matches({"a": "b", "c": "d"})
    assert str(selectors.from_label_selector(both)) == "a=b,c!=d"
    with pytest.raises(ValueError):
        selectors.from_label_selector({"matchExpressions": [{"key": "c", "operator": "Near"}]})


def test_field_selectors() -> None:
    selector = selectors.parse_fields("metadata.name=a,spec.nodeName!=,status.phase==Running")
    assert selector.requirements == (
        ("metadata.name", "=", "a"),
        ("spec.nodeName", "!=", ""),
        ("status.phase", "=", "Running"),
    )
    assert selector.matches({"metadata.name": "a", "spec.nodeName": "n", "status.phase": "Running"})
    assert not selector.matches({"metadata.name": "a", "status.phase": "Running"})
    assert selector.exact("metadata.name") == "a"
    assert selectors.parse_fields(r"a=b\,c\=d").requirements == (("a", "=", "b,c=d"),)
    for bad in ("a", "a=b=c", "a=b\\"):
        with pytest.raises(ValueError):
            selectors.parse_fields(bad)


words = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,8}[A-Za-z0-9])?", fullmatch=True)
names = words.filter(lambda n: n not in ("in", "notin"))
requirements = st.one_of(
    st.builds(selectors.Requirement, names, st.sampled_from(["Exists", "DoesNotExist"]), st.just(frozenset())),
    st.builds(
        selectors.Requirement, names, st.sampled_from(["In", "NotIn"]), st.frozensets(names, min_size=1, max_size=3)
    ),
)


@given(st.lists(requirements, max_size=4))
def test_label_text_parses_back(found: list[selectors.Requirement]) -> None:
    selector = selectors.Selector(tuple(sorted(found, key=lambda r: r.key)))
    assert selectors.parse_labels(str(selector)) == selector


@given(st.lists(st.tuples(names, st.sampled_from(["=", "!="]), st.text(max_size=6)), max_size=3))
def test_field_text_parses_back(found: list[tuple[str, str, str]]) -> None:
    selector = selectors.FieldSelector(tuple(found))
    assert selectors.parse_fields(str(selector)) == selector
