"""Volumes made for claims: the provisioner and the node's half, on a real disk; protection, ephemeral claims, growth.

The scheduler's part (selecting the node) is played by a patch.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubelet.volumes.expansion import Expansion
from kubelet.volumes.local_path import LocalVolumes
from minikube_py.api import errors
from minikube_py.api import volumes as v
from minikube_py.api.gvr import (
    EVENTS,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    STORAGECLASSES,
    new_object,
)
from minikube_py.api.meta import annotations_of, condition_of
from minikube_py.api.types import Obj
from minikube_py.client.events import EventRecorder
from minikube_py.client.informer import SharedInformers
from minikube_py.client.rest import Client
from tests.controllers.play import CountingClient, pod_template, running
from tests.controllers.storage import BINDER, claim, phase, storage_class, volume_of
from tests.controllers.test_faults import FAULTS, dies_after, every
from tests.harness import eventually

LOOPS = (*BINDER, "local-path-provisioner", "volume-expand", "ephemeral-volume")


class Node:
    """A Node in the API with a directory on this machine, and the loop its kubelet would run."""

    def __init__(self, client: Client, name: str, root: Path) -> None:
        self.client, self.name, self.root = client, name, root
        obj = new_object(NODES, name)
        obj["metadata"] |= {
            "labels": {"kubernetes.io/hostname": name}, "annotations": {v.DIRECTORY: str(root / "volumes")},
        }  # fmt: skip
        client.create(NODES, obj)
        status = {"conditions": [{"type": "Ready", "status": "True"}]}
        client.patch(NODES, name, {"status": status}, subresource="status")

    @contextlib.contextmanager
    def up(self, client: Client | None = None) -> Iterator[None]:
        client = client or self.client
        informers, recorder = SharedInformers(client), EventRecorder(client, "kubelet")
        loop = LocalVolumes(client, informers, Expansion(client, recorder), str(self.root), self.name).controller()
        informers.start()
        loop.start()
        yield
        loop.stop()
        informers.stop()
        recorder.stop()

    def topology(self) -> list[Obj]:
        """What keeps a class to this node: others on this server may look as ready."""
        return [{"matchLabelExpressions": [{"key": "kubernetes.io/hostname", "values": [self.name]}]}]

    def volumes(self) -> list[Path]:
        return sorted((self.root / "volumes").glob("*")) if (self.root / "volumes").exists() else []


@pytest.fixture
def node(client: Client, namespace: str, tmp_path: Path) -> Iterator[Node]:
    made = Node(client, f"{namespace}-node", tmp_path)
    client.create(
        STORAGECLASSES,
        storage_class(
            namespace, provisioner=v.LOCAL_PATH, volumeBindingMode="WaitForFirstConsumer", allowVolumeExpansion=True
        ),
    )
    yield made
    client.delete(STORAGECLASSES, namespace)
    with contextlib.suppress(errors.NotFound):
        client.delete(NODES, made.name)


def select(client: Client, namespace: str, name: str, node: str) -> None:
    mark = {"metadata": {"annotations": {v.SELECTED_NODE: node}}}
    client.patch(PERSISTENTVOLUMECLAIMS, name, mark, namespace)


def reasons(client: Client, namespace: str, name: str) -> str:
    events = client.list(EVENTS, namespace)["items"]
    return "\n".join(f"{e['reason']}: {e['message']}" for e in events if e["involvedObject"]["name"] == name)


def gone(client: Client, name: str, namespace: str = "") -> bool:
    try:
        client.get(PERSISTENTVOLUMECLAIMS if namespace else PERSISTENTVOLUMES, name, namespace)
    except errors.NotFound:
        return True
    return False


def a_whole_life(client: Client, namespace: str, node: Node, check: Callable[[], Any] = lambda: None) -> None:
    """From the claim to the removal of its data; the API is read and written undisturbed."""
    client.create(PERSISTENTVOLUMECLAIMS, claim("data", namespace, "1Gi"))
    select(client, namespace, "data", node.name)
    check()


def is_made(client: Client, namespace: str, node: Node) -> bool:
    name = volume_of(client, "data", namespace)
    return bool(name) and [path.name for path in node.volumes()] == [name] and phase(client, name) == "Bound"


def test_from_claim_to_directory_and_back(client: Client, namespace: str, node: Node) -> None:
    with running(client, *LOOPS), node.up():
        client.create(PERSISTENTVOLUMECLAIMS, claim("data", namespace))
        eventually(lambda: "WaitForFirstConsumer" in reasons(client, namespace, "data"))
        select(client, namespace, "data", node.name)
        eventually(lambda: is_made(client, namespace, node))
        name = volume_of(client, "data", namespace)
        made = client.get(PERSISTENTVOLUMES, name)
        assert made["spec"]["local"] == {"path": str(node.volumes()[0])}
        assert made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"] == [
            node.name
        ]
        assert node.volumes()[0].stat().st_mode & 0o777 == 0o777
        client.delete(PERSISTENTVOLUMECLAIMS, "data", namespace)
        eventually(lambda: gone(client, name) and not node.volumes())


def test_what_cannot_be_made_says_why(client: Client, namespace: str, node: Node) -> None:
    with running(client, *LOOPS):
        for name, spec in (("many", {"accessModes": ["ReadWriteMany"]}), ("block", {"volumeMode": "Block"})):
            client.create(PERSISTENTVOLUMECLAIMS, claim(name, namespace, **spec))
            select(client, namespace, name, node.name)
        client.create(PERSISTENTVOLUMECLAIMS, claim("nowhere", namespace))
        select(client, namespace, "nowhere", "no-such-node")
        eventually(lambda: "can only be ReadWriteOnce" in reasons(client, namespace, "many"))
        eventually(lambda: "only volumes with a filesystem" in reasons(client, namespace, "block"))
        eventually(lambda: "node no-such-node is not there" in reasons(client, namespace, "nowhere"))
        eventually(
            lambda: v.SELECTED_NODE not in annotations_of(client.get(PERSISTENTVOLUMECLAIMS, "nowhere", namespace)),
            what="the scheduler is asked again",
        )


def test_immediate_classes_choose_a_node(client: Client, namespace: str, node: Node) -> None:
    now = storage_class(
        f"{namespace}-now", provisioner=v.LOCAL_PATH, allowedTopologies=node.topology(), reclaimPolicy="Retain"
    )
    client.create(STORAGECLASSES, now)
    with running(client, *LOOPS), node.up():
        client.create(PERSISTENTVOLUMECLAIMS, claim("data", namespace, storageClassName=f"{namespace}-now"))
        eventually(lambda: is_made(client, namespace, node))
        name = volume_of(client, "data", namespace)
        client.delete(PERSISTENTVOLUMECLAIMS, "data", namespace)
        eventually(lambda: phase(client, name) == "Released")
        assert node.volumes(), "the policy Retain keeps the data"
        client.delete(PERSISTENTVOLUMES, name)
        eventually(lambda: gone(client, name) and not node.volumes())
    client.delete(STORAGECLASSES, f"{namespace}-now")


def test_copies_and_growth(client: Client, namespace: str, node: Node) -> None:
    with running(client, *LOOPS), node.up():
        a_whole_life(client, namespace, node, lambda: eventually(lambda: is_made(client, namespace, node)))
        (node.volumes()[0] / "file").write_text("contents")
        copy = claim("copy", namespace, dataSource={"kind": "PersistentVolumeClaim", "name": "data"})
        client.create(PERSISTENTVOLUMECLAIMS, copy)
        select(client, namespace, "copy", node.name)
        name = eventually(lambda: volume_of(client, "copy", namespace))
        eventually(lambda: (node.root / "volumes" / name / "file").read_text() == "contents")
        more = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
        client.patch(PERSISTENTVOLUMECLAIMS, "data", more, namespace)

        def grown() -> bool:
            status = client.get(PERSISTENTVOLUMECLAIMS, "data", namespace)["status"]
            return bool(status["capacity"]["storage"] == "3Gi" and not status.get("conditions"))

        eventually(grown)
        eventually(lambda: "FileSystemResizeSuccessful" in reasons(client, namespace, "data"))


def test_a_limit_is_a_filesystem_of_its_own(client: Client, namespace: str, node: Node) -> None:
    limited = storage_class(
        f"{namespace}-limited",
        provisioner=v.LOCAL_PATH,
        parameters={"limit": "image"},
        allowedTopologies=node.topology(),
    )
    client.create(STORAGECLASSES, limited)
    with running(client, *LOOPS), node.up():
        client.create(PERSISTENTVOLUMECLAIMS, claim("data", namespace, "20Mi", storageClassName=f"{namespace}-limited"))
        name = eventually(lambda: volume_of(client, "data", namespace))
        path = node.root / "volumes" / name
        eventually(path.is_mount)
        with pytest.raises(OSError, match="No space"):
            (path / "large").write_bytes(bytes(21 << 20))
        client.delete(PERSISTENTVOLUMECLAIMS, "data", namespace)
        eventually(lambda: gone(client, name) and not node.volumes())
    client.delete(STORAGECLASSES, f"{namespace}-limited")


def test_a_node_that_is_gone_takes_its_volumes_along(client: Client, namespace: str, node: Node) -> None:
    with running(client, *LOOPS):
        with node.up():
            a_whole_life(client, namespace, node, lambda: eventually(lambda: is_made(client, namespace, node)))
        name = volume_of(client, "data", namespace)
        client.delete(PERSISTENTVOLUMECLAIMS, "data", namespace)
        eventually(lambda: v.DATA_FINALIZER in client.get(PERSISTENTVOLUMES, name)["metadata"].get("finalizers", []))
        client.delete(NODES, node.name)
        eventually(lambda: gone(client, name))


def _pod(namespace: str, **spec: Any) -> Obj:
    return new_object(PODS, "user", namespace, spec={**pod_template("x")["spec"], **spec})


def test_storage_in_use_stays(client: Client, namespace: str, node: Node) -> None:
    uses = {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}], "nodeName": node.name}
    with running(client, *LOOPS), node.up():
        a_whole_life(client, namespace, node, lambda: eventually(lambda: is_made(client, namespace, node)))
        client.create(PODS, _pod(namespace, **uses))
        name = volume_of(client, "data", namespace)
        client.delete(PERSISTENTVOLUMES, name)
        client.delete(PERSISTENTVOLUMECLAIMS, "data", namespace)
        assert not gone(client, "data", namespace) and not gone(client, name) and node.volumes()
        client.delete(PODS, "user", namespace, grace_period_seconds=0)
        eventually(lambda: gone(client, "data", namespace) and gone(client, name) and not node.volumes())


def test_ephemeral_claims(client: Client, namespace: str, node: Node) -> None:
    template = {"metadata": {"labels": {"made": "yes"}}, "spec": claim("x", namespace)["spec"]}
    volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]
    foreign = claim("user-scratch", f"{namespace}", "1Gi")
    with running(client, *LOOPS):
        client.create(PERSISTENTVOLUMECLAIMS, foreign)
        pod = client.create(PODS, _pod(namespace, volumes=volumes))
        eventually(lambda: "pod is not owner" in reasons(client, namespace, "user"))
        client.delete(PERSISTENTVOLUMECLAIMS, "user-scratch", namespace)

        def owned() -> bool:
            made = client.get(PERSISTENTVOLUMECLAIMS, "user-scratch", namespace)
            return v.made_for(made, pod) and made["metadata"]["labels"] == {"made": "yes"}

        eventually(owned)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_life_under_disturbance(client: Client, namespace: str, node: Node, fault: str) -> None:
    disturbed = CountingClient(client, every(2, fault))
    with running(disturbed, *LOOPS), node.up(CountingClient(client, every(2, fault))):
        a_whole_life(client, namespace, node, lambda: eventually(lambda: is_made(client, namespace, node)))
        name = volume_of(client, "data", namespace)
        client.delete(PERSISTENTVOLUMECLAIMS, "data", namespace)
        eventually(lambda: gone(client, name) and not node.volumes())


@pytest.mark.parametrize("writes", range(1, 9))
def test_a_life_survives_the_end_of_the_process(client: Client, namespace: str, node: Node, writes: int) -> None:
    dying = CountingClient(client, dies_after(writes))
    with running(dying, *LOOPS), node.up(dying):
        a_whole_life(client, namespace, node)
        with contextlib.suppress(AssertionError):
            eventually(lambda: len(dying.writes) > writes, 3)
    with running(client, *LOOPS), node.up():
        eventually(lambda: is_made(client, namespace, node))
        claims = client.list(PERSISTENTVOLUMES, label_selector=f"{v.NODE_LABEL}={node.name}")["items"]
        assert len(claims) == 1, "one claim, one volume"
        assert condition_of(client.get(PERSISTENTVOLUMECLAIMS, "data", namespace), "FileSystemResizePending") is None
