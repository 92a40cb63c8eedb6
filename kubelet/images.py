"""Getting images: pull policies, one pull at a time per image, back-off, credentials.

Who calls it: `start_container` before a container is created; the pod worker for the sandbox image.
Invariant: an image that is present and may be used is never pulled; failures wait 10 s, doubling to 5 min, per pod and image.
Upstream: pkg/kubelet/images/image_manager.go.
"""

import base64
import contextlib
import json
import re
import threading
from collections.abc import Callable, Mapping

from kubelet.backoff import Backoff
from kubelet.errors import ImageError
from kubelet.runtime.base import Image, Runtime, RuntimeFault
from minikube_py.api.clock import Clock
from minikube_py.api.types import Obj

_NAME = re.compile(r"[a-z0-9]+([._/:-]+[A-Za-z0-9_]+)*(:[A-Za-z0-9_.-]+)?(@sha256:[0-9a-f]{64})?")
Notify = Callable[[str, str, str], None]
"""(event type, reason, message)"""


class Images:
    """The images of one runtime, as its pods may use them. Thread-safe."""

    def __init__(self, runtime: Runtime, clock: Clock, first: float = 10.0, cap: float = 300.0) -> None:
        self._runtime, self._clock = runtime, clock
        self._backoff = Backoff(clock, first, cap)
        self._failed: dict[str, float] = {}
        self._pulling: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def ensure(self, pod: Obj, container: Obj, secrets: Callable[[], list[Obj]], notify: Notify) -> Image:
        """The container's image, pulled if its policy says so. Raises ImageError with upstream's reasons.

        In: `secrets` gives the pod's image pull secrets when they are needed.
        """
        reference = container["image"]
        if not _NAME.fullmatch(reference):
            raise ImageError(
                f'Failed to apply default image tag "{reference}": couldn\'t parse image name', "InvalidImageName"
            )
        policy = container.get("imagePullPolicy") or default_policy(reference)
        try:
            present = self._runtime.image_status(reference)
        except RuntimeFault as error:
            raise ImageError(f'Failed to inspect image "{reference}": {error}', "ImageInspectError") from error
        if present is not None and policy != "Always":
            notify("Normal", "Pulled", f'Container image "{reference}" already present on machine')
            return present
        if policy == "Never":
            raise ImageError(
                f'Container image "{reference}" is not present with pull policy of Never', "ErrImageNeverPull"
            )
        return self._pull(pod, reference, present, secrets, notify)

    def _pull(
        self, pod: Obj, reference: str, present: Image | None, secrets: Callable[[], list[Obj]], notify: Notify
    ) -> Image:
        key = f"{pod['metadata']['uid']}_{reference}"
        failed_at = self._failed.get(key)
        if failed_at is not None and self._backoff.remaining(key, failed_at) > 0:
            message = f'Back-off pulling image "{reference}"'
            notify("Normal", "BackOff", message)
            raise ImageError(message, "ImagePullBackOff")
        notify("Normal", "Pulling", f'Pulling image "{reference}"')
        began = self._clock.monotonic()
        with self._lock:
            turn = self._pulling.setdefault(reference, threading.Lock())
        with turn:
            try:
                image = self._runtime.pull_image(reference, credentials(reference, secrets()))
            except RuntimeFault as error:
                if present is not None and _unreachable(str(error)):
                    # An offline machine has no registry to ask; what is here is the newest there can be. Upstream fails.
                    notify(
                        "Normal",
                        "Pulled",
                        f'Container image "{reference}" already present on machine; no registry answers',
                    )
                    return present
                self._note(key)
                message = f'Failed to pull image "{reference}": {error}'
                notify("Warning", "Failed", message)
                raise ImageError(message, "ErrImagePull") from error
        self._failed.pop(key, None)
        took = self._clock.monotonic() - began
        notify(
            "Normal",
            "Pulled",
            f'Successfully pulled image "{reference}" in {took:.3f}s. Image size: {image.size} bytes.',
        )
        return image

    def _note(self, key: str) -> None:
        now = self._clock.time()
        self._backoff.failed(key, now)
        self._failed[key] = now

    def retry_after(self, pod: Obj, reference: str) -> float:
        """Seconds until the next try makes sense."""
        key = f"{pod['metadata']['uid']}_{reference}"
        failed_at = self._failed.get(key)
        return 10.0 if failed_at is None else max(0.1, self._backoff.remaining(key, failed_at))

    def forget(self, uid: str) -> None:
        self._backoff.forget(f"{uid}_")
        for key in [key for key in self._failed if key.startswith(f"{uid}_")]:
            self._failed.pop(key, None)


def default_policy(reference: str) -> str:
    """IfNotPresent, unless the tag is "latest" or missing."""
    name = reference.rsplit("/", 1)[-1]
    tagged = "@" in name or (":" in name and not name.endswith(":latest"))
    return "IfNotPresent" if tagged else "Always"


def _unreachable(text: str) -> bool:
    signs = ("no such host", "dial tcp", "connection refused", "i/o timeout", "Temporary failure", "network is unreachable",
             "server misbehaving", "Client.Timeout", "proxyconnect")  # fmt: skip
    return any(sign in text for sign in signs)


def credentials(reference: str, secrets: list[Obj]) -> Mapping[str, str] | None:
    """The first credentials among dockerconfigjson (or dockercfg) Secrets that belong to the image's registry."""
    first = reference.split("/", 1)[0]
    registry = first if "/" in reference and ("." in first or ":" in first or first == "localhost") else "docker.io"
    for secret in secrets:
        data = secret.get("data") or {}
        for key, path in ((".dockerconfigjson", "auths"), (".dockercfg", "")):
            with contextlib.suppress(ValueError, KeyError):
                config = json.loads(base64.b64decode(data[key]))
                for server, entry in (config.get(path, {}) if path else config).items():
                    if _host_of(server) in (registry, f"index.{registry}"):
                        return _login(entry)
    return None


def _host_of(server: str) -> str:
    return server.removeprefix("https://").removeprefix("http://").split("/", 1)[0]


def _login(entry: Obj) -> Mapping[str, str]:
    if entry.get("username"):
        return {"username": entry["username"], "password": entry.get("password", "")}
    user, _, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
    return {"username": user, "password": password}
