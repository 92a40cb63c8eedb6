"""`minikube-py down`: remove everything a profile made, and nothing else.

Who calls it: the CLI and `make down`. Invariant: what is removed carries the profile's name or label; it works on half-built
and half-removed profiles alike, and can be run again. Order: processes (so that nothing is made again), containers, network,
nft tables, cgroups, mounts, files, the context in the user's kubeconfig, and the engine if we had started it and nobody
needs it.
"""

from contextlib import suppress

from minikube_py.cluster import engine, kubeconfig, process
from minikube_py.cluster.errors import ClusterError
from minikube_py.cluster.profile import Profile
from minikube_py.cluster.progress import Progress

_GRACE = 8.0


def down(profile: Profile, progress: Progress) -> None:
    """Take the profile down. Raises ClusterError when something of it cannot be removed."""
    with progress.phase("processes"):
        stop_processes(profile)
    if profile.runs_containers:
        with progress.phase("containers and network"):
            if profile.runtime == "cri":
                from minikube_py.cluster import containerd

                containerd.remove(profile)
            if engine.answers():
                engine.remove_containers(profile.name)
                engine.remove_network(profile)
        with progress.phase("host network, cgroups and mounts"):
            from kubelet import cgroups
            from kubelet.network import cleanup

            cleanup.remove_all(profile.name)
            cgroups.remove_all(profile.name)
            engine.unmount_under(profile.directory)
    with progress.phase("files"):
        with suppress(OSError, ClusterError):
            kubeconfig.unmerge(kubeconfig.user_path(), profile.context)
        engine_needed = profile.runs_containers
        profile.remove()
        if engine_needed:
            engine.stop_ours()
            profile.remove()


def stop_processes(profile: Profile) -> None:
    """End the supervisor, which ends its components; then whatever an earlier, killed supervisor left."""
    run = profile.directory / "run"
    process.end([process.read_pid(run / "supervisor.pid")], _GRACE + 4)
    process.end([process.read_pid(file) for file in run.glob("*.pid")], _GRACE)
