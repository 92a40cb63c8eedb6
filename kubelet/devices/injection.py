"""From a device plugin's answer to what the container engine must be asked for. Pure; golden-tested.

Who calls it: the device manager, for every start of a container on a node with GPUs.
Invariant: a container that was given no GPU sees none, whatever its image or its spec says in NVIDIA_VISIBLE_DEVICES (but for
a pod that asks for the runtime class `nvidia`, and for namespaces the administrator lists); one that was given some sees these.
Which way depends on the engine: the `nvidia` runtime, CDI, the toolkit's hook, or bare: nodes and driver files by ourselves.
Upstream: NVIDIA/nvidia-container-toolkit; moby daemon/nvidia_linux.go, daemon/cdi.go.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from kubelet.devices.base import Grant
from kubelet.devices.nvidia_plugin import VISIBLE
from kubelet.runtime.base import Device, Mount
from minikube_py.api.meta import namespace_of
from minikube_py.api.types import Obj

_CAPABILITIES = "NVIDIA_DRIVER_CAPABILITIES"
_LIBRARIES = "/usr/local/nvidia/lib64"


@dataclass(frozen=True)
class Engine:
    """How GPUs get into containers here. `mode` is runtime, cdi, hook, bare or mock.

    `nodes` are the device nodes every GPU container needs, `minors` device id -> its own; `files` what is mounted (bare, mock).
    """

    mode: str
    nodes: tuple[str, ...] = ()
    minors: Mapping[str, int] = field(default_factory=dict)
    files: tuple[Mount, ...] = ()


def inject(
    engine: Engine, pod: Obj, container: Obj, responses: Sequence[Obj], allowed_namespaces: Collection[str] = ()
) -> Grant:
    """What the plugins' responses mean for this container."""
    merged = merge(responses)
    visible = merged["envs"].get(VISIBLE, "")
    if not visible:
        exempt = pod["spec"].get("runtimeClassName") == "nvidia" or namespace_of(pod) in allowed_namespaces
        return _plain(merged, {} if exempt else {VISIBLE: "void"})
    ids = visible.split(",")
    own = {entry["name"]: entry.get("value", "") for entry in container.get("env") or []}
    if engine.mode == "runtime":
        extra = {} if _CAPABILITIES in own else {_CAPABILITIES: "compute,utility"}
        return _plain(merged, extra, runtime_handler="nvidia")
    if engine.mode == "cdi":
        return _plain(merged, {}, requests=({"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={i}" for i in ids]},))
    if engine.mode == "hook":
        return _plain(merged, {}, requests=({"Driver": "nvidia", "DeviceIDs": ids, "Capabilities": [["gpu"]]},))
    path = own.get("LD_LIBRARY_PATH", "")
    env = {"LD_LIBRARY_PATH": f"{_LIBRARIES}:{path}" if path else _LIBRARIES}
    nodes: tuple[Device, ...] = ()
    if engine.mode == "bare":
        paths = [f"/dev/nvidia{engine.minors[i]}" for i in ids if i in engine.minors]
        nodes = tuple(Device(path, path, "rw") for path in [*paths, *engine.nodes])
    return _plain(merged, env, devices=nodes, mounts=engine.files)


def merge(responses: Sequence[Obj]) -> Obj:
    """Several resources of one container: the first to say something wins."""
    merged: Obj = {"envs": {}, "mounts": {}, "devices": {}}
    for response in responses:
        for name, value in (response.get("envs") or {}).items():
            merged["envs"].setdefault(name, value)
        for kind in ("mounts", "devices"):
            for entry in response.get(kind) or []:
                merged[kind].setdefault(entry["container_path"], entry)
    return merged


def _plain(
    merged: Obj, env: Mapping[str, str], *, devices: tuple[Device, ...] = (), mounts: tuple[Mount, ...] = (),
    requests: tuple[Obj, ...] = (), runtime_handler: str = "",
) -> Grant:  # fmt: skip
    asked = [
        Device(d["host_path"], d["container_path"], d.get("permissions") or "rwm") for d in merged["devices"].values()
    ]
    mounted = [Mount(m["host_path"], m["container_path"], bool(m.get("read_only"))) for m in merged["mounts"].values()]
    return Grant(
        env={**merged["envs"], **env}, mounts=(*mounted, *mounts), devices=(*asked, *devices), device_requests=requests,
        runtime_handler=runtime_handler,
    )  # fmt: skip


def choose_mode(runtimes: Collection[str], version: str, *, cdi_spec: bool, hook: bool) -> str:
    """The best way this engine offers. In: `cdi_spec` = there is one for nvidia.com/gpu, `hook` = the toolkit's is in PATH."""
    if "nvidia" in runtimes:
        return "runtime"
    major = version.partition(".")[0]
    if cdi_spec and major.isdigit() and int(major) >= 25:
        return "cdi"
    return "hook" if hook else "bare"
