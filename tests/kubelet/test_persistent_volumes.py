"""Claims in pods on real Docker: data outlives pods, every refusal says why, and a pod's end touches no data."""

import os
from pathlib import Path
from typing import Any

import pytest

from kubelet.options import Options
from kubelet.volumes import mounts
from minikube_py.api.gvr import EVENTS, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, new_object
from minikube_py.api.types import Obj
from tests.harness import eventually
from tests.kubelet.conftest import Nodes, container, is_ready, status_of

SCRIPT = "cat /data/said; echo $(stat -c %g:%a /data) > /dev/termination-log; echo hello > /data/said"


def bound(nodes: Nodes, namespace: str, name: str, source: Obj, **spec: Any) -> None:
    """A claim and its volume, bound as the binder leaves them."""
    size = {"storage": "1Gi"}
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": size}, "storageClassName": "", **spec}
    pv_name = f"{namespace}-{name}"
    claim = new_object(PERSISTENTVOLUMECLAIMS, name, namespace, spec={**wanted, "volumeName": pv_name})
    claim["metadata"]["annotations"] = {"pv.kubernetes.io/bind-completed": "yes"}
    made = nodes.client.create(PERSISTENTVOLUMECLAIMS, claim)
    ref = {"namespace": namespace, "name": name, "uid": made["metadata"]["uid"]}
    fields = {key: value for key, value in wanted.items() if key not in ("resources",)}
    volume = new_object(PERSISTENTVOLUMES, pv_name, spec={**fields, "capacity": size, "claimRef": ref, **source})
    nodes.client.create(PERSISTENTVOLUMES, volume)
    status = {"phase": "Bound", "capacity": size}
    nodes.client.patch(PERSISTENTVOLUMECLAIMS, name, {"status": status}, namespace, subresource="status")


def local(node: Options, path: Path) -> Obj:
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node.node_name]}]}
    return {"local": {"path": str(path)}, "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}


def pod(nodes: Nodes, node: Options, namespace: str, script: str, claim: str = "data", **fields: Any) -> Obj:
    """A pod that runs the script once with the claim at /data."""
    mount = {"name": "v", "mountPath": "/data", **fields.pop("mount", {})}
    body = container("main", ["sh", "-c", script], **fields.pop("body", {"volumeMounts": [mount]}))
    source = {"claimName": claim, **fields.pop("source", {})}
    volumes = [{"name": "v", "persistentVolumeClaim": source}]
    return nodes.pod(namespace, node, containers=[body], volumes=volumes, restartPolicy="Never", **fields)


def told(nodes: Nodes, pod: Obj) -> str:
    message: str = status_of(nodes.wait_phase(pod, "Succeeded"), "main")["state"]["terminated"].get("message", "")
    return message.strip()


def events(nodes: Nodes, pod: Obj) -> str:
    found = nodes.client.list(EVENTS, pod["metadata"]["namespace"])["items"]
    mine = [e for e in found if e["involvedObject"].get("uid") == pod["metadata"]["uid"]]
    return "\n".join(f"{event['reason']}: {event['message']}" for event in mine)


@pytest.mark.parametrize("kind", ["hostPath", "local"])
def test_data_outlives_pods(nodes: Nodes, node: Options, namespace: str, tmp_path: Path, kind: str) -> None:
    source = local(node, tmp_path) if kind == "local" else {"hostPath": {"path": str(tmp_path)}}
    bound(nodes, namespace, "data", source)
    first = pod(nodes, node, namespace, SCRIPT, securityContext={"fsGroup": 4321})
    assert told(nodes, first) == ("4321:2770" if kind == "local" else f"0:{oct(tmp_path.stat().st_mode)[-3:]}")
    nodes.delete(first)
    nodes.wait_gone(first)
    assert (tmp_path / "said").read_text() == "hello\n"
    second = pod(nodes, node, namespace, "cat /data/said > /dev/termination-log", mount={"readOnly": True})
    assert told(nodes, second) == "hello"


def test_read_only_claims_and_sub_paths(nodes: Nodes, node: Options, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    bound(nodes, namespace, "data", local(node, tmp_path))
    script = "touch /data/x || echo refused > /dev/termination-log"
    assert told(nodes, pod(nodes, node, namespace, script, source={"readOnly": True})) == "refused"
    script = "touch /data/here; ls /data > /dev/termination-log"
    assert told(nodes, pod(nodes, node, namespace, script, mount={"subPath": "deep"})) == "here"
    assert (tmp_path / "deep" / "here").exists()


def test_a_pod_waits_for_its_claim_and_says_so(nodes: Nodes, node: Options, namespace: str, tmp_path: Path) -> None:
    waiting = pod(nodes, node, namespace, "true")
    eventually(lambda: 'persistentvolumeclaims "data" not found' in events(nodes, waiting), what="FailedMount")
    assert "FailedMount: MountVolume.SetUp failed" in events(nodes, waiting)
    bound(nodes, namespace, "data", local(node, tmp_path))
    nodes.wait_phase(waiting, "Succeeded")


def test_volumes_elsewhere_and_single_pods(nodes: Nodes, node: Options, namespace: str, tmp_path: Path) -> None:
    away = local(node, tmp_path)
    away["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"] = ["elsewhere"]
    bound(nodes, namespace, "away", away)
    refused = pod(nodes, node, namespace, "true", claim="away")
    eventually(lambda: "no matching NodeSelectorTerms" in events(nodes, refused))
    bound(nodes, namespace, "data", local(node, tmp_path), accessModes=["ReadWriteOncePod"])
    holder = pod(nodes, node, namespace, "sleep 3600")
    nodes.wait(holder, is_ready)
    second = pod(nodes, node, namespace, "true")
    eventually(lambda: "already in use by another pod" in events(nodes, second))
    nodes.delete(holder)
    nodes.wait_phase(second, "Succeeded")


def test_mounts_that_come_later_are_seen(nodes: Nodes, node: Options, namespace: str) -> None:
    """HostToContainer, on a machine whose root may be private."""
    mount = {"name": "v", "mountPath": "/data", "mountPropagation": "HostToContainer"}
    script = "until test -e /data/later/seen; do sleep 0.1; done"
    body = container("main", ["sh", "-c", script], volumeMounts=[mount])
    volumes: list[Obj] = [{"name": "v", "emptyDir": {}}]
    made = nodes.pod(namespace, node, containers=[body], volumes=volumes, restartPolicy="Never")
    nodes.wait(made, is_ready)
    directory = Path(node.root_dir) / "pods" / made["metadata"]["uid"]
    later = directory / "volumes" / "kubernetes.io~empty-dir" / "v" / "later"
    later.mkdir()
    mounts.mount_tmpfs(later)
    (later / "seen").touch()
    nodes.wait_phase(made, "Succeeded")
    nodes.delete(made)
    nodes.wait_gone(made)
    eventually(lambda: not mounts.below(directory), what="nothing of it stays mounted")


def test_block_volumes(nodes: Nodes, node: Options, namespace: str) -> None:
    """Any block device of the machine will do: nothing is written to it."""
    device = next(f"/dev/{name}" for name in sorted(os.listdir("/sys/block")) if Path(f"/dev/{name}").is_block_device())
    bound(nodes, namespace, "disk", local(node, Path(device)), volumeMode="Block")
    script = "test -b /dev/mine && echo block > /dev/termination-log"
    body = {"volumeDevices": [{"name": "v", "devicePath": "/dev/mine"}]}
    assert told(nodes, pod(nodes, node, namespace, script, claim="disk", body=body)) == "block"
    wrong = pod(nodes, node, namespace, "true", claim="disk")
    nodes.wait(wrong, lambda p: "volumeMode Block" in str(p.get("status")))
