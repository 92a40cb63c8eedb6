"""Everything of a kubelet that has to do with volumes, wired together.

Who calls it: `main`. Invariant: nothing runs before `start`; after `stop` volumes stay as they are.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from kubelet.csi.drivers import Drivers
from kubelet.csi.volumes import CSIVolumes
from kubelet.objects import ObjectCache, TokenCache
from kubelet.options import Options
from kubelet.plugin_watcher import Handler, PluginWatcher
from kubelet.volumes.claims import Claims
from kubelet.volumes.expansion import Expansion
from kubelet.volumes.local_path import LocalVolumes
from kubelet.volumes.manager import VolumeManager
from kubelet.volumes.persistent_volumes import PersistentVolumes
from minikube_py.api.clock import Clock
from minikube_py.api.types import Obj
from minikube_py.client.events import EventRecorder
from minikube_py.client.informer import SharedInformers
from minikube_py.client.rest import Client


class Storage:
    """In: `node` gives this Node, `pods` the pods bound to it; `changed` is called when the node's status may have changed;
    `plugins` are the handlers of plugins of other types, which register in the same place."""

    def __init__(
        self, options: Options, client: Client, informers: SharedInformers, recorder: EventRecorder, objects: ObjectCache,
        tokens: TokenCache, clock: Clock, node: Callable[[], Obj], pods: Callable[[], Iterable[Obj]],
        changed: Callable[[], None], plugins: Mapping[str, Handler],
    ) -> None:  # fmt: skip
        root, expansion = Path(options.root_dir), Expansion(client, recorder)
        local = LocalVolumes(client, informers, expansion, options.root_dir, options.node_name)
        drivers = Drivers(client, options.node_name, options.root_dir, changed)

        def get(plural: str, namespace: str, name: str) -> Obj | None:
            known = objects.get(plural, namespace, name)
            waits = plural == "volumeattachments" and not ((known or {}).get("status") or {}).get("attached")
            return objects.get(plural, namespace, name, clock.monotonic()) if waits else known

        self.csi = CSIVolumes(root, options.node_name, drivers, get, tokens.status, changed)
        claims = Claims(objects, clock, node, pods)
        self.manager = VolumeManager(root, clock, PersistentVolumes(root, claims, local, self.csi, expansion))
        self._loop = local.controller()
        self._plugins = PluginWatcher(root / "plugins_registry", clock, {"CSIPlugin": drivers, **plugins})

    def start(self) -> None:
        """Begin; the informers may be started before or after."""
        self._loop.start()
        self._plugins.start()

    def stop(self) -> None:
        self._plugins.stop()
        self._loop.stop()
