"""NetworkPolicies: the table against a plain evaluator of their meaning, over random clusters, and real packets."""

import ipaddress
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelet.network import nft
from kubelet.network.policy import EGRESS, INGRESS, Pod, build, pod_of, types_of
from kubelet.network.rules import Ruleset, table_name
from minikube_py.api import selectors
from minikube_py.api.types import Obj
from tests.network.conftest import Host
from tests.network.netns import Netns

TABLE = table_name("nettest", "n1/policy")
NAMESPACES: list[Obj] = [
    {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name, "team": team}}}
    for name, team in (("x", "red"), ("y", "blue"), ("z", "red"))
]
OUTSIDE = ("192.0.2.7", "198.51.100.9")
PORTS = (80, 81, 443, 8080)


def policy(name: str, namespace: str = "x", **spec: Any) -> Obj:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"podSelector": {}, **spec}}


def pod(
    ip: str, node: str = "n1", namespace: str = "x", ports: frozenset[tuple[str, str, int]] = frozenset(), **labels: str
) -> Pod:
    return Pod(ip, node, namespace, labels, ports)


# -- what the policies mean, said once more and as plainly as possible ----------------------------------------------------


def allowed(policies: list[Obj], pods: list[Pod], source: str, target: str, protocol: str, port: int) -> bool:
    by_ip = {p.ip: p for p in pods}
    return source == target or (
        _open(policies, EGRESS, by_ip, source, target, target, protocol, port)
        and _open(policies, INGRESS, by_ip, target, source, target, protocol, port)
    )


def _open(
    policies: list[Obj], direction: str, pods: dict[str, Pod], subject: str, peer: str, receiver: str, protocol: str, port: int
) -> bool:  # fmt: skip
    if subject not in pods:
        return True
    mine = [p for p in policies if direction in types_of(p) and _selects(p, pods[subject])]
    rules = [(p["metadata"]["namespace"], rule) for p in mine for rule in p["spec"].get(direction) or []]
    return not mine or any(
        _peer(rule.get("from" if direction == INGRESS else "to") or [], namespace, pods, peer)
        and _port(rule.get("ports") or [], pods.get(receiver), protocol, port)
        for namespace, rule in rules
    )


def _selects(policy: Obj, pod: Pod) -> bool:
    chosen = selectors.from_label_selector(policy["spec"]["podSelector"]).matches(pod.labels)
    return pod.namespace == policy["metadata"]["namespace"] and chosen


def _peer(peers: list[Obj], own: str, pods: dict[str, Pod], ip: str) -> bool:
    def matches(peer: Obj) -> bool:
        if block := peer.get("ipBlock"):
            inside = [
                ipaddress.ip_address(ip) in ipaddress.ip_network(net)
                for net in (block["cidr"], *block.get("except", []))
            ]
            return inside[0] and not any(inside[1:])
        if ip not in pods:
            return False
        labels = next(n["metadata"]["labels"] for n in NAMESPACES if n["metadata"]["name"] == pods[ip].namespace)
        wanted = peer.get("namespaceSelector")
        where = pods[ip].namespace == own if wanted is None else selectors.from_label_selector(wanted).matches(labels)
        return where and selectors.from_label_selector(peer.get("podSelector") or {}).matches(pods[ip].labels)

    return not peers or any(map(matches, peers))


def _port(ports: list[Obj], receiver: Pod | None, protocol: str, port: int) -> bool:
    def matches(entry: Obj) -> bool:
        number: int | str | None = entry.get("port")
        if isinstance(number, str):
            return receiver is not None and (number, protocol, port) in receiver.ports and entry["protocol"] == protocol
        return entry["protocol"] == protocol and (
            number is None or number <= port <= int(entry.get("endPort") or number)
        )

    return not ports or any(map(matches, ports))


# -- what the table does with a packet --------------------------------------------------------------------------------


def passes(ruleset: Ruleset, source: str, target: str, protocol: str, port: int) -> bool:
    values = {"ip saddr": source, "ip daddr": target, "meta l4proto": protocol, "th dport": str(port)}
    if ("itself", f"{source} . {target}") in ruleset.elements:
        return True
    for direction, ip in ((EGRESS, source), (INGRESS, target)):
        verdict = ruleset.elements.get((direction, ip))
        if verdict and not any(_holds(ruleset, rule, values) for rule in ruleset.chains[verdict.removeprefix("jump ")]):
            return False
    return True


def _holds(ruleset: Ruleset, rule: str, values: dict[str, str]) -> bool:
    if rule == "drop":
        return False
    found = re.findall(r"((?:(?:ip [sd]addr|meta l4proto|th dport)(?: \. )?)+) (\{.*?\}|@\S+|\w+)", rule)
    assert " ".join([*(f"{left} {right}" for left, right in found), "return"]) == rule, rule
    for left, right in found:
        value = " . ".join(values[part] for part in left.split(" . "))
        if right.startswith("@"):
            held = (right[1:], value) in ruleset.elements
        elif right.startswith("{"):
            held = any(_covers(member, value) for member in right.strip("{} ").split(", "))
        else:
            held = value == right
        if not held:
            return False
    return True


def _covers(member: str, value: str) -> bool:
    if "." in member:
        return ipaddress.ip_address(value) in ipaddress.ip_network(member)
    low, high = member.split("-")
    return int(low) <= int(value) <= int(high)


# -- random clusters --------------------------------------------------------------------------------------------------

_protocol = st.sampled_from(["TCP", "UDP"])
_labels = st.fixed_dictionaries({"app": st.sampled_from("abc")}, optional={"tier": st.sampled_from(["front", "back"])})
_selector = st.one_of(
    st.just({}), st.builds(lambda v: {"matchLabels": {"app": v}}, st.sampled_from("abc")),
    st.builds(
        lambda op: {"matchExpressions": [{"key": "tier", **op}]},
        st.sampled_from([
            {"operator": "In", "values": ["front"]}, {"operator": "NotIn", "values": ["front"]}, {"operator": "Exists"},
            {"operator": "DoesNotExist"},
        ]),
    ),
)  # fmt: skip
_block = st.sampled_from([
    {"cidr": "0.0.0.0/0"}, {"cidr": "0.0.0.0/0", "except": ["192.0.2.0/24"]}, {"cidr": "10.201.1.0/28"},
    {"cidr": "192.0.2.0/24", "except": ["192.0.2.0/29", "192.0.2.4/30"]},
    {"cidr": "10.201.0.0/16", "except": ["10.201.1.0/24"]},
])  # fmt: skip
_teams = st.sampled_from([{}, {"matchLabels": {"team": "red"}}, {"matchLabels": {"kubernetes.io/metadata.name": "y"}}])
_peers = st.lists(
    st.one_of(
        st.builds(lambda b: {"ipBlock": b}, _block),
        st.fixed_dictionaries({"podSelector": _selector}, optional={"namespaceSelector": _teams}),
        st.fixed_dictionaries({"namespaceSelector": _teams}),
    ), max_size=3,
)  # fmt: skip
_ports = st.lists(
    st.one_of(
        st.fixed_dictionaries({"protocol": _protocol}),
        st.fixed_dictionaries({"protocol": _protocol, "port": st.sampled_from([*PORTS, "web", "dns"])}),
        st.fixed_dictionaries({"protocol": _protocol, "port": st.just(80), "endPort": st.sampled_from([81, 500])}),
    ), max_size=3,
)  # fmt: skip
_kinds = st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"], None])


@st.composite
def _policies(draw: st.DrawFn) -> list[Obj]:
    made = []
    for number in range(draw(st.integers(0, 4))):
        spec: Obj = {"podSelector": draw(_selector)}
        if kinds := draw(_kinds):
            spec["policyTypes"] = kinds
        for direction, side in ((INGRESS, "from"), (EGRESS, "to")):
            if draw(st.booleans()):
                rule = st.fixed_dictionaries({}, optional={side: _peers, "ports": _ports})
                spec[direction] = draw(st.lists(rule, max_size=3))
        made.append(policy(f"p{number}", draw(st.sampled_from(["x", "x", "y"])), **spec))
    return made


_named = st.frozensets(st.sampled_from([("web", "TCP", 80), ("web", "TCP", 8080), ("dns", "UDP", 81)]), max_size=2)


@st.composite
def _pods(draw: st.DrawFn) -> list[Pod]:
    return [
        Pod(f"10.201.{node}.{n}", f"n{node}", draw(st.sampled_from("xyz")), draw(_labels), draw(_named))
        for n in range(2, 2 + draw(st.integers(2, 6))) for node in [draw(st.sampled_from([1, 2]))]
    ]  # fmt: skip


@given(_policies(), _pods())
def test_the_tables_of_both_nodes_decide_as_the_policies_mean(policies: list[Obj], pods: list[Pod]) -> None:
    tables = [build(f"t/{node}", node, policies, pods, NAMESPACES) for node in ("n1", "n2")]
    everyone = [p.ip for p in pods] + list(OUTSIDE)
    for source in everyone:
        for target in everyone:
            for protocol in ("TCP", "UDP"):
                for port in PORTS:
                    wanted = allowed(policies, pods, source, target, protocol, port)
                    got = all(passes(t, source, target, protocol.lower(), port) for t in tables)
                    assert got == wanted, f"{source} -> {target} {protocol} {port}"


@given(_policies(), _pods(), _policies(), _pods())
def test_an_unchanged_cluster_writes_nothing_and_a_pod_changes_elements_only(
    policies: list[Obj], pods: list[Pod], others: list[Obj], more: list[Pod]
) -> None:
    before = build("t", "n1", policies, pods, NAMESPACES)
    again = build("t", "n1", policies[::-1], pods[::-1], NAMESPACES)
    assert nft.transaction(nft.state_of(before), again, base=False) == ""
    joined = Pod("10.201.2.99", "n2", "x", {"app": "a"})
    after = build("t", "n1", policies, [*pods, joined], NAMESPACES)
    assert all(" element " in line for line in nft.transaction(nft.state_of(before), after, base=False).splitlines())


def test_which_pods_count() -> None:
    web: Obj = {"metadata": {"name": "w", "namespace": "x", "labels": {"a": "b"}}, "status": {"podIP": "10.0.0.1"}, "spec": {
        "nodeName": "n1", "containers": [{"ports": [{"name": "web", "containerPort": 80}, {"containerPort": 81}]}],
    }}  # fmt: skip
    assert pod_of(web) == Pod("10.0.0.1", "n1", "x", {"a": "b"}, frozenset({("web", "TCP", 80)}))
    assert pod_of({**web, "spec": {**web["spec"], "hostNetwork": True}}) is None
    assert pod_of({**web, "status": {"podIP": "10.0.0.1", "phase": "Failed"}}) is None
    assert pod_of({**web, "status": {}}) is None
    assert pod_of({**web, "status": {}}, "10.0.0.2") is not None


# -- packets ----------------------------------------------------------------------------------------------------------


class Cluster:
    """Pods a and b on n1, c on n2, each answering on 8080 and 8081."""

    def __init__(self, host: Host) -> None:
        self.host, self.tables = host, {node: nft.Table() for node in ("n1", "n2")}
        web = frozenset({("web", "TCP", 8080)})
        self.pods = [
            pod(host.ips[name], node, ports=web, app=name) for name, node in (("a", "n1"), ("b", "n1"), ("c", "n2"))
        ]

    def apply(self, *policies: Obj) -> None:
        for node, table in self.tables.items():
            table.apply(build(table_name("nettest", f"{node}/policy"), node, policies, self.pods, NAMESPACES))

    def reaches(self, source: Netns, target: str, port: int = 8080, kind: int = socket.SOCK_STREAM) -> bool:
        ask = source.get if kind == socket.SOCK_STREAM else source.ask
        try:
            return ask(self.host.ips[target], port, timeout=0.3).startswith(target)
        except TimeoutError:
            return False


@pytest.fixture
def cluster(host: Host) -> Iterator[Cluster]:
    with ExitStack() as stack:
        for name, node in (("a", 1), ("b", 1), ("c", 2)):
            made = host.pod(name, node)
            for port in (8080, 8081):
                stack.enter_context(made.serves(name, port))
        yield Cluster(host)


def test_packets_obey(cluster: Cluster) -> None:
    a, b, c = (cluster.host.pods[name] for name in "abc")
    with a.socket() as running:
        running.connect((cluster.host.ips["c"], 8080))
        cluster.apply(policy("deny", policyTypes=["Ingress"]))
        assert running.recv(10).startswith(b"c"), "an established connection goes on"
    for client, target in ((a, "b"), (a, "c"), (c, "a")):
        assert not cluster.reaches(client, target)
        assert not cluster.reaches(client, target, kind=socket.SOCK_DGRAM)
    assert cluster.reaches(cluster.host.netns, "a"), "the node (and so its probes) always reaches its pods"
    assert cluster.reaches(b, "b"), "a pod reaches itself"
    from_a = {"from": [{"podSelector": {"matchLabels": {"app": "a"}}}], "ports": [{"port": "web", "protocol": "TCP"}]}
    cluster.apply(policy("deny"), policy("from-a", podSelector={"matchLabels": {"app": "c"}}, ingress=[from_a]))
    assert cluster.reaches(a, "c")
    assert not cluster.reaches(a, "c", 8081), "only the named port"
    assert not cluster.reaches(b, "c")
    cidr = {"ipBlock": {"cidr": "10.201.0.0/16", "except": [f"{cluster.host.ips['c']}/32"]}}
    ports = [{"port": 8000, "endPort": 8080, "protocol": "TCP"}, {"port": 8081, "protocol": "UDP"}]
    cluster.apply(
        policy(
            "out",
            podSelector={"matchLabels": {"app": "a"}},
            egress=[{"to": [cidr], "ports": ports}],
            policyTypes=["Egress"],
        )
    )
    assert cluster.reaches(a, "b")
    assert not cluster.reaches(a, "b", 8081)
    assert cluster.reaches(a, "b", 8081, socket.SOCK_DGRAM)
    assert not cluster.reaches(a, "c"), "the exception"
    assert cluster.reaches(c, "a"), "replies of an isolated pod pass"
    cluster.apply()
    assert cluster.reaches(a, "c", 8081)


def test_a_refused_transaction_changes_nothing_and_the_next_repairs_it(cluster: Cluster) -> None:
    a = cluster.host.pods["a"]
    deny = policy("deny", policyTypes=["Ingress"])
    cluster.apply(deny)
    table = cluster.tables["n1"]
    wanted = build(TABLE, "n1", [], cluster.pods, NAMESPACES)
    with pytest.raises(nft.NftError):
        table.apply(Ruleset(wanted.table, wanted.base, wanted.maps, {"bad": "set { type nonsense; }"}))
    assert not cluster.reaches(a, "b"), "the old rules are still there"
    cluster.apply()
    assert cluster.reaches(a, "b")
