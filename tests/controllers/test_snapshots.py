"""Volume snapshots of local volumes, on a real disk: taken, restored, kept, brought in from elsewhere, refused, deleted.

Every disturbance of the two loops is in test_every_controller.py; kubectl, pods and nodes are in e2e/test_storage.py.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from minikube_py.api import errors
from minikube_py.api import volumes as v
from minikube_py.api.gvr import (
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    RESOURCEQUOTAS,
    VOLUMESNAPSHOTCLASSES,
    VOLUMESNAPSHOTCONTENTS,
    VOLUMESNAPSHOTS,
    new_object,
)
from minikube_py.api.meta import annotations_of, name_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from minikube_py.cluster import addons
from tests.controllers.play import running
from tests.controllers.storage import claim, volume, volume_of
from tests.controllers.test_local_path import LOOPS, Node, a_whole_life, gone, is_made, node, reasons, select
from tests.harness import eventually

__all__ = ["node"]
SNAPSHOTS = (*LOOPS, "volume-snapshot", "local-path-snapshots")


@pytest.fixture
def defined(client: Client) -> None:
    addons.enable(client, "snapshots")


@pytest.fixture
def source(client: Client, namespace: str, node: Node, defined: None) -> Iterator[Path]:
    """The file in a claim's volume, everything running."""
    with running(client, *SNAPSHOTS), node.up():
        a_whole_life(client, namespace, node, lambda: eventually(lambda: is_made(client, namespace, node)))
        file = node.volumes()[0] / "file"
        file.write_text("old")
        yield file


def snapshot(client: Client, namespace: str, name: str = "snap", **spec: str) -> Obj:
    source = {"persistentVolumeClaimName": "data"} if "volumeSnapshotContentName" not in spec else {}
    for key in [key for key in spec if key != "volumeSnapshotClassName"]:
        source[key] = spec.pop(key)
    return client.create(VOLUMESNAPSHOTS, new_object(VOLUMESNAPSHOTS, name, namespace, spec={"source": source, **spec}))


def taken(client: Client, namespace: str, name: str = "snap") -> Obj:
    def status() -> Obj:
        found: Obj = client.get(VOLUMESNAPSHOTS, name, namespace).get("status") or {}
        return found

    eventually(lambda: status().get("readyToUse"))
    return status()


def restored(client: Client, namespace: str, node: Node, name: str = "copy", origin: str = "snap") -> Path:
    """A claim made from a snapshot; out: the file in it."""
    source = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": origin}
    client.create(PERSISTENTVOLUMECLAIMS, claim(name, namespace, dataSource=source))
    select(client, namespace, name, node.name)
    file: Path = node.root / "volumes" / eventually(lambda: volume_of(client, name, namespace)) / "file"
    eventually(file.exists)
    return file


def is_gone(client: Client, namespace: str, name: str = "snap") -> bool:
    return name not in [name_of(found) for found in client.list(VOLUMESNAPSHOTS, namespace)["items"]]


def content(client: Client, namespace: str) -> list[Obj]:
    found: list[Obj] = client.list(VOLUMESNAPSHOTCONTENTS)["items"]
    return [one for one in found if one["spec"]["volumeSnapshotRef"]["namespace"] == namespace]


def test_taken_restored_and_deleted(client: Client, namespace: str, node: Node, source: Path) -> None:
    snapshot(client, namespace)
    status = taken(client, namespace)
    assert status["restoreSize"] == "1Gi" and status["creationTime"] and "error" not in status
    source.write_text("new")
    assert restored(client, namespace, node).read_text() == "old"
    told = reasons(client, namespace, "snap")
    assert all(reason in told for reason in ("CreatingSnapshot", "SnapshotCreated", "SnapshotReady"))
    held = client.get(PERSISTENTVOLUMECLAIMS, "data", namespace)["metadata"]["finalizers"]
    assert held == [v.CLAIM_PROTECTION], "the claim may go now"
    client.delete(PERSISTENTVOLUMECLAIMS, "data", namespace)
    eventually(lambda: gone(client, "data", namespace))
    assert restored(client, namespace, node, "another").read_text() == "old", "the source is not needed any more"
    client.delete(VOLUMESNAPSHOTS, "snap", namespace)
    eventually(lambda: is_gone(client, namespace) and not content(client, namespace))
    eventually(lambda: len(node.volumes()) == 2, what="only what was restored is left")


def test_kept_and_brought_in_again(client: Client, namespace: str, node: Node, source: Path) -> None:
    kept = new_object(VOLUMESNAPSHOTCLASSES, f"{namespace}-kept", driver=v.LOCAL_PATH, deletionPolicy="Retain")
    client.create(VOLUMESNAPSHOTCLASSES, kept)
    snapshot(client, namespace, volumeSnapshotClassName=f"{namespace}-kept")
    taken(client, namespace)
    client.delete(VOLUMESNAPSHOTS, "snap", namespace)
    eventually(lambda: is_gone(client, namespace))
    left = content(client, namespace)[0]
    handle = left["status"]["snapshotHandle"]
    client.delete(VOLUMESNAPSHOTCONTENTS, name_of(left))
    eventually(lambda: not content(client, namespace))
    assert (node.root / "volumes" / handle).exists()
    ref = {"namespace": namespace, "name": "again"}
    spec = {
        "deletionPolicy": "Delete",
        "driver": v.LOCAL_PATH,
        "source": {"snapshotHandle": handle},
        "volumeSnapshotRef": ref,
    }
    client.create(VOLUMESNAPSHOTCONTENTS, new_object(VOLUMESNAPSHOTCONTENTS, f"{namespace}-again", spec=spec))
    snapshot(client, namespace, "thief", volumeSnapshotContentName=f"{namespace}-again")
    snapshot(client, namespace, "again", volumeSnapshotContentName=f"{namespace}-again")
    taken(client, namespace, "again")
    eventually(lambda: "SnapshotContentMisbound" in reasons(client, namespace, "thief"))
    assert restored(client, namespace, node, origin="again").read_text() == "old"
    client.delete(VOLUMESNAPSHOTS, "again", namespace)
    eventually(lambda: not content(client, namespace) and not (node.root / "volumes" / handle).exists())
    client.delete(VOLUMESNAPSHOTCLASSES, f"{namespace}-kept")


def test_what_cannot_be_taken_says_why(client: Client, namespace: str, node: Node, source: Path) -> None:
    client.create(PERSISTENTVOLUMECLAIMS, claim("waiting", namespace))
    snapshot(client, namespace, "early", persistentVolumeClaimName="waiting")
    snapshot(client, namespace, "classless", volumeSnapshotClassName="no-such-class")
    snapshot(client, namespace, "lost", volumeSnapshotContentName="no-such-content")
    client.create(PERSISTENTVOLUMES, volume(f"{namespace}-path", f"{namespace}-path"))
    client.create(PERSISTENTVOLUMECLAIMS, claim("path", namespace, storageClassName=f"{namespace}-path"))
    eventually(lambda: volume_of(client, "path", namespace))
    snapshot(client, namespace, "foreign", persistentVolumeClaimName="path")
    for name, why in (
        ("early", "claim waiting is not yet bound"), ("classless", "GetSnapshotClassFailed"),
        ("lost", "SnapshotContentMissing"), ("foreign", "no driver takes snapshots of"),
    ):  # fmt: skip
        eventually(lambda name=name, why=why: why in reasons(client, namespace, name), what=name)  # type: ignore[misc]
        eventually(lambda name=name: client.get(VOLUMESNAPSHOTS, name, namespace)["status"]["error"]["message"])  # type: ignore[misc]
        assert client.get(VOLUMESNAPSHOTS, name, namespace)["status"]["readyToUse"] is False
    select(client, namespace, "waiting", node.name)
    assert "error" not in taken(client, namespace, "early"), "it is taken as soon as it can be"


def test_a_claim_waits_for_its_snapshot(client: Client, namespace: str, node: Node, source: Path) -> None:
    origin = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "snap"}
    client.create(PERSISTENTVOLUMECLAIMS, claim("copy", namespace, dataSource=origin))
    client.create(PERSISTENTVOLUMECLAIMS, claim("small", namespace, "1Mi", dataSource=origin))
    for name in ("copy", "small"):
        select(client, namespace, name, node.name)
    eventually(lambda: "VolumeSnapshot snap is not ready" in reasons(client, namespace, "copy"))
    snapshot(client, namespace)
    eventually(lambda: volume_of(client, "copy", namespace))
    eventually(lambda: "at least as large" in reasons(client, namespace, "small"))
    client.delete(VOLUMESNAPSHOTS, "snap", namespace)
    eventually(lambda: "SnapshotDeletePending" in reasons(client, namespace, "snap"))
    client.delete(PERSISTENTVOLUMECLAIMS, "small", namespace)
    eventually(lambda: is_gone(client, namespace))


def test_a_live_volume_is_no_snapshot(client: Client, namespace: str, node: Node, source: Path) -> None:
    live, ref = volume_of(client, "data", namespace), {"namespace": namespace, "name": "snap"}
    spec = {
        "deletionPolicy": "Delete",
        "driver": v.LOCAL_PATH,
        "source": {"snapshotHandle": live},
        "volumeSnapshotRef": ref,
    }
    client.create(VOLUMESNAPSHOTCONTENTS, new_object(VOLUMESNAPSHOTCONTENTS, f"{namespace}-live", spec=spec))
    snapshot(client, namespace, volumeSnapshotContentName=f"{namespace}-live")
    eventually(lambda: "error" in (client.get(VOLUMESNAPSHOTS, "snap", namespace).get("status") or {}))
    client.delete(VOLUMESNAPSHOTS, "snap", namespace)
    eventually(lambda: is_gone(client, namespace) and not content(client, namespace))
    assert source.read_text() == "old" and v.SNAPSHOT not in annotations_of(client.get(PERSISTENTVOLUMES, live))


def test_the_definitions_refuse_nonsense(client: Client, namespace: str, defined: None) -> None:
    with pytest.raises(errors.Invalid, match="exactly one of"):
        client.create(VOLUMESNAPSHOTS, new_object(VOLUMESNAPSHOTS, "x", namespace, spec={"source": {}}))
    made = snapshot(client, namespace, "x")
    made["spec"]["source"]["persistentVolumeClaimName"] = "other"
    with pytest.raises(errors.Invalid, match="is immutable"):
        client.update(VOLUMESNAPSHOTS, made)


def test_snapshots_count(client: Client, namespace: str, defined: None) -> None:
    hard = {"count/volumesnapshots.snapshot.storage.k8s.io": "1"}
    with running(client, "resourcequota"):
        client.create(RESOURCEQUOTAS, new_object(RESOURCEQUOTAS, "few", namespace, spec={"hard": hard}))

        def used() -> str:
            status = client.get(RESOURCEQUOTAS, "few", namespace).get("status") or {}
            return str((status.get("used") or {}).get(next(iter(hard))))

        eventually(lambda: used() == "0")
        snapshot(client, namespace)
        with pytest.raises(errors.Forbidden, match="exceeded quota"):
            snapshot(client, namespace, "more")
