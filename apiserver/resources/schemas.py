"""The schema of any kind, built in or custom, by group, version and kind.

Who calls it: everything that decodes or merges objects (decode, patches, subresources). Invariant: what is not built in is
asked for only after the official schemas have said no.
"""

from apiserver.resources import table
from minikube_py.api import schema
from minikube_py.api.schema_node import Node


def node_of(group: str, version: str, kind: str) -> Node | None:
    """The node of a kind, None when there is no such kind."""
    node = schema.load().for_gvk(group, version, kind)
    if node is None and (row := table.by_kind(group, version, kind)) is not None and row.custom is not None:
        found: Node = row.custom.node
        return found
    return node
