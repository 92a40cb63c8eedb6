"""The controllers process: it starts, waits for the API server, leads alone, ends at once. And a user's own controller."""

import importlib.util
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from controllers.options import Options, enabled, parse
from minikube_py.api.gvr import CONFIGMAPS, LEASES, NAMESPACES, SERVICEACCOUNTS, new_object
from minikube_py.client.rest import Client
from tests import harness
from tests.conftest import APIServer
from tests.harness import eventually


class Process:
    """One controllers process."""

    def __init__(self, kubeconfig: str, log: Path, *flags: str) -> None:
        self.log = log
        arguments = ("--kubeconfig", kubeconfig, "--no-scheduler", *flags)
        self.process: subprocess.Popen[Any] = harness.python_component("controllers.main", *arguments, log=log)

    def end(self, number: int = signal.SIGTERM) -> float:
        """Seconds it took to end."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(10)
        return time.monotonic() - began


@pytest.fixture
def started() -> Iterator[list[Process]]:
    processes: list[Process] = []
    yield processes
    for process in processes:
        harness.stop(process.process)


def _account_appears(client: Client, name: str) -> None:
    client.create(NAMESPACES, new_object(NAMESPACES, name))
    eventually(lambda: client.get(SERVICEACCOUNTS, "default", name), timeout=15)


def test_waits_for_the_api_server_and_ends_at_once(
    fresh_apiserver: APIServer, started: list[Process], tmp_path: Path
) -> None:
    fresh_apiserver.stop()
    process = Process(fresh_apiserver.kubeconfig, tmp_path / "log", "--no-leader-elect")
    started.append(process)
    time.sleep(1.5)
    assert process.process.poll() is None, process.log.read_text()
    fresh_apiserver.start()
    client = fresh_apiserver.client()
    _account_appears(client, "first")
    fresh_apiserver.kill()
    fresh_apiserver.start()
    _account_appears(client, "second")
    assert "Traceback" not in process.log.read_text()
    assert process.end() < 2 and process.process.returncode == 0


def test_an_idle_process_writes_nothing_and_costs_little(
    fresh_apiserver: APIServer, started: list[Process], tmp_path: Path
) -> None:
    process = Process(fresh_apiserver.kubeconfig, tmp_path / "log", "--no-leader-elect")
    started.append(process)
    client = fresh_apiserver.client()
    _account_appears(client, "first")
    time.sleep(2)
    before = client.list(NAMESPACES)["metadata"]["resourceVersion"]
    used = psutil.Process(process.process.pid).cpu_times()
    time.sleep(4)
    after = psutil.Process(process.process.pid).cpu_times()
    assert client.list(NAMESPACES)["metadata"]["resourceVersion"] == before, "nobody wrote anything"
    assert after.user + after.system - used.user - used.system < 0.2


def test_of_two_processes_one_leads_and_the_other_follows_on(
    fresh_apiserver: APIServer, started: list[Process], tmp_path: Path
) -> None:
    client = fresh_apiserver.client()

    def leader() -> str:
        lease = client.get(LEASES, "kube-controller-manager", "kube-system")
        return str(lease["spec"].get("holderIdentity") or "")

    periods = (
        "--leader-elect-lease-duration", "3s", "--leader-elect-renew-deadline", "2s", "--leader-elect-retry-period", "0.3",
    )  # fmt: skip
    for name in ("one", "two"):
        log = tmp_path / f"{name}.log"
        started.append(Process(fresh_apiserver.kubeconfig, log, "--identity", name, *periods))
    by_name = dict(zip(("one", "two"), started, strict=True))
    first = eventually(leader, timeout=15)
    _account_appears(client, "first")
    assert by_name[first].end() < 2
    second = eventually(lambda: leader() not in ("", first) and leader(), timeout=3, what="the lease was given back")
    _account_appears(client, "second")
    by_name[second].end(signal.SIGKILL)
    started.append(Process(fresh_apiserver.kubeconfig, tmp_path / "three.log", "--identity", "three", *periods))
    eventually(lambda: leader() == "three", timeout=10, what="a dead leader's lease runs out")
    _account_appears(client, "third")


def test_a_missing_kubeconfig_is_one_sentence(tmp_path: Path) -> None:
    process = Process(str(tmp_path / "none"), tmp_path / "log")
    assert process.process.wait(10) == 1
    assert process.log.read_text().strip() == f"controllers: kubeconfig {tmp_path / 'none'} does not exist"


def test_options() -> None:
    options = parse(["--controllers", "*,-deployment", "--node-monitor-grace-period", "1m30s", "--no-leader-elect"])
    assert options.node_monitor_grace_period == 90.0 and not options.leader_elect
    assert enabled(options, "replicaset") and not enabled(options, "deployment")
    assert not enabled(Options(controllers=("deployment",)), "replicaset")
    assert parse(["--node-monitor-period", "500ms"]).node_monitor_period == 0.5
    with pytest.raises(SystemExit):
        parse(["--node-monitor-period", "soon"])


def test_a_users_own_controller(client: Client, namespace: str) -> None:
    path = harness.ROOT / "examples" / "own_controller.py"
    spec = importlib.util.spec_from_file_location("own_controller", path)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    controller = example.start(client)
    try:
        greeted = new_object(CONFIGMAPS, "a", namespace)
        greeted["metadata"]["labels"] = {"greet": "Ada"}
        client.create(CONFIGMAPS, greeted)
        eventually(lambda: client.get(CONFIGMAPS, "a", namespace)["data"]["greeting"] == "Hello, Ada!")
        client.patch(CONFIGMAPS, "a", {"data": {"greeting": "spoilt"}}, namespace)
        eventually(lambda: client.get(CONFIGMAPS, "a", namespace)["data"]["greeting"] == "Hello, Ada!")
    finally:
        controller.reconciler.maps.stop()
        controller.stop()
