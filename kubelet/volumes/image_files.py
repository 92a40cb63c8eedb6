"""Image volumes: the files of an image in a directory of the pod.

Who calls it: `volumes.manager`. Invariant: the directory appears under its name only when it is complete, so a kubelet that was
killed while it unpacked begins anew; nothing is written outside of it, and no file gains rights by its owner.
Upstream: pkg/kubelet/kubelet_pods.go (image volumes); there the runtime mounts the image, here its files are unpacked.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path

from kubelet.errors import VolumeError

if sys.version_info >= (3, 12):
    import tarfile
else:  # Debian 12's Python 3.11.2 has no extraction filters
    from backports import tarfile


def unpack(path: Path, archive: Iterator[bytes]) -> None:
    """Make `path` from the pieces of a tar. Raises VolumeError for an archive that is none or would leave the directory."""
    making = path.with_name(f"{path.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    try:
        with tarfile.open(fileobj=_Pieces(archive), mode="r|") as tar:
            tar.extractall(making, filter="tar")
    except tarfile.TarError as error:
        shutil.rmtree(making, ignore_errors=True)
        raise VolumeError(f"the image cannot be unpacked: {error}") from error
    making.chmod(0o755)
    os.rename(making, path)


class _Pieces(RawIOBase):
    """A file to be read once, from pieces of any size."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = piece
        taken, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return taken
