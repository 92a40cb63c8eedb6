"""Removing what the network left on this host: nftables tables, a rule among the engine's, links.

Who calls it: `minikube-py down` (`remove_all`) and `node stop|remove` (`remove_node`).
Invariant: only what carries the profile's (and node's) name is touched; repeating is no error. Routes and addresses live on
the cluster bridge and go with it.
"""

from kubelet.network import forward, nft
from kubelet.network.netlink import RouteNetlink
from kubelet.network.pod_network import alias_prefix
from kubelet.network.rules import table_name


def remove_all(profile: str) -> None:
    """Every table and every pod link of the profile. Raises nft.NftError, OSError."""
    prefix = table_name(profile, "")
    for name in nft.tables():
        if name.startswith(prefix):
            nft.delete_table(name)
    forward.remove(profile)
    _remove_links(alias_prefix(profile))


def remove_node(profile: str, node: str) -> None:
    """The node's tables and pod links; whether it is partitioned stays as it is. Raises nft.NftError, OSError."""
    for part in (node, f"{node}/policy"):
        nft.delete_table(table_name(profile, part))
    _remove_links(alias_prefix(profile, node))


def _remove_links(prefix: str) -> None:
    with RouteNetlink() as host:
        for link in host.links():
            if link.alias.startswith(prefix):
                host.delete_link(link.name)
