"""Two API servers on one etcd: what one writes the other shows at once, and only one of two writers wins."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import harness
from tests.apiserver.wire import MERGE, Wire, config_map
from tests.conftest import APIServer

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def pair(etcd: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wire, Wire]]:
    servers = []
    try:
        for name in ("one", "two"):
            directory: Path = tmp_path_factory.mktemp(name)
            server = APIServer(directory, "--store", f"etcd://{etcd}?prefix=two-servers")
            servers.append(server)
            server.start()
        one, two = (Wire(server.url, server.ca_file, server.token) for server in servers)
        yield one, two
    finally:
        for server in servers:
            server.stop()


def test_reads_see_the_others_writes(pair: tuple[Wire, Wire]) -> None:
    one, two = pair
    for index in range(10):
        made = one.ok("POST", MAPS, config_map(f"seen-{index}"))
        assert two.ok("GET", f"{MAPS}/seen-{index}") == made
        assert two.ok("PATCH", f"{MAPS}/seen-{index}", {"data": {"a": "b"}}, content_type=MERGE)["data"] == {"a": "b"}
        assert one.ok("GET", f"{MAPS}/seen-{index}")["data"] == {"a": "b"}
    names = [item["metadata"]["name"] for item in one.ok("GET", MAPS, fieldSelector="metadata.name=seen-3")["items"]]
    assert names == ["seen-3"]


def test_one_winner(pair: tuple[Wire, Wire]) -> None:
    made = pair[0].ok("POST", MAPS, config_map("race"))
    answers = []

    def update(wire: Wire, who: str) -> None:
        answers.append(wire("PUT", f"{MAPS}/race", {**made, "data": {"who": who}}).status)

    threads = [threading.Thread(target=update, args=(wire, str(n))) for n, wire in enumerate(pair * 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] + [409] * 5


def test_a_watch_on_one_shows_writes_through_the_other(pair: tuple[Wire, Wire]) -> None:
    one, two = pair
    version = one.ok("GET", MAPS)["metadata"]["resourceVersion"]
    connection = one.connection()
    headers = {"Authorization": f"Bearer {one.token}"}
    connection.request("GET", f"{MAPS}?watch=true&resourceVersion={version}&timeoutSeconds=20", headers=headers)
    response = connection.getresponse()
    two.ok("POST", MAPS, config_map("watched"))
    event = json.loads(response.readline())
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "watched")
    two.ok("DELETE", f"{MAPS}/watched")
    assert json.loads(response.readline())["type"] == "DELETED"
    connection.close()


def test_a_policy_written_on_one_holds_on_the_other(pair: tuple[Wire, Wire]) -> None:
    group = "/apis/admissionregistration.k8s.io/v1"
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    validation = {"expression": "!object.metadata.name.startsWith('bad')"}
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": [validation]}
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": "names"}}
    one, two = pair
    one.ok("POST", f"{group}/validatingadmissionpolicies", {**kind, "kind": "ValidatingAdmissionPolicy", "spec": spec})
    bound = {"policyName": "names", "validationActions": ["Deny"]}
    binding = {**kind, "kind": "ValidatingAdmissionPolicyBinding", "spec": bound}
    one.ok("POST", f"{group}/validatingadmissionpolicybindings", binding)
    harness.eventually(lambda: two("POST", MAPS, config_map("bad-two"), dryRun="All").status == 422)
    assert one("POST", MAPS, config_map("bad-one")).status == 422
    assert two("POST", MAPS, config_map("good")).status == 201
    two.ok("DELETE", f"{group}/validatingadmissionpolicybindings/names")
    harness.eventually(lambda: one("POST", MAPS, config_map("bad-one"), dryRun="All").status == 201)
