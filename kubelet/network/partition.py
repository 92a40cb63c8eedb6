"""Cutting a node off the network, as if somebody had pulled its cable: its pods and its kubelet live on and reach nobody.

Who calls it: `minikube-py node partition|heal`. Invariant: everything between the node's pod CIDR (its own address is in it)
and any other address is dropped, running connections too; traffic inside the node goes on. The kernel's table is the only
record of who is cut off; every call may be repeated.
A packet is judged after address translation, so a Service does not lead around the cut. That the host forwards for all nodes
makes this one table with three hooks: forward (pods), output and input (kubelet, API server, host processes).
"""

from kubelet.network import nft
from kubelet.network.rules import table_name

_HOOKS = ("input", "forward", "output")


def partition(profile: str, node: str, pod_cidr: str) -> None:
    """Cut the node off. Raises nft.NftError."""
    table = f"ip {table_name(profile, 'partition')}"
    lines = [f"add table {table}"]
    for hook in _HOOKS:
        chain = f"{hook}-{node}"
        lines += [
            f"add chain {table} {chain} {{ type filter hook {hook} priority 0; policy accept; }}",
            f"flush chain {table} {chain}",
            f"add rule {table} {chain} ip saddr {pod_cidr} ip daddr != {pod_cidr} drop",
            f"add rule {table} {chain} ip daddr {pod_cidr} ip saddr != {pod_cidr} drop",
        ]
    nft.run("".join(f"{line}\n" for line in lines))


def heal(profile: str, node: str) -> None:
    """Connect the node again; no error when it is connected. Raises nft.NftError."""
    cut = partitioned(profile)
    table = table_name(profile, "partition")
    if cut == [node]:
        nft.delete_table(table)
    elif node in cut:
        chains = [f"ip {table} {hook}-{node}" for hook in _HOOKS]
        nft.run("".join(f"flush chain {chain}\ndelete chain {chain}\n" for chain in chains))


def partitioned(profile: str) -> list[str]:
    """The nodes that are cut off now, sorted."""
    return nft.chains_named(table_name(profile, "partition"), "forward-")
