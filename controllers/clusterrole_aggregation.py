"""ClusterRole aggregation: a role with an aggregation rule holds the rules of all roles that rule selects.

Who calls it: `controllers.main`. Invariants: rules come in the order of the roles' names, each once; one that says so already
is not written; field managers see who owns `rules`. Authorisation does not wait for it: it follows the selectors itself.
Upstream: pkg/controller/clusterroleaggregation/clusterroleaggregation_controller.go.
"""

from collections.abc import Iterable

from controllers.context import Context
from minikube_py.api import errors, selectors
from minikube_py.api.gvr import CLUSTERROLES, new_object
from minikube_py.api.meta import labels_of, name_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_MANAGER = "clusterrole-aggregation-controller"


def build(context: Context) -> Controller:
    """Watches ClusterRoles: any of them may be part of any that aggregates. Keys are those that do."""
    reconciler = ClusterRoleAggregation(context)
    return Controller(reconciler, clock=context.clock).watch(reconciler.roles, reconciler.keys)


class ClusterRoleAggregation:
    """The reconciler."""

    name = "clusterrole-aggregation"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self.roles = context.informers.of(CLUSTERROLES)

    def keys(self, role: Obj) -> Iterable[str]:
        return [name_of(one) for one in self.roles.list() if one.get("aggregationRule")]

    def reconcile(self, key: str) -> float | None:
        role = self.roles.get_key(key)
        if role is None or not role.get("aggregationRule"):
            return None
        wanted = aggregated(role, self.roles.list())
        if wanted == (role.get("rules") or []):
            return None
        body = {**new_object(CLUSTERROLES, key), "rules": wanted}
        try:
            self._client.patch(CLUSTERROLES, key, body, kind="apply", field_manager=_MANAGER, force=True)
        except errors.NotFound:
            return None
        return None


def aggregated(role: Obj, roles: list[Obj]) -> list[Obj]:
    """The rules the role shall have."""
    chosen = [selectors.from_label_selector(s) for s in role["aggregationRule"].get("clusterRoleSelectors") or []]
    rules: list[Obj] = []
    for other in sorted(roles, key=name_of):
        if name_of(other) != name_of(role) and any(selector.matches(labels_of(other)) for selector in chosen):
            rules += [rule for rule in other.get("rules") or [] if rule not in rules]
    return rules
