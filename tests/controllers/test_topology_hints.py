"""Hints by the zones' parts of the CPUs: properties over random zones, and the cases without hints."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.topology_hints import is_wanted, shares, zones
from minikube_py.api.types import Obj


def node(zone: str, cpu: str = "1", ready: str = "True", **labels: str) -> Obj:
    marks = {**labels, **({"topology.kubernetes.io/zone": zone} if zone else {})}
    status = {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": ready}]}
    return {"metadata": {"name": "n", "labels": marks}, "status": status}


@given(st.lists(st.sampled_from("abc"), max_size=40), st.lists(st.integers(1, 8), min_size=2, max_size=3))
def test_every_zone_gets_its_part_and_endpoints_stay_at_home(homes: list[str], cpus: list[int]) -> None:
    parts = shares([node(zone, str(cpu)) for zone, cpu in zip("abc", cpus, strict=False)])
    assert math.isclose(sum(parts.values()), 1)
    meant = zones(homes, parts)
    if meant is None:
        assert len(homes) < len(parts) or sum(math.ceil(p * len(homes) / 1.2) for p in parts.values()) > len(homes)
        return
    at_home, counts = Counter(homes), Counter(meant)
    for zone, part in parts.items():
        assert abs(counts[zone] - part * len(homes)) < 2, "near its part"
        if at_home[zone] <= part * len(homes):
            assert all(m == zone for h, m in zip(homes, meant, strict=True) if h == zone), "only the rich give"


def test_two_zones_of_unlike_size() -> None:
    parts = shares([node("a", "3"), node("b", "500m"), node("b", "500m"), node("c", ready="False")])
    assert parts == {"a": 0.75, "b": 0.25}
    assert zones(["b"] * 4, parts) == ["a", "a", "a", "b"]
    assert zones(["a", "a", "b", "b"], parts) == ["a", "a", "a", "b"]


@pytest.mark.parametrize(
    ("homes", "nodes"),
    [
        (["a", "b"], [node("a"), node("a")]),
        (["a"], [node("a"), node("b")]),
        (["a", "", "b"], [node("a"), node("b")]),
        (["a", "b"], [node("a"), node("b"), node("")]),
        (["a", "b"], [node("a"), node("b"), node("c", "0")]),
        (["a", "b", "a"], [node("a"), node("b")]),  # two each, of three
        (["a", "b"], []),
    ],
)
def test_no_hints_rather_than_bad_ones(homes: list[str], nodes: list[Obj]) -> None:
    assert zones(homes, shares(nodes)) is None


def test_who_asks() -> None:
    def service(**annotations: str) -> Obj:
        return {"metadata": {"annotations": {f"service.kubernetes.io/{k}": v for k, v in annotations.items()}}}

    assert is_wanted(service(**{"topology-mode": "Auto"})) and is_wanted(service(**{"topology-aware-hints": "auto"}))
    assert not is_wanted(service(**{"topology-mode": "Disabled", "topology-aware-hints": "Auto"}))
    assert not is_wanted({"metadata": {"name": "x"}})
