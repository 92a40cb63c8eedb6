"""Services to nftables text: golden files, and properties over random objects. UPDATE_GOLDEN=1 rewrites the files."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelet.network import nft
from kubelet.network.layers import Layers
from kubelet.network.rules import NODEPORTS, SERVICE_IPS, Ruleset, Scope, build, frame, part
from kubelet.network.services import Endpoint, nearest, service_ports, usable
from minikube_py.api.types import Obj
from tests.network.objects import service, slice_of

GOLDEN = Path(__file__).parent / "golden"
NODE = Scope(
    table="minikube-py-p/n1", service_cidr="10.96.0.0/16", node="n1", node_ip="10.201.1.1", pod_cidr="10.201.1.0/24",
    dns_vip="10.96.0.10",
)  # fmt: skip
HOST = Scope(
    table="minikube-py-p/host", service_cidr="10.96.0.0/16", dns_vip="10.96.0.10", bridge="mkpytest",
    cluster_cidr="10.201.0.0/16", host_addresses=("192.0.2.2",), node_ips={"n1": "10.201.1.1", "n2": "10.201.2.1"},
)  # fmt: skip


@pytest.mark.parametrize("case", sorted(p.name.removesuffix(".input.yaml") for p in GOLDEN.glob("*.input.yaml")))
@pytest.mark.parametrize("scope", [NODE, HOST], ids=["node", "host"])
def test_golden(case: str, scope: Scope) -> None:
    objects = list(yaml.safe_load_all((GOLDEN / f"{case}.input.yaml").read_text()))
    services = [o for o in objects if o["kind"] == "Service"]
    slices = [o for o in objects if o["kind"] == "EndpointSlice"]
    text = nft.transaction(None, build(scope, service_ports(services, slices)))
    expected = GOLDEN / f"{case}.{'node' if scope.node else 'host'}.nft"
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(text)
    assert text == expected.read_text()


def targets(ruleset: Ruleset, verdict: str) -> set[tuple[str, int]]:
    """Every endpoint a packet that gets this verdict may end at."""
    if verdict == "drop":
        return set()
    found = set()
    for rule in ruleset.chains[verdict.removeprefix("goto ")]:
        found |= {(ip, int(port)) for ip, port in re.findall(r"([\d.]{7,}) ?[:.] ?(\d+)\b", rule.partition("dnat")[2])}
        for chain in re.findall(r"goto ([^\s,}]+)", rule):
            found |= targets(ruleset, f"goto {chain}")
    return found


_conditions: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"ready": False, "serving": True, "terminating": True}, {"ready": False}]
)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[Obj], list[Obj]]:
    services, slices = [], []
    for number in range(draw(st.integers(0, 5))):
        ports = [
            {
                "name": f"p{i}",
                "port": 80 + i,
                "protocol": draw(st.sampled_from(["TCP", "UDP"])),
                "nodePort": 30000 + 10 * number + i,
            }
            for i in range(draw(st.integers(1, 3)))
        ]
        if draw(st.booleans()):
            for port in ports:
                del port["nodePort"]
        services.append(
            service(
                f"s{number}", draw(st.sampled_from([f"10.96.1.{number}"] * 4 + ["None"])), ports,
                sessionAffinity=draw(st.sampled_from(["None", "ClientIP"])),
                internalTrafficPolicy=draw(st.sampled_from(["Cluster", "Local"])),
                externalTrafficPolicy=draw(st.sampled_from(["Cluster", "Local"])),
                type=draw(st.sampled_from(["ClusterIP"] * 3 + ["ExternalName"])),
            )
        )  # fmt: skip
        for nth in range(draw(st.integers(0, 3))):
            port = draw(st.sampled_from(ports))
            addresses = draw(st.lists(st.integers(2, 9), max_size=4, unique=True))
            slices.append(
                slice_of(
                    f"s{number}", [f"10.201.1.{a}" for a in addresses], draw(st.integers(8080, 8082)),
                    port_name=str(port["name"]), protocol=str(port["protocol"]), suffix=str(nth),
                    node=draw(st.sampled_from(["n1", "n2"])), **draw(_conditions),
                )
            )  # fmt: skip
    return services, slices


@given(clusters())
def test_every_address_leads_to_exactly_its_endpoints(cluster: tuple[list[Obj], list[Obj]]) -> None:
    services, slices = cluster
    ruleset, host = build(NODE, service_ports(services, slices)), build(HOST, service_ports(services, slices))
    expected_keys = {(SERVICE_IPS, f"10.96.0.10 . {p} . 53") for p in ("tcp", "udp")}
    for obj in services:
        spec = obj["spec"]
        if spec["type"] == "ExternalName" or spec["clusterIP"] == "None":
            continue
        for port in spec["ports"]:
            everywhere, here = _expected(obj, port, slices)
            key = SERVICE_IPS, f"{spec['clusterIP']} . {port['protocol'].lower()} . {port['port']}"
            wanted = here if spec["internalTrafficPolicy"] == "Local" else everywhere
            assert targets(ruleset, ruleset.elements.get(key, "drop")) == wanted
            assert targets(host, host.elements.get(key, "drop")) == everywhere
            expected_keys |= {key} if wanted else set()
            if "nodePort" in port and everywhere:
                key = NODEPORTS, f"{port['protocol'].lower()} . {port['nodePort']}"
                expected_keys.add(key)
                verdict = ruleset.elements[key]
                if spec["externalTrafficPolicy"] == "Local":
                    own_pods, others = ruleset.chains[verdict.removeprefix("goto ")]
                    assert targets(ruleset, others) == here, "others reach the local ones, or nothing"
                    verdict = own_pods.removeprefix(f"ip saddr {NODE.pod_cidr} ")
                assert targets(ruleset, verdict) == everywhere, "the node's own pods reach all of them"
    assert {key for key in ruleset.elements if key[0] in (SERVICE_IPS, NODEPORTS)} == expected_keys


def _expected(obj: Obj, port: Obj, slices: list[Obj]) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    """Said again, from the objects: (all usable endpoints, those on n1)."""
    own: dict[tuple[str, int], list[tuple[str, Obj]]] = {}
    for entry in slices:
        named = entry["ports"][0]
        if entry["metadata"]["labels"]["kubernetes.io/service-name"] != obj["metadata"]["name"]:
            continue
        if (named["name"], named["protocol"]) == (port["name"], port["protocol"]):
            for endpoint in entry["endpoints"]:
                where = endpoint["addresses"][0], named["port"]
                own.setdefault(where, []).append((endpoint["nodeName"], endpoint["conditions"]))
    best: dict[tuple[str, int], tuple[bool, bool, str]] = {
        where: max((bool(c["ready"]), bool(c.get("serving", c["ready"])), node) for node, c in found)
        for where, found in own.items()
    }

    def pick(chosen: dict[tuple[str, int], tuple[bool, bool, str]]) -> set[tuple[str, int]]:
        return {w for w, b in chosen.items() if b[0]} or {w for w, b in chosen.items() if b[1]}

    return pick(best), pick({w: b for w, b in best.items() if b[2] == "n1"})


@given(clusters())
def test_order_does_not_matter(cluster: tuple[list[Obj], list[Obj]]) -> None:
    services, slices = cluster
    assert service_ports(services, slices) == service_ports(services[::-1], slices[::-1])


@settings(max_examples=50)
@given(clusters(), clusters())
def test_an_unchanged_table_needs_no_transaction(
    a: tuple[list[Obj], list[Obj]], b: tuple[list[Obj], list[Obj]]
) -> None:
    first, second = build(NODE, service_ports(*a)), build(NODE, service_ports(*b))
    assert nft.transaction(nft.state_of(first), first, base=False) == ""
    assert (nft.transaction(nft.state_of(first), second, base=False) == "") == (
        nft.state_of(first) == nft.state_of(second)
    )


def test_one_change_touches_one_service() -> None:
    services = [service(f"s{n}", f"10.96.2.{n}") for n in range(100)]
    slices = [slice_of(f"s{n}", [f"10.201.1.{n + 2}"]) for n in range(100)]
    before = build(NODE, service_ports(services, slices))
    slices[7] = slice_of("s7", ["10.201.1.200"])
    text = nft.transaction(nft.state_of(before), build(NODE, service_ports(services, slices)), base=False)
    assert len(text.splitlines()) == 8
    assert all("s7" in line or "hairpin" in line or "10.96.2.7 " in line for line in text.splitlines())


def test_terminating_endpoints_serve_when_nothing_is_ready() -> None:
    going = Endpoint("10.0.0.1", 80, "n1", ready=False, serving=True)
    assert usable([going, Endpoint("10.0.0.2", 80, "n2")]) == (Endpoint("10.0.0.2", 80, "n2"),)
    assert usable([going]) == (going,)
    assert usable([going], "n2") == ()


def test_hints_choose_the_nearest_and_never_lose_the_last() -> None:
    a, b, c = (Endpoint(f"10.0.0.{n}", 80, f"n{n}", for_zones=(z,), for_nodes=(f"n{n}",)) for n, z in enumerate("xyy"))
    assert nearest([a, b, c], "n1", "") == (b,)
    assert nearest([a, b, c], "n9", "y") == (b, c)
    assert nearest([a, b, c], "n9", "other") == (a, b, c)
    assert nearest([a, b, c._replace(for_zones=())], "n9", "y") == (a, b, c._replace(for_zones=())), (
        "hints on all or on none"
    )
    going = [e._replace(ready=False) for e in (a, b)]
    assert nearest(going, "n9", "y") == tuple(going), "terminating endpoints serve everybody"


@given(st.lists(clusters(), min_size=1, max_size=4), st.data())
def test_changing_some_services_at_a_time_equals_building_the_whole(
    steps: list[tuple[list[Obj], list[Obj]]], data: st.DataObject
) -> None:
    """Also where two Services claim the same external address and port."""
    layers, held = Layers(), nft.State(frozenset(), frozenset(), {})
    for services, slices in steps:
        for obj in services:
            obj["spec"]["externalIPs"] = data.draw(st.sampled_from([[], ["192.0.2.1"]]))
        ports = service_ports(services, slices)
        owners = {f"default/{obj['metadata']['name']}" for obj in services} | layers.owners()
        for some in (set(list(owners)[::2]), owners):
            parts = {o: part(NODE, [p for p in ports if f"{p.namespace}/{p.service}" == o]) for o in some}
            before, after = layers.replace(parts, NODE.table)
            assert before.chains <= held.chains and before.elements.items() <= held.elements.items()
            kept = {k: v for k, v in held.elements.items() if k not in before.elements}
            assert not kept.keys() & after.elements.keys(), "an element is never added twice"
            chains, sets = held.chains - before.chains | set(after.chains), held.sets - before.sets | set(after.sets)
            held = nft.State(chains, sets, kept | after.elements)
        whole = layers.whole(frame(NODE))
        assert set(whole.chains) == held.chains | set(frame(NODE).chains)
        assert whole.elements == held.elements | frame(NODE).elements
