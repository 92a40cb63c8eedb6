"""Who gets in, and what they may do: certificates, tokens, RBAC, nodes, impersonation, reviews."""

import base64
import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minikube_py.cluster import pki
from tests.apiserver.wire import MERGE, Wire, config_map
from tests.conftest import APIServer

RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1"
GROUP = "rbac.authorization.k8s.io"


@pytest.fixture(scope="module")
def people(apiserver: APIServer) -> dict[str, Wire]:
    """Users with client certificates of their own."""
    made = {}
    names = {
        "ann": ("ann", ["devs"]), "bob": ("bob", []),
        "node1": ("system:node:node1", ["system:nodes"]), "proxy": ("system:kube-proxy", ["system:node-proxier"]),
    }  # fmt: skip
    for name, (user, groups) in names.items():
        pki.issue(apiserver.pki, f"test-{name}", user, groups)
        cert = (str(apiserver.pki / f"test-{name}.crt"), str(apiserver.pki / f"test-{name}.key"))
        made[name] = Wire(apiserver.url, apiserver.ca_file, cert=cert)
    return made


@pytest.fixture
def granted(wire: Wire, ns: str) -> Iterator[Any]:
    """Give rules to a subject in the test's namespace."""

    def grant(subject: dict[str, str], *rules: dict[str, list[str]], name: str = "r") -> None:
        wire.ok("POST", f"{RBAC}/namespaces/{ns}/roles", {"metadata": {"name": name}, "rules": list(rules)})
        ref = {"apiGroup": GROUP, "kind": "Role", "name": name}
        wire.ok("POST", f"{RBAC}/namespaces/{ns}/rolebindings",
                {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]})  # fmt: skip

    yield grant


def user(name: str) -> dict[str, str]:
    return {"apiGroup": GROUP, "kind": "User", "name": name}


def group(name: str) -> dict[str, str]:
    return {"apiGroup": GROUP, "kind": "Group", "name": name}


def rule(verbs: str, groups: str, resources: str, *names: str) -> dict[str, list[str]]:
    made = {"verbs": verbs.split(), "apiGroups": [groups], "resources": resources.split()}
    return {**made, **({"resourceNames": list(names)} if names else {})}


def whoami(wire: Wire, **more: Any) -> dict[str, Any]:
    review: dict[str, Any] = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = wire.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review, **more)
    found: dict[str, Any] = answer["status"]["userInfo"]
    return found


def test_a_certificate_says_who_and_in_which_groups(people: dict[str, Wire]) -> None:
    assert whoami(people["ann"]) == {"username": "ann", "groups": ["devs", "system:authenticated"]}


def test_without_a_rule_nothing_is_allowed(people: dict[str, Wire], ns: str) -> None:
    answer = people["ann"]("GET", f"/api/v1/namespaces/{ns}/configmaps/x")
    assert (answer.status, answer.reason) == (403, "Forbidden")
    assert answer.body["message"] == (
        f'configmaps "x" is forbidden: User "ann" cannot get resource "configmaps" in API group "" in the namespace "{ns}"'
    )
    assert answer.body["details"] == {"name": "x", "kind": "configmaps"}
    cluster = people["ann"]("GET", "/api/v1/nodes")
    assert cluster.body["message"].endswith('cannot list resource "nodes" in API group "" at the cluster scope')


def test_a_role_counts_in_its_namespace_at_once(people: dict[str, Wire], granted: Any, ns: str, wire: Wire) -> None:
    ann, bob, maps = people["ann"], people["bob"], f"/api/v1/namespaces/{ns}/configmaps"
    granted(group("devs"), rule("get list create", "", "configmaps"), rule("update", "", "configmaps", "mine"))
    assert ann("POST", maps, config_map("mine")).status == 201
    assert ann("GET", maps).status == 200
    assert ann("PUT", f"{maps}/mine", config_map("mine", data={"k": "v"})).status == 200
    assert ann("DELETE", f"{maps}/mine").status == 403
    assert ann("PUT", f"{maps}/other", config_map("other")).status == 403
    assert ann("GET", "/api/v1/namespaces/default/configmaps").status == 403
    assert ann("GET", "/api/v1/configmaps").status == 403
    assert bob("GET", maps).status == 403
    wire.ok("DELETE", f"{RBAC}/namespaces/{ns}/rolebindings/r")
    assert ann("GET", maps).status == 403


def test_watches_are_authorised_too(people: dict[str, Wire], ns: str) -> None:
    answer = people["bob"]("GET", f"/api/v1/namespaces/{ns}/pods", watch="true")
    assert (answer.status, answer.reason) == (403, "Forbidden")
    assert 'cannot watch resource "pods"' in answer.body["message"]


def test_aggregated_roles_grow(people: dict[str, Wire], wire: Wire, ns: str) -> None:
    ref = {"apiGroup": GROUP, "kind": "ClusterRole", "name": "view"}
    wire.ok("POST", f"{RBAC}/namespaces/{ns}/rolebindings",
            {"metadata": {"name": "v"}, "roleRef": ref, "subjects": [user("bob")]})  # fmt: skip
    bob = people["bob"]
    assert bob("GET", f"/api/v1/namespaces/{ns}/pods").status == 200
    assert bob("GET", f"/api/v1/namespaces/{ns}/secrets").status == 403
    labels = {f"{GROUP}/aggregate-to-view": "true"}
    more = {"metadata": {"name": "view-secrets", "labels": labels}, "rules": [rule("get list", "", "secrets")]}
    wire.ok("POST", f"{RBAC}/clusterroles", more)
    assert bob("GET", f"/api/v1/namespaces/{ns}/secrets").status == 200
    wire.ok("DELETE", f"{RBAC}/clusterroles/view-secrets")
    assert bob("GET", f"/api/v1/namespaces/{ns}/secrets").status == 403


def test_admin_edits_and_edit_views(people: dict[str, Wire], wire: Wire, ns: str) -> None:
    ref = {"apiGroup": GROUP, "kind": "ClusterRole", "name": "admin"}
    wire.ok("POST", f"{RBAC}/namespaces/{ns}/rolebindings",
            {"metadata": {"name": "a"}, "roleRef": ref, "subjects": [user("bob")]})  # fmt: skip
    bob = people["bob"]
    assert bob("POST", f"/api/v1/namespaces/{ns}/configmaps", config_map("a")).status == 201
    assert bob("GET", f"/api/v1/namespaces/{ns}/pods").status == 200
    assert bob("GET", f"{RBAC}/namespaces/{ns}/roles").status == 200
    assert bob("GET", "/api/v1/nodes").status == 403


def test_escalation_is_refused(people: dict[str, Wire], ns: str, granted: Any) -> None:
    bob = people["bob"]
    granted(user("bob"), rule("create update get patch", GROUP, "roles rolebindings"), rule("get", "", "configmaps"))
    roles, bindings = f"{RBAC}/namespaces/{ns}/roles", f"{RBAC}/namespaces/{ns}/rolebindings"
    assert bob("POST", roles, {"metadata": {"name": "small"}, "rules": [rule("get", "", "configmaps")]}).status == 201
    refused = bob("POST", roles, {"metadata": {"name": "big"}, "rules": [rule("get", "", "configmaps secrets")]})
    assert (refused.status, refused.reason) == (403, "Forbidden")
    assert "attempting to grant RBAC permissions not currently held" in refused.body["message"]
    patch = {"rules": [rule("*", "*", "*")]}
    assert bob("PATCH", f"{roles}/small", patch, content_type=MERGE).status == 403
    labels = {"metadata": {"labels": {"a": "b"}}}
    assert bob("PATCH", f"{roles}/small", labels, content_type=MERGE).status == 200
    ref = {"apiGroup": GROUP, "kind": "ClusterRole", "name": "cluster-admin"}
    up = bob("POST", bindings, {"metadata": {"name": "up"}, "roleRef": ref, "subjects": [user("bob")]})
    assert (up.status, up.reason) == (403, "Forbidden")
    own = {"apiGroup": GROUP, "kind": "Role", "name": "small"}
    assert bob("POST", bindings, {"metadata": {"name": "own"}, "roleRef": own, "subjects": [user("ann")]}).status == 201


def test_masters_may_bind_what_does_not_exist_yet(wire: Wire, ns: str) -> None:
    ref = {"apiGroup": GROUP, "kind": "Role", "name": "later"}
    early = {"metadata": {"name": "early"}, "roleRef": ref, "subjects": [user("bob")]}
    assert wire("POST", f"{RBAC}/namespaces/{ns}/rolebindings", early).status == 201


def test_a_node_may_do_what_a_kubelet_needs_and_no_more(people: dict[str, Wire], wire: Wire) -> None:
    node = people["node1"]
    assert node("POST", "/api/v1/nodes", {"metadata": {"name": "node1"}}).status == 201
    assert node("PATCH", "/api/v1/nodes/node1", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE).status == 200
    assert node("GET", "/api/v1/pods", fieldSelector="spec.nodeName=node1").status == 200
    assert node("GET", "/api/v1/services").status == 200
    assert node("DELETE", "/api/v1/nodes/node1").status == 403
    assert node("GET", "/apis/apps/v1/deployments").status == 403
    assert node("POST", "/api/v1/namespaces", {"metadata": {"name": "x"}}).status == 403
    wire.ok("DELETE", "/api/v1/nodes/node1")


def test_the_service_proxy_reads_services(people: dict[str, Wire]) -> None:
    assert people["proxy"]("GET", "/apis/discovery.k8s.io/v1/endpointslices").status == 200
    assert people["proxy"]("GET", "/api/v1/secrets").status == 403


class TestImpersonation:
    def test_masters_may_be_anybody(self, wire: Wire) -> None:
        headers = {"Impersonate-User": "carol", "Impersonate-Group": "ops", "Impersonate-Extra-Why": "test"}
        assert whoami(wire, headers=headers) == {
            "username": "carol", "groups": ["ops", "system:authenticated"], "extra": {"why": ["test"]},
        }  # fmt: skip
        assert wire("GET", "/api/v1/nodes", headers=headers).status == 403

    def test_every_header_is_one_value(self, apiserver: APIServer, wire: Wire) -> None:
        connection = http.client.HTTPSConnection(wire.host, wire.port, context=wire.context)
        connection.putrequest("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews")
        body = b'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}'
        pairs = [
            ("Authorization", f"Bearer {wire.token}"), ("Impersonate-User", "carol"), ("Impersonate-Uid", "u-1"),
            ("Impersonate-Group", "a,b"), ("Impersonate-Group", "c"), ("Impersonate-Extra-Acme.com%2fWhy", "x, y"),
            ("Impersonate-Extra-Acme.com%2fWhy", "z"), ("Content-Type", "application/json"), ("Content-Length", str(len(body))),
        ]  # fmt: skip
        for name, value in pairs:
            connection.putheader(name, value)
        connection.endheaders(body)
        found = json.loads(connection.getresponse().read())["status"]["userInfo"]
        connection.close()
        assert found == {
            "username": "carol", "uid": "u-1", "groups": ["a,b", "c", "system:authenticated"],
            "extra": {"acme.com/why": ["x, y", "z"]},
        }  # fmt: skip

    def test_nobody_is_no_user(self, wire: Wire) -> None:
        answer = wire("GET", "/api/v1/nodes", headers={"Impersonate-Group": "system:masters"})
        assert answer.status == 400 and "without impersonating a user" in answer.body["message"]

    def test_each_part_needs_its_own_right(self, wire: Wire, people: dict[str, Wire]) -> None:
        group_rule = {
            "apiGroups": [""],
            "resources": ["users", "groups"],
            "verbs": ["impersonate"],
            "resourceNames": ["carol", "ops"],
        }
        extra_rule = {"apiGroups": ["authentication.k8s.io"], "resources": ["userextras/why"], "verbs": ["impersonate"]}
        wire.ok("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "imp"}, "rules": [group_rule, extra_rule]})
        ref = {"apiGroup": GROUP, "kind": "ClusterRole", "name": "imp"}
        binding = {"metadata": {"name": "imp"}, "roleRef": ref, "subjects": [user("ann")]}
        wire.ok("POST", f"{RBAC}/clusterrolebindings", binding)
        base = {"Impersonate-User": "carol", "Impersonate-Group": "ops", "Impersonate-Extra-Why": "t"}
        assert whoami(people["ann"], headers=base)["username"] == "carol"
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        for more in (
            {"Impersonate-Group": "system:masters"},
            {"Impersonate-Uid": "1"},
            {"Impersonate-Extra-Other": "t"},
        ):
            assert people["ann"]("POST", path, {}, headers={**base, **more}).status == 403, more
        for name in ("clusterrolebindings", "clusterroles"):
            wire.ok("DELETE", f"{RBAC}/{name}/imp")

    def test_service_accounts_bring_their_groups(self, wire: Wire) -> None:
        found = whoami(wire, headers={"Impersonate-User": "system:serviceaccount:default:robot"})
        assert "system:serviceaccounts:default" in found["groups"]

    def test_it_must_be_allowed(self, people: dict[str, Wire]) -> None:
        answer = people["ann"]("GET", "/api/v1/nodes", headers={"Impersonate-User": "kubernetes-admin"})
        assert answer.status == 403
        assert 'cannot impersonate resource "users"' in answer.body["message"]


class TestServiceAccountTokens:
    @pytest.fixture
    def account(self, wire: Wire, ns: str) -> str:
        wire.ok("POST", f"/api/v1/namespaces/{ns}/serviceaccounts", {"metadata": {"name": "robot"}})
        return f"/api/v1/namespaces/{ns}/serviceaccounts/robot"

    def token(self, wire: Wire, account: str, **spec: Any) -> str:
        answer = wire.ok("POST", f"{account}/token", {"spec": spec})
        return str(answer["status"]["token"])

    def test_a_token_is_its_account(self, apiserver: APIServer, wire: Wire, ns: str, account: str) -> None:
        token = self.token(wire, account, expirationSeconds=600)
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        assert claims["sub"] == f"system:serviceaccount:{ns}:robot"
        assert claims["kubernetes.io"]["serviceaccount"]["name"] == "robot"
        assert claims["exp"] - claims["iat"] == 600
        found = whoami(Wire(apiserver.url, apiserver.ca_file, token))
        assert found["username"] == f"system:serviceaccount:{ns}:robot"
        assert set(found["groups"]) == {
            "system:serviceaccounts",
            f"system:serviceaccounts:{ns}",
            "system:authenticated",
        }

    def test_a_token_dies_with_what_it_is_bound_to(
        self, apiserver: APIServer, wire: Wire, ns: str, account: str
    ) -> None:
        secret = wire.ok("POST", f"/api/v1/namespaces/{ns}/secrets", {"metadata": {"name": "anchor"}})
        ref = {"kind": "Secret", "apiVersion": "v1", "name": "anchor", "uid": secret["metadata"]["uid"]}
        token = self.token(wire, account, boundObjectRef=ref)
        wire.ok("DELETE", f"/api/v1/namespaces/{ns}/secrets/anchor")
        assert Wire(apiserver.url, apiserver.ca_file, token)("GET", "/api").status == 401

    def test_a_changed_token_is_refused(self, apiserver: APIServer, wire: Wire, account: str) -> None:
        head, payload, signature = self.token(wire, account).split(".")
        flipped = signature[:-4] + ("AAAA" if signature[-4:] != "AAAA" else "BBBB")
        assert Wire(apiserver.url, apiserver.ca_file, f"{head}.{payload}.{flipped}")("GET", "/api").status == 401

    def test_token_review(self, wire: Wire, ns: str, account: str) -> None:
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        status = wire.ok("POST", path, {"spec": {"token": self.token(wire, account)}})["status"]
        assert status["authenticated"]
        assert status["user"]["username"] == f"system:serviceaccount:{ns}:robot"
        elsewhere = wire.ok("POST", path, {"spec": {"token": self.token(wire, account), "audiences": ["vault"]}})[
            "status"
        ]
        assert not elsewhere.get("authenticated")
        vault = self.token(wire, account, audiences=["vault"])
        assert wire.ok("POST", path, {"spec": {"token": vault, "audiences": ["vault"]}})["status"]["audiences"] == [
            "vault"
        ]
        assert not wire.ok("POST", path, {"spec": {"token": "nonsense"}})["status"].get("authenticated")

    def test_the_key_is_published(self, wire: Wire) -> None:
        keys = wire.ok("GET", "/openid/v1/jwks", headers={"Accept": "*/*"})
        assert b'"kty"' in (keys if isinstance(keys, bytes) else json.dumps(keys).encode())
        assert wire.ok("GET", "/.well-known/openid-configuration")["id_token_signing_alg_values_supported"]


class TestReviews:
    def test_self_access(self, people: dict[str, Wire], ns: str, granted: Any) -> None:
        granted(user("ann"), rule("get", "", "pods/log"))
        attributes = {"verb": "get", "resource": "pods", "subresource": "log", "namespace": ns}
        path = f"{REVIEWS}/selfsubjectaccessreviews"
        status = people["ann"].ok("POST", path, {"spec": {"resourceAttributes": attributes}})["status"]
        assert status["allowed"]
        assert status["reason"] == f'RBAC: allowed by RoleBinding "{ns}/r" of Role "r" to User "ann"'
        del attributes["subresource"]
        assert not people["ann"].ok("POST", path, {"spec": {"resourceAttributes": attributes}})["status"]["allowed"]
        url = {"nonResourceAttributes": {"verb": "get", "path": "/healthz"}}
        assert people["ann"].ok("POST", path, {"spec": url})["status"]["allowed"]

    def test_about_others(self, wire: Wire, people: dict[str, Wire], ns: str, granted: Any) -> None:
        granted(group("devs"), rule("delete", "apps", "deployments"))
        attributes = {"verb": "delete", "group": "apps", "resource": "deployments", "namespace": ns}
        spec = {"resourceAttributes": attributes, "user": "zoe", "groups": ["devs"]}
        assert wire.ok("POST", f"{REVIEWS}/subjectaccessreviews", {"spec": spec})["status"]["allowed"]
        local = f"{REVIEWS}/namespaces/{ns}/localsubjectaccessreviews"
        assert wire.ok("POST", local, {"spec": spec})["status"]["allowed"]
        assert not wire.ok("POST", local, {"spec": {**spec, "groups": ["ops"]}})["status"]["allowed"]
        assert people["ann"]("POST", f"{REVIEWS}/subjectaccessreviews", {"spec": spec}).status == 403

    def test_rules(self, people: dict[str, Wire], ns: str, granted: Any) -> None:
        granted(user("bob"), rule("get list", "batch", "jobs"))
        status = people["bob"].ok("POST", f"{REVIEWS}/selfsubjectrulesreviews", {"spec": {"namespace": ns}})["status"]
        assert {"verbs": ["get", "list"], "apiGroups": ["batch"], "resources": ["jobs"]} in status["resourceRules"]
        assert any("/healthz" in entry["nonResourceURLs"] for entry in status["nonResourceRules"])


def test_a_certificate_from_another_ca_is_refused(apiserver: APIServer, tmp_path: Path) -> None:
    pki.ensure(tmp_path, api_addresses=[])
    stranger = Wire(apiserver.url, apiserver.ca_file, cert=(str(tmp_path / "admin.crt"), str(tmp_path / "admin.key")))
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        stranger("GET", "/healthz")
