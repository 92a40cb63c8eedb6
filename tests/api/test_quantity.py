"""Quantities: known answers of upstream's own table, and properties over everything that parses."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube_py.api import quantity

CANONICAL = {
    "0": "0", "0.5": "500m", "500m": "500m", "1.5": "1500m", "1000m": "1", "100": "100", "1000": "1k", "12000": "12k",
    "1234567": "1234567", "1024Mi": "1Gi", "1.5Gi": "1536Mi", "1024": "1024", "1Ki": "1Ki", "1023Ki": "1023Ki",
    "0.5Ki": "512", "1e3": "1e3", "1E": "1E", "1E3": "1e3", "12e4": "120e3", "+1": "1", "-2Gi": "-2Gi", ".5": "500m",
    "5.": "5", "100n": "100n", "0.1n": "1n", "1.1Ki": "1126400m", "2048Ki": "2Mi", "110": "110", "0Gi": "0",
    "64Mi": "64Mi", "1M": "1M", "1000Mi": "1000Mi", "9999999999E": "9223372036854775807",
}  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), CANONICAL.items())
def test_canonical_form(text: str, shown: str) -> None:
    assert quantity.canonical(text) == shown
    assert quantity.canonical(shown) == shown


@pytest.mark.parametrize("bad", ["", "abc", "1.2.3", "1KI", "1 Gi", "1mi", "--1", "1e", "0x1", "1Gi ", "."])
def test_what_is_no_quantity(bad: str) -> None:
    with pytest.raises(ValueError, match="regular expression"):
        quantity.parse(bad)


def test_whole_units_and_thousandths_round_up() -> None:
    assert quantity.value("1500m") == 2
    assert quantity.value("-1500m") == -1
    assert quantity.value("1Gi") == 2**30
    assert quantity.milli("100u") == 1
    assert quantity.milli("2") == 2000
    assert quantity.parse(0.25) == Decimal("0.25")


def test_arithmetic_keeps_the_notation() -> None:
    assert quantity.add("1Gi", "512Mi") == "1536Mi"
    assert quantity.add("0", "512Mi") == "512Mi"
    assert quantity.subtract("2", "500m") == "1500m"
    assert quantity.subtract("1Gi", "1Gi") == "0"
    assert quantity.compare("1Gi", "1G") == 1


suffixes = st.sampled_from(["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E-3", "e0"])


@given(st.integers(-(10**6), 10**6), st.integers(0, 10**4), suffixes)
def test_canonical_keeps_the_value_and_is_stable(whole: int, fraction: int, suffix: str) -> None:
    text = f"{whole}.{fraction}{suffix}"
    shown = quantity.canonical(text)
    assert quantity.parse(shown) == quantity.parse(text)
    assert quantity.canonical(shown) == shown


@given(st.integers(-(2**60), 2**60), st.booleans())
def test_format_is_undone_by_parse(number: int, binary: bool) -> None:
    assert quantity.parse(quantity.format(number, binary=binary)) == number
