"""CSI on real Docker: our example driver registers over real sockets, and pods get its volumes, whatever happens between."""

import contextlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubelet.csi import schema
from kubelet.options import Options
from minikube_py.api.gvr import (
    CSIDRIVERS,
    CSINODES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    SERVICEACCOUNTS,
    STORAGECLASSES,
    TOKENREVIEWS,
    VOLUMEATTACHMENTS,
    new_object,
)
from minikube_py.api.types import Obj
from tests import harness
from tests.controllers import storage
from tests.controllers.play import running
from tests.harness import eventually
from tests.kubelet.conftest import Nodes, container, is_ready
from tests.kubelet.test_persistent_volumes import bound, events, pod, told


def _example() -> Any:
    spec = importlib.util.spec_from_file_location("csi_driver", harness.ROOT / "examples" / "csi_driver.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["csi_driver"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLE = _example()


class Driver:
    """The example driver on one node."""

    def __init__(self, node: Options, name: str, data: Path, abilities: tuple[int, ...]) -> None:
        self.root, self.name = Path(node.root_dir), name
        self.service = EXAMPLE.Directories(name, node.node_name, data, abilities)
        self.stop: Callable[[], None] = lambda: None

    def start(self) -> None:
        registration = self.root / "plugins_registry" / f"{self.name}-reg.sock"
        self.stop = EXAMPLE.serve(self.service, self.root / "plugins" / self.name / "csi.sock", registration)

    def made(self) -> list[str]:
        """The calls that changed something, in order."""
        kept = [name.removeprefix("Node").removesuffix("Volume") for name, _ in self.service.calls if "Volume" in name]
        return [name for name, before in zip(kept, ["", *kept], strict=False) if name != before]


@pytest.fixture
def driver(nodes: Nodes, node: Options, namespace: str, tmp_path: Path) -> Iterator[Driver]:
    name = f"{namespace}.example.com"
    one = Driver(node, name, tmp_path, (schema.STAGE, schema.EXPAND))
    spec = {"attachRequired": False, "podInfoOnMount": True, "volumeLifecycleModes": ["Persistent", "Ephemeral"]}
    nodes.client.create(CSIDRIVERS, new_object(CSIDRIVERS, name, spec={**spec, "fsGroupPolicy": "File"}))
    one.start()
    eventually(lambda: name in _listed(nodes, node), 60, what="the driver in the CSINode")
    yield one
    one.stop()
    nodes.client.delete(CSIDRIVERS, name)


def _listed(nodes: Nodes, node: Options) -> list[str]:
    return [entry["name"] for entry in nodes.client.get(CSINODES, node.node_name)["spec"].get("drivers") or []]


def _source(driver: Driver, handle: str) -> Obj:
    return {"csi": {"driver": driver.name, "volumeHandle": handle}}


def test_a_driver_registers_and_leaves(nodes: Nodes, node: Options, driver: Driver) -> None:
    entry = next(d for d in nodes.client.get(CSINODES, node.node_name)["spec"]["drivers"] if d["name"] == driver.name)
    key = f"topology.{driver.name}/node"
    assert entry == {"name": driver.name, "nodeID": node.node_name, "topologyKeys": [key], "allocatable": {"count": 16}}
    assert nodes.client.get(NODES, node.node_name)["metadata"]["labels"][key] == node.node_name
    driver.stop()
    eventually(lambda: driver.name not in _listed(nodes, node), 60)


def test_staged_published_and_undone(
    nodes: Nodes, node: Options, namespace: str, driver: Driver, tmp_path: Path
) -> None:
    bound(nodes, namespace, "data", _source(driver, "vol-1"))
    script = "touch /data/here; stat -c %g /data > /dev/termination-log; sleep 2"
    second = pod(nodes, node, namespace, "sleep 3600")
    nodes.wait(second, is_ready)
    first = pod(nodes, node, namespace, script, securityContext={"fsGroup": 4321})
    assert told(nodes, first) == "4321"
    nodes.delete(first)
    nodes.wait_gone(first)
    assert "Unstage" not in driver.made(), "the second pod still uses it"
    nodes.delete(second)
    nodes.wait_gone(second)
    assert driver.made()[0] == "Stage" and driver.made()[-2:] == ["Unpublish", "Unstage"]
    assert (tmp_path / "vol-1" / "here").exists()
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert not list((driver.root / "plugins" / "kubernetes.io" / "csi" / driver.name).glob("*"))


def test_volumes_of_the_pod_itself(nodes: Nodes, node: Options, namespace: str, driver: Driver, tmp_path: Path) -> None:
    mount = {"name": "v", "mountPath": "/data", "readOnly": True}
    script = "cat /data/csi.storage.k8s.io_pod.name > /dev/termination-log"
    inline = [{"name": "v", "csi": {"driver": driver.name, "readOnly": True, "volumeAttributes": {"a": "b"}}}]
    body = container("main", ["sh", "-c", script], volumeMounts=[mount])
    made = nodes.pod(namespace, node, "mine", containers=[body], volumes=inline, restartPolicy="Never")
    assert told(nodes, made) == "mine"
    nodes.delete(made)
    nodes.wait_gone(made)
    assert not list(tmp_path.iterdir()), "it lived as long as its pod"


@pytest.mark.parametrize("in_secrets", [False, True])
def test_tokens_for_the_driver(nodes: Nodes, node: Options, namespace: str, driver: Driver, in_secrets: bool) -> None:
    """Of the pod, for the audience the driver asks for; told again and again to a driver that wants that."""
    nodes.client.delete(CSIDRIVERS, driver.name)
    spec = {
        "attachRequired": False, "tokenRequests": [{"audience": "vault", "expirationSeconds": 900}],
        "requiresRepublish": True, "serviceAccountTokenInSecrets": in_secrets,
    }  # fmt: skip
    nodes.client.create(CSIDRIVERS, new_object(CSIDRIVERS, driver.name, spec=spec))
    nodes.client.create(SERVICEACCOUNTS, new_object(SERVICEACCOUNTS, "default", namespace))
    bound(nodes, namespace, "data", _source(driver, "vol-5"))
    made = pod(nodes, node, namespace, "sleep 3600", serviceAccountName="default")
    nodes.wait(made, is_ready)

    def published() -> list[Obj]:
        requests = [request for call, request in driver.service.calls if call == "NodePublishVolume"]
        key = "csi.storage.k8s.io/serviceAccount.tokens"
        told = [dict(request.secrets if in_secrets else request.volume_context) for request in requests]
        return [json.loads(one[key])["vault"] for one in told]

    eventually(lambda: len(published()) > 2, what="published anew")
    asked = {"token": published()[-1]["token"], "audiences": ["vault"]}
    review = {"apiVersion": TOKENREVIEWS.api_version, "kind": TOKENREVIEWS.kind, "spec": asked}
    status = nodes.client.create(TOKENREVIEWS, review)["status"]
    assert status["authenticated"] and status["user"]["username"] == f"system:serviceaccount:{namespace}:default"
    assert published()[-1]["expirationTimestamp"]
    assert [call for call, _ in driver.service.calls].count("NodeStageVolume") == 1


def test_a_pod_waits_for_its_driver(nodes: Nodes, node: Options, namespace: str, driver: Driver) -> None:
    driver.stop()
    eventually(lambda: driver.name not in _listed(nodes, node), 60)
    bound(nodes, namespace, "data", _source(driver, "vol-2"))
    waiting = pod(nodes, node, namespace, "sleep 3600")
    eventually(lambda: f"driver name {driver.name} not found in the list of registered" in events(nodes, waiting))
    driver.start()
    nodes.wait(waiting, is_ready)
    driver.stop()
    eventually(lambda: driver.name not in _listed(nodes, node), 60)
    nodes.delete(waiting)
    driver.start()
    nodes.wait_gone(waiting)
    assert driver.made()[-1] == "Unstage"


@pytest.mark.parametrize(
    "call", ["node_stage_volume", "node_publish_volume", "node_unpublish_volume", "node_unstage_volume"]
)
def test_a_driver_that_fails_once_everywhere(
    nodes: Nodes, node: Options, namespace: str, driver: Driver, tmp_path: Path, call: str
) -> None:
    """Once before and once after it did its work."""
    original, left = getattr(driver.service, call), ["before", "after"]

    def failing(request: Any) -> Any:
        when = left.pop(0) if left else ""
        if when == "before":
            raise OSError("made up: refused")
        answer = original(request)
        if when == "after":
            raise OSError("made up: the answer was lost")
        return answer

    setattr(driver.service, call, failing)
    bound(nodes, namespace, "data", _source(driver, "vol-3"))
    made = pod(nodes, node, namespace, "sleep 3600")
    nodes.wait(made, is_ready)
    nodes.delete(made)
    nodes.wait_gone(made)
    assert not left and str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_the_kubelet_restarts_in_between(nodes: Nodes, namespace: str, tmp_path: Path) -> None:
    """A volume published by one kubelet is undone by the next."""
    options = nodes.start(nodes.options(9))
    driver = Driver(options, f"{namespace}.example.org", tmp_path, (schema.STAGE,))
    spec = {"attachRequired": False}
    nodes.client.create(CSIDRIVERS, new_object(CSIDRIVERS, driver.name, spec=spec))
    driver.start()
    eventually(lambda: driver.name in _listed(nodes, options), 60)
    bound(nodes, namespace, "data", _source(driver, "vol-4"))
    made = pod(nodes, options, namespace, "sleep 3600")
    nodes.wait(made, is_ready)
    nodes.stop(options)
    nodes.delete(made)
    nodes.start(options)
    nodes.wait_gone(made)
    assert driver.made()[-1] == "Unstage" and str(tmp_path) not in Path("/proc/self/mounts").read_text()
    driver.stop()
    nodes.client.delete(CSIDRIVERS, driver.name)
    nodes.stop(options)


def test_provisioned_attached_and_grown(nodes: Nodes, node: Options, namespace: str, driver: Driver) -> None:
    """With the driver's own loops, the binder and the attach/detach controller: nothing is played."""
    client = nodes.client
    client.delete(CSIDRIVERS, driver.name)
    client.create(CSIDRIVERS, new_object(CSIDRIVERS, driver.name, spec={"attachRequired": True}))
    made = storage.storage_class(namespace, provisioner=driver.name, allowVolumeExpansion=True)
    client.create(STORAGECLASSES, made)
    with running(client, *storage.BINDER, "attachdetach", "volume-expand"), _controlled(client, driver.name):
        client.create(PERSISTENTVOLUMECLAIMS, storage.claim("data", namespace))
        name = eventually(lambda: storage.volume_of(client, "data", namespace))
        user = pod(nodes, node, namespace, "sleep 3600")
        nodes.wait(user, is_ready)
        attached = {"name": f"kubernetes.io/csi/{driver.name}^{name}", "devicePath": ""}
        eventually(lambda: attached in client.get(NODES, node.node_name)["status"]["volumesAttached"])
        eventually(lambda: attached["name"] in client.get(NODES, node.node_name)["status"]["volumesInUse"])
        published = next(request for call, request in driver.service.calls if call == "NodePublishVolume")
        assert dict(published.publish_context) == {"by": "csi-attacher"}
        client.patch(
            PERSISTENTVOLUMECLAIMS, "data", {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}, namespace
        )
        client.patch(PERSISTENTVOLUMES, name, {"spec": {"capacity": {"storage": "2Gi"}}})  # the resizer's part

        def capacity() -> str:
            status = client.get(PERSISTENTVOLUMECLAIMS, "data", namespace)["status"]
            return str(status["capacity"]["storage"])

        eventually(lambda: capacity() == "2Gi", 60)
        assert "Expand" in driver.made()
        nodes.delete(user)
        nodes.wait_gone(user)
        eventually(lambda: not _attachments(nodes, driver), 60, what="detached, once the node said it is not in use")
        client.delete(PERSISTENTVOLUMECLAIMS, "data", namespace)
        eventually(lambda: name not in [pv["metadata"]["name"] for pv in client.list(PERSISTENTVOLUMES)["items"]])
    client.delete(STORAGECLASSES, namespace)


def _attachments(nodes: Nodes, driver: Driver) -> list[Obj]:
    return [a for a in nodes.client.list(VOLUMEATTACHMENTS)["items"] if a["spec"]["attacher"] == driver.name]


@contextlib.contextmanager
def _controlled(client: Any, name: str) -> Iterator[None]:
    stop = EXAMPLE.control(client, name)
    yield
    stop()
