"""What Docker is asked to create: golden bodies.

`UPDATE_GOLDEN=1 pytest tests/kubelet/test_docker_create.py` writes the file anew; read the difference before committing.
"""

import os
from pathlib import Path

import yaml

from kubelet.runtime import docker_create
from kubelet.runtime.base import ContainerConfig, Device, Mount, PodRef, Resources, SandboxConfig, Security
from minikube_py.api.types import Obj

GOLDEN = Path(__file__).parent / "golden" / "docker_create.yaml"
REF = PodRef("web", "default", "uid-1")
PLAIN = ContainerConfig(pod=REF, name="main", attempt=0, image="busybox:1", labels={"a": "b"})


def bodies() -> dict[str, Obj]:
    sandbox = SandboxConfig(pod=REF, attempt=0, image="pause", labels={"a": "b"}, hostname="web")
    return {
        "sandbox wired by us": docker_create.sandbox_body(sandbox),
        "sandbox on an engine network": docker_create.sandbox_body(
            SandboxConfig(
                pod=REF, attempt=1, image="pause", labels={}, hostname="web", network="net", cgroup_parent="/p/uid",
                port_mappings=(("127.0.0.1", 8080, 80, "TCP"), ("", 53, 53, "UDP")), sysctls={"kernel.shm_rmid_forced": "1"},
            ), oom_floor=0,
        ),
        "host namespaces": docker_create.sandbox_body(
            SandboxConfig(pod=REF, attempt=0, image="pause", labels={}, network="host", host_pid=True, host_ipc=True)
        ),
        "plain container": docker_create.container_body("sandbox-1", PLAIN),
        "everything": docker_create.container_body("sandbox-1", ContainerConfig(
            pod=REF, name="main", attempt=2, image="busybox:1", labels={}, command=("sh", "-c"), args=("echo hi",),
            working_dir="/w", env=(("A", "1"), ("B", "x=y")),
            mounts=(Mount("/a", "/b", True), Mount("/c", "/d", False, "Bidirectional")),
            devices=(Device("/dev/null", "/dev/x", "rw"),), resources=Resources(512, 50_000, 100_000, 1 << 26, 100, 900),
            security=Security(
                user="1000:2000", groups=(3000, 4000), add_capabilities=("NET_ADMIN",), drop_capabilities=("ALL",),
                read_only_root=True, no_new_privileges=True, seccomp="RuntimeDefault", apparmor="unconfined",
                unmasked_proc=True,
            ), stdin=True, stdin_once=True, tty=True, pid_container="sandbox-1", cgroup_parent="/p/uid",
            runtime_handler="nvidia", device_requests=({"Driver": "nvidia", "DeviceIDs": ["GPU-1"]},), stop_signal="SIGUSR1",
        )),
        "host network and pid, negative oom score refused": docker_create.container_body("sandbox-1", ContainerConfig(
            pod=REF, name="main", attempt=0, image="busybox:1", labels={}, host_network=True, host_pid=True, host_ipc=True,
            resources=Resources(oom_score_adj=-997), security=Security(privileged=True),
        ), oom_floor=0),
        "update": docker_create.update_body(Resources(1024, 20_000, 100_000, 1 << 20)),
    }  # fmt: skip


def test_golden() -> None:
    got = bodies()
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(yaml.safe_dump(got, sort_keys=False, width=120))
    assert got == yaml.safe_load(GOLDEN.read_text())


def test_what_never_varies() -> None:
    for name, body in bodies().items():
        if name == "update":
            continue
        host = body["HostConfig"]
        assert host["RestartPolicy"] == {"Name": "no"}
        assert host["LogConfig"]["Type"] == "json-file"
        assert name.startswith(("sandbox", "host namespaces")) or body["Healthcheck"] == {"Test": ["NONE"]}
