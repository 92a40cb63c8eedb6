"""Nobody may hand out more than they hold: what a role or binding grants is checked against what its writer may do.

Who calls it: the registry, as the guard of the four RBAC kinds, right before the store. Invariant: a Role or ClusterRole
whose rules the writer does not hold needs verb `escalate` on it, a binding to a role the writer does not hold needs verb
`bind`; unchanged rules may always be written again, so that metadata can be edited.
Upstream: pkg/registry/rbac/{role,clusterrole,rolebinding,clusterrolebinding}/policybased, pkg/registry/rbac/validation.
"""

from collections.abc import Callable, Iterator

from apiserver.auth.authorization import Authorizer
from apiserver.auth.rbac import Asked, Grant, Rule, rule_of
from apiserver.auth.user import MASTERS, UserInfo
from apiserver.registry import Call, Guard
from minikube_py.api import errors
from minikube_py.api.types import Obj

_GROUP = "rbac.authorization.k8s.io"
Lookup = Callable[[str, str, str], Obj | None]


def guards(authorizer: Authorizer, lookup: Lookup) -> dict[str, Guard]:
    """The guard of each RBAC kind, by qualified plural."""

    def role(call: Call, new: Obj, old: Obj | None) -> None:
        if old is None or new.get("rules") != old.get("rules"):
            _check(authorizer, call, lambda: new.get("rules") or [], "escalate", new["metadata"].get("name", ""))
        if new.get("aggregationRule") and (old is None or new["aggregationRule"] != old.get("aggregationRule")):
            everything: list[Obj] = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
            _check(authorizer, call, lambda: everything, "escalate", new["metadata"].get("name", ""))

    def binding(call: Call, new: Obj, old: Obj | None) -> None:
        same = old is not None and all(new.get(key) == old.get(key) for key in ("subjects", "roleRef"))
        ref = new.get("roleRef") or {}
        if not same and not _may_everything(call):  # a master may also bind to a role that comes later
            _check(authorizer, call, lambda: _rules(authorizer, lookup, call, ref), "bind", ref.get("name", ""), ref)

    kinds = {"roles": role, "clusterroles": role, "rolebindings": binding, "clusterrolebindings": binding}
    return {f"{plural}.{_GROUP}": guard for plural, guard in kinds.items()}


def _rules(authorizer: Authorizer, lookup: Lookup, call: Call, ref: Obj) -> list[Obj]:
    namespaced = ref.get("kind") == "Role"
    plural = "roles" if namespaced else "clusterroles"
    found = lookup(f"{plural}.{_GROUP}", call.namespace if namespaced else "", ref.get("name", ""))
    if found is None:
        raise errors.not_found(plural, ref.get("name", ""), _GROUP)
    return list(authorizer.rbac.rules_of(found))


def _may_everything(call: Call) -> bool:
    assert isinstance(call.user, UserInfo), "the edge makes every call with an authenticated user"
    return MASTERS in call.user.groups


def _check(
    authorizer: Authorizer, call: Call, rules: Callable[[], list[Obj]], verb: str, name: str, ref: Obj | None = None
) -> None:
    """In: `rules` are only looked up for those who do not have the verb itself."""
    who = call.user
    assert isinstance(who, UserInfo), "the edge makes every call with an authenticated user"
    if _may_everything(call):
        return
    plural = {"Role": "roles", "ClusterRole": "clusterroles"}[ref["kind"]] if ref else call.row.plural
    if authorizer.verdict(who, Asked(verb, _GROUP, plural, "", call.namespace, name)).allowed:
        return
    held = [grant for grant in authorizer.rbac.grants(who) if grant.namespace in ("", call.namespace)]
    missing = [rule for rule in rules() if not covered(rule_of(rule), held)]
    if missing:
        shown = "\n".join(_shown(rule) for rule in missing)
        subject = f'{call.row.qualified} "{call.name}"'
        raise errors.Forbidden(
            f'{subject} is forbidden: user "{who.name}" (groups={list(who.groups)}) is attempting to grant RBAC permissions '
            f"not currently held:\n{shown}",
            details={"name": call.name, "group": _GROUP, "kind": call.row.plural},
        )


def covered(wanted: Rule, held: list[Grant]) -> bool:
    """Whether the held rules together allow everything that `wanted` allows."""
    return all(any(rule.allows(asked) for grant in held for rule in grant.rules) for asked in _parts(wanted))


def _parts(rule: Rule) -> Iterator[Asked]:
    for verb in rule.verbs:
        for url in rule.urls:
            yield Asked(verb, path=url)
        for group in rule.groups:
            for resource in rule.resources:
                plural, _, sub = resource.partition("/")
                for name in rule.names or ("",):
                    yield Asked(verb, group, plural, sub, "", name)


def _shown(rule: Obj) -> str:
    words = (("APIGroups", "apiGroups"), ("Resources", "resources"), ("ResourceNames", "resourceNames"),
             ("NonResourceURLs", "nonResourceURLs"), ("Verbs", "verbs"))  # fmt: skip
    listed = (f"{name}:[{', '.join(f'{one!r}' for one in rule[key])}]" for name, key in words if rule.get(key))
    return "{" + ", ".join(listed).replace("'", '"') + "}"
