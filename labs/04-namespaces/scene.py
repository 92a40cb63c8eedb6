"""The scene of lab 4: neither namespace exists.

Who calls it: labkit, before and after every run. Invariant: at the start there is nothing either team could use.
"""

from minikube_py.api.gvr import NAMESPACES
from minikube_py.labkit.world import World


def setup(world: World) -> None:
    """The students make the namespaces themselves."""


def baseline(world: World) -> None:
    for team in ("team_a", "team_b"):
        world.absent(NAMESPACES, world.text(team))


def teardown(world: World) -> None:
    world.remove_namespaces(world.text("team_a"), world.text("team_b"))
