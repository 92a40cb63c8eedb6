"""From a pod and one of its containers to the `ContainerConfig` the runtime gets: every reference resolved.

Who calls it: `start_container`. Invariant: everything that can go wrong goes wrong here, as a ConfigError, before anything is
created. Upstream: generateContainerConfig in pkg/kubelet/kuberuntime, makeMounts in pkg/kubelet/kubelet_pods.go.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kubelet import env, sandbox
from kubelet.devices.base import Grant
from kubelet.errors import ConfigError
from kubelet.options import Options
from kubelet.pod_spec import host_network
from kubelet.qos import container_limits
from kubelet.runtime import labels
from kubelet.runtime.base import ContainerConfig, Device, Image, Mount
from kubelet.security import security_of
from kubelet.volumes import mounts as host_mounts
from kubelet.volumes.persistent import Ready
from minikube_py.api import quantity
from minikube_py.api.types import Obj


@dataclass(frozen=True)
class Context:
    """What is known about the pod when one of its containers is made. `environment` is the finished one."""

    options: Options
    cgroup_parent: str
    directory: Path
    volumes: Mapping[str, Ready]
    environment: Mapping[str, str]
    image: Image
    grant: Grant
    running: Mapping[str, str]  # the pod's running containers: name -> id
    runtime_handler: str = ""
    recursive_read_only: bool = False


def build(pod: Obj, container: Obj, attempt: int, sandbox_id: str, context: Context) -> ContainerConfig:
    """Raises ConfigError."""
    options, spec, grant = context.options, pod["spec"], context.grant
    variables = {**context.environment, **grant.env}
    shared = "" if options.runtime == "simulated" else options.root_dir
    message_file = context.directory / "containers" / container["name"] / str(attempt)
    return ContainerConfig(
        pod=labels.pod_ref(labels.of_pod(pod, options.profile, options.node_name)),
        name=container["name"],
        attempt=attempt,
        image=container["image"],
        labels=labels.of_container(
            pod, container, options.profile, options.node_name, attempt, sandbox_id, str(message_file)
        ),
        command=tuple(env.expand(part, variables) for part in container.get("command") or ()),
        args=tuple(env.expand(part, variables) for part in container.get("args") or ()),
        working_dir=container.get("workingDir", ""),
        env=tuple(variables.items()),
        mounts=(
            *sandbox.file_mounts(container, context.directory),
            *_volume_mounts(container, context.volumes, variables, context.recursive_read_only, shared),
            _message_mount(container, message_file),
            *grant.mounts,
        ),
        devices=(*grant.devices, *_volume_devices(container, context.volumes)),
        resources=container_limits(pod, container, quantity.value(options.capacity["memory"]), options.pod_pids_limit),
        security=security_of(pod, container, context.image),
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=bool(container.get("tty")),
        host_pid=bool(spec.get("hostPID")),
        host_ipc=bool(spec.get("hostIPC")),
        host_network=host_network(pod),
        pid_container=_pid_container(pod, container, sandbox_id, context.running),
        cgroup_parent=context.cgroup_parent,
        runtime_handler=grant.runtime_handler or context.runtime_handler,
        device_requests=grant.device_requests,
        ulimits=tuple(_ulimit(name, text) for name, text in options.default_ulimits.items()),
        stop_signal=(container.get("lifecycle") or {}).get("stopSignal", ""),
    )


def _pid_container(pod: Obj, container: Obj, sandbox_id: str, running: Mapping[str, str]) -> str:
    """Whose processes it sees: the whole pod's, its target's (an ephemeral container may name one), or only its own."""
    if pod["spec"].get("shareProcessNamespace"):
        return sandbox_id
    target = container.get("targetContainerName")
    if target and target not in running:
        raise ConfigError(f'unable to find target container "{target}"')
    return running[target] if target else ""


def _message_mount(container: Obj, file: Path) -> Mount:
    """The termination message file: made here, writable for every user."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    file.chmod(0o666)
    return Mount(str(file), container.get("terminationMessagePath") or "/dev/termination-log")


def _volume_mounts(
    container: Obj, volumes: Mapping[str, Ready], variables: Mapping[str, str], recursive: bool, shared: str
) -> list[Mount]:
    """In: `shared` is this node's directory; mounts elsewhere on the machine are passed on only if they are already."""
    mounts = []
    for mount in container.get("volumeMounts") or []:
        volume = _volume(container, volumes, mount["name"], block=False)
        sub_path = mount.get("subPath", "")
        if mount.get("subPathExpr"):
            sub_path = _expanded(mount["subPathExpr"], variables)
        target, propagation = mount["mountPath"], mount.get("mountPropagation", "None")
        if propagation != "None" and shared and volume.path.is_relative_to(shared):
            host_mounts.share(volume.path)
        mounts.append(Mount(
            host_path=str(_below(volume.path, sub_path)) if sub_path else str(volume.path),
            container_path=target if target.startswith("/") else f"/{target}",
            read_only=bool(mount.get("readOnly")) or volume.read_only,
            recursive_read_only=_recursive(mount, container, recursive),
            propagation=propagation,
        ))  # fmt: skip
    return mounts


def _recursive(mount: Obj, container: Obj, supported: bool) -> bool:
    """Whether what is mounted below is made read-only, too. Raises ConfigError when it has to be and cannot."""
    wanted = mount.get("recursiveReadOnly", "Disabled")
    if wanted == "Enabled" and not supported:
        raise ConfigError(
            f'volume "{mount["name"]}" requested recursive read-only mode, but it is not supported by the runtime',
        )
    return wanted == "Enabled" or (wanted == "IfPossible" and supported)


def _ulimit(name: str, text: str) -> tuple[str, int, int]:
    soft, _, hard = text.partition(":")
    return name, int(soft), int(hard or soft)


def _volume_devices(container: Obj, volumes: Mapping[str, Ready]) -> list[Device]:
    devices = []
    for device in container.get("volumeDevices") or []:
        volume = _volume(container, volumes, device["name"], block=True)
        devices.append(Device(str(volume.path.resolve()), device["devicePath"], "rm" if volume.read_only else "rwm"))
    return devices


def _volume(container: Obj, volumes: Mapping[str, Ready], name: str, *, block: bool) -> Ready:
    volume = volumes.get(name)
    if volume is None:
        raise ConfigError(f'cannot find volume "{name}" to mount into container "{container["name"]}"')
    if volume.block != block:
        mode, field = ("Block", "volumeMounts") if volume.block else ("Filesystem", "volumeDevices")
        raise ConfigError(f"volume {name} has volumeMode {mode}, but is specified in {field}")
    return volume


def _expanded(expression: str, variables: Mapping[str, str]) -> str:
    result = env.expand(expression, variables)
    if "$(" in result.replace("$$", ""):
        raise ConfigError(f"missing value for {expression!r}")
    return result


def _below(root: Path, sub_path: str) -> Path:
    """A path inside a volume, made as a directory when it is missing. Raises ConfigError when it would lead outside."""
    if sub_path.startswith("/"):
        raise ConfigError(f"subPath {sub_path!r} must not be an absolute path")
    if ".." in sub_path.split("/"):
        raise ConfigError(f"subPath {sub_path!r} must not contain '..'")
    base = os.path.realpath(root)
    path = os.path.realpath(os.path.join(base, sub_path))
    if path != base and not path.startswith(base + "/"):
        raise ConfigError(f"subPath {sub_path!r} leads outside of its volume")
    if not os.path.lexists(path):
        try:
            os.makedirs(path, mode=0o755)
            os.chmod(path, os.stat(base).st_mode & 0o7777)
        except OSError as error:
            raise ConfigError(f"failed to prepare subPath {sub_path!r}: {error.strerror}") from error
    return Path(path)
