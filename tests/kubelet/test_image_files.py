"""Unpacking an image's files: complete or not at all, and nowhere else."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelet.errors import VolumeError
from kubelet.volumes.image_files import unpack


def archive(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o4755
            tar.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@given(st.integers(1, 5000), st.binary(max_size=3000))
def test_pieces_of_any_size(tmp_path_factory: pytest.TempPathFactory, size: int, data: bytes) -> None:
    path = tmp_path_factory.mktemp("volume") / "files"
    unpack(path, pieces(archive({"etc/one": data, "two": b"2"}), size))
    assert (path / "etc/one").read_bytes() == data
    assert (path / "two").read_bytes() == b"2"
    assert (path / "two").stat().st_mode & 0o7000 == 0, "no set-user-id programs come in this way"


def test_what_was_begun_is_begun_anew(tmp_path: Path) -> None:
    def breaks() -> Iterator[bytes]:
        yield archive({"a": b"1"})[:600]
        raise VolumeError("gone")

    with pytest.raises(VolumeError):
        unpack(tmp_path / "files", breaks())
    assert not (tmp_path / "files").exists()
    unpack(tmp_path / "files", iter([archive({"b": b"2"})]))
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_nothing_is_written_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="cannot be unpacked"):
        unpack(tmp_path / "in" / "files", iter([archive({"../../out": b"x"})]))
    with pytest.raises(VolumeError, match="cannot be unpacked"):
        unpack(tmp_path / "in" / "files", iter([b"no archive" * 100]))
    assert not (tmp_path / "out").exists() and not (tmp_path / "in" / "files").exists()
