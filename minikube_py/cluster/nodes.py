"""`minikube-py node …`: add and remove nodes, and break them on purpose: power off, power on, cut off, reconnect.

Who calls it: the CLI, labs and fault tests. Invariant: each command changes the desired state first and then makes it so;
`stop` kills the node's kubelet and containers without a word to the API, as a power cut does; `partition` touches only
packets. Nothing here tells the control plane what happened: it has to find out.
"""

import contextlib
import signal
from dataclasses import replace
from typing import Any

from minikube_py.api.errors import NotFound
from minikube_py.api.gvr import NODES
from minikube_py.cluster import access, engine, identities, process
from minikube_py.cluster import profile as profiles
from minikube_py.cluster.components import kubelet_name
from minikube_py.cluster.errors import ClusterError
from minikube_py.cluster.profile import Profile
from minikube_py.cluster.up import start_supervisor

_READY_SECONDS = 60.0


def add(profile: Profile, count: int = 1) -> Profile:
    """`count` more nodes, Ready when this returns."""
    grown = profile.with_nodes(count)
    for node in grown.nodes[-count:]:
        identities.write_node(grown, node)
    _apply(grown)
    access.wait_nodes(grown, _READY_SECONDS)
    return grown


def remove(profile: Profile, name: str) -> Profile:
    """Take a node out for good: its kubelet, its containers, its directory and its Node object."""
    from kubelet import cgroups

    node = profile.node(name)
    rest = profile.without_node(name)
    _apply(rest)
    _await_end(profile, name)
    with contextlib.suppress(NotFound):
        access.client(profile).delete(NODES, name)
    if profile.runs_containers:
        _forget_network(profile, name)
        _containers(profile).remove_containers(profile.name, name)
        cgroups.remove_all(profile.name, name)
        engine.unmount_under(profile.node_directory(node))
    profiles.remove_tree(profile.node_directory(node))
    return rest


def stop(profile: Profile, name: str) -> Profile:
    """Power the node off: its kubelet and its containers die at once; its disk (directory, stopped containers) stays."""
    node = profile.node(name)
    if node.stopped:
        raise ClusterError(f"{name} is stopped already; start it with: minikube-py node start {name}")
    stopped = profile.with_node(replace(node, stopped=True))
    stopped.save()
    process.signal_quietly(_kubelet_pid(profile, name), signal.SIGKILL)
    _apply(stopped)
    if profile.runs_containers:
        _containers(profile).kill_containers(profile.name, name)
        _forget_network(profile, name)
    return stopped


def start(profile: Profile, name: str) -> Profile:
    """Power the node on again; Ready when this returns."""
    started = profile.with_node(replace(profile.node(name), stopped=False))
    _apply(started)
    access.wait_nodes(started, _READY_SECONDS)
    return started


def partition(profile: Profile, name: str) -> None:
    """Cut the node and its pods off from everything else; they live on."""
    from kubelet.network import partition as network

    node = profile.node(name)
    _needs_network(profile)
    network.partition(profile.name, name, profile.node_cidr(node))


def heal(profile: Profile, name: str) -> None:
    """Undo `partition`."""
    from kubelet.network import partition as network

    profile.node(name)
    _needs_network(profile)
    network.heal(profile.name, name)


def partitioned(profile: Profile) -> set[str]:
    """The names of the nodes that are cut off."""
    if not profile.runs_containers:
        return set()
    from kubelet.network import partition as network

    return set(network.partitioned(profile.name))


def _containers(profile: Profile) -> Any:
    """Who ends the containers of a node."""
    from minikube_py.cluster import containerd

    return containerd.of(profile) if profile.runtime == "cri" else engine


def _apply(profile: Profile) -> None:
    profile.save()
    start_supervisor(profile)


def _kubelet_pid(profile: Profile, name: str) -> int:
    pid = process.read_pid(profile.directory / "run" / f"{kubelet_name(profile.node(name))}.pid")
    if not pid:
        raise ClusterError(f"the kubelet of {name} is not running; start the cluster with: minikube-py up")
    return pid


def _await_end(profile: Profile, name: str) -> None:
    file = profile.directory / "run" / f"{kubelet_name(profile.node(name))}.pid"
    if not access.until(lambda: process.read_pid(file) == 0, 20):
        raise ClusterError(f"the kubelet of {name} does not end; see: minikube-py logs kubelet-{name}")


def _forget_network(profile: Profile, name: str) -> None:
    """A machine without power keeps no packet rules."""
    from kubelet.network import cleanup

    cleanup.remove_node(profile.name, name)


def _needs_network(profile: Profile) -> None:
    if not profile.runs_containers:
        raise ClusterError("simulated nodes share no network to be cut off from; use: minikube-py node stop")
