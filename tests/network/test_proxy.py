"""The proxy's table in a real kernel: real connections through cluster IPs and NodePorts, from pods and from the host."""

import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import pytest

from kubelet.network import cleanup, forward, nft, partition
from kubelet.network.host_ports import HostPort, host_ports
from kubelet.network.main import ensure_host, host_addresses
from kubelet.network.netlink import RouteNetlink, entered
from kubelet.network.proxy import Table
from kubelet.network.rules import Scope, build, table_name
from kubelet.network.services import ServicePort, service_ports
from minikube_py.api.types import Obj
from tests.network.conftest import BRIDGE, Host, node_network
from tests.network.netns import Netns
from tests.network.objects import service, slice_of
from tests.network.test_rules import clusters

VIP, EMPTY = "10.96.3.4", "10.96.3.5"


class Cluster:
    """Pods a and b on n1, c on n2, each serving its name on 8080; the tables of both nodes and of the host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        ensure_host(BRIDGE, "10.96.0.0/16")
        self.scopes = [self._node(1), self._node(2), self._host()]
        self.tables = [Table(), Table(), Table()]

    @staticmethod
    def _node(n: int) -> Scope:
        node = node_network(n)
        name = table_name("nettest", node.node)
        return Scope(name, "10.96.0.0/16", node.node, node.node_ip, node.pod_cidr, "10.96.0.10")

    @staticmethod
    def _host() -> Scope:
        return Scope(
            table_name("nettest", "host"), "10.96.0.0/16", bridge=BRIDGE, cluster_cidr="10.201.0.0/16",
            host_addresses=host_addresses(BRIDGE), node_ips={"n1": "10.201.1.1", "n2": "10.201.2.1"},
        )  # fmt: skip

    def apply(self, services: list[Obj], slices: list[Obj], *, check: bool = False) -> list[str]:
        ports = service_ports(services, slices)
        return [table.apply(scope, ports, check=check) for table, scope in zip(self.tables, self.scopes, strict=True)]

    def ip(self, *names: str) -> list[str]:
        return [self.host.ips[name] for name in names]


@pytest.fixture
def cluster(host: Host) -> Iterator[Cluster]:
    made = Cluster(host)
    with ExitStack() as stack:
        for name, node in (("a", 1), ("b", 1), ("c", 2)):
            stack.enter_context(host.pod(name, node).serves(name, 8080))
        yield made


def served_by(netns: Netns, address: str, port: int = 80, times: int = 24) -> set[str]:
    return {netns.get(address, port).split()[0] for _ in range(times)}


def test_cluster_ip_nodeport_hairpin_and_host(cluster: Cluster) -> None:
    host = cluster.host
    web = service("web", VIP, [{"port": 80, "nodePort": 30080}], type="NodePort")
    cluster.apply([web], [slice_of("web", cluster.ip("b", "c"))])
    a, b, c = host.pods["a"], host.pods["b"], host.pods["c"]
    for client in (a, b, c, host.netns):
        assert served_by(client, VIP) == {"b", "c"}
    for address in ("10.201.1.1", "10.201.2.1"):
        for client in (a, c, host.netns):
            assert served_by(client, address, 30080) == {"b", "c"}, f"NodePort on {address}"
    for client, name in ((b, "b"), (c, "c")):
        answers = {client.get(VIP, 80) for _ in range(24)}
        assert f"{name} {'10.201.1.1' if name == 'b' else '10.201.2.1'}" in answers, (
            "a pod reaching itself sees its node"
        )
    assert served_by(host.netns, "127.0.0.1", 30080) == {"b", "c"}
    assert a.get(VIP, 80).split()[1] == host.ips["a"], "the source address is kept"


def test_no_endpoints_is_refused_at_once(cluster: Cluster) -> None:
    cluster.apply([service("empty", EMPTY), service("web", VIP)], [slice_of("web", cluster.ip("b"))])
    for address, port in ((EMPTY, 80), (VIP, 81), ("10.96.77.77", 443)):
        for client in (cluster.host.pods["a"], cluster.host.netns):
            with pytest.raises(ConnectionRefusedError):
                client.get(address, port)
        with pytest.raises(ConnectionRefusedError):
            cluster.host.pods["a"].ask(address, port)
        with pytest.raises(PermissionError):  # how the kernel tells a local sender of UDP
            cluster.host.netns.ask(address, port)


def test_endpoints_come_and_go(cluster: Cluster) -> None:
    a = cluster.host.pods["a"]
    web = service("web", VIP)
    cluster.apply([web], [slice_of("web", cluster.ip("b"))])
    with a.socket() as running:
        running.connect((VIP, 80))
        cluster.apply([web], [slice_of("web", cluster.ip("c"))])
        assert running.recv(100).startswith(b"b "), "a running connection keeps its backend"
    assert served_by(a, VIP) == {"c"}
    cluster.apply([web], [slice_of("web", cluster.ip("b"), suffix="x"), slice_of("web", cluster.ip("c"), suffix="y")])
    assert served_by(a, VIP) == {"b", "c"}
    assert (
        cluster.apply(
            [web], [slice_of("web", cluster.ip("c"), suffix="z"), slice_of("web", cluster.ip("b"), suffix="0")]
        )
        == [""] * 3
    )
    cluster.apply([], [])
    with pytest.raises(ConnectionRefusedError):
        a.get(VIP, 80)


def test_udp_flows_follow_their_backends(cluster: Cluster) -> None:
    a = cluster.host.pods["a"]
    echo = service("echo", VIP, [{"port": 53, "protocol": "UDP"}])
    cluster.apply([echo], [slice_of("echo", cluster.ip("b"), protocol="UDP")])
    assert a.ask(VIP, 53, source_port=5555).startswith("b")
    cluster.apply([echo], [slice_of("echo", cluster.ip("c"), protocol="UDP")])
    assert a.ask(VIP, 53, source_port=5555).startswith("c"), "the same flow (same source port) reaches the new backend"
    assert cluster.host.netns.ask(VIP, 53).startswith("c")


def test_client_ip_affinity_survives_a_restart(cluster: Cluster) -> None:
    pods = cluster.host.pods
    web = service("web", VIP, sessionAffinity="ClientIP")
    slices = [slice_of("web", cluster.ip("a", "b", "c"))]
    cluster.apply([web], slices)
    chosen = {name: served_by(pods[name], VIP, times=12) for name in ("b", "c")}
    assert all(len(names) == 1 for names in chosen.values())
    cluster.tables = [Table(), Table(), Table()]
    cluster.apply([web], slices)
    assert {name: served_by(pods[name], VIP, times=12) for name in ("b", "c")} == chosen
    backend = next(iter(chosen["b"]))
    cluster.apply([web], [slice_of("web", cluster.ip(*({"a", "b", "c"} - {backend})))])
    moved = served_by(pods["b"], VIP, times=12)
    assert len(moved) == 1 and moved != chosen["b"]
    cluster.apply([{**web, "spec": {**web["spec"], "sessionAffinity": "None"}}], slices)
    assert served_by(pods["b"], VIP, times=60) == {"a", "b", "c"}


def test_traffic_policies(cluster: Cluster) -> None:
    pods = cluster.host.pods
    web = service(
        "web", VIP, [{"port": 80, "nodePort": 30080}], type="NodePort",
        internalTrafficPolicy="Local", externalTrafficPolicy="Local",
    )  # fmt: skip
    slices = [slice_of("web", cluster.ip("b")), slice_of("web", cluster.ip("c"), node="n2", suffix="2")]
    cluster.apply([web], slices)
    assert served_by(pods["a"], VIP) == {"b"}
    assert served_by(pods["c"], VIP) == {"c"}
    assert served_by(pods["a"], "10.201.2.1", 30080) == {"c"}, "from another node: that node's endpoints only"
    assert served_by(pods["a"], "10.201.1.1", 30080) == {"b", "c"}, "from the node itself: all"
    assert served_by(cluster.host.netns, "10.201.1.1", 30080) == {"b"}
    cluster.apply([web], slices[:1])
    with pytest.raises(ConnectionRefusedError):
        pods["c"].get(VIP, 80)
    with pytest.raises(TimeoutError):
        pods["a"].get("10.201.2.1", 30080, timeout=0.3)


def test_host_ports(cluster: Cluster) -> None:
    """A pod's port on its node: from pods, from the host, from itself; by address and protocol; gone with the pod."""
    a, b, c = (cluster.host.pods[name] for name in "abc")
    entries = (
        HostPort("", "TCP", 7000, cluster.host.ips["b"], 8080), HostPort("", "UDP", 7000, cluster.host.ips["a"], 8080),
        HostPort("127.0.0.1", "TCP", 7000, cluster.host.ips["a"], 8080),
    )  # fmt: skip
    cluster.scopes[0] = replace(cluster.scopes[0], host_ports=entries)
    cluster.apply([], [])
    for client in (a, c, cluster.host.netns):
        assert client.get("10.201.1.1", 7000).startswith("b ")
        assert client.ask("10.201.1.1", 7000).startswith("a ")
    assert b.get("10.201.1.1", 7000) == "b 10.201.1.1"
    assert cluster.host.netns.get("127.0.0.1", 7000).startswith("a ")
    cluster.tables[0] = Table()
    cluster.apply([], [])
    assert a.get("10.201.1.1", 7000).startswith("b "), "taken over"
    cluster.scopes[0] = replace(cluster.scopes[0], host_ports=entries[1:])
    cluster.apply([], [])
    with pytest.raises(ConnectionRefusedError):
        a.get("10.201.1.1", 7000)


def test_other_machines_reach_node_ports_and_load_balancers(cluster: Cluster) -> None:
    """The engine's FORWARD chain drops what it did not publish; our one rule lets redirected connections through, no others."""
    host, outside = cluster.host, Netns()
    for command in (
        f"ip link add out0 type veth peer name eth0 netns {outside.pid}", "ip address add 192.0.2.1/24 dev out0",
        "ip link set out0 up", "iptables -P FORWARD DROP", "iptables -N DOCKER-USER", "iptables -A DOCKER-USER -j RETURN",
        "iptables -A FORWARD -j DOCKER-USER", f"iptables -A FORWARD -i {BRIDGE} -j ACCEPT",
        f"iptables -A FORWARD -o {BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ):  # fmt: skip
        subprocess.run(command.split(), check=True)
    with entered(outside.fd):
        for command in (
            "ip address add 192.0.2.2/24 dev eth0",
            "ip link set eth0 up",
            "ip route add default via 192.0.2.1",
        ):
            subprocess.run(command.split(), check=True)
    cluster.scopes[2] = replace(cluster._host(), balancer_cidr="10.201.250.0/24")
    web = service("web", VIP, [{"port": 80, "nodePort": 30080}], type="LoadBalancer")
    web["status"] = {"loadBalancer": {"ingress": [{"ip": "10.201.250.1", "ipMode": "VIP"}]}}
    slices = [slice_of("web", cluster.ip("b", "c"))]
    cluster.apply([web], slices)
    with pytest.raises(TimeoutError):
        outside.get("192.0.2.1", 30080, timeout=0.3)
    forward.ensure("nettest", BRIDGE)
    forward.ensure("nettest", BRIDGE)
    for address, port in (("192.0.2.1", 30080), ("10.201.250.1", 80)):
        answers = {outside.get(address, port) for _ in range(24)}
        assert answers == {"b 192.0.2.2", "c 192.0.2.2"}, "balanced, and the client's address is kept"
    for client in (host.netns, host.pods["a"]):
        assert served_by(client, "10.201.250.1") == {"b", "c"}
    with pytest.raises(TimeoutError):
        outside.get(host.ips["b"], 8080, timeout=0.3)
    with pytest.raises(ConnectionRefusedError):
        host.netns.get("10.201.250.9", 80)
    web["spec"]["loadBalancerSourceRanges"] = ["10.0.0.0/8", "10.201.0.0/16"]
    cluster.apply([web], slices)
    assert served_by(host.netns, "10.201.250.1") == {"b", "c"}
    with pytest.raises(TimeoutError):
        outside.get("10.201.250.1", 80, timeout=0.3)
    cleanup.remove_all("nettest")
    rules = subprocess.run(["iptables", "-S", "DOCKER-USER"], capture_output=True, text=True, check=True).stdout
    assert rules.split("\n") == ["-N DOCKER-USER", "-A DOCKER-USER -j RETURN", ""], "nothing is left behind"
    outside.close()


def test_which_pods_have_host_ports() -> None:
    def pod(phase: str = "Running", ip: str = "10.0.0.1", **spec: Any) -> Obj:
        ports = [{"containerPort": 80, "hostPort": 8080, "hostIP": "0.0.0.0"}, {"containerPort": 81}]
        spec = {"containers": [{"name": "c", "ports": ports}], **spec}
        return {"metadata": {"name": "p"}, "spec": spec, "status": {"phase": phase, "podIP": ip}}

    expected = (HostPort("", "TCP", 8080, "10.0.0.1", 80),)
    assert host_ports([pod(), None]) == expected
    assert host_ports([pod("Succeeded"), pod(ip=""), pod(hostNetwork=True)]) == ()
    ports = [{"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "127.0.0.1"}]
    sidecar = {"name": "s", "restartPolicy": "Always", "ports": ports}
    assert host_ports([pod(initContainers=[sidecar])]) == (*expected, HostPort("127.0.0.1", "UDP", 53, "10.0.0.1", 53))


def test_dns_address_leads_to_the_own_node(cluster: Cluster) -> None:
    cluster.apply([service("kube-dns", "10.96.0.10", [{"port": 53, "protocol": "UDP"}], namespace="kube-system")], [])
    with cluster.host.netns.serves("dns1", 53, "10.201.1.1"), cluster.host.netns.serves("dns2", 53, "10.201.2.1"):
        assert cluster.host.pods["a"].ask("10.96.0.10", 53).split()[0] == "dns1"
        assert cluster.host.pods["c"].ask("10.96.0.10", 53).split()[0] == "dns2"
        assert cluster.host.pods["c"].get("10.96.0.10", 53).split()[0] == "dns2"


def test_loopback_of_the_host_is_closed_to_pods(cluster: Cluster) -> None:
    """route_localnet on the bridge must not let a pod that rewrites its routes reach what listens on 127.0.0.1."""
    cluster.apply([], [])
    a = cluster.host.pods["a"]
    with cluster.host.netns.serves("secret", 9999, "127.0.0.1"), entered(a.fd):
        subprocess.run(["ip", "address", "del", "127.0.0.1/8", "dev", "lo"], check=False, capture_output=True)
        subprocess.run(
            "ip route flush table local root 127.0.0.0/8; ip route add 127.0.0.0/8 via 10.201.1.1 dev eth0; "
            "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet",
            shell=True,
            check=True,
            capture_output=True,
        )
        with pytest.raises(TimeoutError):
            a.get("127.0.0.1", 9999, timeout=0.3, source=cluster.host.ips["a"])


def test_a_flushed_table_comes_back(cluster: Cluster) -> None:
    web, slices = service("web", VIP), [slice_of("web", cluster.ip("b"))]
    cluster.apply([web], slices)
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    cluster.apply([web], slices, check=True)
    assert served_by(cluster.host.pods["a"], VIP, times=2) == {"b"}
    nft.run(f"delete table ip {cluster.scopes[0].table}\n")
    cluster.apply([web], [slice_of("web", cluster.ip("c"))])
    assert served_by(cluster.host.pods["a"], VIP, times=2) == {"c"}, (
        "a refused transaction is replaced by a whole table"
    )


def test_partition_and_heal(cluster: Cluster) -> None:
    pods, host = cluster.host.pods, cluster.host
    web = service("web", VIP)
    cluster.apply([web], [slice_of("web", cluster.ip("b")), slice_of("web", cluster.ip("c"), suffix="2")])
    with host.netns.serves("api", 8443, "10.201.0.1"), pods["c"].socket() as established:
        listener = pods["a"].socket()
        listener.bind(("0.0.0.0", 9000))
        listener.listen()
        established.connect((host.ips["a"], 9000))
        accepted, _ = listener.accept()
        partition.partition("nettest", "n2", "10.201.2.0/24")
        partition.partition("nettest", "n2", "10.201.2.0/24")
        assert partition.partitioned("nettest") == ["n2"]
        host.pod("d", 2)
        with pods["d"].serves("d", 80):
            assert pods["c"].get(host.ips["d"], 80).startswith("d"), "inside the node everything goes on"
        assert pods["a"].get("10.201.0.1", 8443).startswith("api"), "the other node is not concerned"
        for client, address, port, source in (
            (pods["c"], host.ips["a"], 8080, ""), (pods["a"], host.ips["c"], 8080, ""), (pods["c"], "10.201.0.1", 8443, ""),
            (host.netns, host.ips["c"], 8080, ""), (host.netns, "10.201.0.1", 8443, "10.201.2.1"),
        ):  # fmt: skip
            with pytest.raises(OSError):  # a timeout, or EPERM for a process of the host
                client.get(address, port, timeout=0.2, source=source)
        established.send(b"lost for now")
        accepted.settimeout(0.3)
        with pytest.raises(TimeoutError):
            accepted.recv(100)
        partition.heal("nettest", "n2")
        partition.heal("nettest", "n2")
        assert partition.partitioned("nettest") == []
        accepted.settimeout(10)
        assert accepted.recv(100) == b"lost for now", "a connection that outlived the cut goes on"
        assert served_by(pods["c"], VIP) == {"b", "c"}
        accepted.close()
        listener.close()


def test_two_partitions_heal_apart(cluster: Cluster) -> None:
    partition.partition("nettest", "n1", "10.201.1.0/24")
    partition.partition("nettest", "n2", "10.201.2.0/24")
    partition.heal("nettest", "n1")
    assert partition.partitioned("nettest") == ["n2"]
    with pytest.raises(TimeoutError):
        cluster.host.pods["a"].get(cluster.host.ips["c"], 8080, timeout=0.2)
    assert cluster.host.pods["a"].get(cluster.host.ips["b"], 8080).startswith("b")


def test_cleanup_removes_this_profile_and_no_other(cluster: Cluster) -> None:
    cluster.apply([service("web", VIP)], [])
    partition.partition("nettest", "n1", "10.201.1.0/24")
    nft.run("add table ip minikube-py-nettest-2/host\nadd table ip other\n")
    cleanup.remove_node("nettest", "n1")
    cleanup.remove_node("nettest", "n1")
    assert "minikube-py-nettest/n1" not in nft.tables()
    assert partition.partitioned("nettest") == ["n1"]
    with RouteNetlink() as route:
        assert len([link for link in route.links() if link.alias]) == 1, "the pod of n2"
        cleanup.remove_all("nettest")
        assert not [link for link in route.links() if link.alias]
    assert sorted(nft.tables()) == ["minikube-py-nettest-2/host", "other"]


@pytest.mark.parametrize("seed", range(3))
def test_any_state_reached_step_by_step_equals_it_from_scratch(seed: int) -> None:
    """Random states applied one after another, with restarts in between, leave what the last one alone would."""
    import random
    import warnings

    from hypothesis.errors import NonInteractiveExampleWarning

    netns = Netns()
    with entered(netns.fd), warnings.catch_warnings():
        warnings.simplefilter("ignore", NonInteractiveExampleWarning)
        table, scope, ports = Table(), Cluster._node(1), list[ServicePort]()
        for step in range(12):
            before, ports = ports, service_ports(*clusters().example())
            if step % 2:
                table.apply(scope, ports)
            else:
                owners = {f"{port.namespace}/{port.service}" for port in (*before, *ports)}
                table.change(scope, {o: [p for p in ports if f"{p.namespace}/{p.service}" == o] for o in owners})
            if random.Random(seed * 100 + step).random() < 0.3:
                table = Table()
                table.apply(scope, ports)
        incremental = _listing(scope)
        nft.run(nft.transaction(None, build(scope, ports)))
        assert _listing(scope) == incremental
    netns.close()


def _listing(scope: Scope) -> list[str]:
    listed = subprocess.run(
        ["nft", "list", "table", "ip", scope.table], capture_output=True, text=True, check=True
    ).stdout
    blocks = [block.strip() for block in listed.split("\n\n")]
    return sorted(" ".join(sorted(re.sub(r"[{},]", " ", block).split())) for block in blocks)


def test_endpoints_that_come_and_go_under_load_lose_nobody(cluster: Cluster) -> None:
    web = service("web", VIP)
    cluster.apply([web], [slice_of("web", cluster.ip("b", "c"))])
    ended, failed, answers = threading.Event(), list[str](), list[str]()

    def dial() -> None:
        while not ended.is_set():
            try:
                answers.append(cluster.host.pods["a"].get(VIP, 80))
            except OSError as error:
                failed.append(str(error))

    threads = [threading.Thread(target=dial) for _ in range(4)]
    for thread in threads:
        thread.start()
    for names in [("b",), ("c",), ("b", "c")] * 5:
        cluster.apply([web], [slice_of("web", cluster.ip(*names))])
        if names == ("b",):
            cluster.tables = [Table(), Table(), Table()]  # the proxies were killed and start again
    ended.set()
    for thread in threads:
        thread.join()
    assert not failed and len(answers) > 50


def test_many_threads_may_open_connections(cluster: Cluster) -> None:
    cluster.apply([service("web", VIP)], [slice_of("web", cluster.ip("a", "b", "c"))])
    found: list[str] = []

    def hammer() -> None:
        with suppress(OSError, socket.timeout):
            found.extend(cluster.host.pods["a"].get(VIP, 80).split()[0] for _ in range(20))

    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 160
    assert min(found.count(name) for name in "abc") > 25, "load is spread evenly"
