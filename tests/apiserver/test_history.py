"""Concurrent clients, and processes killed at random under them: one story explains everything anybody saw.

On SQLite with the API server killed; on an etcd of three members with its leader killed, and the API servers too.
"""

import contextlib
import json
import random
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from minikube_py.api.gvr import CONFIGMAPS
from minikube_py.client.rest import Client
from tests import harness
from tests.apiserver import history
from tests.conftest import APIServer

SECONDS = 8.0


class Member:
    """One of three etcd processes."""

    def __init__(self, directory: Path, number: int, ports: list[tuple[int, int]]) -> None:
        self.name, self.directory, self.url = f"m{number}", directory, f"http://127.0.0.1:{ports[number][0]}"
        peers = [f"m{n}=http://127.0.0.1:{peer}" for n, (_, peer) in enumerate(ports)]
        own = f"http://127.0.0.1:{ports[number][1]}"
        binary = shutil.which("etcd")
        assert binary, "etcd is not installed: apt-get install etcd-server (make test does)"
        self.command = [
            binary, "--name", self.name, "--data-dir", str(directory / self.name), "--listen-client-urls", self.url,
            "--advertise-client-urls", self.url, "--listen-peer-urls", own, "--initial-advertise-peer-urls", own,
            "--initial-cluster", ",".join(peers), "--heartbeat-interval", "50", "--election-timeout", "500",
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.directory / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def leads(self) -> bool:
        request = urllib.request.Request(f"{self.url}/v3/maintenance/status", b"{}")
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=1) as response:
            status = json.loads(response.read())
            return bool(status.get("leader") and status["leader"] == status["header"]["member_id"])
        return False


@pytest.fixture
def members(tmp_path: Path) -> Iterator[list[Member]]:
    ports = [(harness.free_port(), harness.free_port()) for _ in range(3)]
    made = [Member(tmp_path, number, ports) for number in range(3)]
    try:
        for member in made:
            member.start()
        harness.eventually(lambda: [m for m in made if m.leads], what="a leader")
        yield made
    finally:
        for member in made:
            member.kill()


def again(server: APIServer) -> None:
    """Kill the server as a power cut would, and start it as a supervisor would."""
    server.kill()
    server.start()


def final(client: Client, namespace: str) -> dict[str, str]:
    found = harness.eventually(lambda: client.list(CONFIGMAPS, namespace), timeout=30)
    return {item["metadata"]["name"]: item["data"]["v"] for item in found["items"]}


@pytest.mark.parametrize("seed", [1, 2])
def test_sqlite_with_the_server_killed(tmp_path: Path, apiserver_marker: None, seed: int) -> None:
    server = APIServer(tmp_path)
    server.start()

    def faults(chance: random.Random) -> None:
        time.sleep(chance.uniform(0.2, 2.0))
        again(server)

    try:
        noted = history.run(lambda: server.client().with_timeout(5), "default", faults, SECONDS, seed)
        history.check(noted, final(server.client(), "default"))
    finally:
        server.stop()


def test_three_members_with_the_leader_and_the_servers_killed(
    members: list[Member], tmp_path: Path, apiserver_marker: None
) -> None:
    """Two API servers; each fault takes the leader, any member, or a server. A majority is always left."""
    store = "etcd://" + ",".join(member.url.removeprefix("http://") for member in members)
    servers: list[APIServer] = []
    for number in range(2):
        directory = tmp_path / f"server{number}"
        directory.mkdir()
        if number:
            shutil.copytree(servers[0].pki, directory / "pki")
        servers.append(APIServer(directory, "--store", store))
        servers[-1].start()

    def faults(chance: random.Random) -> None:
        time.sleep(chance.uniform(0.3, 1.2))
        what = chance.random()
        if what < 0.3:
            again(chance.choice(servers))
            return
        leaders = [member for member in members if member.leads]
        victim = leaders[0] if leaders and what < 0.8 else chance.choice(members)
        victim.kill()
        time.sleep(chance.uniform(0.2, 1.0))
        victim.start()
        harness.eventually(lambda: any(m.leads for m in members) and _healthy(victim), timeout=30, what="all members")

    turns = iter(range(1000))
    try:
        noted = history.run(lambda: servers[next(turns) % 2].client().with_timeout(8), "default", faults, SECONDS, 3)
        history.check(noted, final(servers[0].client(), "default"))
    finally:
        for server in servers:
            server.stop()


def _healthy(member: Member) -> bool:
    return harness.url_answers(f"{member.url}/health")
