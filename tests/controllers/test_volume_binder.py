"""The volume binder: who gets which volume, what happens to it afterwards, and that every disturbance ends the same way."""

import time

import pytest

from minikube_py.api import errors
from minikube_py.api.gvr import (
    EVENTS,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    STORAGECLASSES,
)
from minikube_py.api.meta import name_of
from minikube_py.client.rest import Client
from tests.controllers.play import CountingClient, running
from tests.controllers.storage import BINDER, claim, phase, storage_class, volume, volume_of
from tests.controllers.test_faults import FAULTS, dies_after, every
from tests.harness import eventually


def _reasons(client: Client, namespace: str, name: str) -> set[str]:
    events = client.list(EVENTS, namespace)["items"]
    return {event["reason"] for event in events if event["involvedObject"]["name"] == name}


def test_the_smallest_that_fits(client: Client, namespace: str) -> None:
    for name, size, changes in (
        ("small", "1Gi", {}), ("right", "3Gi", {}), ("large", "9Gi", {}),
        ("many", "2Gi", {"accessModes": ["ReadWriteMany"]}), ("block", "2Gi", {"volumeMode": "Block"}),
        ("other", "2Gi", {"storageClassName": "other"}),
    ):  # fmt: skip
        client.create(PERSISTENTVOLUMES, volume(f"{namespace}-{name}", namespace, size, **changes))
    with running(client, *BINDER):
        eventually(lambda: phase(client, f"{namespace}-right") == "Available")
        client.create(PERSISTENTVOLUMECLAIMS, claim("data", namespace, "2Gi"))
        assert eventually(lambda: volume_of(client, "data", namespace)) == f"{namespace}-right"
        bound = client.get(PERSISTENTVOLUMECLAIMS, "data", namespace)
        assert bound["status"]["capacity"] == {"storage": "3Gi"} and bound["status"]["accessModes"] == ["ReadWriteOnce"]
        marks = {"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"}
        assert bound["metadata"]["annotations"] == marks
        eventually(lambda: phase(client, f"{namespace}-large") == "Available")


def test_reserved_and_chosen_volumes(client: Client, namespace: str) -> None:
    ref = {"namespace": namespace, "name": "mine"}
    client.create(PERSISTENTVOLUMES, volume(f"{namespace}-reserved", namespace, "5Gi", claimRef=ref))
    client.create(PERSISTENTVOLUMES, volume(f"{namespace}-free", namespace))
    client.create(PERSISTENTVOLUMES, volume(f"{namespace}-red", namespace, "7Gi"))
    client.patch(PERSISTENTVOLUMES, f"{namespace}-red", {"metadata": {"labels": {"color": "red"}}})
    with running(client, *BINDER):
        client.create(PERSISTENTVOLUMECLAIMS, claim("mine", namespace))
        client.create(PERSISTENTVOLUMECLAIMS, claim("big", namespace, "9Gi", volumeName=f"{namespace}-free"))
        client.create(PERSISTENTVOLUMECLAIMS, claim("red", namespace, selector={"matchLabels": {"color": "red"}}))
        assert eventually(lambda: volume_of(client, "mine", namespace)) == f"{namespace}-reserved"
        assert eventually(lambda: volume_of(client, "red", namespace)) == f"{namespace}-red"
        eventually(lambda: "VolumeMismatch" in _reasons(client, namespace, "big"))
        client.create(PERSISTENTVOLUMECLAIMS, claim("late", namespace, volumeName=f"{namespace}-red"))
        eventually(lambda: "FailedBinding" in _reasons(client, namespace, "late"))
        assert phase(client, "late", namespace) == phase(client, "big", namespace) == "Pending"


def test_released_and_lost(client: Client, namespace: str) -> None:
    kept, doomed = f"{namespace}-kept", f"{namespace}-doomed"
    client.create(PERSISTENTVOLUMES, volume(kept, namespace))
    client.create(PERSISTENTVOLUMES, volume(doomed, namespace, "2Gi", persistentVolumeReclaimPolicy="Delete"))
    with running(client, *BINDER):
        client.create(PERSISTENTVOLUMECLAIMS, claim("one", namespace))
        client.create(PERSISTENTVOLUMECLAIMS, claim("two", namespace, "2Gi"))
        eventually(
            lambda: volume_of(client, "one", namespace) == kept and volume_of(client, "two", namespace) == doomed
        )
        client.delete(PERSISTENTVOLUMECLAIMS, "one", namespace)
        client.delete(PERSISTENTVOLUMECLAIMS, "two", namespace)
        eventually(lambda: phase(client, kept) == "Released")
        eventually(lambda: phase(client, doomed) == "Failed")
        client.create(PERSISTENTVOLUMECLAIMS, claim("one", namespace))
        time.sleep(0.3)
        assert phase(client, "one", namespace) == "Pending", "a released volume waits for its administrator"
        client.patch(PERSISTENTVOLUMES, kept, {"spec": {"claimRef": None}})
        eventually(lambda: volume_of(client, "one", namespace) == kept)
        client.delete(PERSISTENTVOLUMES, kept)
        client.patch(PERSISTENTVOLUMES, kept, {"metadata": {"finalizers": None}})
        eventually(lambda: phase(client, "one", namespace) == "Lost")
        eventually(lambda: "ClaimLost" in _reasons(client, namespace, "one"))


def test_classes(client: Client, namespace: str) -> None:
    late, made = f"{namespace}-late", f"{namespace}-made"
    client.create(STORAGECLASSES, storage_class(late, volumeBindingMode="WaitForFirstConsumer"))
    client.create(STORAGECLASSES, storage_class(made, provisioner="example.com/disk"))
    client.create(PERSISTENTVOLUMES, volume(f"{namespace}-v", late))
    with running(client, *BINDER):
        client.create(PERSISTENTVOLUMECLAIMS, claim("waits", namespace, storageClassName=late))
        client.create(PERSISTENTVOLUMECLAIMS, claim("made", namespace, storageClassName=made))
        client.create(PERSISTENTVOLUMECLAIMS, claim("none", namespace, storageClassName="missing"))
        eventually(lambda: "WaitForFirstConsumer" in _reasons(client, namespace, "waits"))
        eventually(lambda: "ExternalProvisioning" in _reasons(client, namespace, "made"))
        eventually(lambda: "ProvisioningFailed" in _reasons(client, namespace, "none"))
        marked = client.get(PERSISTENTVOLUMECLAIMS, "made", namespace)["metadata"]["annotations"]
        assert marked["volume.kubernetes.io/storage-provisioner"] == "example.com/disk"


def test_a_default_class_that_comes_late(client: Client, namespace: str) -> None:
    standard = client.get(STORAGECLASSES, "standard")
    client.delete(STORAGECLASSES, "standard")
    with running(client, *BINDER):
        client.create(PERSISTENTVOLUMECLAIMS, claim("data", namespace, storageClassName=None))
        eventually(lambda: "FailedBinding" in _reasons(client, namespace, "data"))
        client.create(
            STORAGECLASSES, {**standard, "metadata": {k: standard["metadata"][k] for k in ("name", "annotations")}}
        )

        def chosen() -> bool:
            return bool(
                client.get(PERSISTENTVOLUMECLAIMS, "data", namespace)["spec"].get("storageClassName") == "standard"
            )

        eventually(chosen)


def _many(client: Client, namespace: str) -> None:
    for number in range(3):
        labels = {"number": str(number)}
        made = volume(f"{namespace}-{number}", namespace)
        made["metadata"]["labels"] = labels
        client.create(PERSISTENTVOLUMES, made)
        client.create(PERSISTENTVOLUMECLAIMS, claim(f"c{number}", namespace, selector={"matchLabels": labels}))


def _all_bound(client: Client, namespace: str) -> bool:
    """Each claim has one volume, each volume one claim, and both say so."""
    claims = {name_of(c): c["spec"].get("volumeName") for c in client.list(PERSISTENTVOLUMECLAIMS, namespace)["items"]}
    if sorted(filter(None, claims.values())) != [f"{namespace}-{n}" for n in range(3)]:
        return False
    refs = {name: client.get(PERSISTENTVOLUMES, volume)["spec"]["claimRef"]["name"] for name, volume in claims.items()}
    phases = [phase(client, name, namespace) for name in claims] + [phase(client, volume) for volume in claims.values()]
    return phases == ["Bound"] * 6 and all(name == ref for name, ref in refs.items())


@pytest.mark.parametrize("fault", FAULTS)
def test_binding_under_disturbance(client: Client, namespace: str, fault: str) -> None:
    with running(CountingClient(client, every(2, fault)), *BINDER):
        _many(client, namespace)
        eventually(lambda: _all_bound(client, namespace))


@pytest.mark.parametrize("writes", range(1, 15, 2))
def test_binding_survives_the_end_of_the_process(client: Client, namespace: str, writes: int) -> None:
    _many(client, namespace)
    dying = CountingClient(client, dies_after(writes))
    with running(dying, *BINDER):
        eventually(lambda: len(dying.writes) > writes)
    with running(client, *BINDER):
        eventually(lambda: _all_bound(client, namespace))
        for number in range(3):
            client.delete(PERSISTENTVOLUMECLAIMS, f"c{number}", namespace)
        eventually(lambda: all(phase(client, f"{namespace}-{n}") == "Released" for n in range(3)))


@pytest.fixture(autouse=True)
def _nothing_left(client: Client, namespace: str) -> None:
    """Volumes and classes of earlier tests: they belong to no namespace that could take them along."""
    for res in (PERSISTENTVOLUMES, STORAGECLASSES):
        for item in client.list(res)["items"]:
            if name_of(item).startswith("test-"):
                try:
                    client.patch(res, name_of(item), {"metadata": {"finalizers": None}})
                    client.delete(res, name_of(item))
                except errors.NotFound:
                    continue
