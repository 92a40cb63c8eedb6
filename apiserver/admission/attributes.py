"""One write as admission sees it.

Who uses it: the registry makes it, `chain.py` hands it to every plugin. Invariant: a plugin changes nothing but `obj`, and
adds to `warnings` and `annotations`.
Upstream: staging/src/k8s.io/apiserver/pkg/admission/attributes.go.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from apiserver.admission.reinvocation import Reinvocation
from apiserver.resources.row import Row
from apiserver.strategies.base import Context, User
from minikube_py.api import errors
from minikube_py.api.types import Obj

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"


class Kind(NamedTuple):
    """Group, version and kind."""

    group: str
    version: str
    kind: str


@dataclass
class Attributes:
    """One write as the plugins see it. `obj` is None for DELETE and CONNECT without a body, `old` for CREATE and CONNECT.

    `finish`: what plugins leave to be called with True once the store has the write, with False when it failed.
    `requested`: the row that the client asked for, where `row`, the stored one, is another. `query`: the request's.
    `patches`: the request is a PATCH. `annotations` go into the audit log.
    """

    verb: str
    row: Row
    namespace: str
    name: str
    obj: Obj | None
    old: Obj | None
    user: User
    ctx: Context
    subresource: str = ""
    dry_run: bool = False
    options: Obj = field(default_factory=dict)
    finish: list[Callable[[bool], None]] = field(default_factory=list)
    requested: Row | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    patches: bool = False
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    reinvocation: Reinvocation = field(default_factory=Reinvocation)

    @property
    def resource(self) -> str:
        """The stored collection: "pods", "deployments.apps"."""
        return self.row.plural_key

    @property
    def served(self) -> Row:
        """The row that the client asked for."""
        return self.requested or self.row

    @cached_property
    def kind(self) -> Kind:
        """What the request's object is: the row's kind, or that of its subresource."""
        return kind_of(self.served, self.subresource)

    @property
    def within(self) -> str:
        """The namespace that the write belongs to; that of a Namespace is itself."""
        return self.namespace or (self.shown_name if self.resource == "namespaces" else "")

    @property
    def shown_name(self) -> str:
        """The name, as far as it is known before one is generated."""
        return self.name or str(((self.obj or {}).get("metadata") or {}).get("name") or "")

    def is_(self, resource: str, *verbs: str, subresource: str = "") -> bool:
        """True for these verbs on exactly this resource and subresource."""
        return self.resource == resource and self.subresource == subresource and (not verbs or self.verb in verbs)

    def forbidden(self, why: str) -> errors.Forbidden:
        """403 in upstream's words: `pods "x" is forbidden: why`."""
        details = {"name": self.shown_name, **({"group": self.row.group} if self.row.group else {})}
        details["kind"] = self.row.plural
        return errors.Forbidden(f'{self.row.qualified} "{self.shown_name}" is forbidden: {why}', details=details)


def kind_of(row: Row, subresource: str) -> Kind:
    """What is read and written at this endpoint."""
    sub = row.subresource(subresource) if subresource else None
    if sub is None:
        return Kind(row.group, row.version, row.kind)
    return Kind(sub.group, sub.version, sub.kind) if sub.version else Kind(row.group, row.version, sub.kind)


class Plugin(NamedTuple):
    """`admit` may change attributes.obj, `check` may only refuse; either may be absent."""

    name: str
    verbs: frozenset[str]
    admit: Callable[[Attributes], None] | None = None
    check: Callable[[Attributes], None] | None = None
