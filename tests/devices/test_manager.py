"""The device manager with the NVIDIA plugin over simulated cards: exclusive, durable, health, restarts, races."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubelet.devices import checkpoint, nvml
from kubelet.devices.base import DeviceError
from kubelet.devices.injection import Engine, inject
from kubelet.devices.manager import PluginDeviceManager
from kubelet.devices.mock_state import MockState
from kubelet.devices.nvidia_plugin import RESOURCE, NvidiaPlugin
from minikube_py.api.types import Obj
from tests.harness import eventually


def pod(uid: str, *counts: int, init: tuple[int, ...] = (), sidecar: int = 0) -> Obj:
    """A pod whose containers c0, c1, … ask for that many GPUs."""

    def container(name: str, count: int) -> Obj:
        return {"name": name, "resources": {"limits": {RESOURCE: str(count)}} if count else {}}

    inits = [container(f"i{n}", count) for n, count in enumerate(init)]
    if sidecar:
        inits.insert(0, {**container("side", sidecar), "restartPolicy": "Always"})
    containers = [container(f"c{n}", count) for n, count in enumerate(counts)]
    spec = {"initContainers": inits, "containers": containers}
    return {"metadata": {"name": uid, "namespace": "default", "uid": uid}, "spec": spec}


class Node:
    """A manager and what is around it; `restart` is a kubelet restart."""

    def __init__(self, directory: Path, state: MockState) -> None:
        self.directory, self.state = directory, state
        self.changes = 0
        self.begin()

    def begin(self) -> None:
        self.nvml = nvml.open_fallback(self.state.path)
        self.plugin = NvidiaPlugin(self.nvml)
        self.manager = PluginDeviceManager(self.directory, [self.plugin], lambda *a: inject(Engine("mock"), *a))
        self.manager.start(self.changed)

    def changed(self) -> None:
        self.changes += 1

    def restart(self, *running: Obj) -> None:
        self.manager.stop()
        self.begin()
        self.manager.restore(running)

    def visible(self, pod: Obj, container: str = "c0") -> set[str]:
        spec = pod["spec"]
        found = next(c for c in [*spec["initContainers"], *spec["containers"]] if c["name"] == container)
        value = self.manager.grant(pod, found).env["NVIDIA_VISIBLE_DEVICES"]
        return set() if value == "void" else set(value.split(","))


@pytest.fixture
def node(tmp_path: Path, state: MockState) -> Iterator[Node]:
    made = Node(tmp_path / "device-plugins", state)
    yield made
    made.manager.stop()


def test_exclusive_until_released(node: Node) -> None:
    assert node.manager.capacity() == node.manager.allocatable() == {RESOURCE: "3"}
    a, b, c = pod("a", 1), pod("b", 1, 1), pod("c", 1)
    node.manager.admit(a)
    node.manager.admit(b)
    held = [node.visible(a), node.visible(b), node.visible(b, "c1")]
    assert len(set().union(*held)) == 3 and all(len(one) == 1 for one in held)
    with pytest.raises(DeviceError) as error:
        node.manager.admit(c)
    assert str(error.value) == (
        "Allocate failed due to requested number of devices unavailable for nvidia.com/gpu. "
        "Requested: 1, Available: 0, which is unexpected"
    )
    assert error.value.reason == "UnexpectedAdmissionError"
    node.manager.release("a")
    node.manager.admit(c)
    assert node.visible(c) == held[0]
    assert node.visible(c) == held[0], "a restarted container has the same device"


def test_a_container_without_request_sees_none(node: Node) -> None:
    plain = pod("plain", 0)
    node.manager.admit(plain)
    assert node.visible(plain) == set()
    plain["spec"]["runtimeClassName"] = "nvidia"
    assert "NVIDIA_VISIBLE_DEVICES" not in node.manager.grant(plain, plain["spec"]["containers"][0]).env


def test_a_refused_pod_holds_nothing(node: Node) -> None:
    with pytest.raises(DeviceError):
        node.manager.admit(pod("big", 2, 2))
    node.manager.admit(pod("fits", 3))


def test_init_containers_pass_their_devices_on_and_sidecars_keep_theirs(node: Node) -> None:
    staged = pod("staged", 1, init=(2, 1), sidecar=1)
    node.manager.admit(staged)
    assert len(node.visible(staged, "i0")) == 2
    assert node.visible(staged, "i1") <= node.visible(staged, "i0")
    assert node.visible(staged) <= node.visible(staged, "i0")
    assert not node.visible(staged, "side") & node.visible(staged, "i0")
    node.manager.release("staged")
    node.manager.admit(pod("next", 3))


def test_a_restart_keeps_what_running_pods_have(node: Node) -> None:
    a, gone = pod("a", 2), pod("gone", 1)
    node.manager.admit(a)
    node.manager.admit(gone)
    before = node.visible(a)
    node.restart(a)
    assert node.visible(a) == before
    node.manager.admit(pod("b", 1))
    with pytest.raises(DeviceError):
        node.manager.admit(pod("c", 1))
    changed = pod("a", 1)
    with pytest.raises(DeviceError, match="changed request for resource"):
        node.manager.grant(changed, changed["spec"]["containers"][0])


def test_health(node: Node) -> None:
    a = pod("a", 1)
    node.manager.admit(a)
    held = node.visible(a)
    cards = [card.uuid.decode() for card in node.state.cards()]
    index = cards.index(next(iter(held)))
    node.state.xid((index + 1) % 3, 31)
    node.state.xid(index, 79)
    eventually(lambda: node.manager.allocatable() == {RESOURCE: "2"}, what="one card less")
    assert node.manager.capacity() == {RESOURCE: "3"}
    assert node.visible(a) == held, "nobody takes it away"
    (uuid,) = held
    unhealthy = {"name": RESOURCE, "resources": [{"resourceID": uuid, "health": "Unhealthy"}]}
    assert node.manager.health("a") == {"c0": [unhealthy]}
    assert node.manager.holders() == {"a"}
    node.manager.admit(pod("b", 2))
    node.state.xid((index + 1) % 3, 48)
    eventually(lambda: node.manager.allocatable() == {RESOURCE: "1"}, what="a card that answers but is broken")
    node.state.recover(index)
    eventually(lambda: node.manager.allocatable() == {RESOURCE: "2"}, what="the lost card is back")
    node.state.xid(index, 79)
    eventually(lambda: node.manager.allocatable() == {RESOURCE: "1"}, what="and its next error is heard")


def test_no_card_left(node: Node) -> None:
    for index in range(3):
        node.state.xid(index, 79)
    eventually(lambda: node.manager.allocatable() == {RESOURCE: "0"})
    with pytest.raises(DeviceError, match="no healthy devices present; cannot allocate unhealthy devices"):
        node.manager.admit(pod("a", 1))


def test_a_node_that_lost_its_plugin_says_so(node: Node) -> None:
    a = pod("a", 1)
    node.manager.admit(a)
    held = node.visible(a)
    node.plugin.stop()
    eventually(lambda: node.manager.allocatable() == {RESOURCE: "0"})
    assert node.manager.capacity() == {RESOURCE: "3"}, "for five minutes it may only be being updated"
    bare = PluginDeviceManager(node.directory, [], lambda *a: inject(Engine("mock"), *a))
    bare.start(node.changed)
    bare.restore([a])
    assert bare.capacity() == bare.allocatable() == {RESOURCE: "0"}
    assert set(bare.grant(a, a["spec"]["containers"][0]).env["NVIDIA_VISIBLE_DEVICES"].split(",")) == held
    with pytest.raises(DeviceError, match="cannot allocate unregistered device"):
        bare.admit(pod("b", 1))


def test_checkpoint_has_upstreams_fields_and_survives_damage(node: Node) -> None:
    node.manager.admit(pod("a", 1))
    path = node.directory / checkpoint.FILE
    document = json.loads(path.read_text())
    assert set(document) == {"Data", "Checksum"}
    (entry,) = document["Data"]["PodDeviceEntries"]
    assert set(entry) == {"PodUID", "ContainerName", "ResourceName", "DeviceIDs", "AllocResp"}
    assert (entry["PodUID"], entry["ContainerName"], entry["ResourceName"]) == ("a", "c0", RESOURCE)
    assert len(document["Data"]["RegisteredDevices"][RESOURCE]) == 3
    path.write_text(path.read_text().replace('"a"', '"b"'))
    node.restart()
    assert path.with_name(f"{checkpoint.FILE}.damaged").exists()
    node.manager.admit(pod("c", 3))


def test_many_pods_at_once(node: Node) -> None:
    admitted: list[Obj] = []

    def race(name: str) -> None:
        one = pod(name, 1)
        try:
            node.manager.admit(one)
            admitted.append(one)
        except DeviceError:
            pass

    threads = [threading.Thread(target=race, args=(f"p{n}",)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 3
    assert len(set().union(*(node.visible(one) for one in admitted))) == 3


def test_cards_of_one_numa_node_go_together(node: Node) -> None:
    """Two A100 on node 0, one T4 on node 1: a pair is taken from the same node, a single card leaves the pair whole."""
    single, pair = pod("single", 1), pod("pair", 2)
    node.manager.admit(single)
    node.manager.admit(pair)
    names = {card.uuid.decode(): card.name.decode() for card in node.state.cards()}
    assert {names[uuid] for uuid in node.visible(single)} == {"Tesla T4"}
    assert {names[uuid] for uuid in node.visible(pair)} == {"NVIDIA A100-SXM4-40GB"}
