"""The node a schema is compiled into.

Who uses it: `schema`, which makes them, and everything that walks an object along its schema (validation, strategic merge,
server-side apply). Invariant: a node is never changed after its compilation, so it is shared by all threads.
"""

from collections.abc import Callable
from typing import Any

ANY = "any"


class Node:
    """One schema.

    `type`: object (with `properties`), map (with `additional`), array (with `items`), string, bytes (base64), integer,
    number, boolean, quantity, int-or-string, time, micro-time, any. `name`: "v1.PodSpec" for a named object, else "".
    `decoder`, of a custom kind's root, is how its objects are decoded instead: object → decoded copy, unknown fields.
    `list_type`: atomic, map (with `map_keys`) or set; `merge_key` and `strategy` are strategic merge's.
    """

    __slots__ = (
        "additional", "decoder", "format", "gvks", "items", "list_type", "map_keys", "map_type", "merge_key", "name",
        "properties", "required", "strategy", "type",
    )  # fmt: skip

    def __init__(self, type: str = ANY, name: str = "") -> None:
        self.type, self.name = type, name
        self.properties: dict[str, Node] = {}
        self.items: Node | None = None
        self.additional: Node | None = None
        self.decoder: Callable[[Any], tuple[Any, list[str]]] | None = None
        self.required: tuple[str, ...] = ()
        self.format = self.list_type = self.map_type = self.merge_key = ""
        self.map_keys: tuple[str, ...] = ()
        self.strategy: tuple[str, ...] = ()
        self.gvks: tuple[tuple[str, str, str], ...] = ()

    @property
    def struct(self) -> str:
        """The Go type's bare name, as decoding errors show it: "PodSpec"."""
        return self.name.rpartition(".")[2]

    def __repr__(self) -> str:
        return f"<Node {self.type} {self.name}>"
