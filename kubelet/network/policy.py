"""NetworkPolicies -> the nftables table that enforces them for one node's pods. Pure; property-tested against an evaluator.

Who calls it: policy_agent.py, on every change of NetworkPolicies, pods or namespaces.
Invariant: a packet meets two map look-ups (who sends, who receives) however many pods and policies there are, then only the
rules of the policies that select that pod; pods are members of sets, so a pod that comes or goes changes elements, not rules.
How it reads: base chain -> map `egress` (source) or `ingress` (destination) -> a chain shared by pods that the same policies
select: one line per way to be allowed, then drop. Pods that no policy selects are in neither map.
What always passes: running connections and their replies; a pod talking to itself; what the node itself sends to a pod (probes,
host processes) and what a pod sends to the node (its DNS), which never crosses the forward hook.
Where we differ: DNS is the node's own, so no egress policy can take it away; hostNetwork pods are neither subjects nor peers.
Upstream: staging/src/k8s.io/api/networking/v1/types.go (the rules' meaning), kubernetes-sigs/kube-network-policies.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from kubelet.network.rules import Ruleset, digest
from kubelet.pod_spec import host_network, lasting_containers
from minikube_py.api import selectors
from minikube_py.api.meta import labels_of, name_of, namespace_of
from minikube_py.api.types import Obj

INGRESS, EGRESS, ITSELF = "ingress", "egress", "itself"
_VERDICTS = "map { type ipv4_addr : verdict; }"
_MAPS = {INGRESS: _VERDICTS, EGRESS: _VERDICTS, ITSELF: "set { type ipv4_addr . ipv4_addr; }"}
_BASE: dict[str, tuple[str, tuple[str, ...]]] = {
    "forward": (
        "type filter hook forward priority -5; policy accept;",
        (
            "ct state established,related accept",
            f"ip saddr . ip daddr @{ITSELF} accept",
            f"ip saddr vmap @{EGRESS}",
            f"ip daddr vmap @{INGRESS}",
        ),
    )
}
_PEER = {INGRESS: ("ip saddr", "from"), EGRESS: ("ip daddr", "to")}  # its side of the packet, its field in a rule


class Pod(NamedTuple):
    """A pod with an address of its own, as policies see it. `ports` are its named ones: (name, protocol, number)."""

    ip: str
    node: str
    namespace: str
    labels: Mapping[str, str]
    ports: frozenset[tuple[str, str, int]] = frozenset()


def pod_of(pod: Obj, ip: str = "") -> Pod | None:
    """In: `ip` where the status does not say it yet. Out: None for pods that are finished or share the node's address."""
    status = pod.get("status") or {}
    ip = status.get("podIP") or ip
    if not ip or host_network(pod) or status.get("phase") in ("Succeeded", "Failed"):
        return None
    ports = frozenset(
        (p["name"], p.get("protocol") or "TCP", p["containerPort"])
        for c in lasting_containers(pod) for p in c.get("ports") or [] if p.get("name")
    )  # fmt: skip
    return Pod(ip, pod["spec"].get("nodeName") or "", namespace_of(pod), labels_of(pod), ports)


def types_of(policy: Obj) -> tuple[str, ...]:
    """Which directions a policy isolates: what it says, else ingress, and egress if it has such rules."""
    spec = policy["spec"]
    given = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return tuple(word.lower() for word in given)


def build(table: str, node: str, policies: Iterable[Obj], pods: Iterable[Pod], namespaces: Iterable[Obj]) -> Ruleset:
    """The complete table of this node."""
    return _Builder(table, pods, namespaces).build(node, policies)


class _Builder:
    def __init__(self, table: str, pods: Iterable[Pod], namespaces: Iterable[Obj]) -> None:
        self._ruleset = Ruleset(table, _BASE, dict(_MAPS))
        self._namespaces = {name_of(n): labels_of(n) for n in namespaces}
        self._pods: dict[str, list[Pod]] = defaultdict(list)
        for pod in pods:
            self._pods[pod.namespace].append(pod)
        self._known: dict[str, list[Pod]] = {}  # by selector: what it selects

    def build(self, node: str, policies: Iterable[Obj]) -> Ruleset:
        lines: dict[tuple[str, str, str], dict[str, None]] = {}  # of one direction and pod (namespace, address)
        for policy in sorted(policies, key=lambda p: (namespace_of(p), name_of(p))):
            own = _Peers(namespace_of(policy), None, policy["spec"].get("podSelector") or {})
            here = [pod for pod in self._selected(own) if pod.node == node]
            for direction in types_of(policy) if here else ():
                rules = policy["spec"].get(direction) or []
                made = dict.fromkeys(line for rule in rules for line in self._lines(direction, own, rule))
                for pod in here:
                    lines.setdefault((direction, pod.namespace, pod.ip), {}).update(made)
        for (direction, namespace, ip), allowed in lines.items():
            chain = f"{direction}/{namespace}-{digest(direction, namespace, tuple(allowed))}"
            self._ruleset.chains[chain] = (*allowed, "drop")
            self._ruleset.elements[direction, ip] = f"jump {chain}"
            self._ruleset.elements[ITSELF, f"{ip} . {ip}"] = ""
        return self._ruleset

    def _lines(self, direction: str, own: "_Peers", rule: Obj) -> Iterator[str]:
        """Every way one rule allows: each kind of peer on each kind of port."""
        side, field = _PEER[direction]
        peers = rule.get(field) or []
        blocks = _ranges(peer["ipBlock"] for peer in peers if peer.get("ipBlock"))
        groups = [
            _Peers(own.namespace, p.get("namespaceSelector"), p.get("podSelector") or {})
            for p in peers if not p.get("ipBlock")
        ]  # fmt: skip
        matches = [f"{side} {{ {', '.join(blocks)} }}"] if blocks else []
        matches += [f"{side} @{self._address_set(group)}" for group in groups] + ([""] if not peers else [])
        ports = rule.get("ports") or []
        numbered = list(_numbered(ports)) if ports else [""]
        named = [(p["port"], p.get("protocol") or "TCP") for p in ports if isinstance(p.get("port"), str)]
        for match in matches:
            yield from (_line(match, port) for port in numbered)
        # A named port is whatever the receiving pod calls so: one of the policy's own pods, or of an egress rule's peers.
        for port, protocol in named:
            if direction == INGRESS:
                yield from (_line(match, self._receives(own, port, protocol)) for match in matches)
            else:
                receivers = groups if peers else [_EVERY_POD]
                yield from (_line(self._receives(receiver, port, protocol)) for receiver in receivers)

    def _selected(self, peers: "_Peers") -> list[Pod]:
        key = repr(peers)
        if key not in self._known:
            wanted = selectors.from_label_selector(peers.pods)
            self._known[key] = [
                pod for name in self._namespaces_of(peers) for pod in self._pods[name] if wanted.matches(pod.labels)
            ]
        return self._known[key]

    def _namespaces_of(self, peers: "_Peers") -> list[str]:
        if peers.labels is None:
            return [peers.namespace] if peers.namespace in self._pods else []
        wanted = selectors.from_label_selector(peers.labels)
        return [name for name in self._pods if wanted.matches(self._namespaces.get(name, {}))]

    def _address_set(self, peers: "_Peers") -> str:
        name = f"pods-{digest(peers.identity())}"
        self._fill(name, "ipv4_addr", (pod.ip for pod in self._selected(peers)))
        return name

    def _receives(self, peers: "_Peers", port: str, protocol: str) -> str:
        return f"ip daddr . meta l4proto . th dport @{self._port_set(peers, port, protocol)}"

    def _port_set(self, peers: "_Peers", port: str, protocol: str) -> str:
        name = f"ports-{digest(peers.identity(), port, protocol)}"
        found = (
            f"{pod.ip} . {protocol.lower()} . {number}"
            for pod in self._selected(peers) for called, over, number in pod.ports if (called, over) == (port, protocol)
        )  # fmt: skip
        self._fill(name, "ipv4_addr . inet_proto . inet_service", found)
        return name

    def _fill(self, name: str, kind: str, members: Iterable[str]) -> None:
        if name not in self._ruleset.sets:
            self._ruleset.sets[name] = f"set {{ type {kind}; }}"
            self._ruleset.elements |= {(name, member): "" for member in members}


class _Peers(NamedTuple):
    """A selection of pods: of the namespaces with these labels (None: of the policy's own), those with these."""

    namespace: str
    labels: Obj | None
    pods: Obj

    def identity(self) -> str:
        """The same for selections that mean the same pods, so that policies share their sets."""
        return repr(("" if self.labels is not None else self.namespace, self.labels, self.pods))


_EVERY_POD = _Peers("", {}, {})


def _line(*matches: str) -> str:
    return " ".join([*filter(None, matches), "return"])


def _ranges(blocks: Iterable[Obj]) -> list[str]:
    """The addresses of IPv4 blocks less their exceptions, as disjoint networks."""
    kept: list[ipaddress.IPv4Network] = []
    for block in blocks:
        parts = [_network(block["cidr"])] if ":" not in block["cidr"] else []
        for hole in [_network(text) for text in block.get("except") or [] if ":" not in text]:
            parts = [rest for part in parts for rest in _without(part, hole)]
        kept += parts
    return [str(network) for network in ipaddress.collapse_addresses(kept)]


def _network(text: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(text, strict=False)


def _without(part: ipaddress.IPv4Network, hole: ipaddress.IPv4Network) -> Iterable[ipaddress.IPv4Network]:
    if part.subnet_of(hole):
        return ()
    return part.address_exclude(hole) if hole.subnet_of(part) else (part,)


def _numbered(ports: Iterable[Obj]) -> Iterator[str]:
    """One match per protocol; its ranges merged, for a set of intervals holds no overlaps."""
    by_protocol: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for port in ports:
        number = port.get("port")
        if not isinstance(number, str):
            low, high = (number, port.get("endPort") or number) if number is not None else (0, 65535)
            by_protocol[(port.get("protocol") or "TCP").lower()].append((low, high))
    for protocol, spans in sorted(by_protocol.items()):
        merged: list[tuple[int, int]] = []
        for low, high in sorted(spans):
            if merged and low <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        yield f"meta l4proto {protocol} th dport {{ {', '.join(f'{low}-{high}' for low, high in merged)} }}"
