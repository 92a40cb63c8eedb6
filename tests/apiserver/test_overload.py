"""More requests at once than there are seats, and what is counted about streams."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.apiserver.test_aggregation import registered
from tests.apiserver.wire import Wire, config_map
from tests.conftest import APIServer
from tests.harness import eventually


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServer]:
    """An API server with one seat for readers and one for writers."""
    limits = ("--max-requests-inflight", "1", "--max-mutating-requests-inflight", "1")
    server = APIServer(tmp_path_factory.mktemp("narrow"), *limits)
    (server.directory / "tokens.csv").write_text(
        f'{server.token},token-admin,uid-1,"system:masters"\nplain,plain,uid-2,"plain"\n'
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_who_finds_no_seat_is_told_to_come_again(narrow: APIServer, apiserver_marker: None) -> None:
    admin = Wire(narrow.url, narrow.ca_file, narrow.token)
    plain = Wire(narrow.url, narrow.ca_file, "plain")
    role = {"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io"}
    subject = {"kind": "User", "name": "plain", "apiGroup": "rbac.authorization.k8s.io"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "plain"},
        "roleRef": role, "subjects": [subject],
    }  # fmt: skip
    admin.ok("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    with registered(narrow, "default") as extension, ThreadPoolExecutor(2) as pool:
        path = f"{extension.root}/flunders?wait=1"
        slow = [pool.submit(_status, narrow, method, path) for method in ("GET", "POST")]
        eventually(lambda: len([one for one in extension.seen if "wait" in one[1]]) == 2)

        for method, where in (("GET", "/version"), ("GET", f"{extension.root}/flunders")):
            answer = plain(method, where)
            assert (answer.status, answer.reason, answer.headers["retry-after"]) == (429, "TooManyRequests", "1")
            assert answer.body["message"] == "Too many requests, please try again later."
        maps = "/api/v1/namespaces/default/configmaps"
        assert plain("POST", maps, config_map("crowded")).status == 429
        assert Wire(narrow.url, narrow.ca_file, "wrong")("POST", maps, config_map("crowded")).status == 401
        assert admin("POST", maps, config_map("crowded")).status == 201  # masters always get an answer
        assert plain("GET", f"{maps}/crowded").status == 200  # answered at once, from memory: it takes no seat
        assert b'"ADDED"' in plain.connection_text(f"{maps}?watch=1&timeoutSeconds=1")  # nor does a watch
        text = admin("GET", "/metrics").body.decode()
        assert 'apiserver_current_inflight_requests{request_kind="mutating"} 1\n' in text
        assert (
            'resource="configmaps",subresource="",scope="namespace",component="apiserver",dry_run="",code="429"} 1'
            in text
        )

        extension.release.set()
        assert [one.result() for one in slow] == [200, 200]
        eventually(lambda: plain("GET", "/version").status == 200, what="a free seat")


def _status(server: APIServer, method: str, path: str) -> int:
    return Wire(server.url, server.ca_file, "plain")(method, path).status


def test_streams_are_counted(wire: Wire, ns: str) -> None:
    path = f"/api/v1/namespaces/{ns}/pods/nobody/exec"
    assert wire("POST", f"{path}?command=ls").status == 404
    labels = (
        'verb="CONNECT",group="",version="v1",resource="pods",subresource="exec",scope="resource",component="apiserver"'
    )

    answered = f'apiserver_request_total{{{labels},dry_run="",code="404"}}'
    ended = f"apiserver_longrunning_requests{{{labels}}} 0\n"

    def metrics() -> str:
        return str(wire("GET", "/metrics").body, "utf-8")

    # a stream is counted out just after its client has the answer
    eventually(lambda: all(line in metrics() for line in (answered, ended)), what="a stream that ended, in the metrics")
