"""A host with a cluster bridge and two nodes, in a network namespace of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kubelet.network.netlink import RouteNetlink, entered
from kubelet.network.pod_network import NodeNetwork, OwnPodNetwork
from tests.network.netns import Netns

BRIDGE, GATEWAY = "mkpytest", "10.201.0.1"


class Host:
    """The namespace the test runs in, the pod networks of nodes n1 and n2, and the pods it made."""

    def __init__(self, netns: Netns) -> None:
        self.netns = netns
        self.nodes = {n: OwnPodNetwork(node_network(n)) for n in (1, 2)}
        self.pods: dict[str, Netns] = {}
        self.ips: dict[str, str] = {}

    def pod(self, name: str, node: int = 1) -> Netns:
        """A pod on the node, wired; its address is in `ips`."""
        pod = self.pods[name] = Netns()
        network = self.nodes[node]
        self.ips[name] = network.allocate(name)
        network.setup(name, pod.pid, self.ips[name])
        return pod


def node_network(number: int) -> NodeNetwork:
    return NodeNetwork("nettest", f"n{number}", BRIDGE, f"10.201.{number}.1", f"10.201.{number}.0/24")


@pytest.fixture(params=["0", "1"], ids=["routed", "br_netfilter"])
def bridge_netfilter(request: pytest.FixtureRequest) -> str:
    """Both settings of bridge-nf-call-iptables; Docker turns it on, other hosts have it off."""
    return str(request.param)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs namespaces of its own needs root; `make check` leaves it to `make test`."""
    for item in items:
        if "host" in getattr(item, "fixturenames", ()) and item.path.parent == Path(__file__).parent:
            item.add_marker("netns")


@pytest.fixture
def host(bridge_netfilter: str) -> Iterator[Host]:
    netns = Netns()
    with entered(netns.fd):
        with RouteNetlink() as route:
            route.set_up(1)
            route.add_bridge(BRIDGE)
            bridge = route.link(BRIDGE)
            assert bridge is not None
            route.add_address(bridge.number, GATEWAY, 16)
        switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
        if switch.exists():
            switch.write_text(bridge_netfilter)
        elif bridge_netfilter == "1":
            pytest.skip("this kernel has no br_netfilter")
        made = Host(netns)
        for network in made.nodes.values():
            network.ensure_node()
        try:
            yield made
        finally:
            for pod in made.pods.values():
                pod.close()
    netns.close()
