"""Why a container does not run, in the words `kubectl get pods` shows. These never leave the kubelet as API errors.

Who raises them: container configs, images, volumes, the start of containers. Who catches them: the pod worker, which puts
reason and message into the container's `waiting` state and tries again. Invariant: `reason` is one of upstream's.
Upstream: pkg/kubelet/container/sync_result.go, pkg/kubelet/images/types.go.
"""


class StartError(Exception):
    """A container cannot be started for now."""

    reason = "CreateContainerError"

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).reason


class ConfigError(StartError):
    """The spec refers to something that is missing or makes no sense."""

    reason = "CreateContainerConfigError"


class ImageError(StartError):
    """ErrImagePull, ImagePullBackOff, ErrImageNeverPull, InvalidImageName."""

    reason = "ErrImagePull"


class RunError(StartError):
    """The runtime could not start the container it created."""

    reason = "RunContainerError"


class VolumeError(Exception):
    """A volume cannot be set up for now; the pod waits as a whole."""
