"""How far the pull of an image has come, in the kubelet's log.

Who calls it: the Docker runtime, with each line the engine says. Invariant: a pull of less than ten seconds says nothing, a
longer one at most one line in ten seconds.
Upstream: pkg/kubelet/dockershim/libdocker, until 1.24, said it as often; CRI tells no progress.
"""

from collections.abc import Callable

from minikube_py.api.types import Obj

_EVERY_SECONDS = 10.0
_HERE = ("Pull complete", "Already exists", "Download complete")


class PullProgress:
    """Of one pull. In: `monotonic` tells seconds, `say` takes a line of the log."""

    def __init__(self, image: str, monotonic: Callable[[], float], say: Callable[[str], object]) -> None:
        self._image, self._monotonic, self._say = image, monotonic, say
        self._said = monotonic()
        self._layers: dict[str, tuple[bool, int, int]] = {}  # by id: whether it is here, its bytes so far and of all

    def line(self, line: Obj) -> None:
        """A line of the engine's answer to a pull."""
        status, detail = line.get("status") or "", line.get("progressDetail") or {}
        if not line.get("id") or status.startswith("Pulling from"):
            return
        here, so_far, total = self._layers.get(line["id"], (False, 0, 0))
        if status == "Downloading":
            so_far, total = int(detail.get("current") or so_far), int(detail.get("total") or total)
        elif status in _HERE:
            here, so_far = True, total
        self._layers[line["id"]] = here, so_far, total
        if self._monotonic() - self._said >= _EVERY_SECONDS:
            self._said = self._monotonic()
            self._say(f"pulling image {self._image}: {self.text()}")

    def text(self) -> str:
        """For example "2 of 5 layers, 31 of 80 MB"; layers the engine has not begun with have no size yet."""
        here = sum(here for here, _, _ in self._layers.values())
        so_far, total = (sum(layer[at] for layer in self._layers.values()) / 1e6 for at in (1, 2))
        return f"{here} of {len(self._layers)} layers, {so_far:.0f} of {total:.0f} MB"
