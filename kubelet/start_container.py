"""Starting one container: image, config, create, start, postStart.

Who calls it: `pod_worker` for every Start of a plan. Invariants: the engine's unique names make a second instance of the same
attempt impossible; each failure is a StartError with the reason `kubectl` shows; events as upstream sends them.
Stop of the data path: 10. Upstream: startContainer in pkg/kubelet/kuberuntime/kuberuntime_container.go.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kubelet import container_config, env
from kubelet.cgroups import Cgroups
from kubelet.decide import Start
from kubelet.devices.base import DeviceError, DeviceManager
from kubelet.downward import View
from kubelet.dra.claims import PodClaims
from kubelet.dra.drivers import ClaimError
from kubelet.errors import ConfigError, ImageError, RunError, StartError, VolumeError
from kubelet.images import Images
from kubelet.images import Notify as Tell
from kubelet.lifecycle import HookFailed, Notify, run_hook
from kubelet.objects import ObjectCache
from kubelet.options import Options
from kubelet.pod_spec import container_of
from kubelet.runtime import labels
from kubelet.runtime.base import (
    ContainerConfig,
    Image,
    Info,
    NameConflict,
    Runtime,
    RuntimeFault,
    RuntimeUnavailable,
    Status,
)
from kubelet.volumes.persistent import Ready
from minikube_py.api.clock import Clock
from minikube_py.api.errors import APIError
from minikube_py.api.types import Obj


@dataclass(frozen=True)
class Surroundings:
    """What the pod's containers share."""

    sandbox: Status
    directory: Path
    volumes: dict[str, Ready]
    view: View
    running: dict[str, str]  # the pod's running containers: name -> id
    since: float  # objects read for it must not be older than this moment (monotonic)


@dataclass(frozen=True)
class Starter:
    """Starts containers of one node."""

    options: Options
    info: Info
    cgroups: Cgroups
    runtime: Runtime
    images: Images
    objects: ObjectCache
    devices: DeviceManager
    claims: PodClaims
    services: Callable[[Obj], dict[str, str]]
    clock: Clock

    def start(self, pod: Obj, start: Start, around: Surroundings, notify: Notify) -> str:
        """Start it. Out: the container's id. Raises StartError; RuntimeUnavailable when the engine is away."""
        container = container_of(pod, start.container)
        assert container is not None

        def tell(kind: str, reason: str, message: str) -> None:
            notify(start.container, kind, reason, message)

        image = self.images.ensure(pod, container, lambda: self._pull_secrets(pod, around.since, tell), tell)
        try:
            config = self._config(pod, container, start, around, image)
        except StartError as error:
            tell("Warning", "Failed", f"Error: {error.message}")
            raise
        container_id = self._create(around.sandbox.id, config, tell)
        tell("Normal", "Created", f"Container created: {start.container}")
        try:
            self.runtime.start_container(container_id)
        except RuntimeUnavailable:
            raise
        except RuntimeFault as error:
            tell("Warning", "Failed", f"Error: {error}")
            raise RunError(str(error)) from error
        tell("Normal", "Started", f"Container started: {start.container}")
        self._post_start(container, container_id, around.sandbox.ip, tell)
        return container_id

    def _config(self, pod: Obj, container: Obj, start: Start, around: Surroundings, image: Image) -> ContainerConfig:
        def get(plural: str, namespace: str, name: str) -> Obj | None:
            return self.objects.get(plural, namespace, name, around.since)

        try:
            grant = self.devices.grant(pod, container).plus(self.claims.grant(pod, container))
            environment = env.build(pod, container, self.services(pod), get, around.view)
            context = container_config.Context(
                self.options, self.cgroups.parent(pod), around.directory, around.volumes, environment, image, grant,
                around.running, self.runtime_handler(pod, around.since), self.info.recursive_read_only,
            )  # fmt: skip
            return container_config.build(pod, container, start.attempt, around.sandbox.id, context)
        except (APIError, OSError) as error:
            raise ConfigError(str(error)) from error
        except (DeviceError, ClaimError) as error:
            raise ConfigError(str(error), "CreateContainerError") from error

    def runtime_handler(self, pod: Obj, since: float) -> str:
        """The engine's runtime that the pod's RuntimeClass names, "" for the engine's default. Raises ConfigError, APIError."""
        name = pod["spec"].get("runtimeClassName")
        if not name:
            return ""
        found = self.objects.get("runtimeclasses", "", name, since)
        if found is None:
            raise ConfigError(f'RuntimeClass "{name}" not found')
        return str(found["handler"])

    def _create(self, sandbox_id: str, config: ContainerConfig, tell: Callable[[str, str, str], None]) -> str:
        try:
            try:
                return self.runtime.create_container(sandbox_id, config)
            except NameConflict:  # made by a call whose answer was lost; it was never started by us
                self._remove_leftover(config)
                return self.runtime.create_container(sandbox_id, config)
        except RuntimeUnavailable:
            raise
        except RuntimeFault as error:
            tell("Warning", "Failed", f"Error: {error}")
            raise StartError(str(error)) from error

    def _remove_leftover(self, config: ContainerConfig) -> None:
        for summary in self.runtime.list_all(config.pod.uid):
            same = summary.labels.get(labels.CONTAINER_NAME) == config.name
            if same and labels.attempt_of(summary.labels) == config.attempt:
                self.runtime.remove(summary.id)

    def _post_start(self, container: Obj, container_id: str, ip: str, tell: Callable[[str, str, str], None]) -> None:
        hook = (container.get("lifecycle") or {}).get("postStart")
        if not hook:
            return
        try:
            run_hook(self.runtime, self.clock, container, container_id, hook, ip, 600.0)
        except HookFailed as error:
            tell("Warning", "FailedPostStartHook", f"PostStartHook failed: {error}")
            tell("Normal", "Killing", "FailedPostStartHook")
            self.runtime.stop_container(container_id, 2)
            raise RunError(str(error), "PostStartHookError") from error

    def image_files(self, pod: Obj, source: Obj, since: float) -> Iterator[bytes]:
        """The files of an image volume's image, as the pieces of a tar. Raises VolumeError."""
        wanted = {"image": source["reference"], "imagePullPolicy": source.get("pullPolicy")}
        try:
            tell: Tell = lambda *told: None  # noqa: E731
            image = self.images.ensure(pod, wanted, lambda: self._pull_secrets(pod, since, tell), tell)
            yield from self.runtime.export_image(image.id)
        except (ImageError, RuntimeFault) as error:
            raise VolumeError(str(error)) from error

    def _pull_secrets(self, pod: Obj, since: float, tell: Tell) -> list[Obj]:
        found, missing = [], []
        for reference in pod["spec"].get("imagePullSecrets") or []:
            name = reference.get("name", "")
            secret = self.objects.get("secrets", pod["metadata"]["namespace"], name, since)
            if secret is None:
                missing.append(name)
            else:
                found.append(secret)
        if missing:
            tell("Warning", "FailedToRetrieveImagePullSecret", (
                f"Unable to retrieve some image pull secrets ({', '.join(missing)}); attempting to pull the image may not "
                "succeed."
            ))  # fmt: skip
        return found
