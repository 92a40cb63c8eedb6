"""What keeps a pod apart, and what a node refuses because it cannot: pure parts, and real containers."""

from pathlib import Path
from typing import Any

import pytest

from kubelet import host_support, options
from kubelet.container_config import _recursive
from kubelet.errors import ConfigError
from kubelet.options import Options
from kubelet.runtime import docker_create, docker_read
from kubelet.runtime.base import Mount
from kubelet.security import security_of
from minikube_py.api.gvr import EVENTS, PODS, RUNTIMECLASSES
from minikube_py.api.types import Obj
from tests import harness
from tests.kubelet.build import container as spec
from tests.kubelet.build import pod as build_pod
from tests.kubelet.conftest import Bridge, Nodes, container, is_ready, status_of


def with_sysctl(name: str, **fields: Any) -> Obj:
    return build_pod(securityContext={"sysctls": [{"name": name, "value": "1"}]}, **fields)


def test_sysctls_safe_allowed_and_refused() -> None:
    def reason(name: str, unsafe: tuple[str, ...] = (), **fields: Any) -> str:
        verdict = host_support.refuse(with_sysctl(name, **fields), unsafe)
        return verdict.message if verdict else ""

    assert reason("kernel.shm_rmid_forced") == reason("net/ipv4/tcp_syncookies") == ""
    assert reason("kernel.msgmax") == 'forbidden sysctl: "kernel.msgmax" not allowlisted'
    assert reason("kernel.msgmax", ("kernel.msg*",)) == reason("net.core.somaxconn", ("net.core.somaxconn",)) == ""
    assert "host net" in reason("net.ipv4.tcp_syncookies", hostNetwork=True)
    assert "host ipc" in reason("kernel.shm_rmid_forced", hostIPC=True)
    verdict = host_support.refuse(with_sysctl("vm.swappiness"))
    assert verdict is not None and verdict.reason == "SysctlForbidden"


def test_apparmor_where_the_kernel_has_it() -> None:
    profile = {"appArmorProfile": {"type": "Localhost", "localhostProfile": "mine"}}
    wanting = build_pod(spec("main", securityContext=profile))
    free = build_pod(spec("main", securityContext={"appArmorProfile": {"type": "Unconfined"}}))
    verdict = host_support.refuse(wanting, apparmor=False)
    assert verdict is not None and verdict.reason == "AppArmor"
    assert host_support.refuse(wanting, apparmor=True) is host_support.refuse(free, apparmor=False) is None
    from kubelet.runtime.base import Image

    assert security_of(wanting, wanting["spec"]["containers"][0], Image("i")).apparmor == "mine"


def test_user_namespaces_are_not_pretended() -> None:
    verdict = host_support.refuse(build_pod(hostUsers=False))
    assert verdict is not None and "user namespaces" in verdict.message


def test_recursive_read_only_mounts() -> None:
    def mount(mode: str) -> Obj:
        return {"name": "v", "mountPath": "/v", "readOnly": True, "recursiveReadOnly": mode}

    assert _recursive(mount("Enabled"), spec("main"), supported=True)
    assert not _recursive(mount("IfPossible"), spec("main"), supported=False)
    with pytest.raises(ConfigError, match="not supported"):
        _recursive(mount("Enabled"), spec("main"), supported=False)
    bodies = [
        docker_create._mount(Mount("/a", "/b", True, recursive_read_only=deep))["BindOptions"] for deep in (True, False)
    ]
    assert bodies[0]["ReadOnlyForceRecursive"] and bodies[1]["ReadOnlyNonRecursive"]
    assert "BindOptions" not in docker_create._mount(Mount("/a", "/b"))


def test_ulimits_are_flags() -> None:
    argv = ["--kubeconfig=k", "--node-name=n", "--root-dir=/r"]
    assert options.parse([*argv, "--default-ulimits=nofile=64:128,core=0"]).default_ulimits == {
        "nofile": "64:128",
        "core": "0",
    }
    for bad in ("nofile", "nofile=many", "nofile=1:x"):
        with pytest.raises(SystemExit):
            options.parse([*argv, f"--default-ulimits={bad}"])


# --- engines newer than the one at hand: answers as their API describes them


def test_answers_of_newer_engines() -> None:
    event = {"Type": "container", "Action": "die", "Actor": {"ID": "abc", "Attributes": {"io.kubernetes.pod.uid": "u"}}}
    old = {**event, "status": "die", "id": "abc"}
    assert docker_read.event(event) == docker_read.event(old)
    assert docker_read.event(event).container_id == "abc" and docker_read.event(event).pod_uid == "u"
    new = docker_read.info({"ServerVersion": "28.2.2", "CgroupDriver": "systemd", "CgroupVersion": "2"}, "1.50")
    assert new.recursive_read_only and new.cgroup_version == "2" and new.cgroup_driver == "systemd"
    assert not docker_read.info({"ServerVersion": "20.10"}, "1.41").recursive_read_only
    inspected = {"Id": "sha256:1", "RepoTags": ["a:1"], "RepoDigests": [], "Size": 5, "Config": {"User": "7"}}
    assert docker_read.image(inspected).user == "7"  # no VirtualSize, Container and ContainerConfig since 1.44 and 1.45
    assert docker_read.image({"Id": "sha256:1", "RepoTags": None, "Config": None}).names == ()
    assert docker_read.listed_image({"Id": "sha256:1", "RepoTags": [], "RepoDigests": [], "SharedSize": -1}).names == ()
    assert docker_read.places({"GraphDriver": None, "LogPath": "/l"}) == ("", "/l")
    stats = {
        "cpu_stats": {"cpu_usage": {"total_usage": 5}}, "pids_stats": {"current": 2},
        "memory_stats": {"usage": 100, "stats": {"inactive_file": 40, "anon": 7}},
    }  # fmt: skip
    read = docker_read.stats("c", stats)
    assert (read.memory_working_set, read.memory_rss, read.pids) == (60, 7, 2)


# --- real containers


@pytest.fixture(scope="module")
def node(nodes: Nodes) -> Options:
    return nodes.start(nodes.options(default_ulimits={"nofile": "512:1024"}, allowed_unsafe_sysctls=("kernel.msgmax",)))


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def said(pod: Obj) -> str:
    return str(status_of(pod, "main")["state"]["terminated"].get("message", ""))


def test_sysctls_and_ulimits_reach_the_container(nodes: Nodes, node: Options, namespace: str) -> None:
    script = "(cat /proc/sys/kernel/shm_rmid_forced /proc/sys/kernel/msgmax; ulimit -n) > /dev/termination-log"
    values = [{"name": "kernel.shm_rmid_forced", "value": "1"}, {"name": "kernel.msgmax", "value": "4096"}]
    pod = nodes.pod(
        namespace,
        node,
        containers=[container("main", sh(script))],
        restartPolicy="Never",
        securityContext={"sysctls": values},
    )
    assert said(nodes.wait_phase(pod, "Succeeded")).split() == ["1", "4096", "512"]
    refused = nodes.pod(namespace, node, securityContext={"sysctls": [{"name": "kernel.msgmnb", "value": "1"}]})
    assert nodes.wait_phase(refused, "Failed")["status"]["reason"] == "SysctlForbidden"


def test_runtime_classes(nodes: Nodes, node: Options, namespace: str, bridge: Bridge) -> None:
    for name, handler in ((f"{namespace}-good", "runc"), (f"{namespace}-bad", "no-such-runtime")):
        nodes.client.create(RUNTIMECLASSES, {
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": handler,
        })  # fmt: skip
    good = nodes.wait(nodes.pod(namespace, node, "good", runtimeClassName=f"{namespace}-good"), is_ready)
    own = [c for c in bridge.containers() if good["metadata"]["uid"] in c["Names"][0]]
    assert {bridge.engine.api.inspect_container(c["Id"])["HostConfig"]["Runtime"] for c in own} == {"runc"}
    bad = nodes.pod(namespace, node, "bad", runtimeClassName=f"{namespace}-bad")

    def told() -> bool:
        events = nodes.client.list(EVENTS, namespace)["items"]
        return any(e["reason"] == "FailedCreatePodSandBox" and "no-such-runtime" in e["message"] for e in events)

    harness.eventually(told, what="an event that names the handler")
    assert nodes.get(bad)["status"]["phase"] == "Pending"


def memory_limit(pod: Obj) -> int:
    """The limit of the pod's own cgroup, as the kernel has it (version 1)."""
    (directory,) = Path("/sys/fs/cgroup/memory/minikube-py").glob(f"*/*/**/pod{pod['metadata']['uid']}")
    return int((directory / "memory.limit_in_bytes").read_text())


def test_a_pod_has_limits_of_its_own_and_they_follow_its_spec(nodes: Nodes, node: Options, namespace: str) -> None:
    whole = {"limits": {"cpu": "500m", "memory": "96Mi"}, "requests": {"cpu": "250m", "memory": "48Mi"}}
    pod = nodes.wait(nodes.pod(namespace, node, resources=whole), is_ready)
    assert pod["status"]["qosClass"] == "Burstable"
    assert memory_limit(pod) == 96 << 20
    larger = {"spec": {"resources": {"limits": {"memory": "128Mi"}, "requests": {"memory": "64Mi"}}}}
    nodes.client.patch(PODS, pod["metadata"]["name"], larger, namespace, kind="strategic", subresource="resize")
    harness.eventually(lambda: memory_limit(pod) == 128 << 20, what="the pod's new limit")
    assert status_of(nodes.get(pod), "main")["restartCount"] == 0
    each: Obj = {"resources": {"limits": {"memory": "32Mi", "cpu": "100m"}}}
    both = [container("main", ["sleep", "3600"], **each), container("other", ["sleep", "3600"], **each)]
    sum_of_two = nodes.wait(nodes.pod(namespace, node, containers=both), is_ready)
    assert memory_limit(sum_of_two) == 64 << 20
    nodes.delete(pod)
    nodes.wait_gone(pod)

    def left() -> list[Path]:
        return list(Path("/sys/fs/cgroup").glob(f"*/minikube-py/*/*/**/pod{pod['metadata']['uid']}"))

    harness.eventually(lambda: not left(), what="no cgroup left")
