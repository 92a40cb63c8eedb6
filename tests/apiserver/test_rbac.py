"""The RBAC evaluator alone: rules, bindings, aggregation, and that nobody can hand out more than they hold."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apiserver.auth import policy
from apiserver.auth.escalation import covered
from apiserver.auth.rbac import RBAC, Asked, Grant, rule_of, snapshot
from apiserver.auth.user import UserInfo, authenticated

GROUP = "rbac.authorization.k8s.io"


def role(name: str, *rules: dict[str, Any], namespace: str = "", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **more.pop("metadata", {})}
    return {"kind": "Role" if namespace else "ClusterRole", "metadata": metadata, "rules": list(rules), **more}


def binding(to: str, kind: str, *subjects: dict[str, str], namespace: str = "") -> dict[str, Any]:
    metadata = {"name": f"to-{to}", **({"namespace": namespace} if namespace else {})}
    made = "RoleBinding" if namespace else "ClusterRoleBinding"
    return {"kind": made, "metadata": metadata, "roleRef": {"kind": kind, "name": to}, "subjects": list(subjects)}


def rule(verbs: str, groups: str, resources: str, names: str = "") -> dict[str, Any]:
    return {
        "verbs": verbs.split(),
        "apiGroups": [groups],
        "resources": resources.split(),
        "resourceNames": names.split(),
    }


def allowed(who: UserInfo, asked: Asked, *objects: list[dict[str, Any]]) -> bool:
    lists = dict(zip(("clusterroles", "clusterrolebindings", "roles", "rolebindings"), objects, strict=True))
    rbac = RBAC(lambda kind, _: lists[kind.partition(".")[0]], lambda: (1,))
    return bool(rbac.allowed(who, asked))


ANN = authenticated("ann", groups=("devs",))


def test_a_cluster_role_bound_in_a_namespace_counts_there_alone() -> None:
    roles = [role("reader", rule("get", "", "pods"))]
    bound = [binding("reader", "ClusterRole", {"kind": "Group", "name": "devs"}, namespace="a")]
    assert allowed(ANN, Asked("get", "", "pods", "", "a", "x"), roles, [], [], bound)
    assert not allowed(ANN, Asked("get", "", "pods", "", "b", "x"), roles, [], [], bound)
    assert not allowed(ANN, Asked("get", "", "pods", "", "", ""), roles, [], [], bound)
    everywhere = [binding("reader", "ClusterRole", {"kind": "User", "name": "ann"})]
    assert allowed(ANN, Asked("get", "", "pods", "", "b", "x"), roles, everywhere, [], [])


def test_a_service_account_subject_means_its_namespace() -> None:
    roles = [role("r", rule("get", "", "pods"), namespace="a")]
    bound = [binding("r", "Role", {"kind": "ServiceAccount", "name": "bot"}, namespace="a")]
    bot = authenticated("system:serviceaccount:a:bot")
    assert allowed(bot, Asked("get", "", "pods", "", "a", "x"), [], [], roles, bound)
    other = authenticated("system:serviceaccount:b:bot")
    assert not allowed(other, Asked("get", "", "pods", "", "a", "x"), [], [], roles, bound)


def test_subresources_names_and_urls() -> None:
    logs = rule_of(rule("get", "", "pods/log"))
    assert logs.allows(Asked("get", "", "pods", "log", "a", "x"))
    assert not logs.allows(Asked("get", "", "pods", "", "a", "x"))
    scale = rule_of(rule("update", "*", "*/scale"))
    assert scale.allows(Asked("update", "apps", "deployments", "scale"))
    assert not scale.allows(Asked("update", "apps", "deployments"))
    named = rule_of(rule("get", "", "secrets", "one two"))
    assert named.allows(Asked("get", "", "secrets", "", "a", "two"))
    assert not named.allows(Asked("get", "", "secrets", "", "a", "three"))
    assert not named.allows(Asked("list", "", "secrets", "", "a", ""))
    urls = rule_of({"verbs": ["get"], "nonResourceURLs": ["/metrics", "/api/*"]})
    assert urls.allows(Asked("get", path="/api/v1"))
    assert not urls.allows(Asked("get", path="/metrics/slis"))
    assert not urls.allows(Asked("get", "", "pods"))


def test_a_binding_to_nothing_gives_nothing() -> None:
    assert snapshot([], [binding("absent", "ClusterRole", {"kind": "User", "name": "ann"})], [], []) == {}


def test_aggregation_goes_through_several_roles_and_in_circles() -> None:
    def sums(label: str) -> dict[str, Any]:
        return {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]}}

    roles = [
        role("top", metadata={"labels": {"bottom": "true"}}, **sums("middle")),
        role("mid", metadata={"labels": {"middle": "true"}}, **sums("bottom")),
        role("leaf", rule("get", "", "pods"), metadata={"labels": {"bottom": "true"}}),
    ]
    bound = [binding("top", "ClusterRole", {"kind": "User", "name": "ann"})]
    assert allowed(ANN, Asked("get", "", "pods"), roles, bound, [], [])
    assert not allowed(ANN, Asked("list", "", "pods"), roles, bound, [], [])


def test_the_roles_every_cluster_starts_with() -> None:
    found = list(policy.objects())
    roles = [obj for obj in found if obj["kind"] == "ClusterRole"]
    assert len({obj["metadata"]["name"] for obj in roles}) == len(roles)
    for name, asked, verdict in (
        ("view", Asked("get", "", "pods", "log", "a", "x"), True), ("view", Asked("get", "", "secrets", "", "a", "x"), False),
        ("edit", Asked("get", "", "secrets", "", "a", "x"), True),
        ("edit", Asked("list", "apps", "deployments", "", "a"), True),
        ("edit", Asked("create", GROUP, "roles", "", "a"), False), ("admin", Asked("create", GROUP, "roles", "", "a"), True),
        ("admin", Asked("get", "", "configmaps", "", "a", "x"), True), ("admin", Asked("delete", "", "nodes"), False),
        ("cluster-admin", Asked("delete", "any", "thing", "", "a", "x"), True),
        ("system:discovery", Asked("get", path="/apis/apps/v1"), True),
    ):  # fmt: skip
        bound = [binding(name, "ClusterRole", {"kind": "User", "name": "ann"})]
        assert allowed(ANN, asked, roles, bound, [], []) is verdict, (name, asked)


_VERBS, _GROUPS = st.sampled_from(["get", "list", "*"]), st.sampled_from(["", "apps", "*"])
_RESOURCES, _NAMES = st.sampled_from(["pods", "pods/log", "*"]), st.sampled_from(["a", "b"])
_RULES = st.fixed_dictionaries(
    {
        "verbs": st.lists(_VERBS, min_size=1, max_size=2),
        "apiGroups": st.lists(_GROUPS, min_size=1, max_size=2),
        "resources": st.lists(_RESOURCES, min_size=1, max_size=2),
        "resourceNames": st.lists(_NAMES, max_size=1),
    }
)
_ASKED = st.builds(
    Asked,
    verb=st.sampled_from(["get", "list", "delete"]),
    group=st.sampled_from(["", "apps", "batch"]),
    resource=st.sampled_from(["pods", "jobs"]),
    subresource=st.sampled_from(["", "log"]),
    namespace=st.just("n"),
    name=st.sampled_from(["", "a", "b", "c"]),
)


@given(held=st.lists(_RULES, max_size=3), wanted=_RULES, asked=_ASKED)
def test_what_is_covered_allows_nothing_new(held: list[dict[str, Any]], wanted: dict[str, Any], asked: Asked) -> None:
    grants = [Grant("", tuple(map(rule_of, held)), (), "")]
    if covered(rule_of(wanted), grants) and rule_of(wanted).allows(asked):
        assert any(rule_of(one).allows(asked) for one in held)


@given(rules=st.lists(_RULES, min_size=1, max_size=3))
def test_everybody_may_pass_on_what_they_hold(rules: list[dict[str, Any]]) -> None:
    grants = [Grant("", tuple(map(rule_of, rules)), (), "")]
    assert all(covered(rule_of(one), grants) for one in rules)
