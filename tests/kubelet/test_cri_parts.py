"""The CRI runtime's parts that need no runtime: what it asks for, what it makes of logs and lists, SPDY's bytes."""

import itertools
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelet.runtime import cri_create, cri_logs, cri_schema, labels
from kubelet.runtime.base import (
    CREATED,
    EXITED,
    RUNNING,
    STDERR,
    STDOUT,
    ContainerConfig,
    Device,
    LogOptions,
    Mount,
    PodRef,
    Resources,
    SandboxConfig,
    Security,
    Summary,
)
from kubelet.runtime.cri_events import GONE, Journal
from minikube_py.api import spdy
from minikube_py.api.clock import REAL
from minikube_py.api.types import Obj

GOLDEN = Path(__file__).parent / "golden" / "cri_create.yaml"
REF = PodRef("web", "default", "uid-1")


def bodies() -> dict[str, Obj]:
    everything = ContainerConfig(
        pod=REF, name="main", attempt=2, image="busybox:1", labels={"a": "b"}, command=("sh", "-c"), args=("echo hi",),
        working_dir="/w", env=(("A", "1"),), mounts=(Mount("/a", "/b", True), Mount("/c", "/d", False, "Bidirectional")),
        devices=(Device("/dev/null", "/dev/x", "rw"),), resources=Resources(512, 50_000, 100_000, 1 << 26, 100, 900),
        security=Security(
            user="1000:2000", groups=(3000,), add_capabilities=("NET_ADMIN",), drop_capabilities=("ALL",),
            read_only_root=True, no_new_privileges=True, seccomp='{"defaultAction":…}', apparmor="mine", unmasked_proc=True,
        ), stdin=True, stdin_once=True, tty=True, pid_container="sandbox-1", stop_signal="SIGUSR1",
    )  # fmt: skip
    host = ContainerConfig(
        pod=REF, name="main", attempt=0, image="busybox:1", labels={}, host_network=True, host_pid=True, host_ipc=True,
        security=Security(user="app", privileged=True, apparmor="unconfined"),
    )  # fmt: skip
    joined = ContainerConfig(pod=REF, name="debug", attempt=0, image="busybox:1", labels={}, pid_container="other")
    sandbox = SandboxConfig(pod=REF, attempt=1, image="", labels={"a": "b"}, hostname="web", sysctls={"kernel.x": "1"},
                            cgroup_parent="/p/uid", share_pid=True, privileged=True)  # fmt: skip
    return {
        "sandbox": cri_create.sandbox(sandbox, "/logs"),
        "sandbox on the host's network": cri_create.sandbox(
            SandboxConfig(pod=REF, attempt=0, image="", labels={}, hostname="web", network="host", host_pid=True),
            "/logs",
        ),
        "everything": cri_create.container("sandbox-1", everything, "/logs", "/profiles/1.json"),
        "its sandbox": cri_create.sandbox_of(everything, 1, {cri_create.HOSTNAME: "web"}, "/logs"),
        "host namespaces": cri_create.container("sandbox-1", host, "/logs", ""),
        "in another container's processes": cri_create.container("sandbox-1", joined, "/logs", ""),
    }


def test_golden() -> None:
    got = bodies()
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(yaml.safe_dump(got, sort_keys=False, width=120, allow_unicode=True))
    assert got == yaml.safe_load(GOLDEN.read_text())


def test_every_body_is_a_message() -> None:
    messages, got = cri_schema.messages(), bodies()
    for name in ("sandbox", "sandbox on the host's network", "its sandbox"):
        messages["PodSandboxConfig"](**got.pop(name))
    for body in got.values():
        message = messages["ContainerConfig"](**body)
        assert messages["ContainerConfig"].FromString(message.SerializeToString()) == message
    assert (cri_schema.SIGNALS["SIGRTMIN"], cri_schema.SIGNALS["SIGRTMAX-14"], cri_schema.SIGNALS["SIGRTMAX"]) == (
        35,
        51,
        65,
    )


def read(path: Path, **options: Any) -> list[tuple[int, bytes]]:
    return list(cri_logs.CriLogs(str(path), LogOptions(**options), lambda: False, REAL))


def test_a_log_file(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    assert read(path) == read(path, follow=True) == []
    path.write_bytes(
        b"2026-01-01T00:00:00.000000001Z stdout F one\n2026-01-01T00:00:01.5Z stderr P two \n"
        b"2026-01-01T00:00:02Z stderr F halves\n2026-01-01T00:00:03Z stdout F\n\0\0\0\n2026-01-01T00:00:04Z stdout F end"
    )
    assert read(path) == [
        (STDOUT, b"one\n"), (STDERR, b"two "), (STDERR, b"halves\n"), (STDOUT, b"\n"), (STDOUT, b"end\n"),
    ]  # fmt: skip
    assert read(path, timestamps=True)[1:3] == [(STDERR, b"2026-01-01T00:00:01.5Z two "), (STDERR, b"halves\n")]
    assert read(path, since=1767225603.0) == [(STDOUT, b"\n"), (STDOUT, b"end\n")]


@settings(max_examples=50)
@given(
    st.lists(st.lists(st.sampled_from([0, 7, 65_500, 65_536, 90_000]), max_size=6), min_size=1, max_size=4),
    st.integers(0, 25),
)
def test_the_tail_of_a_rotated_log(sizes: list[list[int]], count: int) -> None:
    """Whatever the lines' lengths, and wherever the log was cut, the tail is the last lines."""
    with tempfile.TemporaryDirectory() as directory:
        path, number, everything = Path(directory, "0.log"), itertools.count(), []
        for index, lines in enumerate(sizes):
            texts = [b"%d " % next(number) + b"x" * size for size in lines]
            everything += [text + b"\n" for text in texts]
            file = path if index == len(sizes) - 1 else Path(f"{path}.2026010{index}")
            file.write_bytes(b"".join(b"2026-01-01T00:00:00Z stdout F " + text + b"\n" for text in texts))
        assert [text for _, text in read(path, tail=count)] == everything[max(0, len(everything) - count) :]
        assert [text for _, text in read(path)] == everything


def test_rotation(tmp_path: Path) -> None:
    path = tmp_path / "pod" / "main" / "0.log"
    path.parent.mkdir(parents=True)

    def grown(stamp: str, reopen: Any = lambda: path.touch()) -> bool:
        path.write_bytes(b"x" * 10)
        return cri_logs.rotate(str(path), reopen, stamp, max_size=10)

    assert [grown(str(stamp)) for stamp in range(1, 9)] == [True] * 8
    assert [Path(file).name for file in cri_logs.files(str(path))] == [
        "0.log.5",
        "0.log.6",
        "0.log.7",
        "0.log.8",
        "0.log",
    ]
    assert not cri_logs.rotate(str(path), path.touch, "9")

    def refused() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        grown("9", refused)
    assert path.read_bytes() == b"x" * 10 and not Path(f"{path}.9").exists()
    cri_logs.remove(str(path))
    assert not (tmp_path / "pod").exists() and tmp_path.exists()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([CREATED, RUNNING, EXITED, GONE])), max_size=40))
def test_each_step_of_a_container_is_told_once(seen: list[tuple[str, str]]) -> None:
    """However late, early or twice something is seen."""
    journal, told = Journal(), []
    for container_id, state in seen:
        told += journal.saw(container_id, state, f"pod-{container_id}")
    for container_id in "abc":
        own = [event.type for event in told if event.container_id == container_id]
        assert own == ["create", "start", "die", "destroy"][: len(own)]
    assert {event.pod_uid for event in told} <= {"pod-a", "pod-b", "pod-c"}


def test_lists_are_compared() -> None:
    journal = Journal()

    def look(*found: tuple[str, str], known: set[str] | None = None) -> list[tuple[str, str]]:
        summaries = [Summary(name, state, {labels.POD_UID: "u"}) for name, state in found]
        before = journal.known() if known is None else known
        return [(event.container_id, event.type) for event in journal.saw_all(summaries, before)]

    assert look(("a", RUNNING)) == [("a", "create"), ("a", "start")]
    assert look(("a", RUNNING)) == []
    assert look(("a", EXITED), ("b", CREATED)) == [("a", "die"), ("b", "create")]
    journal.saw("c", CREATED, "u")
    assert look(("b", CREATED), known={"a", "b"}) == [("a", "destroy")]  # c came while we looked
    journal.saw("b", GONE, "")
    assert look(("b", CREATED), ("c", CREATED)) == []  # an old list does not bring b back
    assert look() == [("c", "start"), ("c", "die"), ("c", "destroy")] and journal.known() == set()


@given(st.dictionaries(st.text("abcdefgh", min_size=1), st.text(max_size=20), max_size=4), st.integers(1, 1 << 20))
def test_an_opened_stream_arrives_as_it_was_sent(headers: dict[str, str], number: int) -> None:
    client, server = spdy.Connection(), spdy.Connection()
    for stream in (number, number + 2):
        assert server.receive(client.open(stream, headers)) == [spdy.Opened(stream, headers, False)]
