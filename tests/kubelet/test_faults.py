"""Faults: the kubelet killed at every runtime call, an engine that hangs or fails, a full disk, a clock that jumps, a flood of
output. Nothing leaks, nothing runs twice, and what can go on goes on."""

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kubelet.main import Kubelet
from kubelet.options import Options
from kubelet.runtime.simulated import SimulatedRuntime
from kubelet.volumes import mounts
from minikube_py.api.clock import REAL
from minikube_py.api.gvr import EVENTS, NODES
from minikube_py.api.meta import condition_of, uid_of
from minikube_py.api.types import Obj
from tests import harness
from tests.kubelet.conftest import Bridge, Nodes, container, is_ready, status_of
from tests.kubelet.faulty import EngineProxy, Jumping, Killed, Mortal, RunningTwice

# --- kill -9 at every call

_LONG = 120.0  # many lives at once, perhaps on a busy machine


@pytest.fixture
def quiet_threads() -> Iterator[None]:
    """Threads that are killed say nothing."""
    before = threading.excepthook

    def hook(args: Any) -> None:
        if args.exc_type is not Killed:
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def life(nodes: Nodes, namespace: str, nth: int, when: str, ending: bool) -> list[str]:
    """One pod from birth to its last trace; the kubelet dies at the nth call since the pod was made (or deleted).

    Out: the calls the first (or, ending, the second) kubelet made.
    """
    runtime = SimulatedRuntime(REAL)
    twice = RunningTwice(runtime)
    options = nodes.options(sync_frequency=5.0, relist_period=2.0)
    mortal = Mortal(runtime)
    started(nodes, options, mortal)
    parts = [container("main", ["serve"])]
    init = [container("init", ["true"])]
    if not ending:
        mortal.nth, mortal.when = len(mortal.calls) + nth, when
    already = len(mortal.calls)
    pod = nodes.pod(namespace, options, containers=parts, initContainers=init, volumes=[{"name": "e", "emptyDir": {}}])
    if not ending:
        mortal = revived(nodes, options, runtime, mortal, pod)
        calls = mortal.calls[already:]
    ready = nodes.wait(pod, is_ready, _LONG)
    assert all(entry["restartCount"] <= 1 for entry in ready["status"]["containerStatuses"])
    if ending:
        already = len(mortal.calls)
        mortal.nth, mortal.when = already + nth, when
    nodes.delete(pod)
    if ending:
        mortal = revived(nodes, options, runtime, mortal, None)
        calls = mortal.calls[already:]
    nodes.wait_gone(pod, _LONG)
    harness.eventually(lambda: not runtime.list_all(), _LONG, what="no container left")
    harness.eventually(
        lambda: not Path(options.root_dir, "pods", uid_of(pod)).exists(), _LONG, what="no directory left"
    )
    kubelet = nodes.running[options.node_name]
    harness.eventually(lambda: not kubelet.network._pool.assigned(), _LONG, what="no address left")  # type: ignore[attr-defined]
    assert twice.found == []
    nodes.stop(options)
    return calls


def started(nodes: Nodes, options: Options, mortal: Mortal) -> Kubelet:
    kubelet = Kubelet(options, REAL, mortal)

    def silence() -> None:
        kubelet.manager.stop()
        kubelet.node.statuses.stop()

    mortal.on_death = silence
    kubelet.start(threading.Event())
    nodes.running[options.node_name] = kubelet
    return kubelet


def revived(nodes: Nodes, options: Options, runtime: SimulatedRuntime, mortal: Mortal, pod: Obj | None) -> Mortal:
    """The kubelet that died is replaced by another; one that outlived its pod's story goes on."""

    def settled() -> bool:
        return mortal.dead.is_set() or (is_ready(nodes.get(pod)) if pod is not None else not runtime.list_all())

    harness.eventually(settled, _LONG, what="the kubelet to die or to be done")
    mortal.nth = 0  # whoever got through this part of the pod's life is spared in the next
    if not mortal.dead.is_set():
        return mortal
    kept, runtime.close = runtime.close, lambda: None  # type: ignore[method-assign]
    nodes.stop(options)
    runtime.close = kept  # type: ignore[method-assign]
    fresh = Mortal(runtime)
    fresh.calls = mortal.calls
    started(nodes, options, fresh)
    return fresh


@pytest.mark.parametrize("ending", [False, True], ids=["starting", "ending"])
def test_killed_at_every_runtime_call(simulated: Nodes, namespace: str, quiet_threads: None, ending: bool) -> None:
    calls = life(simulated, namespace, 0, "before", ending)
    assert len(calls) > 6, calls
    # After one call is before the next, but for what happens between them: every call is met once from either side.
    points = [(nth, "before" if nth % 2 else "after") for nth in range(1, len(calls) + 1)]
    points += [(nth, "after") for nth, call in enumerate(calls, 1) if nth % 2 and call not in ("inspect", "list_all")]
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(life, simulated, namespace, nth, when, ending) for nth, when in points]:
            done.result()


# --- the engine hangs, or answers 500


@pytest.fixture
def proxy(docker_engine: Any) -> Iterator[EngineProxy]:
    directory = tempfile.mkdtemp(prefix="mkpy-")
    made = EngineProxy(Path(directory, "docker.sock"))
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(directory)


@pytest.mark.parametrize("mode", ["error", "hang"])
def test_an_engine_that_is_no_good(nodes: Nodes, namespace: str, bridge: Bridge, proxy: EngineProxy, mode: str) -> None:
    options = nodes.options(
        index=7, docker_host=f"unix://{proxy.path}", runtime_request_timeout=4.0, node_status_update_frequency=0.5
    )
    nodes.start(options)
    before = nodes.wait(nodes.pod(namespace, options, "before"), is_ready)

    def ready_condition() -> Obj:
        return condition_of(nodes.client.get(NODES, options.node_name), "Ready") or {}

    proxy.become(mode)
    during = nodes.pod(namespace, options, "during")
    harness.eventually(lambda: ready_condition()["status"] == "False", 30, what="the node to be NotReady")
    assert ready_condition()["message"].startswith("container runtime is down")
    nodes.delete(nodes.get(before))
    proxy.become("pass")
    nodes.wait(during, is_ready, 60)
    nodes.wait_gone(before, 60)
    nodes.wait_ready(options.node_name)
    assert status_of(nodes.get(during), "main")["restartCount"] == 0

    def of(pod: Obj) -> list[Obj]:
        return [container for container in bridge.containers() if uid_of(pod) in container["Names"][0]]

    assert len(of(during)) == 2
    harness.eventually(lambda: not of(before), 30, what="the end of the deleted pod's containers")
    nodes.stop(options)


# --- disk full


def test_a_full_disk(simulated: Nodes, namespace: str, tmp_path: Path) -> None:
    """Pods that need disk wait and say so; those that run, run on; with room again everything starts."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounts.mount_tmpfs(disk, 256 << 10)
    try:
        options = simulated.start(simulated.options(root_dir=str(disk)))
        running = simulated.wait(simulated.pod(namespace, options, "running", [container("main")]), is_ready)
        with contextlib.suppress(OSError), (disk / "filler").open("wb") as filler:
            while True:
                filler.write(bytes(4096))
                filler.flush()
        late = simulated.pod(namespace, options, "late", [container("main")])

        def told() -> bool:
            events = simulated.client.list(EVENTS, namespace)["items"]
            return any(
                "No space left on device" in e["message"] and e["involvedObject"]["name"] == "late" for e in events
            )

        harness.eventually(told, what="an event that says why")
        assert simulated.get(late)["status"]["phase"] == "Pending" and is_ready(simulated.get(running))
        (disk / "filler").unlink()
        simulated.wait(late, is_ready)
        simulated.stop(options)
    finally:
        mounts.unmount(disk)


# --- the clock jumps


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0], ids=["back", "forth"])
def test_a_clock_that_jumps(simulated: Nodes, namespace: str, jump: float) -> None:
    """Nothing that runs is disturbed, and nothing waits for the old time to come back."""
    clock = Jumping()
    options = simulated.options()
    kubelet = Kubelet(options, clock, SimulatedRuntime(clock))
    kubelet.start(threading.Event())
    simulated.running[options.node_name] = kubelet
    simulated.wait_ready(options.node_name)
    steady = simulated.wait(simulated.pod(namespace, options, "steady", [container("main")]), is_ready)
    crashing = simulated.pod(namespace, options, "crashing", [container("main", ["sh", "-c", "sleep 0.1; exit 1"])])
    simulated.wait(crashing, lambda p: status_of(p, "main").get("restartCount", 0) >= 1)
    clock.offset = jump
    count = status_of(simulated.get(crashing), "main")["restartCount"]
    simulated.wait(
        crashing, lambda p: status_of(p, "main")["restartCount"] >= count + 2, what="restarts after the jump"
    )
    simulated.wait(simulated.pod(namespace, options, "after", [container("main")]), is_ready)
    assert status_of(simulated.get(steady), "main")["restartCount"] == 0
    for pod in (steady, crashing):
        simulated.delete(pod)
        simulated.wait_gone(pod)
    simulated.stop(options)


# --- a gigabyte of output


def test_a_gigabyte_of_log(nodes: Nodes, namespace: str, bridge: Bridge) -> None:
    """The engine rotates it: the disk holds a few files of ten megabytes, and the end is read without the beginning."""
    options = nodes.start(nodes.options(index=8))
    script = "x=$(head -c 16000 /dev/zero | tr '\\0' x); yes $x | head -c 1073741824; echo; echo the end"
    pod = nodes.pod(namespace, options, containers=[container("main", ["sh", "-c", script])], restartPolicy="Never")
    done = nodes.wait_phase(pod, "Succeeded", timeout=240)
    found = bridge.engine.api.inspect_container(status_of(done, "main")["containerID"].removeprefix("docker://"))
    held = sum(path.stat().st_size for path in Path(found["LogPath"]).parent.glob("*.log*"))
    assert 5 << 20 < held < 60 << 20
    text = log(nodes, pod, "tailLines=2")
    assert text.endswith("\nthe end\n") and len(text) < 40_000
    assert len(log(nodes, pod, "limitBytes=1000")) == 1000
    nodes.stop(options)


def log(nodes: Nodes, pod: Obj, query: str) -> str:
    meta = pod["metadata"]
    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/log?{query}"
    return nodes.client.request("GET", path)[2].decode()
