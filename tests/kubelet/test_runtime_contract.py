"""One contract, every runtime: what `runtime.base.Runtime` promises, kept by Docker, a CRI runtime and the simulated one."""

import contextlib
import io
import secrets
import tarfile
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kubelet.runtime import labels
from kubelet.runtime.base import (
    CREATED,
    EXITED,
    RUNNING,
    ContainerConfig,
    ContainerNotFound,
    Event,
    ImageNotFound,
    LogOptions,
    NameConflict,
    PodRef,
    Resources,
    Runtime,
    RuntimeFault,
    SandboxConfig,
    StartFailed,
    Status,
)
from kubelet.runtime.cri import CriRuntime
from kubelet.runtime.simulated import SimulatedRuntime
from minikube_py.api.clock import REAL
from minikube_py.api.types import Obj
from minikube_py.cluster import images
from tests import harness


@pytest.fixture
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    made: Any
    profile = f"contract-{secrets.token_hex(3)}"
    if request.param == "simulated":
        made = SimulatedRuntime(REAL)
    elif request.param == "cri":
        made = CriRuntime(profile, "node-1", request.getfixturevalue("containerd").endpoint, tmp_path, REAL)
    else:
        request.getfixturevalue("docker_engine")
        images.build(images.missing())
        from kubelet.runtime.docker import DockerRuntime

        made = DockerRuntime(profile, "node-1")
    made.labels_profile = [f"{labels.PROFILE}={profile}", f"{labels.NODE}=node-1"]
    try:
        yield made
    finally:
        for summary in made.list_all():
            made.remove(summary.id)
        made.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests on Docker carry its mark although they ask for the fixture only by parameter."""
    if "runtime" in metafunc.fixturenames:
        engines = [pytest.param(name, marks=pytest.mark.docker) for name in ("docker", "cri")]
        metafunc.parametrize("runtime", ["simulated", *engines], indirect=True)


def own(runtime: Any, ref: PodRef, **extra: str) -> dict[str, str]:
    scope = dict(text.split("=", 1) for text in runtime.labels_profile)
    return {**scope, labels.POD_NAME: ref.name, labels.POD_NAMESPACE: ref.namespace, labels.POD_UID: ref.uid, **extra}


def sandbox_config(runtime: Runtime, ref: PodRef | None = None, attempt: int = 0) -> SandboxConfig:
    ref = ref or PodRef("web", "default", str(uuid.uuid4()))
    text = {
        labels.TYPE: "podsandbox",
        labels.CONTAINER_NAME: "POD",
        labels.ATTEMPT: str(attempt),
        labels.POD_IP: "10.9.8.7",
    }
    return SandboxConfig(
        pod=ref, attempt=attempt, image="registry.k8s.io/pause:3.10", labels=own(runtime, ref, **text), hostname="web"
    )


def container_config(
    runtime: Runtime, sandbox: Status, *command: str, attempt: int = 0, **fields: Any
) -> ContainerConfig:
    text = {labels.TYPE: "container", labels.CONTAINER_NAME: "main", labels.ATTEMPT: str(attempt)}
    text[labels.SANDBOX_ID] = sandbox.id
    base: Obj = {
        "image": "busybox:latest",
        "command": command or ("sleep", "3600"),
        "resources": Resources(oom_score_adj=900),
    }
    return ContainerConfig(
        pod=sandbox.pod, name="main", attempt=attempt, labels=own(runtime, sandbox.pod, **text), **{**base, **fields}
    )


def started(runtime: Runtime, *command: str, **fields: Any) -> tuple[Status, str]:
    sandbox = runtime.run_sandbox(sandbox_config(runtime))
    container_id = runtime.create_container(sandbox.id, container_config(runtime, sandbox, *command, **fields))
    runtime.start_container(container_id)
    return sandbox, container_id


def wait_exit(runtime: Runtime, container_id: str) -> Status:
    harness.eventually(lambda: runtime.inspect(container_id).state == EXITED, what="the container's end")
    return runtime.inspect(container_id)


def test_a_sandbox_runs_and_tells_who_it_is(runtime: Runtime) -> None:
    config = sandbox_config(runtime)
    status = runtime.run_sandbox(config)
    assert (status.state, status.kind, status.name, status.attempt) == (RUNNING, "podsandbox", "POD", 0)
    assert (status.pod, status.ip) == (config.pod, "10.9.8.7")
    assert status.pid > 0
    with pytest.raises(NameConflict):
        runtime.run_sandbox(config)
    assert runtime.run_sandbox(sandbox_config(runtime, config.pod, 1)).attempt == 1
    assert len(runtime.list_all(config.pod.uid)) == 2
    assert runtime.list_all(str(uuid.uuid4())) == []


def test_the_life_of_a_container(runtime: Runtime) -> None:
    sandbox = runtime.run_sandbox(sandbox_config(runtime))
    config = container_config(runtime, sandbox)
    container_id = runtime.create_container(sandbox.id, config)
    made = runtime.inspect(container_id)
    assert (made.state, made.kind, made.name, made.started_at) == (CREATED, "container", "main", None)
    with pytest.raises(NameConflict):
        runtime.create_container(sandbox.id, config)
    runtime.start_container(container_id)
    runtime.start_container(container_id)
    running = runtime.inspect(container_id)
    assert running.running and running.started_at is not None and running.image == "busybox:latest"
    runtime.stop_container(container_id, 1)
    runtime.stop_container(container_id, 1)
    ended = runtime.inspect(container_id)
    assert (ended.state, ended.pid) == (EXITED, 0)
    assert ended.exit_code in (137, 143)
    assert ended.finished_at is not None and ended.finished_at >= running.started_at
    runtime.remove(container_id)
    runtime.remove(container_id)
    with pytest.raises(ContainerNotFound):
        runtime.inspect(container_id)


def test_exit_codes(runtime: Runtime) -> None:
    for command, code in ((("true",), 0), (("sh", "-c", "exit 3"), 3)):
        _, container_id = started(runtime, *command)
        assert wait_exit(runtime, container_id).exit_code == code


def test_a_stopped_sandbox(runtime: Runtime) -> None:
    sandbox = runtime.run_sandbox(sandbox_config(runtime))
    runtime.stop_sandbox(sandbox.id)
    runtime.stop_sandbox(sandbox.id)
    harness.eventually(lambda: runtime.inspect(sandbox.id).state == EXITED, what="the sandbox's end")
    with pytest.raises(RuntimeFault):
        container_id = runtime.create_container(sandbox.id, container_config(runtime, sandbox))
        runtime.start_container(container_id)
    runtime.stop_sandbox("0" * 64)


def test_what_does_not_exist(runtime: Runtime) -> None:
    missing = "f" * 64
    for call in (
        lambda: runtime.inspect(missing), lambda: runtime.start_container(missing),
        lambda: runtime.logs(missing, LogOptions()), lambda: runtime.exec_sync(missing, ["true"], 1),
    ):  # fmt: skip
        with pytest.raises(ContainerNotFound):
            call()
    runtime.stop_container(missing, 1)
    runtime.remove(missing)


def test_events(runtime: Runtime) -> None:
    stream = runtime.events()
    seen: list[Event] = []
    reader = threading.Thread(target=lambda: seen.extend(stream), daemon=True)
    reader.start()
    harness.eventually(lambda: [e.type for e in seen] == ["relist"], what="the first event")
    sandbox, container_id = started(runtime, "true")
    wait_exit(runtime, container_id)
    runtime.remove(container_id)

    def told() -> list[str]:
        return [e.type for e in seen if e.container_id == container_id]

    harness.eventually(lambda: told() == ["create", "start", "die", "destroy"], what="all events in order")
    assert {e.pod_uid for e in seen if e.type != "relist"} == {sandbox.pod.uid}
    stream.close()
    reader.join(10)
    assert not reader.is_alive()


def test_exec_sync(runtime: Runtime) -> None:
    _, container_id = started(runtime)
    assert runtime.exec_sync(container_id, ["echo", "hello"], 5).output == b"hello\n"
    assert runtime.exec_sync(container_id, ["false"], 5).exit_code == 1
    slow = runtime.exec_sync(container_id, ["sleep", "30"], 0.5)
    assert slow.timed_out
    runtime.stop_container(container_id, 0)
    with pytest.raises(RuntimeFault):
        runtime.exec_sync(container_id, ["true"], 5)


def test_exec_sessions(runtime: Runtime) -> None:
    _, container_id = started(runtime)
    session = runtime.exec(container_id, ["sh", "-c", "echo out; exit 4"], tty=False, stdin=False)
    with contextlib.closing(session):
        data = b"".join(piece[1] for piece in iter(session.read, None))
        assert data == b"out\n"
        harness.eventually(lambda: session.exit_code() is not None, what="an exit code")
        assert session.exit_code() == 4
    echo = runtime.exec(container_id, ["cat"], tty=False, stdin=True)
    with contextlib.closing(echo):
        echo.write(b"through")
        assert echo.read() == (1, b"through")
        echo.close_stdin()
        assert echo.read() is None


def test_logs(runtime: Runtime) -> None:
    _, container_id = started(runtime, "sh", "-c", "echo main of web started; exit 0")
    wait_exit(runtime, container_id)

    def read(**options: Any) -> bytes:
        return b"".join(data for _, data in runtime.logs(container_id, LogOptions(**options)))

    assert read() == b"main of web started\n"
    assert read(follow=True) == b"main of web started\n"
    assert read(tail=0) == b""
    assert read(since=REAL.time() + 3600) == b""
    stamp, _, text = read(timestamps=True).partition(b" ")
    assert text == b"main of web started\n" and stamp.endswith(b"Z")


def test_following_a_log_ends_when_closed(runtime: Runtime) -> None:
    _, container_id = started(runtime)
    stream = runtime.logs(container_id, LogOptions(follow=True))
    reader = threading.Thread(target=lambda: list(stream), daemon=True)
    reader.start()
    stream.close()
    reader.join(10)
    assert not reader.is_alive()


def test_images(runtime: Runtime) -> None:
    image = runtime.image_status("busybox:latest")
    assert image is not None and image.id.startswith("sha256:")
    assert runtime.info().name == runtime.name


def test_the_files_of_an_image(runtime: Runtime) -> None:
    image = runtime.image_status("busybox:latest")
    assert image is not None
    before = len(runtime.list_all())
    with tarfile.open(fileobj=io.BytesIO(b"".join(runtime.export_image(image.id)))) as tar:
        names = {name.removeprefix("./") for name in tar.getnames()}
        assert runtime.name == "simulated" or {"bin/busybox", "etc/passwd"} <= names
    assert len(runtime.list_all()) == before


def test_stats(runtime: Runtime) -> None:
    _, container_id = started(runtime)
    harness.eventually(lambda: runtime.stats([container_id, "f" * 64])[0].memory_usage > 0, what="memory in use")


def test_a_session_with_a_wrong_command(runtime: Runtime) -> None:
    if runtime.name == "simulated":
        assert runtime.inspect(started(runtime, "/no/such")[1]).running  # it has no programs that could be missing
        return
    sandbox = runtime.run_sandbox(sandbox_config(runtime))
    config = container_config(runtime, sandbox, "/no/such")
    container_id = runtime.create_container(sandbox.id, config)
    with pytest.raises(StartFailed):
        runtime.start_container(container_id)
    status = runtime.inspect(container_id)
    assert (status.state, status.exit_code) == (EXITED, 128) and status.error
    assert not status.running and status.finished_at is not None
    with pytest.raises(ImageNotFound):
        runtime.create_container(sandbox.id, replace(config, image="no/such:image", attempt=5))
    with pytest.raises(ImageNotFound):
        runtime.pull_image("registry.invalid/no/such:image")
