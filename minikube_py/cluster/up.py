"""`minikube-py up`: from nothing, or from whatever is already there, to a running cluster.

Who calls it: the CLI and `make up`. Invariant: every phase first looks whether its result exists, so running it again
changes nothing, and a run that was interrupted is completed by the next one. Phases and their seconds go to `phases.json`.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from minikube_py.cluster import access, engine, host, identities, images, kubeconfig, process
from minikube_py.cluster import profile as profiles
from minikube_py.cluster.errors import ClusterError
from minikube_py.cluster.profile import Profile
from minikube_py.cluster.progress import Progress

_TAKE_OVER_SECONDS, _API_SECONDS, _NODE_SECONDS = 20.0, 30.0, 60.0
FIRST_PORT = 6443
_CODE = Path(__file__).resolve().parents[2]  # where the packages lie: a checkout, or an installation


class Wish(NamedTuple):
    """What the command line asked for; None means: as it is, or the default for a new profile."""

    name: str = profiles.DEFAULT
    nodes: int | None = None
    store: str | None = None
    timing: str | None = None
    runtime: str | None = None
    gpus: str | None = None
    port: int | None = None
    merge_kubeconfig: bool = True
    listen: str | None = None
    scheduler_config: str | None = None


def up(wish: Wish, progress: Progress) -> Profile:
    """Bring the profile up. Raises ClusterError with the fix when it cannot."""
    profile = _desired(wish)
    if profile.runs_containers:
        with progress.phase("host programs and rights"):
            _check_host()
        with progress.phase("Docker Engine"):
            engine.ensure()
        with progress.phase("base images"):
            images.build(images.missing(), progress.detail)
        with progress.phase("pod network"):
            profile = _networked(profile)
    with progress.phase("certificates and kubeconfigs"):
        profile.save()  # first, so that whatever follows can be taken down
        identities.write_all(profile)
    if profile.runtime == "cri":
        from minikube_py.cluster import containerd

        with progress.phase("containerd"):
            containerd.of(profile).ensure()
    with progress.phase("API server"):
        start_supervisor(profile)
        access.wait_ready(profile, _API_SECONDS)
    with progress.phase(f"{len(profile.nodes)} nodes Ready"):
        access.wait_components(profile, _NODE_SECONDS)
        access.wait_nodes(profile, _NODE_SECONDS)
    if wish.merge_kubeconfig:
        kubeconfig.merge(kubeconfig.user_path(), identities.admin(profile))
    progress.save(profile.directory / "phases.json")
    return profile


def _desired(wish: Wish) -> Profile:
    existing = profiles.find(profiles.check_name(wish.name))
    if existing is None:
        return _new_profile(wish)
    for option, asked, there in (
        ("--store", wish.store, existing.store),
        ("--runtime", wish.runtime, existing.runtime),
        ("--port", wish.port, existing.port),
    ):
        if asked not in (None, there):
            raise ClusterError(
                f"{option} of a cluster cannot change ({there} to {asked}); take it down first: minikube-py down -p {wish.name}"
            )
    grown = existing
    if wish.nodes is not None and wish.nodes > len(existing.nodes):
        grown = existing.with_nodes(wish.nodes - len(existing.nodes))
    listen = grown.listen if wish.listen is None else wish.listen
    gpus = _gpu_file(wish.gpus) or grown.gpus
    scheduling = _scheduler_config(wish.scheduler_config) or grown.scheduler_config
    return replace(grown, timing=wish.timing or grown.timing, gpus=gpus, listen=listen, scheduler_config=scheduling)


def _networked(profile: Profile) -> Profile:
    """The profile with its pod network made; a new profile moves on to other addresses when its own are taken meanwhile."""
    refused: set[str] = set()
    while True:
        try:
            engine.ensure_network(profile)
            return profile
        except engine.RangeTaken:
            if profiles.find(profile.name) is not None:
                raise
            refused.add(profile.pod_cidr.removesuffix(".0.0/16"))
            profile = replace(profile, index=profiles.free_index(host.routes() | refused))


def _new_profile(wish: Wish) -> Profile:
    nodes = wish.nodes if wish.nodes is not None else profiles.PLAN_NODES
    runtime = wish.runtime or "docker"
    index = profiles.free_index(frozenset() if runtime == "simulated" else host.routes())
    port = wish.port or FIRST_PORT + index
    if not host.port_free("127.0.0.1", port):
        raise ClusterError(f"port {port} is in use; choose another with: minikube-py up --port N")
    cpu, memory = host.share(max(nodes, 1))
    fresh = Profile(
        wish.name, index, port, store=wish.store or "sqlite", timing=wish.timing or "classroom",
        runtime=runtime, gpus=_gpu_file(wish.gpus), cpu_milli=cpu, memory_bytes=memory, listen=wish.listen or "",
        scheduler_config=_scheduler_config(wish.scheduler_config),
    )  # fmt: skip
    return fresh.with_nodes(nodes)


def _gpu_file(path: str | None) -> str:
    def check(file: Path) -> None:
        from kubelet.devices.simulation import load

        load(file, "")

    return _checked(path, "GPU description", check)


def _scheduler_config(path: str | None) -> str:
    def check(file: Path) -> None:
        from controllers.scheduler.config import load

        load(str(file))

    return _checked(path, "scheduler configuration", check)


def _checked(path: str | None, what: str, check: Callable[[Path], object]) -> str:
    """The file's full path once it has been read without complaint; "" when none was named."""
    if not path:
        return ""
    if not Path(path).is_file():
        raise ClusterError(f"no such {what}: {path}")
    try:
        check(Path(path))
    except (OSError, ValueError) as error:
        raise ClusterError(str(error)) from None
    return str(Path(path).resolve())


def _check_host() -> None:
    if sys.platform != "linux":
        raise ClusterError("real containers on host processes need Linux; here use: docker compose up")
    if not host.is_root():
        raise ClusterError("building the pod network needs root; run: sudo minikube-py up (or try --runtime simulated)")
    missing = [program for program in host.needed() if host.which(program) is None]
    if missing:
        host.install(missing)


def start_supervisor(profile: Profile) -> None:
    """Start the profile's supervisor, or tell the running one to look at `cluster.json` again.

    Raises ClusterError when it dies at once. When this returns, components that a killed supervisor left behind are gone.
    """
    file = profile.directory / "run" / "supervisor.pid"
    pid = process.read_pid(file)
    if pid:
        process.signal_quietly(pid, signal.SIGHUP)
        return
    profile.logs.mkdir(exist_ok=True)
    with (profile.logs / "supervisor.log").open("ab") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "minikube_py.cluster.supervisor", profile.name],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "MINIKUBE_PY_HOME": str(profiles.home()), "PYTHONPATH": str(_CODE)},
        )  # fmt: skip
    access.until(lambda: process.read_pid(file) == supervisor.pid or supervisor.poll() is not None, _TAKE_OVER_SECONDS)
    if supervisor.poll() is not None:
        raise ClusterError(
            f"the supervisor ended with exit code {supervisor.returncode}; see: {profile.logs}/supervisor.log"
        )
