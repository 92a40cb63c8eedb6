"""Kinds of CustomResourceDefinitions that a controller looks after once somebody defines them.

Who calls it: controllers of such kinds. Invariant: nobody is asked for a kind that is not defined, so a cluster without it pays
nothing; one that comes back is read anew.
"""

from controllers.context import Context
from minikube_py.api.gvr import CUSTOMRESOURCEDEFINITIONS, GVR
from minikube_py.api.meta import name_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller, Keys
from minikube_py.client.informer import Informer


class CustomKinds:
    """`watch` what the controller is about; then it reads through `get` and `list`, once `ready`."""

    def __init__(self, context: Context, controller: Controller) -> None:
        self._informers, self._controller = context.informers, controller
        self._definitions = context.informers.metadata_of(CUSTOMRESOURCEDEFINITIONS)
        self._held: dict[GVR, Informer] = {}
        self._wanted: list[GVR] = []
        controller.needs(self._definitions)

    def watch(self, res: GVR, keys: Keys) -> None:
        """As `Controller.watch`, from when the kind is defined until it is not."""
        self._wanted.append(res)

        def enqueue(old: Obj | None, new: Obj | None) -> None:
            for key in {key for obj in (old, new) if obj is not None for key in keys(obj)}:
                self._controller.queue.add(key)

        def changed(old: Obj | None, new: Obj | None) -> None:
            if name_of(new or old or {}) != f"{res.plural}.{res.group}":
                return
            if new is None:
                self._informers.drop(self._held.pop(res))
            elif res not in self._held:
                self._held[res] = self._informers.of(res)
                self._held[res].add_handler(enqueue)

        self._definitions.add_handler(changed)

    def ready(self) -> bool:
        """Whether all the kinds are defined and held."""
        return all((held := self._held.get(res)) is not None and held.wait_synced(0.0) for res in self._wanted)

    def get(self, res: GVR, key: str) -> Obj | None:
        held = self._held.get(res)
        return held.get_key(key) if held is not None else None

    def list(self, res: GVR, namespace: str = "") -> list[Obj]:
        held = self._held.get(res)
        return held.list(namespace) if held is not None else []
