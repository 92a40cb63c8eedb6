"""The search over a large cluster: it looks at a share of the nodes, but never misses the one that fits."""

import pytest

from controllers.scheduler.cycle import enough_nodes
from controllers.scheduler.diagnosis import NoFit
from tests.scheduler.build import Core, info, node


def test_small_clusters_are_searched_whole_large_ones_in_part() -> None:
    assert [enough_nodes(n) for n in (3, 99, 100, 500, 5000, 20000)] == [3, 99, 100, 230, 500, 1000]


def test_the_only_node_that_fits_is_found_wherever_it_is() -> None:
    core = Core([node(f"n{i}", labels={"only": "yes"} if i == 211 else {}) for i in range(250)])
    for number in range(3):
        assert core.place(info(f"p{number}", nodeSelector={"only": "yes"})) == "n211"
        core.place(info(f"q{number}"))


def test_all_nodes_get_their_turn() -> None:
    core = Core([node(f"n{i}", pods=1) for i in range(300)])
    assert len({core.place(info(f"p{i}")) for i in range(300)}) == 300
    with pytest.raises(NoFit) as caught:
        core.place(info("late"))
    assert str(caught.value) == "0/300 nodes are available: 300 Too many pods."
    assert set(caught.value.rejected) == set(range(300))
