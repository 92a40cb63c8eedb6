"""Role-based access control: who may do what, worked out from Roles, ClusterRoles and their bindings.

Who calls it: the authoriser chain (`authorization.py`) and the access reviews. Invariant: purely additive; without a rule
that allows it a request is not allowed. The evaluator reads an immutable snapshot, which is made anew when one of the four
collections has changed, so a binding counts from the first request after it was stored. Aggregated ClusterRoles are
resolved here, when the snapshot is made.
Stop of the data path: 2 (authorise).
Upstream: plugin/pkg/auth/authorizer/rbac, pkg/apis/rbac/v1/evaluation_helpers.go, clusterrole-aggregation-controller.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from apiserver.auth import user
from apiserver.auth.user import UserInfo
from minikube_py.api import selectors
from minikube_py.api.types import Obj

KINDS = (
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
)


class Asked(NamedTuple):
    """What somebody wants to do. A non-resource request has `path` and `verb` only.

    `fields` and `labels` are the (path, value) pairs that the selectors demand: they narrow a list, watch or deletecollection.
    """

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


class Rule(NamedTuple):
    """One PolicyRule, its lists as sets."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    urls: tuple[str, ...]

    def allows(self, asked: Asked) -> bool:
        if asked.verb not in self.verbs and "*" not in self.verbs:
            return False
        if asked.path:
            return any(_url_matches(url, asked.path) for url in self.urls)
        if asked.group not in self.groups and "*" not in self.groups:
            return False
        if self.names and asked.name not in self.names:
            return False
        return self._covers(asked)

    def _covers(self, asked: Asked) -> bool:
        if "*" in self.resources:
            return True
        if not asked.subresource:
            return asked.resource in self.resources
        wanted = f"{asked.resource}/{asked.subresource}"
        return wanted in self.resources or f"*/{asked.subresource}" in self.resources


def rule_of(policy: Obj) -> Rule:
    """A PolicyRule object as a Rule."""

    def words(name: str) -> frozenset[str]:
        return frozenset(policy.get(name) or ())

    return Rule(
        words("verbs"), words("apiGroups"), words("resources"), words("resourceNames"),
        tuple(policy.get("nonResourceURLs") or ()),
    )  # fmt: skip


def _url_matches(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern[:-1]))


class Grant(NamedTuple):
    """What one binding gives one subject: rules in `namespace` ("" = everywhere), and the sentence that explains it."""

    namespace: str
    rules: tuple[Rule, ...]
    policies: tuple[Obj, ...]
    why: str


Snapshot = Mapping[tuple[str, str], list[Grant]]
"""(subject kind, subject name) → what it is granted. A service account's name is its user name."""


def snapshot(cluster_roles: list[Obj], cluster_bindings: list[Obj], roles: list[Obj], bindings: list[Obj]) -> Snapshot:
    """Everything granted by these objects."""
    policies = {("", r["metadata"]["name"]): _aggregated(r, cluster_roles) for r in cluster_roles}
    policies |= {(r["metadata"]["namespace"], r["metadata"]["name"]): tuple(r.get("rules") or ()) for r in roles}
    compiled = {name: tuple(map(rule_of, rules)) for name, rules in policies.items()}
    granted: dict[tuple[str, str], list[Grant]] = {}
    for binding in (*cluster_bindings, *bindings):
        namespace, ref = binding["metadata"].get("namespace", ""), binding.get("roleRef") or {}
        name = (namespace if ref.get("kind") == "Role" else "", ref.get("name", ""))
        if name not in compiled:
            continue
        for kind, subject in _subjects(binding, namespace):
            why = _explain(binding, kind, subject)
            granted.setdefault((kind, subject), []).append(Grant(namespace, compiled[name], policies[name], why))
    return granted


def _aggregated(role: Obj, cluster_roles: list[Obj], seen: frozenset[str] = frozenset()) -> tuple[Obj, ...]:
    """A role's rules, or those of the roles it is made of, which may be made of others in turn.

    What an aggregated role shows as its rules is its controller's copy, and may be older.
    """
    wanted = role.get("aggregationRule") or {}
    rules, seen = [] if wanted else list(role.get("rules") or ()), seen | {role["metadata"]["name"]}
    for selector in wanted.get("clusterRoleSelectors") or ():
        chosen = selectors.from_label_selector(selector)
        for other in cluster_roles:
            if other["metadata"]["name"] not in seen and chosen.matches(other["metadata"].get("labels") or {}):
                rules += [rule for rule in _aggregated(other, cluster_roles, seen) if rule not in rules]
    return tuple(rules)


def _subjects(binding: Obj, namespace: str) -> Iterator[tuple[str, str]]:
    for subject in binding.get("subjects") or ():
        kind, name = subject.get("kind"), subject.get("name", "")
        if kind == "ServiceAccount":
            yield "User", user.service_account(subject.get("namespace") or namespace, name)
        elif kind in ("User", "Group"):
            yield kind, name


def _explain(binding: Obj, kind: str, subject: str) -> str:
    meta, ref = binding["metadata"], binding["roleRef"]
    where = f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else meta["name"]
    return f'RBAC: allowed by {binding["kind"]} "{where}" of {ref["kind"]} "{ref["name"]}" to {kind} "{subject}"'


class RBAC:
    """The evaluator over the live objects. `changed()` gives a value that differs after any of the four kinds changed."""

    def __init__(self, lister: Callable[[str, str], list[Obj]], changed: Callable[[], tuple[int, ...]]) -> None:
        self._lister, self._changed = lister, changed
        self._lock = threading.Lock()
        self._made_at: tuple[int, ...] | None = None
        self._snapshot: Snapshot = {}

    def allowed(self, who: UserInfo, asked: Asked) -> str:
        """Why this is allowed, "" when it is not."""
        for grant in self.grants(who):
            if grant.namespace and (grant.namespace != asked.namespace or asked.path):
                continue
            if any(rule.allows(asked) for rule in grant.rules):
                return grant.why
        return ""

    def policies(self, who: UserInfo, namespace: str) -> list[Obj]:
        """Every PolicyRule that counts for this user in a namespace."""
        return [policy for grant in self.grants(who) if grant.namespace in ("", namespace) for policy in grant.policies]

    def grants(self, who: UserInfo) -> Iterable[Grant]:
        """What this user has been granted, by name and by each group."""
        current = self._current()
        yield from current.get(("User", who.name), ())
        for group in who.groups:
            yield from current.get(("Group", group), ())

    def rules_of(self, cluster_role: Obj) -> tuple[Obj, ...]:
        """The PolicyRules of a role, those it aggregates included."""
        if not cluster_role.get("aggregationRule"):
            return tuple(cluster_role.get("rules") or ())
        return _aggregated(cluster_role, self._lister(KINDS[0], ""))

    def _current(self) -> Snapshot:
        now = self._changed()
        if now != self._made_at:
            with self._lock:
                if now != self._made_at:
                    roles, bindings, local_roles, local_bindings = (self._lister(kind, "") for kind in KINDS)
                    self._snapshot = snapshot(roles, bindings, local_roles, local_bindings)
                    self._made_at = now
        return self._snapshot
