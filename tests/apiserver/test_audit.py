"""The audit log: what a policy chooses, at which level and stage; and, without one, who wrote and who was refused, and why."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver import audit_policy
from apiserver.auth.user import UserInfo
from apiserver.options import OptionError
from apiserver.request import Query, parse
from minikube_py.api.types import Obj
from minikube_py.cluster import pki
from tests.apiserver.wire import MERGE, Wire, config_map
from tests.conftest import APIServer
from tests.harness import eventually

ANN = UserInfo("ann", groups=("devs", "system:authenticated"))


def decided(rule: Obj, method: str, path: str, query: str = "", **policy: Any) -> audit_policy.Decision:
    made = audit_policy.Policy({"rules": [{"level": "Metadata", **rule}], **policy})
    return made.decide(ANN, parse(method, path, Query(query)))


PODS = "/api/v1/namespaces/ns/pods"
ON_PODS = [{"group": "", "resources": ["pods"]}]


@pytest.mark.parametrize(
    ("rule", "method", "path", "matches"),
    [
        ({}, "GET", "/healthz", True),
        ({"users": ["ann"]}, "GET", PODS, True),
        ({"users": ["bob"]}, "GET", PODS, False),
        ({"userGroups": ["devs", "ops"]}, "GET", PODS, True),
        ({"userGroups": ["ops"]}, "GET", PODS, False),
        ({"verbs": ["list"]}, "GET", PODS, True),
        ({"verbs": ["get"]}, "GET", PODS, False),
        ({"namespaces": ["ns"]}, "GET", PODS, True),
        ({"namespaces": [""]}, "GET", PODS, False),
        ({"namespaces": [""]}, "GET", "/api/v1/nodes", True),
        ({"resources": ON_PODS}, "GET", f"{PODS}/a", True),
        ({"resources": ON_PODS}, "GET", f"{PODS}/a/log", False),
        ({"resources": [{"resources": ["pods/*"]}]}, "GET", f"{PODS}/a/log", True),
        ({"resources": [{"resources": ["*/log"]}]}, "GET", f"{PODS}/a/log", True),
        ({"resources": [{"resources": ["*"]}]}, "GET", f"{PODS}/a/log", True),
        ({"resources": [{"group": "apps"}]}, "GET", "/apis/apps/v1/deployments", True),
        ({"resources": [{"group": "*"}]}, "GET", "/apis/apps/v1/deployments", True),
        ({"resources": [{"group": ""}]}, "GET", "/apis/apps/v1/deployments", False),
        ({"resources": [{"resources": ["pods"], "resourceNames": ["a"]}]}, "GET", f"{PODS}/a", True),
        ({"resources": [{"resources": ["pods"], "resourceNames": ["b"]}]}, "GET", f"{PODS}/a", False),
        ({"nonResourceURLs": ["/healthz*"]}, "GET", "/healthz/ping", True),
        ({"nonResourceURLs": ["/healthz"]}, "GET", "/healthz/ping", False),
        ({"nonResourceURLs": ["*"]}, "GET", PODS, False),
        ({"resources": ON_PODS}, "GET", "/healthz", False),
    ],
)  # fmt: skip
def test_which_requests_a_rule_is_about(rule: Obj, method: str, path: str, matches: bool) -> None:
    assert decided(rule, method, path).level == ("Metadata" if matches else "None")


def test_stages_and_managed_fields_of_policy_and_rule_come_together() -> None:
    found = decided({"omitStages": ["Panic"]}, "GET", PODS, omitStages=["RequestReceived"], omitManagedFields=True)
    assert found.stages == {"ResponseStarted", "ResponseComplete"} and not found.managed_fields
    assert decided({"omitManagedFields": False}, "GET", PODS, omitManagedFields=True).managed_fields


RULE = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{%s}]}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rules: [", "is not YAML"), ("[]", "kind: Policy are expected"),
        ("{apiVersion: audit.k8s.io/v1, kind: Policy}", "at least one"),
        (RULE % "level: All", "rules[0]: level: 'All' is none of None,"),
        (RULE % "level: None, verb: [get]", "unknown field 'verb'"),
        (RULE % "level: None, omitStages: [X]", "'X' is none of"),
        (RULE % "level: None, users: ann", "users: a list is expected"),
        (RULE % "level: None, nonResourceURLs: [a]", "must begin with '/'"),
        (RULE % "level: None, nonResourceURLs: [/a], namespaces: [x]",
         "rules cannot apply to both"),
        (RULE % "level: None, resources: [{resourceNames: [x]}]", "requires at least one"),
    ],
)  # fmt: skip
def test_a_policy_that_makes_no_sense_is_one_sentence(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(OptionError) as raised:
        audit_policy.read(str(file))
    assert why in str(raised.value) and str(file) in str(raised.value) and "Traceback" not in str(raised.value)


class Audited:
    """A server with a policy, and its log."""

    def __init__(self, directory: Path, policy: Obj) -> None:
        file = directory / "policy.yaml"
        file.write_text(yaml.safe_dump({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", **policy}))
        self.server = APIServer(directory, "--audit-policy-file", str(file))
        self.wire = Wire(self.server.url, self.server.ca_file, self.server.token)

    def events(self, path: str, count: int) -> list[Obj]:
        def found() -> list[Obj] | None:
            return matching if len(matching := log_of(self.server, path)) >= count else None

        listed: list[Obj] = eventually(found, what=f"{count} audit events of {path}")
        assert len(listed) == count
        return listed


def log_of(server: APIServer, path: str) -> list[Obj]:
    lines = (server.directory / "audit.log").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["requestURI"].startswith(path)]


MAPS_ONLY = [{"resources": ["configmaps"]}]


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    rules = [
        {"level": "None", "users": ["system:apiserver"]},
        {"level": "Metadata", "resources": [{"resources": ["secrets"]}]},
        {"level": "Request", "verbs": ["patch"], "resources": MAPS_ONLY, "omitStages": ["RequestReceived"]},
        {"level": "RequestResponse", "resources": MAPS_ONLY, "omitManagedFields": True},
        {"level": "Metadata", "nonResourceURLs": ["/version"]},
    ]  # fmt: skip
    made = Audited(tmp_path_factory.mktemp("audited"), {"rules": rules})
    try:
        made.server.start()
        yield made
    finally:
        made.server.stop()


MAPS, SECRETS = "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/secrets"


def test_levels_and_stages(audited: Audited) -> None:
    wire = audited.wire
    wire.ok("POST", MAPS, config_map("levels", data={"k": "v"}), fieldManager="levels")
    first, second = audited.events(f"{MAPS}?fieldManager=levels", 2)
    assert (first["stage"], second["stage"]) == ("RequestReceived", "ResponseComplete")
    assert first["auditID"] == second["auditID"] and "responseStatus" not in first and "requestObject" not in first
    assert second["requestObject"]["data"] == {"k": "v"} and second["responseObject"]["metadata"]["uid"]
    assert "managedFields" not in second["responseObject"]["metadata"]
    assert second["objectRef"]["name"] == "levels" and second["responseStatus"]["code"] == 201
    assert second["annotations"] == {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""}
    wire.ok("PATCH", f"{MAPS}/levels", {"data": {"k": "w"}}, content_type=MERGE)
    (patched,) = audited.events(f"{MAPS}/levels", 1)
    assert (patched["level"], patched["requestObject"]) == ("Request", {"data": {"k": "w"}})
    assert "responseObject" not in patched


def test_secrets_stay_out_of_it_and_yaml_goes_in(audited: Audited) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "s-"}, "stringData": {"p": "hush"}}
    name = audited.wire.ok("POST", SECRETS, body)["metadata"]["name"]
    _, done = audited.events(SECRETS, 2)
    assert done["objectRef"]["name"] == name, "generated names too"
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: in-yaml}\ndata: {a: b}\n"
    audited.wire.ok("POST", MAPS, text, content_type="application/yaml", fieldManager="yaml")
    _, done = audited.events(f"{MAPS}?fieldManager=yaml", 2)
    assert done["requestObject"]["data"] == {"a": "b"}
    assert "hush" not in (audited.server.directory / "audit.log").read_text()


def test_watches_have_a_beginning_and_an_end(audited: Audited) -> None:
    assert b"ADDED" in audited.wire.connection_text(f"{MAPS}?watch=true&timeoutSeconds=1")
    events = audited.events(f"{MAPS}?watch", 3)
    assert [event["stage"] for event in events] == ["RequestReceived", "ResponseStarted", "ResponseComplete"]
    assert len({event["auditID"] for event in events}) == 1


def test_what_no_rule_names_is_not_there(audited: Audited) -> None:
    audited.wire.ok("GET", "/api/v1/nodes")
    audited.wire.ok("GET", "/version", headers={"Audit-ID": "given"})
    assert {event["auditID"] for event in audited.events("/version", 2)} == {"given"}
    assert not log_of(audited.server, "/api/v1/nodes")


class TestWithoutAPolicy:
    def events(self, apiserver: APIServer, path: str) -> list[Obj]:
        found: list[Obj] = eventually(lambda: log_of(apiserver, path), what=f"an audit event of {path}")
        return found

    def test_who_was_refused_and_why(self, apiserver: APIServer) -> None:
        pki.issue(apiserver.pki, "test-nosy", "nosy", ["curious"])
        nosy = Wire(
            apiserver.url, apiserver.ca_file, cert=(f"{apiserver.pki}/test-nosy.crt", f"{apiserver.pki}/test-nosy.key")
        )
        assert nosy("GET", "/api/v1/namespaces/default/secrets/crown-jewels").status == 403
        assert nosy("GET", "/api/v1/namespaces/nosy/secrets", watch="true").status == 403
        (event,) = self.events(apiserver, "/api/v1/namespaces/default/secrets/crown-jewels")
        assert (event["user"]["username"], event["verb"], event["responseStatus"]["code"]) == ("nosy", "get", 403)
        assert event["annotations"]["authorization.k8s.io/decision"] == "forbid"
        (event,) = self.events(apiserver, "/api/v1/namespaces/nosy/secrets")
        assert (event["verb"], event["responseStatus"]["reason"]) == ("watch", "Forbidden")

    def test_a_node_is_told_apart(self, apiserver: APIServer) -> None:
        pki.issue(apiserver.pki, "test-lost", "system:node:lost", ["system:nodes"])
        lost = Wire(
            apiserver.url, apiserver.ca_file, cert=(f"{apiserver.pki}/test-lost.crt", f"{apiserver.pki}/test-lost.key")
        )
        assert lost("GET", "/api/v1/namespaces/default/secrets/lost").status == 403
        (event,) = self.events(apiserver, "/api/v1/namespaces/default/secrets/lost")
        reason = event["annotations"]["authorization.k8s.io/reason"]
        assert reason == "no relationship found between node 'lost' and this object"

    def test_why_a_token_was_no_good(self, apiserver: APIServer) -> None:
        path = f"/api/v1/namespaces/default/pods/bad-token-{os.getpid()}"
        assert Wire(apiserver.url, apiserver.ca_file, "a.b.c")("GET", path).status == 401
        (event,) = self.events(apiserver, path)
        assert event["responseStatus"]["code"] == 401 and event["annotations"]["minikube-py.io/refused-because"]

    def test_reads_that_succeed_are_not_logged_and_acting_as_somebody_is(
        self, apiserver: APIServer, wire: Wire, ns: str
    ) -> None:
        maps = f"/api/v1/namespaces/{ns}/configmaps"
        wire.ok("GET", f"{maps}?fieldManager=quiet")
        headers = {"Impersonate-User": "carol", "Impersonate-Group": "system:masters"}
        wire.ok("POST", f"{maps}?fieldManager=carol", config_map("hers"), headers=headers)
        (event,) = self.events(apiserver, f"{maps}?fieldManager=carol")
        assert (event["user"]["username"], event["impersonatedUser"]["username"]) == ("token-admin", "carol")
        assert not log_of(apiserver, f"{maps}?fieldManager=quiet")
