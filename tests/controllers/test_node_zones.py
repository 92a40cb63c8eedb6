"""How fast zones are emptied, with upstream's figures."""

import pytest

from controllers.node_zones import FULL, NORMAL, PARTIAL, Limiter, Zone, count, rate, state
from controllers.options import Options
from minikube_py.api.types import Obj


@pytest.mark.parametrize(("ready", "silent", "wanted"), [
    (3, 0, NORMAL), (0, 1, FULL), (1, 2, NORMAL), (2, 3, PARTIAL), (4, 3, NORMAL), (0, 9, FULL), (0, 0, NORMAL),
])  # fmt: skip
def test_state(ready: int, silent: int, wanted: str) -> None:
    assert state(Zone(ready, silent), 0.55) == wanted


@pytest.mark.parametrize(("zones", "wanted"), [
    ({"a": Zone(3, 1)}, 0.1),
    ({"a": Zone(0, 3)}, None),  # everything is silent: it is us
    ({"a": Zone(0, 3), "b": Zone(1, 0)}, 0.1),  # a whole zone is dead, another lives
    ({"a": Zone(2, 4)}, 0.0),  # a small zone, mostly silent
    ({"a": Zone(20, 40)}, 0.01),  # a large one
    ({"a": Zone(0, 3), "b": Zone(0, 1)}, None),
])  # fmt: skip
def test_rate(zones: dict[str, Zone], wanted: float | None) -> None:
    assert rate(zones, "a", Options()) == wanted


def test_one_node_at_a_time_in_each_zone() -> None:
    limiter = Limiter()
    assert limiter.wait("a", 0.1, 0.0) == 0.0
    assert limiter.wait("a", 0.1, 4.0) == 6.0
    assert limiter.wait("b", 0.1, 4.0) == 0.0, "another zone has its own pace"
    assert limiter.wait("a", 0.1, 10.0) == 0.0


def test_zones_are_told_apart_by_their_labels() -> None:
    def node(zone: str, ready: str) -> Obj:
        labels = {"topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": "r"}
        return {
            "metadata": {"name": "n", "labels": labels},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }

    zones = count([node("a", "True"), node("a", "Unknown"), node("b", "False"), {"metadata": {"name": "new"}}])
    assert zones == {"r:a": Zone(1, 1), "r:b": Zone(0, 1), ":": Zone(0, 1)}
