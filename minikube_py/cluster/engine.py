"""The Docker Engine as the cluster commands need it: does it answer, start it, one network per profile, clean-up by label.

Who calls it: up, down, node and image commands (the kubelet has its own, fuller use of Docker).
Invariants: only things carrying the profile's name or label are removed; an engine that somebody else started is never
stopped; one that we started by hand is remembered in `engine.json` and ended with the last profile.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minikube_py.cluster import host, process, profile
from minikube_py.cluster.errors import ClusterError

if TYPE_CHECKING:
    import docker

PROFILE_LABEL, NODE_LABEL = "io.minikube-py.profile", "io.minikube-py.node"
_SOCKET = "/var/run/docker.sock"
_START_SECONDS = 60.0


class RangeTaken(ClusterError):
    """The engine refuses a profile's addresses, most often because another network has them."""


def answers() -> bool:
    """True if an engine answers (asked over its socket by hand: importing a client takes longer than the question)."""
    remote = os.environ.get("DOCKER_HOST", "")
    if remote and not remote.startswith("unix://"):
        return _ping_remote()
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(remote.removeprefix("unix://") or _SOCKET)
        sock.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        return b" 200 OK" in sock.recv(1024)
    return False


def _ping_remote() -> bool:
    try:
        return bool(connect().ping())
    except ClusterError:
        return False


def connect() -> "docker.DockerClient":
    """A client of the engine. Raises ClusterError when none answers."""
    import docker

    try:
        return docker.from_env(timeout=120)
    except docker.errors.DockerException as error:
        raise ClusterError(
            f"no Docker Engine answers ({error}); start one, or let minikube-py up do it as root"
        ) from None


def ensure() -> bool:
    """Make an engine answer, installing and starting one if this machine has none and we may. Out: True if we started it."""
    if answers():
        return False
    if os.environ.get("DOCKER_HOST"):
        raise ClusterError(
            f"no Docker Engine answers at DOCKER_HOST={os.environ['DOCKER_HOST']}; start it or unset DOCKER_HOST"
        )
    if host.which("dockerd") is None:
        host.install(["dockerd"])
    if answers():  # the package may have started it
        return False
    if not host.is_root():
        raise ClusterError("the Docker Engine is not running; start it with: sudo systemctl start docker")
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "start", "docker"], capture_output=True)
        _await_answer("systemctl status docker")
        return False
    _start_by_hand()
    return True


def _start_by_hand() -> None:
    directory = profile.home()
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "dockerd.log"
    with log.open("ab") as out:
        daemon = subprocess.Popen([host.which("dockerd") or "dockerd"], stdout=out, stderr=out, start_new_session=True)
    (directory / "engine.json").write_text(json.dumps({"pid": daemon.pid}))
    _await_answer(str(log))


def _await_answer(where: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not answers():
        if time.monotonic() > deadline:
            raise ClusterError(
                f"the Docker Engine did not answer within {_START_SECONDS:.0f} s of being started; see: {where}"
            )
        time.sleep(0.1)


def stop_ours() -> bool:
    """End the engine if we started it, no profile is left and nothing runs on it. Out: True if it was ended."""
    record = profile.home() / "engine.json"
    if not record.exists() or profile.load_all():
        return False
    pid = int(json.loads(record.read_text())["pid"])
    if answers() and connect().containers.list():
        return False
    if process.alive(pid) and b"dockerd" in Path(f"/proc/{pid}/cmdline").read_bytes():
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while process.alive(pid) and time.monotonic() < deadline:
            time.sleep(0.1)
    record.unlink()
    (profile.home() / "dockerd.log").unlink(missing_ok=True)
    return True


def ensure_network(wanted: profile.Profile) -> None:
    """The profile's Docker network and bridge.

    Raises RangeTaken when the engine refuses its addresses, ClusterError when somebody else's profile of that name lives on
    this engine.
    """
    there = Path(f"/sys/class/net/{wanted.bridge}").exists()
    if there and wanted.pod_cidr.removesuffix(".0.0/16") in host.routes():
        return
    import docker

    engine = connect()
    for network in engine.networks.list(names=[f"^{wanted.network}$"]):
        if [pool["Subnet"] for pool in network.attrs["IPAM"]["Config"]] == [wanted.pod_cidr]:
            return
        raise ClusterError(
            f"another cluster called {wanted.name!r} lives on this engine (of another user, or with another "
            f"MINIKUBE_PY_HOME); choose another name with: minikube-py up -p NAME"
        )
    pool = docker.types.IPAMPool(subnet=wanted.pod_cidr, gateway=wanted.gateway)
    try:
        engine.networks.create(
            wanted.network,
            driver="bridge",
            ipam=docker.types.IPAMConfig(pool_configs=[pool]),
            options={"com.docker.network.bridge.name": wanted.bridge},
            labels={PROFILE_LABEL: wanted.name},
        )
    except docker.errors.APIError as error:
        raise RangeTaken(
            f"the pod network {wanted.pod_cidr} cannot be made ({error.explanation}); free that address range "
            f"(docker network ls, ip route) or take another profile down"
        ) from None


def remove_network(wanted: profile.Profile) -> None:
    """Remove the profile's network, disconnecting whatever hangs on."""
    import docker

    for network in connect().networks.list(names=[f"^{wanted.network}$"]):
        network.reload()
        for container in network.attrs.get("Containers") or {}:
            with contextlib.suppress(docker.errors.APIError):
                network.disconnect(container, force=True)
        network.remove()


def remove_containers(profile_name: str, node: str = "") -> int:
    """Kill and remove every container of the profile (or of one of its nodes), in parallel. Out: how many."""
    return _each(profile_name, node, lambda api, cid: api.remove_container(cid, force=True, v=True))


def kill_containers(profile_name: str, node: str) -> int:
    """Kill the node's running containers as a power cut would; they stay, stopped, for the node to find. Out: how many."""
    return _each(profile_name, node, lambda api, cid: api.kill(cid), running_only=True)


def _each(profile_name: str, node: str, act: Any, running_only: bool = False) -> int:
    import docker

    labels = [f"{PROFILE_LABEL}={profile_name}"] + ([f"{NODE_LABEL}={node}"] if node else [])
    api = connect().api

    def quietly(container: str) -> None:
        try:
            act(api, container)
        except docker.errors.APIError as error:
            if error.status_code not in (404, 409):  # gone already, or just going
                raise ClusterError(f"Docker could not end container {container[:12]}: {error.explanation}") from None

    found = [c["Id"] for c in api.containers(all=not running_only, quiet=True, filters={"label": labels})]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(quietly, found))
    return len(found)


def unmount_under(directory: Path) -> None:
    """Unmount everything below `directory` (pods' tmpfs volumes), deepest first."""
    mounts = [
        line.split()[1].encode().decode("unicode_escape") for line in Path("/proc/mounts").read_text().splitlines()
    ]
    umount = shutil.which("umount") or "umount"
    for mount in sorted((m for m in mounts if m.startswith(f"{directory}/")), reverse=True):
        subprocess.run([umount, "-l", mount], capture_output=True)
