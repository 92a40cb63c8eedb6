"""A lab's `scene.py`: setup, baseline and teardown around a run.

Who calls it: grading and `labs start`. Invariant: after `prepare` the scene is clean and its baseline holds (what the student
is to bring about is not so yet); otherwise it raised Infrastructure.
"""

import importlib.util
from types import ModuleType

from minikube_py.labkit import cleanup
from minikube_py.labkit.errors import CheckFailed, Infrastructure
from minikube_py.labkit.lab import Lab
from minikube_py.labkit.world import World

HOOKS = ("setup", "baseline", "teardown")


def load(lab: Lab) -> ModuleType:
    """The lab's scene module. Raises Infrastructure when it lacks a hook."""
    file = lab.directory / "scene.py"
    spec = importlib.util.spec_from_file_location(f"scene_{lab.id.replace('-', '_')}", file)
    if spec is None or spec.loader is None or not file.exists():
        raise Infrastructure(f"lab {lab.id} has no scene.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if missing := [hook for hook in HOOKS if not callable(getattr(module, hook, None))]:
        raise Infrastructure(f"{file} lacks {', '.join(missing)}")
    return module


def prepare(lab: Lab, world: World, manager: str) -> None:
    """From whatever there is to the scene a student starts from. Raises Infrastructure."""
    ready = world.ready_nodes()
    if len(ready) < lab.nodes:
        raise Infrastructure(
            f"lab {lab.id} needs {lab.nodes} Ready nodes, there are {len(ready)}; "
            f"run: minikube-py up --nodes {lab.nodes} -p {world.profile_name}"
        )
    module = load(lab)
    clear(lab, world, manager)
    module.setup(world)
    try:
        module.baseline(world)
    except CheckFailed as error:
        raise Infrastructure(f"the scene's baseline does not hold: {error}") from error


def clear(lab: Lab, world: World, manager: str) -> None:
    """Leave nothing of the lab in the cluster. Raises Infrastructure."""
    if any(stage.disruptive for stage in lab.stages):
        world.mend()
    load(lab).teardown(world)
    cleanup.remove_applied(world.client, manager, world.clock)
