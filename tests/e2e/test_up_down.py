"""`up` and `down`: idempotent, complete, and gone without a trace."""

import subprocess
from pathlib import Path

import docker
import pytest

from minikube_py.cluster import profile as profiles
from tests import harness
from tests.e2e.conftest import Cluster, running_cluster

NAME = "twice"
_SHOWN = '{{.ID}} {{.Label "io.minikube-py.profile"}}'


def _host_state() -> dict[str, list[str]]:
    """What `down` must leave as it was: containers, networks, links, nft tables, mounts, processes.

    Other profiles come and go beside this test, so what carries another profile's name is left out.
    """

    def lines(*command: str) -> list[str]:
        return sorted(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())

    bridge = profiles.Profile(NAME, 0, 0).bridge
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    links = [line for line in lines("ip", "-o", "link") if "mkp" in line]
    return {
        "containers": [row for row in lines("docker", "ps", "-a", "--format", _SHOWN) if row.split()[1:] in ([], [NAME])],
        "networks": [row for row in lines("docker", "network", "ls", "--format", "{{.Name}}") if _ours_or_foreign(row)],
        "links": [row.split(":")[1] for row in links if bridge in row or (" master " not in row and "mkpy" not in row)],
        "tables": [row for row in lines("nft", "list", "tables") if NAME in row or "minikube-py" not in row],
        "mounts": [row for row in Path("/proc/mounts").read_text().splitlines() if f"profiles/{NAME}" in row],
        "processes": sorted(title for pid in pids if (title := _title(pid)).endswith(f"({NAME})")),
    }  # fmt: skip


def _ours_or_foreign(network: str) -> bool:
    return network == f"minikube-py-{NAME}" or not network.startswith("minikube-py-")


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_up_twice_changes_nothing_and_down_leaves_nothing(
    docker_engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _host_state()
    with running_cluster(NAME, tmp_path, monkeypatch, "--nodes", "2", "--sample") as cluster:
        pids = {
            name: cluster.component(name)
            for name in ("supervisor", "apiserver", "controllers", "kubelet-node-1", "kube-proxy")
        }
        assert all(pids.values())
        containers = {c["Id"] for c in cluster.containers()}
        files = {path: path.stat().st_mtime for path in (cluster.profile.pki).iterdir()}
        cluster.up()
        assert {name: cluster.component(name) for name in pids} == pids
        assert {c["Id"] for c in cluster.containers()} == containers
        assert {path: path.stat().st_mtime for path in (cluster.profile.pki).iterdir()} == files
        assert "minikube-py-twice" in cluster.kubectl("config", "get-contexts", "-o", "name")
    assert _host_state() == before
    assert not cluster.kubeconfig.exists()
    assert not (tmp_path / "profiles").exists()


def test_two_profiles_live_side_by_side(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, running_cluster("beside", cluster.home, patch, "--nodes", "1") as other:
        assert other.profile.pod_cidr != cluster.profile.pod_cidr
        other.kubectl("create", "namespace", "only-here")
        assert "only-here" not in cluster.kubectl("--context", cluster.profile.context, "get", "namespaces")
        assert cluster.name in other.run(["docker", "network", "ls"]).stdout
    assert cluster.kubectl("--context", cluster.profile.context, "get", "nodes", "-o", "name").count("node/") == 3
    cluster.kubectl("config", "use-context", cluster.profile.context)


def test_a_name_somebody_else_uses_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    stranger = Cluster(cluster.name, tmp_path)
    done = stranger.minikube("up", "--port", str(harness.free_port()), check=False)
    assert done.returncode == 1
    assert f"another cluster called '{cluster.name}' lives on this engine" in done.stderr
    assert cluster.minikube("status").returncode == 0


def test_etcd_that_is_not_there_is_one_sentence(docker_engine: docker.DockerClient, tmp_path: Path) -> None:
    lonely = Cluster("lonely", tmp_path)
    try:
        done = lonely.minikube(
            "up", "--store", "etcd://127.0.0.1:1", "--runtime", "simulated", "--nodes", "1", check=False
        )
        assert done.returncode == 1
        assert "127.0.0.1:1" in done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    finally:
        lonely.minikube("down", check=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("up", "--store", "mysql://x"), "--store must be sqlite or etcd://HOST:PORT"),
        (("up", "--nodes", "0"), "0 is not in the range"),
        (("up", "--gpus", "/none.yaml"), "no such GPU description"),
        (("status",), "no cluster 'nobody'"),
        (("node", "stop", "node-1"), "no cluster 'nobody'"),
        (("logs", "apiserver"), "no cluster 'nobody'"),
    ],
)
def test_bad_input_gets_a_sentence(
    docker_engine: docker.DockerClient, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = Cluster("nobody", tmp_path).minikube(*arguments, check=False)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
