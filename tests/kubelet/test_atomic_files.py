"""The atomic writer: readers see all of the old or all of the new, and a crash at any file operation leaves one of them."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelet.volumes import atomic, mounts
from kubelet.volumes.atomic import File
from minikube_py.api.clock import REAL

names = st.sampled_from(["a", "b", "dir/c", "dir/deep/d", "e.txt"])
contents = st.dictionaries(names, st.tuples(st.binary(max_size=20), st.sampled_from([0o644, 0o400, 0o755])), max_size=5)


def shown(directory: Path) -> dict[str, tuple[bytes, int]]:
    """What a reader sees: visible names, links followed."""
    result = {}
    for root, _, files in os.walk(directory, followlinks=True):
        for name in files:
            path = Path(root, name)
            relative = str(path.relative_to(directory))
            if not relative.startswith(".."):
                result[relative] = (path.read_bytes(), path.stat().st_mode & 0o777)
    return result


@settings(max_examples=30, deadline=None)
@given(st.lists(contents, min_size=1, max_size=4))
def test_every_write_is_exact(
    tmp_path_factory: pytest.TempPathFactory, versions: list[dict[str, tuple[bytes, int]]]
) -> None:
    directory = tmp_path_factory.mktemp("volume")
    before: dict[str, tuple[bytes, int]] | None = None
    for version in versions:
        files = {name: File(data, mode) for name, (data, mode) in version.items()}
        assert atomic.write(directory, files, REAL) == (version != before)
        assert shown(directory) == version
        assert len([entry for entry in directory.iterdir() if entry.name.startswith("..2")]) == 1
        before = version


def test_a_crash_at_any_step_shows_old_or_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = {"a": File(b"old", 0o644)}, {"a": File(b"new", 0o644), "b": File(b"more", 0o644)}
    steps = ["mkdir", "write_bytes", "chmod", "symlink_to", "rename"]
    for step in steps:
        directory = tmp_path / step
        directory.mkdir()
        atomic.write(directory, old, REAL)
        with monkeypatch.context() as patched:

            def fail(*args: object, **kwargs: object) -> None:
                raise OSError("cut off")

            patched.setattr(Path, step, fail)
            with pytest.raises(OSError, match="cut off"):
                atomic.write(directory, new, REAL)
        assert (directory / "a").read_bytes() == b"old"
        atomic.write(directory, new, REAL)
        assert shown(directory) == {"a": (b"new", 0o644), "b": (b"more", 0o644)}


def test_paths_that_lead_outside_are_refused(tmp_path: Path) -> None:
    for path in ("/abs", "../up", "a/../../b", "..data", ""):
        with pytest.raises(ValueError, match="not a path inside"):
            atomic.write(tmp_path, {path: File(b"", 0o644)}, REAL)


def test_mounts_below_nothing(tmp_path: Path) -> None:
    assert mounts.below(tmp_path) == []
    mounts.unmount(tmp_path)
    assert not mounts.is_mounted(tmp_path)
