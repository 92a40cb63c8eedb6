"""ClusterRoles that are made of others show their rules: `view`, `edit`, `admin`, and what add-ons label for them.

Who calls it: `controllers.main`. Invariant: `rules` of a ClusterRole with an aggregationRule are those of the ClusterRoles it
selects, in the order of their names, each once. The API server's evaluator does not wait for it: it follows the selectors
itself.
Upstream: pkg/controller/clusterroleaggregation.
"""

from collections.abc import Iterable

from controllers.context import Context
from minikube_py.api import selectors
from minikube_py.api.gvr import CLUSTERROLES
from minikube_py.api.meta import labels_of, name_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller


def build(context: Context) -> Controller:
    """Any change of a ClusterRole may change every aggregated one; there are few."""
    reconciler = Aggregation(context)
    return Controller(reconciler, clock=context.clock).watch(reconciler.roles, reconciler.aggregated)


class Aggregation:
    """The reconciler."""

    name = "clusterrole-aggregation"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self.roles = context.informers.of(CLUSTERROLES)

    def aggregated(self, changed: Obj) -> Iterable[str]:
        return [name_of(role) for role in self.roles.list() if role.get("aggregationRule")]

    def reconcile(self, key: str) -> float | None:
        role = self.roles.get("", key)
        if role is None or not role.get("aggregationRule"):
            return None
        rules: list[Obj] = []
        for chosen in role["aggregationRule"].get("clusterRoleSelectors") or ():
            selector = selectors.from_label_selector(chosen)
            for other in sorted(self.roles.list(), key=name_of):
                if name_of(other) != key and selector.matches(labels_of(other)):
                    rules += [rule for rule in other.get("rules") or () if rule not in rules]
        if rules != (role.get("rules") or []):
            self._client.update(CLUSTERROLES, {**role, "rules": rules})
        return None
