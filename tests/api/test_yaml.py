"""YAML as kubectl reads and writes it: scalars, refusals with line numbers, and text that reads back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube_py.api import yaml

SCALARS: dict[str, Any] = {
    "yes": True, "Off": False, "y": True, "true": True, "~": None, "": None, "null": None, "12": 12, "-7": -7, "0755": 493,
    "0x1F": 31, "0b101": 5, "1_000": 1000, "1e3": 1000, "1.5": 1.5, ".5": 0.5, "22:22": "22:22", "2020-01-01": "2020-01-01",
    "2020-01-01T00:00:00Z": "2020-01-01T00:00:00Z", "1.2.3": "1.2.3", "0o17": 15, "089": 89, "1Gi": "1Gi", "'12'": "12",
    '"yes"': "yes", "!!str 12": "12", "!!int '12'": 12, "hello world": "hello world", "99999999999999999999": 1e20,
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), SCALARS.items())
def test_scalars(text: str, expected: Any) -> None:
    found = yaml.load_all(f"a: {text}\n")[0]["a"]
    assert found == expected
    assert type(found) is type(expected) or expected == 1e20


REFUSED = {
    "a: 1\nb:\n  c: 1\n  c: 2\n": ('line 4: key "c" already set in map', 4),
    "a: [1\n": ("yaml: line 2: did not find expected ',' or ']'", 2),
    "a: 1\n---\n- 1\n": ("line 3: the document is no object but a list", 3),
    "a: &a [*a]": ("contains itself", 1),
    "a:\n\t- b": ("line 2: found character that cannot start any token", 2),
    "a: b: c": ("line 1: mapping values are not allowed", 1),
    "a: .inf": ("unsupported value", 0),
    "{[1]: 2}": ("invalid map key", 1),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.items())
def test_refusals_name_the_line(text: str, expected: tuple[str, int]) -> None:
    with pytest.raises(yaml.YAMLError, match=None) as caught:
        yaml.load_all(text)
    assert expected[0] in str(caught.value)
    assert caught.value.line == expected[1]


def test_alias_bomb_and_deep_nesting_are_refused_in_one_sentence() -> None:
    levels = [f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]" for i in range(9)]
    with pytest.raises(yaml.YAMLError, match="excessive aliasing"):
        yaml.load_all("\n".join(["a: &a [x,x,x,x,x,x,x,x,x]", *levels]))
    with pytest.raises(yaml.YAMLError):
        yaml.load("[" * 30000)
    with pytest.raises(yaml.YAMLError):
        yaml.load("a: " + "[" * 3000 + "]" * 3000)


def test_anchors_merge_and_are_not_shared() -> None:
    found = yaml.load_all("k: &a {p: 1}\nl: *a\nm: {<<: *a, q: 2}\no1: {<<: [*a, {p: 3, r: 4}]}")[0]
    assert found["m"] == {"p": 1, "q": 2}
    assert found["o1"] == {"p": 1, "r": 4}
    found["k"]["p"] = 5
    assert found["l"] == {"p": 1}


def test_documents_keys_and_duplicates() -> None:
    assert yaml.load_all("---\n---\na: 1\n---\n1: x\ntrue: z\n...\n") == [{"a": 1}, {"1": "x", "true": "z"}]
    assert yaml.load_all(b'{"a": [1, null], "b": "yes"}') == [{"a": [1, None], "b": "yes"}]
    assert yaml.load_all("a: 1\na: 2", unique=False) == [{"a": 2}]
    assert yaml.duplicates("a: 1\nb: {c: 1, c: 2}\na: 3") == [(2, "c"), (3, "a")]
    assert yaml.load("") is None


def test_dump_prints_like_kubectl() -> None:
    items = [{"name": "x", "v": []}, "true", "12", ""]
    obj: dict[str, Any] = {"b": {}, "a": items, "c": "l1\nl2\n", "d": None, "e": 1.5, "f": "2020-01-01", "g": "a: b"}
    obj["h"] = "x" * 30 + " " + "y" * 60 + " z"
    assert yaml.dump(obj) == (
        'a:\n- name: x\n  v: []\n- "true"\n- "12"\n- ""\nb: {}\nc: |\n  l1\n  l2\nd: null\ne: 1.5\nf: "2020-01-01"\n'
        f"g: 'a: b'\nh: {'x' * 30} {'y' * 60}\n  z\n"
    )


text = st.one_of(st.text(max_size=8), st.sampled_from(list(SCALARS)), st.text("~-:#&*!|>'\"%@` \n{}[],?0n", max_size=6))
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(-1e9, 1e9).map(lambda f: f + 0.0), text
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)),
    max_leaves=10,
)


@given(st.dictionaries(text, values, max_size=4))
def test_what_is_dumped_reads_back(obj: dict[str, Any]) -> None:
    assert yaml.load_all(yaml.dump(obj)) == [obj]
