"""Pods in real network namespaces: every path a packet may take, repeated and cut-off calls, nothing left behind."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelet.network import pod_network
from kubelet.network.ipam import AddressesExhausted, AddressPool
from kubelet.network.netlink import RouteNetlink
from tests.network.conftest import GATEWAY, Host, node_network
from tests.network.netns import Netns


def test_every_path(host: Host) -> None:
    a, b, c = host.pod("a", 1), host.pod("b", 1), host.pod("c", 2)
    with b.serves("b", 80), c.serves("c", 80), host.netns.serves("host", 7000):
        assert a.get(host.ips["b"], 80) == f"b {host.ips['a']}", "same node"
        assert a.get(host.ips["c"], 80) == f"c {host.ips['a']}", "other node"
        assert c.ask(host.ips["b"], 80) == f"b {host.ips['c']}", "UDP"
        assert a.get("10.201.1.1", 7000) == f"host {host.ips['a']}", "own node"
        assert a.get("10.201.2.1", 7000) == f"host {host.ips['a']}", "other node's address"
        assert a.get(GATEWAY, 7000) == f"host {host.ips['a']}", "where the API server listens"
        assert host.netns.get(host.ips["c"], 80).startswith("c "), "the host"
        assert host.netns.get(host.ips["c"], 80, source="10.201.2.1") == "c 10.201.2.1", (
            "the kubelet, from the node's address"
        )


def test_setup_repeats_without_breaking_and_replaces_a_dead_sandbox(host: Host) -> None:
    a, b = host.pod("a"), host.pod("b")
    with b.serves("b", 80), a.socket() as connection:
        connection.connect((host.ips["b"], 80))
        before = _links()
        host.nodes[1].setup("b", b.pid, host.ips["b"])
        assert _links() == before
        assert connection.recv(100).startswith(b"b ")
    fresh = host.pods["b2"] = Netns()
    host.nodes[1].setup("b", fresh.pid, host.ips["b"])
    with fresh.serves("again", 80):
        assert a.get(host.ips["b"], 80).startswith("again")


def test_a_half_made_link_is_finished(host: Host) -> None:
    name = pod_network.veth_name(node_network(1), "cut")
    other = host.pods["elsewhere"] = Netns()
    with RouteNetlink() as route:
        bridge = route.link("mkpytest")
        assert bridge is not None
        route.add_veth(name, bridge.number, 1500, "eth0", other.fd, pod_network.mac_of("10.201.1.9"))
    pod = host.pod("cut")
    with pod.serves("cut", 80):
        assert host.netns.get(host.ips["cut"], 80).startswith("cut")


def test_teardown_and_sweep_touch_their_own_pods_only(host: Host) -> None:
    host.pod("a", 1), host.pod("b", 1), host.pod("c", 2)
    everything = _links()
    host.nodes[1].teardown("a")
    host.nodes[1].teardown("a")
    restarted = pod_network.OwnPodNetwork(node_network(1))
    restarted.restore({"b": host.ips["b"]})
    restarted.sweep({"b"})
    assert _links() == everything - {pod_network.veth_name(node_network(1), "a")}
    restarted.sweep(())
    assert pod_network.veth_name(node_network(1), "b") not in _links()
    assert pod_network.veth_name(node_network(2), "c") in _links()
    pod_network.remove_node(node_network(2))
    assert not [name for name in _links() if name.startswith("mkp") and name != "mkpytest"]
    with RouteNetlink() as route:
        assert [address for address, _ in route.addresses(route.link("mkpytest").number)] == [GATEWAY, "10.201.1.1"]  # type: ignore[union-attr]


def test_thirty_pods_at_once(host: Host) -> None:
    pods = {f"p{n}": Netns() for n in range(30)}
    host.pods.update(pods)
    failures: list[Exception] = []

    def connect(uid: str, pod: Netns) -> None:
        try:
            host.nodes[1].setup(uid, pod.pid, host.nodes[1].allocate(uid))
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=connect, args=item) for item in pods.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len({host.nodes[1].allocate(uid) for uid in pods}) == 30
    with pods["p29"].serves("last", 80):
        assert pods["p0"].get(host.nodes[1].allocate("p29"), 80).startswith("last")


def test_missing_bridge_and_dead_sandbox_are_plain_errors(host: Host) -> None:
    lost = pod_network.OwnPodNetwork(pod_network.NodeNetwork("p", "n", "nobridge", "10.201.1.1", "10.201.1.0/24"))
    with pytest.raises(OSError, match="no network interface nobridge"):
        lost.ensure_node()
    with pytest.raises(FileNotFoundError):
        host.nodes[1].setup("x", 2**22 - 1, "10.201.1.2")


def _links() -> set[str]:
    with RouteNetlink() as route:
        return {link.name for link in route.links()}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), max_size=60))
def test_addresses_are_exclusive_and_rest_after_release(steps: list[tuple[bool, int]]) -> None:
    pool = AddressPool("10.201.1.0/29")
    released: list[str] = []
    for take, who in steps:
        uid = f"pod-{who}"
        held = pool.assigned()
        if not take:
            if uid in held:
                released.append(held[uid])
            pool.release(uid)
            assert uid not in pool.assigned()
        elif uid in held:
            assert pool.allocate(uid) == held[uid]
        elif len(held) == 5:
            with pytest.raises(AddressesExhausted):
                pool.allocate(uid)
        else:
            free = [f"10.201.1.{n}" for n in range(2, 7) if f"10.201.1.{n}" not in held.values()]
            taken = pool.allocate(uid)
            assert taken in free
            assert released[-1:] != [taken] or len(free) == 1, "the last released comes last"
        assert len(set(pool.assigned().values())) == len(pool.assigned())


def test_a_restarted_pool_honours_what_runs() -> None:
    pool = AddressPool("10.201.1.0/29")
    pool.restore({"old": "10.201.1.2", "foreign": "10.9.9.9"})
    assert pool.allocate("new") == "10.201.1.3"
    pool.release("foreign")
    assert sorted(pool.assigned().values()) == ["10.201.1.2", "10.201.1.3"]
