"""The scene of lab 1: an empty namespace.

Who calls it: labkit, before and after every run. Invariant: at the start nothing in the namespace serves anything.
"""

from minikube_py.api.gvr import CONFIGMAPS, PODS, SECRETS
from minikube_py.labkit.world import World


def setup(world: World) -> None:
    world.new_namespace(world.text("namespace"))


def baseline(world: World) -> None:
    namespace = world.text("namespace")
    for resource, name in ((PODS, "pod"), (CONFIGMAPS, "config"), (SECRETS, "secret")):
        world.absent(resource, world.text(name), namespace)


def teardown(world: World) -> None:
    world.remove_namespaces(world.text("namespace"))
