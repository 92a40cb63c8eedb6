"""Getting images: pull policies, one pull at a time per image, back-off, credentials.

Who calls it: `start_container` before a container is created; the pod worker for the sandbox image.
Invariant: an image that is present and may be used is never pulled; failures wait 10 s, doubling to 5 min, per pod and image.
Upstream: pkg/kubelet/images/image_manager.go.
"""

import contextlib
import re
import threading
from collections.abc import Callable

from kubelet import pull_secrets
from kubelet.backoff import Backoff
from kubelet.errors import ImageError
from kubelet.runtime.base import Image, ImageNotFound, Runtime, RuntimeFault
from minikube_py.api.clock import Clock
from minikube_py.api.types import Obj

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*(?::[0-9]+)?/)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(
    rf"{_HOST}{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@[A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{{32,}})?", re.A
)
Notify = Callable[[str, str, str], None]
"""(event type, reason, message)"""


class Images:
    """The images of one runtime, as its pods may use them. Thread-safe.

    `used` is told of every image a container is about to be made of, and whether it has just been pulled.
    """

    def __init__(self, runtime: Runtime, clock: Clock, first: float = 10.0, cap: float = 300.0) -> None:
        self._runtime, self._clock = runtime, clock
        self.used: Callable[[str, bool], None] = lambda reference, pulled: None
        self._backoff = Backoff(clock, first, cap)
        self._failed: dict[str, tuple[float, str]] = {}
        self._pulling: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def ensure(self, pod: Obj, container: Obj, secrets: Callable[[], list[Obj]], notify: Notify) -> Image:
        """The container's image, pulled if its policy says so. Raises ImageError with upstream's reasons.

        In: `secrets` gives the pod's image pull secrets when they are needed.
        """
        reference = container["image"]
        if not _NAME.fullmatch(reference):
            raise ImageError(
                f'Failed to apply default image tag "{reference}": couldn\'t parse image name "{reference}": '
                "invalid reference format",
                "InvalidImageName",
            )
        policy = container.get("imagePullPolicy") or default_policy(reference)
        try:
            present = self._runtime.image_status(reference)
        except RuntimeFault as error:
            raise ImageError(f'Failed to inspect image "{reference}": {error}', "ImageInspectError") from error
        if present is not None and policy != "Always":
            notify("Normal", "Pulled", f'Container image "{reference}" already present on machine')
            self.used(reference, False)
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
        failed_at, why = self._failed.get(key, (None, ""))
        if failed_at is not None and self._backoff.remaining(key, failed_at) > 0:
            message = f'Back-off pulling image "{reference}"'
            notify("Normal", "BackOff", message)
            raise ImageError(f"{message}: ErrImagePull: {why}", "ImagePullBackOff")
        notify("Normal", "Pulling", f'Pulling image "{reference}"')
        asked = self._clock.monotonic()
        with self._lock:
            turn = self._pulling.setdefault(reference, threading.Lock())
        with turn:
            began = self._clock.monotonic()
            try:
                image = self._pull_with(reference, secrets())
            except RuntimeFault as error:
                if present is not None and _unreachable(str(error)):
                    # An offline machine has no registry to ask; what is here is the newest there can be. Upstream fails.
                    text = f'Container image "{reference}" already present on machine; no registry answers'
                    notify("Normal", "Pulled", text)
                    return present
                self._note(key, str(error))
                message = f'Failed to pull image "{reference}": {error}'
                notify("Warning", "Failed", message)
                raise ImageError(message, "ErrImagePull") from error
        self._failed.pop(key, None)
        now = self._clock.monotonic()
        notify(
            "Normal", "Pulled",
            f'Successfully pulled image "{reference}" in {now - began:.3f}s ({now - asked:.3f}s including waiting). '
            f"Image size: {image.size} bytes.",
        )  # fmt: skip
        self.used(reference, True)
        return image

    def _pull_with(self, reference: str, secrets: list[Obj]) -> Image:
        """With each login that fits until one does; without one where there is none. Raises RuntimeFault, the last one."""
        logins = pull_secrets.logins(reference, secrets)
        for login in logins[:-1]:
            with contextlib.suppress(ImageNotFound):
                return self._runtime.pull_image(reference, login)
        return self._runtime.pull_image(reference, logins[-1] if logins else None)

    def _note(self, key: str, why: str) -> None:
        now = self._clock.time()
        self._backoff.failed(key, now)
        self._failed[key] = now, why

    def retry_after(self, pod: Obj, reference: str) -> float:
        """Seconds until the next try makes sense."""
        key = f"{pod['metadata']['uid']}_{reference}"
        failed_at, _ = self._failed.get(key, (None, ""))
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
