"""What one row of the resource table says: a served kind, its names, its scope, its verbs and its subresources.

Who uses it: `table.py` builds the rows; request routing, discovery, OpenAPI, the registry and authorisation read them.
Invariant: a row is pure, frozen data. Two rows may share one stored form (`stored_as`): then `key_prefix` is the same for
both, and `apiserver/resources/convert.py` translates between them. A row with `custom` is a custom resource's.
Upstream: apimachinery/pkg/apis/meta/v1 (APIResource) and each kind's storage.go under pkg/registry.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from minikube_py.api.gvr import GVR

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Subresource:
    """One subresource of a row: the verbs it answers and the kind it speaks ("" group and version = those of its row)."""

    name: str
    verbs: tuple[str, ...]
    kind: str
    group: str = ""
    version: str = ""


@dataclass(frozen=True)
class Row:
    """One served kind in one version. `stored_as` is the (group, version) whose form is kept in the store.

    `custom` is what a CustomResourceDefinition says about it (`customresources/version.py`), None for built-in kinds.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    singular: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresource_table: tuple[Subresource, ...] = ()
    definition: str = ""
    stored_as: tuple[str, str] | None = None
    custom: Any = field(default=None, compare=False, repr=False)

    @cached_property
    def subresources(self) -> tuple[str, ...]:
        return tuple(sub.name for sub in self.subresource_table)

    @cached_property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def qualified(self) -> str:
        """How messages and rules name it: "pods", "deployments.apps"."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @cached_property
    def storage_group(self) -> str:
        return self.stored_as[0] if self.stored_as else self.group

    @cached_property
    def storage_version(self) -> str:
        return self.stored_as[1] if self.stored_as else self.version

    @cached_property
    def plural_key(self) -> str:
        """The name of its collection in the store: "pods", "deployments.apps"."""
        return f"{self.plural}.{self.storage_group}" if self.storage_group else self.plural

    @cached_property
    def key_prefix(self) -> str:
        return f"/registry/{self.plural_key}/"

    @cached_property
    def stored(self) -> bool:
        """False for what is answered and forgotten (reviews, bindings)."""
        return "list" in self.verbs and self.kind != "ComponentStatus"

    @cached_property
    def verbatim(self) -> bool:
        """Whether the stored bytes are what a client of this row shall see."""
        return self.stored_as is None and self.custom is None

    @cached_property
    def gvr(self) -> GVR:
        return GVR(self.group, self.version, self.plural, self.kind, self.namespaced)

    def prefix(self, namespace: str = "") -> str:
        """The key prefix of the whole collection, or of its part in one namespace."""
        return f"{self.key_prefix}{namespace}/" if namespace and self.namespaced else self.key_prefix

    def key(self, namespace: str, name: str) -> str:
        return f"{self.prefix(namespace)}{name}"

    def subresource(self, name: str) -> Subresource | None:
        return next((sub for sub in self.subresource_table if sub.name == name), None)
