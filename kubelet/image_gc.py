"""Image garbage collection: when the disk that holds images fills up, those nobody has used for longest go.

Who calls it: a timer of `main`'s, and `eviction.manager` before it ends a pod for want of disk.
Invariants, because several nodes, profiles and people share one engine: only images that this node's kubelet pulled itself are
ever removed (never what was built or loaded, never the pause image), only by the name it pulled, only while no container of
anybody's is made of them, and never by force: the engine has the last word. What was pulled is remembered in a file, so that
a restarted kubelet knows it still; a file that is lost costs disk space and nothing else.
Upstream: pkg/kubelet/images/image_gc_manager.go (which owns its node's images alone).
"""

import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from kubelet.options import Options
from kubelet.runtime.base import Image, Runtime, RuntimeFault
from minikube_py.api.clock import Clock

_log = logging.getLogger(__name__)
Disk = Callable[[], tuple[int, int]]
"""→ (bytes available, bytes at all) of the file system that holds the images."""


class ImageCollector:
    """The images one node has pulled. Thread-safe. `tell` records a Warning about the node: (reason, message)."""

    def __init__(
        self, options: Options, runtime: Runtime, clock: Clock, disk: Disk, tell: Callable[[str, str], None]
    ) -> None:
        self._options, self._runtime, self._clock, self._disk, self._tell = options, runtime, clock, disk, tell
        self._file = Path(options.root_dir, "pulled-images.json")
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._last_used: dict[str, float] = self._read()
        self._began = clock.time()

    def start(self) -> None:
        threading.Thread(target=self._run, name="image-gc", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def used(self, reference: str, pulled: bool) -> None:
        """A container is about to be made of this image."""
        with self._lock:
            if not pulled and reference not in self._last_used:
                return
            fresh = reference not in self._last_used
            self._last_used[reference] = self._clock.time()
            if fresh:
                self._write()

    def collect(self) -> int:
        """One round. Out: bytes freed. Raises RuntimeFault, OSError."""
        candidates = self._candidates()
        freed = 0
        if self._options.maximum_image_age and self._clock.time() - self._began > self._options.maximum_image_age:
            old = [pair for pair in candidates if self._age(pair[0]) > self._options.maximum_image_age]
            freed += self._remove(old, sum(image.size for _, image in old))
            candidates = [pair for pair in candidates if pair not in old]
        available, capacity = self._disk()
        if not capacity:
            return freed
        in_use = 100 - available * 100 // capacity
        if in_use >= self._options.image_gc_high_threshold:
            wanted = capacity * (100 - self._options.image_gc_low_threshold) // 100 - available
            got = self._remove(candidates, wanted)
            freed += got
            if got < wanted:
                self._tell("FreeDiskSpaceFailed", (
                    f"Insufficient free disk space on the node's image filesystem ({in_use}% of {capacity >> 20} MiB used). "
                    f"Failed to free sufficient space by deleting unused images (freed {got} bytes). Investigate disk usage, "
                    "as it could be used by active images, logs, volumes, or other data."
                ))  # fmt: skip
        return freed

    def remove_all_unused(self) -> bool:
        """Whether anything could be freed."""
        try:
            candidates = self._candidates()
            return self._remove(candidates, sum(image.size for _, image in candidates)) > 0
        except RuntimeFault as error:
            _log.info("no images collected: %s", error)
            return False

    def _run(self) -> None:
        while not self._clock.wait(self._stopped, self._options.image_gc_period):
            try:
                self.collect()
            except (RuntimeFault, OSError) as error:
                _log.info("no images collected: %s", error)

    def _age(self, reference: str) -> float:
        return self._clock.time() - self._last_used.get(reference, self._clock.time())

    def _candidates(self) -> list[tuple[str, Image]]:
        """What may go, the longest unused first; images in use now count as used now."""
        in_use = self._runtime.images_in_use()
        found = []
        with self._lock:
            for reference in list(self._last_used):
                image = self._runtime.image_status(reference)
                if image is None or reference == self._options.pause_image:
                    del self._last_used[reference]
                elif image.id in in_use:
                    self._last_used[reference] = self._clock.time()
                else:
                    found.append((reference, image))
            self._write()
        return sorted(found, key=lambda pair: self._last_used[pair[0]])

    def _remove(self, candidates: list[tuple[str, Image]], wanted: int) -> int:
        freed = 0
        for reference, image in candidates:
            if freed >= wanted:
                break
            if self._age(reference) < self._options.minimum_image_ttl_duration:
                continue
            try:
                self._runtime.remove_image(reference)
            except RuntimeFault as error:
                _log.info("image %s stays: %s", reference, error)
                continue
            _log.info("removed image %s, unused for %.0f s", reference, self._age(reference))
            freed += image.size if len(image.names) <= 1 else 0
            with self._lock:
                self._last_used.pop(reference, None)
                self._write()
        return freed

    # --- the file

    def _read(self) -> dict[str, float]:
        try:
            held = json.loads(self._file.read_text())
            return {str(reference): float(moment) for reference, moment in held.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _write(self) -> None:
        """Remember (lock held). A full disk must not keep images from being used, nor from being removed."""
        try:
            fresh = self._file.with_suffix(".new")
            fresh.write_text(json.dumps(self._last_used))
            fresh.replace(self._file)
        except OSError as error:
            _log.warning("cannot remember which images were pulled: %s", error)


def image_disk(root_dir: str, engine_root: str) -> Disk:
    """The file system of the engine's data where it is this machine's, else the kubelet's own."""

    def measure() -> tuple[int, int]:
        place = next((path for path in (engine_root, root_dir) if path and os.path.isdir(path)), "/")
        system = os.statvfs(place)
        return system.f_bavail * system.f_frsize, system.f_blocks * system.f_frsize

    return measure
