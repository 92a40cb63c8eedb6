"""What a grant becomes per engine, down to Docker's create payload: golden files. UPDATE_GOLDEN=1 rewrites them."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from kubelet.devices.injection import Engine, choose_mode, inject, merge
from kubelet.runtime.base import ContainerConfig, Mount, PodRef
from kubelet.runtime.docker_create import container_body
from minikube_py.api.types import Obj

GOLDEN = Path(__file__).parent / "golden"
ONE, TWO = "GPU-11111111-0000-0000-0000-000000000000", "GPU-22222222-0000-0000-0000-000000000000"
ENGINES = {
    "runtime": Engine("runtime"),
    "cdi": Engine("cdi"),
    "hook": Engine("hook"),
    "bare": Engine(
        "bare", ("/dev/nvidiactl", "/dev/nvidia-uvm"), {ONE: 0, TWO: 3},
        (Mount("/var/lib/node/nvidia/550.163.01", "/usr/local/nvidia", read_only=True),),
    ),
    "mock": Engine("mock", files=(Mount("/var/lib/node/gpus/nvidia-smi", "/usr/bin/nvidia-smi", read_only=True),)),
}  # fmt: skip


def pod(**spec: object) -> Obj:
    return {"metadata": {"name": "p", "namespace": "default", "uid": "u"}, "spec": spec}


@pytest.mark.parametrize("mode", ENGINES)
def test_golden_payloads(mode: str) -> None:
    responses: list[Obj] = [{"envs": {"NVIDIA_VISIBLE_DEVICES": f"{ONE},{TWO}"}}]
    given = inject(ENGINES[mode], pod(), {"name": "c"}, responses)
    none = inject(ENGINES[mode], pod(), {"name": "c"}, [])
    config = ContainerConfig(PodRef("p", "default", "u"), "c", 0, "image", {})
    payloads = {
        name: container_body("SANDBOX", replace(
            config, env=tuple(grant.env.items()), mounts=grant.mounts, devices=grant.devices,
            device_requests=grant.device_requests, runtime_handler=grant.runtime_handler,
        ))
        for name, grant in (("two", given), ("none", none))
    }  # fmt: skip
    text = json.dumps(payloads, indent=1, sort_keys=True) + "\n"
    file = GOLDEN / f"create-{mode}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def test_what_the_pod_says_itself() -> None:
    response: Obj = {"envs": {"NVIDIA_VISIBLE_DEVICES": ONE}}
    env = [{"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "all"}, {"name": "LD_LIBRARY_PATH", "value": "/x"}]
    own = {"name": "c", "env": env}
    assert "NVIDIA_DRIVER_CAPABILITIES" not in inject(ENGINES["runtime"], pod(), own, [response]).env
    assert inject(ENGINES["bare"], pod(), own, [response]).env["LD_LIBRARY_PATH"] == "/usr/local/nvidia/lib64:/x"


def test_who_is_not_kept_from_seeing_cards() -> None:
    container = {"name": "c"}
    assert inject(ENGINES["mock"], pod(), container, []).env == {"NVIDIA_VISIBLE_DEVICES": "void"}
    assert inject(ENGINES["mock"], pod(runtimeClassName="nvidia"), container, []).env == {}
    assert inject(ENGINES["mock"], pod(), container, [], ["default"]).env == {}


def test_other_resources_devices_come_too() -> None:
    response: Obj = {
        "envs": {"A": "1"}, "devices": [{"host_path": "/dev/x", "container_path": "/dev/y", "permissions": "rw"}],
        "mounts": [{"host_path": "/h", "container_path": "/c", "read_only": True}],
    }  # fmt: skip
    grant = inject(ENGINES["mock"], pod(), {"name": "c"}, [response])
    assert grant.env == {"A": "1", "NVIDIA_VISIBLE_DEVICES": "void"}
    assert [(d.host_path, d.container_path, d.permissions) for d in grant.devices] == [("/dev/x", "/dev/y", "rw")]
    assert grant.mounts == (Mount("/h", "/c", read_only=True),)
    assert merge([{"envs": {"A": "1"}}, {"envs": {"A": "2", "B": "3"}}])["envs"] == {"A": "1", "B": "3"}


def test_choice_of_mode() -> None:
    assert choose_mode(["runc", "nvidia"], "28.0", cdi_spec=True, hook=True) == "runtime"
    assert choose_mode(["runc"], "28.0", cdi_spec=True, hook=True) == "cdi"
    assert choose_mode(["runc"], "20.10.24", cdi_spec=True, hook=True) == "hook"
    assert choose_mode(["runc"], "20.10.24", cdi_spec=True, hook=False) == "bare"
    assert choose_mode(["runc"], "dev", cdi_spec=True, hook=False) == "bare"
