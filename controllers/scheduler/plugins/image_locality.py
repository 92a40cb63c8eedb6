"""ImageLocality: likes nodes that already hold the pod's images, weighted by their size and how many nodes hold them.

Who calls it: the framework. Upstream: pkg/scheduler/framework/plugins/imagelocality.
"""

from collections.abc import Sequence

from controllers.scheduler.framework import MAX_SCORE, Cycle, Plugin

_SMALLEST = 23 * 1024 * 1024
_LARGEST_PER_CONTAINER = 1000 * 1024 * 1024


def _normalised(image: str) -> str:
    """With ":latest" when it names no tag: the form in which nodes report images."""
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"


class ImageLocality(Plugin):
    name = "ImageLocality"

    def score(self, cycle: Cycle, rows: Sequence[int]) -> list[float] | None:
        snapshot, spec = cycle.snapshot, cycle.pod.spec
        containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
        images = [_normalised(c.get("image") or "") for c in containers]
        held = {image: snapshot.image_nodes.get(image, 0) / len(snapshot.nodes) for image in images}
        if not any(held.values()):
            return None
        largest = _LARGEST_PER_CONTAINER * len(containers)
        scores: list[float] = []
        for row in rows:
            on_node = snapshot.nodes[row].images
            size = sum(int(on_node.get(image, 0) * held[image]) for image in images)
            size = min(max(size, _SMALLEST), largest)
            scores.append(MAX_SCORE * (size - _SMALLEST) // (largest - _SMALLEST))
        return scores
