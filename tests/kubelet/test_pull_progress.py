"""What the kubelet's log says of a pull that takes long."""

from kubelet.runtime.pull_progress import PullProgress
from minikube_py.api.clock import FakeClock
from minikube_py.api.types import Obj


def _downloading(layer: str, current: int, total: int) -> Obj:
    return {"id": layer, "status": "Downloading", "progressDetail": {"current": current, "total": total}}


def test_one_line_in_ten_seconds() -> None:
    clock, said = FakeClock(), list[str]()
    progress = PullProgress("r.io/app:1", clock.monotonic, said.append)
    progress.line({"id": "1", "status": "Pulling from team/app"})  # the tag, not a layer
    for layer in "abc":
        progress.line({"id": layer, "status": "Pulling fs layer", "progressDetail": {}})
    progress.line({"id": "a", "status": "Already exists", "progressDetail": {}})
    progress.line(_downloading("b", 5_000_000, 20_000_000))
    clock.advance(9)
    progress.line(_downloading("b", 8_000_000, 20_000_000))
    assert said == []
    clock.advance(1)
    progress.line(_downloading("b", 12_000_000, 20_000_000))
    progress.line(_downloading("b", 13_000_000, 20_000_000))
    assert said == ["pulling image r.io/app:1: 1 of 3 layers, 12 of 20 MB"]
    clock.advance(10)
    progress.line({"id": "b", "status": "Download complete", "progressDetail": {}})
    progress.line({"status": "Status: Downloaded newer image"})
    assert said[1:] == ["pulling image r.io/app:1: 2 of 3 layers, 20 of 20 MB"]
