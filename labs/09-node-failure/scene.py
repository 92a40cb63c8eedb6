"""The scene of lab 9: an empty namespace, and every node whole.

Who calls it: labkit, before and after every run. Invariant: at the start no node is broken and the namespace runs nothing.
"""

from minikube_py.api.gvr import DEPLOYMENTS, SERVICES
from minikube_py.labkit.world import World


def setup(world: World) -> None:
    world.new_namespace(world.text("namespace"))


def baseline(world: World) -> None:
    for resource in (DEPLOYMENTS, SERVICES):
        world.absent(resource, world.text("app"), world.text("namespace"))


def teardown(world: World) -> None:
    world.remove_namespaces(world.text("namespace"))
