"""Changes said to the kernel without the `nft` program: the kernel then lists what it would list after the program."""

import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from kubelet.network import nfnetlink, nft
from kubelet.network.netlink import entered
from kubelet.network.rules import Scope, build
from kubelet.network.services import service_ports
from minikube_py.api.types import Obj
from tests.network.netns import Netns
from tests.network.objects import service, slice_of
from tests.network.test_rules import HOST, NODE, clusters

pytestmark = pytest.mark.netns
Cluster = tuple[list[Obj], list[Obj]]


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Netns, Netns]]:
    made = Netns(), Netns()
    yield made
    for netns in made:
        netns.close()


def listed() -> str:
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout


def said(batch: list[nfnetlink.Message] | None) -> None:
    assert batch is not None
    if batch:
        with nfnetlink.opened() as kernel:
            nfnetlink.apply(kernel, batch)


@pytest.mark.parametrize("scope", [NODE, HOST], ids=["node", "host"])
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(first=clusters(), second=clusters())
def test_the_kernel_hears_what_nft_would_say(
    hosts: tuple[Netns, Netns], scope: Scope, first: Cluster, second: Cluster
) -> None:
    before, after = build(scope, service_ports(*first)), build(scope, service_ports(*second))
    text = nft.transaction(nft.state_of(before), after, base=False)
    batch = nfnetlink.encode(text)
    assert batch is not None, text
    found = []
    for host in hosts:
        with entered(host.fd):
            nft.run("flush ruleset\n" + nft.transaction(None, before))
            nft.run(text) if host is hosts[0] else said(batch)
            found.append(listed())
    assert found[0] == found[1]


def test_more_elements_than_one_message_holds(hosts: tuple[Netns, Netns]) -> None:
    many = [f"10.{n >> 8}.{n & 255}.1" for n in range(3000)]
    ports = service_ports([service("web", "10.96.3.4")], [slice_of("web", many)])
    empty = build(NODE, [])
    text = nft.transaction(nft.state_of(empty), build(NODE, ports), base=False)
    with entered(hosts[0].fd):
        nft.run("flush ruleset\n" + nft.transaction(None, empty))
        said(nfnetlink.encode(text))
        found = listed()
        assert all(f"{address} . 8080" in found for address in many)


def test_a_refused_batch_changes_nothing(hosts: tuple[Netns, Netns]) -> None:
    """Each message in turn asks for what cannot be; the others stay undone."""
    table = build(NODE, service_ports([service("web", "10.96.3.4")], [slice_of("web", ["10.0.0.1", "10.0.0.2"])]))
    ip = f"ip {NODE.table}"
    good = [f"add chain {ip} new", f"add rule {ip} new meta l4proto tcp dnat to 10.0.0.9:80"]
    with entered(hosts[0].fd), nfnetlink.opened() as kernel:
        nft.run("flush ruleset\n" + nft.transaction(None, table))
        kept = listed()
        for place in range(3):
            lines = [*good]
            lines.insert(place, f"delete element {ip} service-ips {{ 10.9.9.9 . tcp . 1 }}")
            with pytest.raises(OSError, match="No such file"):
                nfnetlink.apply(kernel, nfnetlink.encode("\n".join(lines)) or [])
            assert listed() == kept
        nfnetlink.apply(kernel, nfnetlink.encode("\n".join(good)) or [])
        assert "10.0.0.9" in listed()


@pytest.mark.parametrize(
    "line",
    [
        "add table ip t",
        "add chain ip t c { type nat hook output priority 0; }",
        "add set ip t s { type ipv4_addr; flags interval; }",
        "add rule ip t c ip saddr { 10.0.0.0/8, 192.168.0.0/16 } goto d",
        "add rule ip t c ip saddr 10.0.0.0/12 goto d",
        "add rule ip t c tcp dport 80 accept",
        "add element ip t s { 10.0.0.0/8 }",
        "flush ruleset",
    ],
)
def test_what_it_cannot_say_is_left_to_nft(line: str) -> None:
    assert nfnetlink.encode(f"add chain ip t d\n{line}\n") is None
