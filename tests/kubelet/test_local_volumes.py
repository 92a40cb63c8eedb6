"""Making a local volume, cut off anywhere: the next attempt completes it, and nothing half-made is ever seen or left."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubelet.volumes import host, local_path, mounts
from minikube_py.api import volumes as v
from minikube_py.api.types import Obj


class Killed(BaseException):
    """The kubelet ends here."""


class _Informers:
    def of(self, *args: Any, **kwargs: Any) -> Any:
        return None


def _volumes(root: Path) -> local_path.LocalVolumes:
    nothing: Any = None
    informers: Any = _Informers()
    return local_path.LocalVolumes(nothing, informers, nothing, str(root), "node")


def _volume(name: str, **marks: str) -> Obj:
    spec = {"capacity": {"storage": "16Mi"}, "local": {"path": name}}
    return {"metadata": {"name": name, "annotations": marks}, "spec": spec}


@pytest.mark.parametrize("limited", [False, True])
def test_cut_off_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limited: bool) -> None:
    source = tmp_path / "volumes" / "source"
    source.mkdir(parents=True)
    (source / "file").write_text("contents")
    marks = {v.COPY_OF: "source", **({v.LIMITED: "image"} if limited else {})}
    left = 0

    def armed(original: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return original(*args, **kwargs)

        return act

    for step in range(1, 12):
        name, left = f"copy-{step}", step
        with monkeypatch.context() as patch:
            patch.setattr(host, "run", armed(host.run))
            patch.setattr(os, "rename", armed(os.rename))
            try:
                _volumes(tmp_path).ensure(_volume(name, **marks))
                done = True
            except Killed:
                done = False
        path = tmp_path / "volumes" / name
        if path.exists() and not done and not limited:
            assert (path / "file").exists(), "what is there is complete"
        _volumes(tmp_path).ensure(_volume(name, **marks))
        assert (path / "file").read_text() == "contents"
        assert not [entry for entry in path.parent.iterdir() if entry.name.startswith(".")]
        mounts.clear(path)
        if done:
            break
    else:
        raise AssertionError("it never got through")
    assert step > 2
