"""One entry of `status.containerStatuses`: a pure function of the container's spec, its instances, and what its probes said.

Who calls it: `status`. Invariant: `state` describes the newest instance, or why none runs; `lastState` the one before.
Upstream: convertToAPIContainerStatuses in pkg/kubelet/kubelet_pods.go.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from kubelet import decide
from kubelet.observation import Observation
from kubelet.qos import is_sidecar
from kubelet.runtime.base import CREATED, EXITED, Status
from minikube_py.api.clock import rfc3339
from minikube_py.api.types import Obj


@dataclass(frozen=True)
class Facts:
    """Everything beside the runtime's view that goes into a status.

    `waiting`: container → (reason, message) of why it is not running now. `messages`: container id → termination message.
    `devices`: container → its devices and their health. `ready`, `started`: what the probes say of a running instance.
    """

    runtime: str = "docker"
    waiting: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, list[Obj]] = field(default_factory=dict)
    ready: Callable[[Status], bool] = lambda status: status.running
    started: Callable[[Status], bool] = lambda status: status.running
    initialized: bool = True
    terminal: bool = False


def build(pod: Obj, container: Obj, seen: Observation, facts: Facts, *, init: bool = False) -> Obj:
    """The ContainerStatus of one container; `init` for init containers (sidecars included)."""
    name = container["name"]
    instances = seen.containers.get(name, ())
    newest = instances[0] if instances else None
    if newest is not None and newest.state == CREATED:
        instances, newest = instances[1:], (instances[1] if len(instances) > 1 else None)
    old = previous_entry(pod, name)
    if newest is None:
        return _without_instance(container, old, facts)
    state = _state(newest, facts)
    last = _state(instances[1], facts) if len(instances) > 1 else old_termination(old, newest, facts.runtime)
    waits = facts.waiting.get(name)
    if newest.state == EXITED and waits and not facts.terminal and (init or decide.restarts(pod, container, newest)):
        state, last = {"waiting": {"reason": waits[0], **({"message": waits[1]} if waits[1] else {})}}, state
    regular_init = init and not is_sidecar(container)
    ready = newest.exit_code == 0 and newest.state == EXITED if regular_init else newest.running and facts.ready(newest)
    entry: Obj = {
        "name": name,
        "state": state,
        "lastState": last,
        "ready": ready,
        "restartCount": newest.attempt,
        "image": newest.image or container["image"],
        # As a CRI runtime says it; Docker's were given a prefix by the shim.
        "imageID": f"docker://{newest.image_id}" if newest.image_id and facts.runtime == "docker" else newest.image_id,
        "containerID": f"{facts.runtime}://{newest.id}",
        "started": newest.running and not regular_init and facts.started(newest),
    }
    if newest.running:
        entry.update(_resources(container))
        if name in facts.devices:
            entry["allocatedResourcesStatus"] = facts.devices[name]
    if container.get("volumeMounts"):
        entry["volumeMounts"] = [_volume_mount(mount) for mount in container["volumeMounts"]]
    return entry


def _without_instance(container: Obj, old: Obj | None, facts: Facts) -> Obj:
    """Nothing of it was ever started, or everything is gone."""
    reason, message = facts.waiting.get(
        container["name"], ("ContainerCreating" if facts.initialized else "PodInitializing", "")
    )
    entry: Obj = {
        "name": container["name"],
        "state": {"waiting": {"reason": reason, **({"message": message} if message else {})}},
        "lastState": (old or {}).get("lastState") or {},
        "ready": False,
        "restartCount": (old or {}).get("restartCount", 0),
        "image": container["image"],
        "imageID": "",
        "started": False,
    }
    if facts.terminal and old and "terminated" in old.get("state", {}):
        return dict(old)
    if old and "running" in old.get("state", {}):
        lost = {"reason": "ContainerStatusUnknown", "exitCode": 137,
                "message": "The container could not be located when the pod was terminated"}  # fmt: skip
        if facts.terminal:
            entry["state"] = {"terminated": lost}
        else:
            lost["message"] = "The container could not be located. The container used to be Running"
            entry["lastState"] = {"terminated": lost}
    if container.get("volumeMounts"):
        entry["volumeMounts"] = [_volume_mount(mount) for mount in container["volumeMounts"]]
    return entry


def previous_entry(pod: Obj, name: str) -> Obj | None:
    """What the pod's present status says about a container."""
    status = pod.get("status") or {}
    for group in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for entry in status.get(group) or []:
            if entry.get("name") == name:
                found: Obj = entry
                return found
    return None


def old_termination(old: Obj | None, newest: Status, runtime: str) -> Obj:
    """The last state as we last wrote it, when the runtime no longer has the instance it speaks of."""
    if not old or newest.attempt == 0:
        return {}
    own_id = f"{runtime}://{newest.id}"
    for state in (old.get("lastState"), old.get("state")):
        terminated = (state or {}).get("terminated")
        if terminated and terminated.get("containerID") != own_id:
            return {"terminated": terminated}
    return {}


def _moment(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None


def _state(status: Status, facts: Facts) -> Obj:
    if status.running:
        return {"running": {"startedAt": _moment(status.started_at)}}
    ended: Obj = {"exitCode": status.exit_code, "reason": _reason(status)}
    message = facts.messages.get(status.id) or (status.error if ended["reason"] == "StartError" else "")
    if message:
        ended["message"] = message
    ended["startedAt"] = _moment(status.started_at or status.created_at)
    ended["finishedAt"] = _moment(status.finished_at)
    ended["containerID"] = f"{facts.runtime}://{status.id}"
    return {"terminated": {key: value for key, value in ended.items() if value is not None}}


def _reason(status: Status) -> str:
    if status.oom_killed and status.exit_code != 0:
        return "OOMKilled"
    if status.exit_code == 0:
        return "Completed"
    return "StartError" if status.error and status.started_at is None else "Error"


def _resources(container: Obj) -> Obj:
    """What the running container was given; upstream reports it since containers can be resized in place."""
    resources = container.get("resources") or {}
    requests = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    given = {key: resources[key] for key in ("limits", "requests") if resources.get(key)}
    return {"resources": given, **({"allocatedResources": requests} if requests else {})}


def _volume_mount(mount: Obj) -> Obj:
    shown: Obj = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        shown.update(readOnly=True, recursiveReadOnly="Disabled")
    return shown
