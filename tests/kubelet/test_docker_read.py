"""What engines 28 and 29 answer, read: payloads recorded from 28.5.2 (also with containerd's image store) and 29.7.2, cut.

The answers of 20.10 are read by every test with a real engine.
"""

import json
from pathlib import Path

import pytest

from kubelet.runtime import docker_read
from kubelet.runtime.base import EXITED, RUNNING, Event, Image, Resources
from minikube_py.api.types import Obj

RECORDED: dict[str, Obj] = json.loads((Path(__file__).parent / "golden" / "engines.json").read_text())
MANIFEST = "sha256:0692058b7bd5c15cd31c8049f880070fb3b7345a4065415ab103ee2ab74dc10d"
CONFIG = "sha256:ee44218eec93355c20dda83da7fb46aff5064191ab7099a7cc55fa210f46cf6c"


@pytest.fixture(params=sorted(RECORDED))
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_running_container(engine: str) -> None:
    found = RECORDED[engine]["container"]
    status = docker_read.status(found)
    assert (status.state, status.image, status.exit_code, status.error) == (RUNNING, "busybox", 0, "")
    assert status.image_id == (CONFIG if engine == "28.5.2" else MANIFEST)
    assert (status.pid, status.ip) == (found["State"]["Pid"], "172.28.0.2")
    assert status.started_at is not None and status.created_at is not None and status.finished_at is None
    assert status.limits == Resources(512, 50_000, memory=64 << 20, oom_score_adj=900)
    layer, log = docker_read.places(found)
    assert log.endswith("-json.log")
    assert layer.endswith("/diff") if engine == "28.5.2" else layer == "", "containerd keeps its layers to itself"


def test_a_container_that_could_not_be_started(engine: str) -> None:
    """Still `created` to the engine; the error is the runtime's own text."""
    recorded = RECORDED[engine]
    status = docker_read.status({**recorded["container"], "State": recorded["failed"]})
    assert (status.state, status.exit_code) == (EXITED, docker_read.START_FAILED_CODE)
    assert 'exec: "/nosuch": stat /nosuch: no such file or directory' in status.error


def test_images(engine: str) -> None:
    recorded = RECORDED[engine]
    number = CONFIG if engine == "28.5.2" else MANIFEST
    digests = () if engine == "28.5.2" else (f"busybox@{MANIFEST}",)
    image = docker_read.image(recorded["image"])
    assert image == Image(number, ("busybox:latest",), digests, recorded["image"]["Size"], "")
    listed = docker_read.listed_image(recorded["listed"])
    assert (listed.id, listed.names, listed.digests) == (number, ("busybox:latest",), digests)


def test_info(engine: str) -> None:
    info = docker_read.info(RECORDED[engine]["info"], RECORDED[engine]["api"])
    assert (info.version, info.cgroup_driver, info.cgroup_version) == (engine.split("+")[0], "cgroupfs", "1")
    assert info.recursive_read_only and "runc" in info.runtimes


def test_events(engine: str) -> None:
    found = [docker_read.event(event) for event in RECORDED[engine]["events"]]
    number = RECORDED[engine]["container"]["Id"]
    assert found == [Event("create", number, "u1"), Event("start", number, "u1")]
