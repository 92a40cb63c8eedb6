"""Which device manager a node has: simulated GPUs, real ones, or none.

Who calls it: `kubelet.main`, once. Invariant: a node without GPUs pays nothing for the possibility; one that had devices before
keeps telling their number, now zero, so that nobody counts on them.
"""

import logging
import shutil
from pathlib import Path

from kubelet.devices import checkpoint, gpu_labels, injection, nvml, staging
from kubelet.devices.base import DeviceManager, Grant, NoDevices
from kubelet.devices.injection import Engine
from kubelet.devices.manager import Inject, PluginDeviceManager
from kubelet.devices.nvidia_plugin import NvidiaPlugin
from kubelet.devices.nvml import Nvml, NvmlError
from kubelet.devices.simulation import Simulation, for_node, load
from kubelet.options import Options
from kubelet.runtime.base import Info
from minikube_py.api.clock import Clock
from minikube_py.api.types import Obj

log = logging.getLogger(__name__)

_CDI = ("/etc/cdi/nvidia.yaml", "/etc/cdi/nvidia.json", "/var/run/cdi/nvidia.yaml", "/var/run/cdi/nvidia.json")


def make(options: Options, info: Info, clock: Clock) -> DeviceManager:
    """The device manager the options ask for. Raises OSError, ValueError for a bad description.

    `options.gpus` is a description file, "" = none. `options.nvml_library` says whose the machine's own cards are: "auto" or a
    library's path on the node that has them, "none" elsewhere; described cards that name no node go the same way.
    """
    root = Path(options.root_dir)
    directory = root / "device-plugins"
    if options.gpus:
        simulated = _simulated(options, root, directory, clock)
        if simulated is not None:
            return simulated
    opened = _open(options.nvml_library) if not options.gpus else None
    if opened is not None:
        return _real(opened, root, directory, info, clock)
    if (directory / checkpoint.FILE).exists() or "nvidia" in info.runtimes:
        # The engine may show the machine's cards to containers that ask for none: other nodes' cards, seen from here.
        return PluginDeviceManager(directory, [], _injector(Engine("bare")), labels=gpu_labels.NONE, clock=clock)
    return NoDevices()


def _open(library: str) -> Nvml | None:
    if library in ("", "none"):
        return None
    try:
        return nvml.open_library("" if library == "auto" else library)
    except NvmlError as error:
        log.log(logging.INFO if library == "auto" else logging.ERROR, "no GPUs: %s", error)
        return None


def _simulated(options: Options, root: Path, directory: Path, clock: Clock) -> DeviceManager | None:
    node, seed = options.node_name, f"{options.profile}/{options.node_name}"
    everything = load(_kept(Path(options.gpus), root / "gpus" / "description.yaml"), seed)
    description = for_node(everything, node, first=options.nvml_library != "none")
    if not description.cards:
        return None
    simulation = Simulation(description, root / "gpus", clock)
    opened = simulation.open()
    engine = Engine("mock", files=simulation.mounts())
    labels = _labels(opened, clock, machine="minikube-py simulation")
    plugin = NvidiaPlugin(opened, clock)
    simulation.start()
    return PluginDeviceManager(
        directory, [plugin], _injector(engine), labels=labels, on_change=simulation.show_load, clock=clock
    )  # fmt: skip


def _kept(file: Path, copy: Path) -> Path:
    """Our copy of the description, refreshed from the user's file; the file may be gone when the kubelet starts again.

    Raises FileNotFoundError when there is neither.
    """
    if file.exists() or not copy.exists():
        text = file.read_bytes()
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(text)
    return copy


def _real(opened: Nvml, root: Path, directory: Path, info: Info, clock: Clock) -> DeviceManager:
    cdi = any(Path(path).exists() for path in _CDI)
    hook = shutil.which("nvidia-container-runtime-hook") is not None
    mode = injection.choose_mode(info.runtimes, info.version, cdi_spec=cdi, hook=hook)
    plugin = NvidiaPlugin(opened, clock)
    engine = Engine(mode)
    if mode == "bare":
        files = staging.stage(root / "nvidia", opened.driver_version)
        minors = {gpu.uuid: gpu.minor for gpu in plugin.cards}
        engine = Engine(mode, staging.existing(staging.NODES), minors, files)
    log.info("%d GPUs, given to containers through: %s", len(plugin.cards), mode)
    labels = _labels(opened, clock, machine=_machine())
    return PluginDeviceManager(directory, [plugin], _injector(engine), labels=labels, clock=clock)


def _injector(engine: Engine) -> Inject:
    def inject(pod: Obj, container: Obj, responses: list[Obj]) -> Grant:
        return injection.inject(engine, pod, container, responses)

    return inject


def _labels(opened: Nvml, clock: Clock, machine: str) -> dict[str, str | None]:
    return gpu_labels.node_labels(
        opened.gpus(), opened.driver_version, opened.cuda_version, machine=machine, timestamp=int(clock.time())
    )


def _machine() -> str:
    try:
        return Path("/sys/class/dmi/id/product_name").read_text().strip()
    except OSError:
        return ""
