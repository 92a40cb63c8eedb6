"""The official schemas as trees of small nodes: what fields a kind has, their types, and how their lists merge.

Who uses it: the decoder (types, unknown fields), strategic merge patch and server-side apply (merge keys), discovery and
OpenAPI. Invariant: nodes are shared and never changed once compiled; a kind is compiled the first time it is asked for.
Upstream: the OpenAPI definitions of kube-apiserver, which the package kubernetes-validate ships per release.

Traps of the source: optional types are [T, "null"]; Quantity and IntOrString are written as alternatives; RawExtension,
FieldsV1 and JSON take anything; DeleteOptions and WatchEvent claim dozens of kinds.
"""

import copy
import marshal
import threading
from functools import lru_cache
from typing import Any

from minikube_py.api import schema_cache
from minikube_py.api.coerce import DecodeError, coerce, dotted
from minikube_py.api.schema_cache import RELEASE
from minikube_py.api.schema_node import ANY, Node
from minikube_py.api.types import Obj
from minikube_py.api.validate import prune, unknown_fields, validate

__all__ = [
    "ANY", "META", "RELEASE", "DecodeError", "Node", "Schemas", "coerce", "dotted", "from_json_schema", "load", "prune",
    "unknown_fields", "validate",
]  # fmt: skip

_SPECIAL = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "micro-time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": ANY,
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch": ANY,
    "io.k8s.apimachinery.pkg.runtime.RawExtension": ANY,
}
_SHARED_KINDS = frozenset(("DeleteOptions", "WatchEvent"))
META = "io.k8s.apimachinery.pkg.apis.meta.v1."


class Schemas:
    """All kinds of one release (or, for custom resources, of one definition)."""

    def __init__(self, compact: dict[str, bytes]) -> None:
        self._compact = compact
        self._compiled: dict[str, Node] = {}
        self._compiling: dict[str, Node] = {}  # not complete yet: seen only by the thread that holds the lock
        self._lock = threading.Lock()
        self._by_kind: dict[tuple[str, str, str], str] | None = None

    def for_gvk(self, group: str, version: str, kind: str) -> Node | None:
        """The node of a kind, None when the release has no such kind. DeleteOptions is the same one for every group."""
        name = self.definition_of(group, version, kind)
        return self.definition(name) if name else None

    def definition_of(self, group: str, version: str, kind: str) -> str:
        """Upstream's name of the kind's definition: "io.k8s.api.core.v1.Pod"; "" when there is none."""
        if kind in _SHARED_KINDS:
            return META + kind
        if self._by_kind is None:
            self._by_kind = self._kinds()
        return self._by_kind.get((group, version, kind), "")

    def _kinds(self) -> dict[tuple[str, str, str], str]:
        found: dict[tuple[str, str, str], str] = {}
        for name, blob in self._compact.items():
            if b"gvks" in blob:
                for gvk in marshal.loads(blob).get("gvks", ()):
                    if gvk[2] not in _SHARED_KINDS:
                        found[tuple(gvk)] = name
        return found

    def names(self) -> list[str]:
        return list(self._compact)

    def definition(self, name: str) -> Node:
        """The node of a definition. Raises KeyError when there is none of that name."""
        node = self._compiled.get(name)
        if node is None:
            with self._lock:
                try:
                    node = self._compile(name)
                    self._compiled.update(self._compiling)
                finally:
                    self._compiling.clear()
        return node

    def _compile(self, name: str) -> Node:
        node = self._compiled.get(name) or self._compiling.get(name)
        if node is None:
            small = marshal.loads(self._compact[name])
            node = Node(_SPECIAL.get(name, small.get("type", ANY)), ".".join(name.split(".")[-2:]))
            self._compiling[name] = node  # before its fields: JSONSchemaProps contains itself
            self._fill(node, small)
        return node

    def _fill(self, node: Node, small: dict[str, Any]) -> None:
        for key in ("format", "list_type", "map_type", "merge_key", "strategy", "required", "map_keys", "gvks"):
            if key in small:
                setattr(node, key, small[key])
        if "properties" in small:
            node.properties = {name: self._node(inner) for name, inner in small["properties"].items()}
        if "items" in small:
            node.items = self._node(small["items"])
        if "additional" in small:
            node.additional = self._node(small["additional"])
            node.type = "map"
        if node.type == "string" and node.format == "byte":
            node.type = "bytes"

    def _node(self, small: dict[str, Any]) -> Node:
        if "ref" not in small:
            if len(small) == 1 and small.get("type") in _PLAIN:
                return _PLAIN[small["type"]]
            node = Node(small.get("type", ANY))
            self._fill(node, small)
            return node
        target = self._compile(small["ref"])
        if len(small) == 1:
            return target
        node = copy.copy(target)  # the reference adds to what it refers to, as `strategy` of a Deployment does
        self._fill(node, small)
        return node


_PLAIN = {kind: Node(kind) for kind in ("string", "integer", "number", "boolean")}


@lru_cache(maxsize=2)
def load(release: str = RELEASE) -> Schemas:
    """The official kinds of a release. Costs a few milliseconds once the derived file exists."""
    return Schemas(schema_cache.compact(release))


def from_json_schema(schema: Obj, definitions: dict[str, Obj] | None = None) -> Node:
    """A node from schema text of the same form (tests, custom resources)."""
    compact = {name: marshal.dumps(schema_cache.squeeze(inner)) for name, inner in (definitions or {}).items()}
    return Schemas({**compact, "": marshal.dumps(schema_cache.squeeze(schema))}).definition("")
