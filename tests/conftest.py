"""Fixtures every test directory shares. A test that uses one of the real things is marked with its name by itself."""

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from minikube_py.cluster import kubeconfig, pki
from tests import harness

if TYPE_CHECKING:
    import docker

    from minikube_py.client.rest import Client
    from tests.clusters import Cluster

_MARKS = {"apiserver": "apiserver", "docker_engine": "docker", "etcd": "etcd", "cluster": "cluster"}
_serial = itertools.count(1)


def pytest_configure() -> None:
    """Properties hold or do not, however slow the machine is."""
    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make check` runs what carries none of these marks: pure tests that start nothing."""
    for item in items:
        for fixture, mark in _MARKS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)


class APIServer:
    """A real API server process on SQLite; restartable by fault tests."""

    def __init__(self, directory: Path, *extra: str) -> None:
        self.directory, self.extra = directory, extra
        self.port = harness.free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.pki = directory / "pki"
        pki.ensure(self.pki, api_addresses=["10.96.0.1"])
        self.ca_file = str(self.pki / "ca.crt")
        self.kubeconfig = self.write_kubeconfig("admin")
        self.token = "test-admin-token"
        (directory / "tokens.csv").write_text(f'{self.token},token-admin,uid-1,"system:masters"\n')
        self.process: Any = None

    def write_kubeconfig(self, identity: str) -> str:
        path = self.directory / f"{identity}.conf"
        kubeconfig.write(path, kubeconfig.build("test", self.url, self.pki, identity))
        return str(path)

    def start(self) -> None:
        keys = self.pki
        self.process = harness.python_component(
            "apiserver.main", "--data-dir", str(self.directory / "store"), "--bind", "127.0.0.1",
            "--port", str(self.port), "--tls-cert", f"{keys}/apiserver.crt", "--tls-key", f"{keys}/apiserver.key",
            "--client-ca", self.ca_file, "--requestheader-client-ca", f"{keys}/front-proxy-ca.crt",
            "--proxy-client-cert", f"{keys}/front-proxy-client.crt",
            "--proxy-client-key", f"{keys}/front-proxy-client.key", "--token-auth-file", str(self.directory / "tokens.csv"),
            "--service-account-key", f"{keys}/sa.key", "--kubelet-client-cert", f"{keys}/apiserver-kubelet-client.crt",
            "--kubelet-client-key", f"{keys}/apiserver-kubelet-client.key", "--kubelet-ca", self.ca_file,
            "--service-cluster-ip-range", "10.96.0.0/16", "--audit-log", str(self.directory / "audit.log"),
            # no controllers run beside it: nobody would make the default service account or take the new node's taint away
            "--disable-admission-plugins", "ServiceAccount,TaintNodesByCondition", *self.extra,
            log=self.directory / "apiserver.log",
        )  # fmt: skip
        try:
            harness.eventually(lambda: self._ready(), timeout=30, what="the API server's /readyz")
        except AssertionError as error:
            log = (self.directory / "apiserver.log").read_text()[-3000:]
            raise AssertionError(f"{error}\n--- apiserver.log ---\n{log}") from None

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"it exited with {self.process.returncode}"
        return harness.url_answers(f"{self.url}/readyz", self.ca_file)

    def stop(self) -> None:
        if self.process is not None:
            harness.stop(self.process)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def client(self, kubeconfig_path: str = "") -> "Client":
        from minikube_py.client.kubeconfig import load
        from minikube_py.client.rest import Client

        return Client(load(kubeconfig_path or self.kubeconfig), user_agent="minikube-py/tests")


@contextlib.contextmanager
def running_apiserver(directory: Path) -> Iterator[APIServer]:
    server = APIServer(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServer]:
    """One a file: what other files leave behind (Services, nodes, kinds) would be counted by controllers under test."""
    with running_apiserver(tmp_path_factory.mktemp("apiserver")) as server:
        yield server


@pytest.fixture
def fresh_apiserver(apiserver_marker: None, tmp_path: Path) -> Iterator[APIServer]:
    """An API server of the test's own, for tests that kill it or count its writes."""
    with running_apiserver(tmp_path) as server:
        yield server


@pytest.fixture
def apiserver_marker() -> None:
    """Marks tests with an API server of their own; see `_MARKS`."""


_MARKS["apiserver_marker"] = "apiserver"


@pytest.fixture
def client(apiserver: APIServer) -> "Client":
    return apiserver.client()


@pytest.fixture
def namespace(client: "Client") -> Iterator[str]:
    """A namespace of the test's own. No namespace controller runs beside the shared server, so it is only asked to go."""
    from minikube_py.api.gvr import NAMESPACES, new_object

    name = f"test-{next(_serial)}-{int(time.time() * 1000) % 100000}"
    client.create(NAMESPACES, new_object(NAMESPACES, name))
    yield name
    with contextlib.suppress(Exception):
        client.delete(NAMESPACES, name)


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with harness.running_etcd(tmp_path_factory.mktemp("etcd")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator["docker.DockerClient"]:
    import docker

    with harness.running_dockerd(tmp_path_factory.mktemp("dockerd")):
        engine = docker.from_env()
        yield engine
        engine.close()


@pytest.fixture(scope="session")
def cluster(docker_engine: "docker.DockerClient", tmp_path_factory: pytest.TempPathFactory) -> Iterator["Cluster"]:
    """The three-node cluster that most tests of whole clusters share."""
    from tests.clusters import running_cluster

    name = f"e2e-{os.getpid()}"  # so that two runs on one machine do not meet
    with pytest.MonkeyPatch.context() as patch, running_cluster(name, tmp_path_factory.mktemp("e2e"), patch) as one:
        yield one
