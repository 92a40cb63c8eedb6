"""The Container Device Interface, applied by ourselves: from the ids of devices to what a container gets.

Who calls it: `dra.claims`. Docker before 25 knows no CDI, so the specifications in `/etc/cdi` and `/var/run/cdi` are read here
and their edits made. Invariants: pure but for reading files; a later directory wins; what cannot be done (hooks) is refused,
not left out; each specification's own edits come once, before those of its devices.
Upstream: github.com/cncf-tags/container-device-interface (specs-go, SPEC.md).
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from kubelet.devices.base import Grant
from kubelet.dra.drivers import ClaimError
from kubelet.runtime.base import Device, Mount
from minikube_py.api import yaml
from minikube_py.api.types import Obj

_DOABLE = frozenset(("env", "deviceNodes", "mounts"))


def grant(names: Sequence[str], directories: Iterable[str]) -> Grant:
    """What the devices of these qualified names (`vendor/class=name`) add to a container. Raises ClaimError."""
    if not names:
        return Grant()
    specs = list(_specs(directories))
    edits: list[Obj] = []
    used: list[Obj] = []
    for name in dict.fromkeys(names):
        spec, device = _find(name, specs)
        if not any(spec is one for one in used):
            used.append(spec)
            edits.append(spec.get("containerEdits") or {})
        edits.append(device.get("containerEdits") or {})
    return _merged(edits)


def _specs(directories: Iterable[str]) -> Iterator[Obj]:
    """All specifications, those that win first."""
    for directory in reversed(list(directories)):
        for file in sorted(Path(directory).glob("*")):
            if file.suffix not in (".json", ".yaml", ".yml"):
                continue
            try:
                text = file.read_text()
                found = json.loads(text) if file.suffix == ".json" else yaml.load(text)
            except (OSError, ValueError):
                continue  # a broken file is in nobody's way but of those who ask for its devices
            if isinstance(found, dict) and found.get("kind"):
                yield found


def _find(name: str, specs: Sequence[Obj]) -> tuple[Obj, Obj]:
    kind, _, device = name.partition("=")
    for spec in specs:
        for one in spec.get("devices") or () if spec["kind"] == kind else ():
            if one.get("name") == device:
                return spec, one
    raise ClaimError(f"unresolvable CDI device {name}")


def _merged(edits: Sequence[Obj]) -> Grant:
    env: dict[str, str] = {}
    mounts, devices = [], []
    for one in edits:
        if undoable := sorted(key for key, value in one.items() if value and key not in _DOABLE):
            raise ClaimError(f"CDI edits of the kind {undoable[0]} cannot be made on this engine")
        env |= dict(entry.partition("=")[::2] for entry in one.get("env") or ())
        mounts += [_mount(entry) for entry in one.get("mounts") or ()]
        devices += [_device(entry) for entry in one.get("deviceNodes") or ()]
    return Grant(env=env, mounts=tuple(mounts), devices=tuple(devices))


def _mount(entry: Obj) -> Mount:
    return Mount(entry["hostPath"], entry["containerPath"], "ro" in (entry.get("options") or ()))


def _device(entry: Obj) -> Device:
    return Device(entry.get("hostPath") or entry["path"], entry["path"], entry.get("permissions") or "rwm")
