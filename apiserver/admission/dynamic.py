"""What admission by the cluster's own objects is made of: the store it reads, the webhooks it calls, the rights it asks for.

Who uses it: `main` makes one per server; webhooks and policies reach it through the write's context. Invariant: what is
compiled from objects is compiled once per change of them, seen by comparing revisions in the watch cache: a write costs a
few comparisons while there are no webhooks and policies, and every server follows every other's configuration.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from apiserver.admission.attributes import Attributes
from apiserver.metrics import Metrics
from apiserver.storage.cache import Store
from apiserver.webhooks import Webhooks
from minikube_py.api.types import Obj

T = TypeVar("T")


class Snapshot(Generic[T]):
    """What `make` makes of the objects of some collections, in the order of their names; as new as the watch cache."""

    def __init__(self, store: Store, resources: Iterable[str], make: Callable[..., T]) -> None:
        self._store, self._make = store, make
        self._prefixes = [f"/registry/{resource}.admissionregistration.k8s.io/" for resource in resources]
        self._made: tuple[list[int], T] | None = None

    def get(self) -> T:
        revisions = [self._store.changed(prefix) for prefix in self._prefixes]
        made = self._made
        if made is None or made[0] != revisions:
            objects: Sequence[list[Obj]] = [
                [stored.obj() for stored in self._store.list(prefix, fresh=False).items] for prefix in self._prefixes
            ]
            made = self._made = revisions, self._make(*objects)
        return made[1]


class Dynamic:
    """`authorizer` is the server's own (`auth/authorization.py`). Thread-safe."""

    def __init__(self, store: Store, webhooks: Webhooks, authorizer: Any, metrics: Metrics) -> None:
        from apiserver.admission import policies, webhook_hooks

        self.store, self.webhooks, self.authorizer, self.metrics = store, webhooks, authorizer, metrics
        self.mutating_hooks = Snapshot(store, ["mutatingwebhookconfigurations"], webhook_hooks.compiled)
        self.validating_hooks = Snapshot(store, ["validatingwebhookconfigurations"], webhook_hooks.compiled)
        kinds = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
        self.validating_policies = Snapshot(store, kinds, policies.compiled)
        kinds = ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings")
        self.mutating_policies = Snapshot(store, kinds, policies.compiled)


def of(attributes: Attributes) -> Dynamic | None:
    """What serves this write; None for a write that only the built-in plugins see."""
    found: Dynamic | None = attributes.ctx.dynamic
    return found
