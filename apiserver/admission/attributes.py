"""One write as admission sees it.

Who uses it: the registry makes it, `chain.py` hands it to every plugin. Invariant: a plugin changes nothing but `obj`.
Upstream: staging/src/k8s.io/apiserver/pkg/admission/attributes.go.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from apiserver.resources.row import Row
from apiserver.strategies.base import Context, User
from minikube_py.api import errors
from minikube_py.api.types import Obj

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"


@dataclass
class Attributes:
    """One write as the plugins see it. `obj` is None for DELETE and CONNECT without a body, `old` for CREATE and CONNECT.

    `finish`: what plugins leave to be called with True once the store has the write, with False when it failed.
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

    @property
    def resource(self) -> str:
        """The stored collection: "pods", "deployments.apps"."""
        return self.row.plural_key

    def is_(self, resource: str, *verbs: str, subresource: str = "") -> bool:
        """True for these verbs on exactly this resource and subresource."""
        return self.resource == resource and self.subresource == subresource and (not verbs or self.verb in verbs)

    def forbidden(self, why: str) -> errors.Forbidden:
        """403 in upstream's words: `pods "x" is forbidden: why`."""
        name = self.name or ((self.obj or {}).get("metadata") or {}).get("name", "")
        details = {"name": name, **({"group": self.row.group} if self.row.group else {}), "kind": self.row.plural}
        return errors.Forbidden(f'{self.row.qualified} "{name}" is forbidden: {why}', details=details)


class Plugin(NamedTuple):
    """`admit` may change attributes.obj, `check` may only refuse; either may be absent."""

    name: str
    verbs: frozenset[str]
    admit: Callable[[Attributes], None] | None = None
    check: Callable[[Attributes], None] | None = None
