"""exec, attach, port-forward, logs and the proxies through the real API server, to a node that says what reached it."""

import base64
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from apiserver.streaming.exec import in_words
from minikube_py.api.errors import APIError
from minikube_py.api.gvr import NAMESPACES, NODES, PODS, SERVICES, new_object
from minikube_py.api.types import Obj
from tests import harness
from tests.apiserver.kubelet_stand_in import KubeletStandIn
from tests.conftest import APIServer

NS = "streaming"
BASE = f"/api/v1/namespaces/{NS}/pods"
SUCCESS = b'\3{"metadata": {}, "status": "Success"}'


def pod_object(name: str, *containers: str, node: str = "stand-in", **spec: Any) -> Obj:
    listed = [{"name": each, "image": "i", "ports": [{"containerPort": 80}]} for each in containers]
    pod = new_object(PODS, name, NS)
    return pod | {"spec": {"containers": listed, **({"nodeName": node} if node else {}), **spec}}


@pytest.fixture(scope="module")
def node(apiserver: APIServer) -> Iterator[KubeletStandIn]:
    """The stand-in, registered as a node, with some pods on it."""
    stand_in = KubeletStandIn(apiserver.pki, "stand-in")
    client = apiserver.client()
    client.create(NAMESPACES, new_object(NAMESPACES, NS))
    client.request("POST", f"/api/v1/namespaces/{NS}/serviceaccounts", body={"metadata": {"name": "default"}})
    address = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}
    endpoint = {"daemonEndpoints": {"kubeletEndpoint": {"Port": stand_in.port}}}
    dead = {"daemonEndpoints": {"kubeletEndpoint": {"Port": harness.free_port()}}}
    for name, status in (("stand-in", address | endpoint), ("dead", address | dead), ("bare", {})):
        made = client.create(NODES, new_object(NODES, name))
        client.update(NODES, made | {"status": {**made.get("status", {}), **status}}, subresource="status")
    client.create(PODS, pod_object("p", "main"))
    client.create(PODS, pod_object("two", "a", "b", initContainers=[{"name": "i", "image": "i"}]))
    client.create(PODS, pod_object("odd", "gone", "waiting"))
    client.create(PODS, pod_object("pending", "main", node=""))
    client.create(PODS, pod_object("lost", "main", node="dead"))
    client.create(PODS, pod_object("early", "main", node="bare"))
    made = client.get(PODS, "p", NS)
    made["status"] = {
        **made.get("status", {}),
        "podIP": "127.0.0.1",
        "phase": "Running",
        "containerStatuses": [
            {"name": "main", "ready": True, "restartCount": 0, "image": "i", "imageID": "i", "state": {"running": {}}}
        ],
    }
    client.update(PODS, made, subresource="status")
    yield stand_in
    stand_in.stop()


@pytest.fixture(autouse=True)
def forget(node: KubeletStandIn) -> None:
    node.seen.clear()
    node.release.clear()
    node.closed.clear()


def get(apiserver: APIServer, path: str) -> tuple[int, str]:
    status, _, body = apiserver.client().request("GET", path)
    return status, body.decode()


def refused(apiserver: APIServer, path: str) -> APIError:
    with pytest.raises(APIError) as error:
        apiserver.client().request("GET", path)
    return error.value


def websocket(apiserver: APIServer, path: str, *subprotocols: str, token: str = "") -> ClientConnection:
    tls = ssl.create_default_context(cafile=apiserver.ca_file)
    headers = {"Authorization": f"Bearer {token or apiserver.token}"}
    url = f"wss://127.0.0.1:{apiserver.port}{path}"
    return connect(url, subprotocols=subprotocols or None, additional_headers=headers, ssl=tls, compression=None)  # type: ignore[arg-type]


def refusal(apiserver: APIServer, path: str, *subprotocols: str, token: str = "") -> Obj:
    with pytest.raises(InvalidStatus) as error:
        websocket(apiserver, path, *subprotocols, token=token)
    status: Obj = json.loads(error.value.response.body or b"")
    assert status["code"] == error.value.response.status_code
    return status


# -- logs -----------------------------------------------------------------------------------------------------------------


def test_logs_pass_their_options_to_the_kubelet(apiserver: APIServer, node: KubeletStandIn) -> None:
    status, text = get(apiserver, f"{BASE}/p/log?tailLines=5&timestamps=true&previous=false&limitBytes=100&pretty=true")
    assert (status, text) == (200, "line one\nline two\n")
    assert node.seen == [("GET", f"/containerLogs/{NS}/p/main?timestamps=true&tailLines=5&limitBytes=100")]


def test_a_followed_log_arrives_as_it_is_written_and_ends_with_its_client(
    apiserver: APIServer, node: KubeletStandIn
) -> None:
    tls = ssl.create_default_context(cafile=apiserver.ca_file)
    with urllib3.PoolManager(ssl_context=tls) as pool:
        headers = {"Authorization": f"Bearer {apiserver.token}"}
        url = f"{apiserver.url}{BASE}/p/log?follow=true"
        followed = pool.request("GET", url, headers=headers, preload_content=False)
        assert followed.read1(100) == b"line one\n"
        node.release.set()
        assert followed.read() == b"line two\n"
        node.release.clear()
        abandoned = pool.request("GET", url, headers=headers, preload_content=False)
        assert abandoned.read1(100) == b"line one\n"
        assert abandoned.connection is not None
        abandoned.connection.close()
        assert node.closed.wait(10), "the kubelet's connection outlived the client's"


def test_logs_over_a_websocket(apiserver: APIServer, node: KubeletStandIn) -> None:
    with websocket(apiserver, f"{BASE}/p/log?container=main", "binary.k8s.io") as far:
        assert far.subprotocol == "binary.k8s.io"
        assert b"".join(bytes(frame) for frame in far) == b"line one\nline two\n"  # type: ignore[arg-type]
    with websocket(apiserver, f"{BASE}/p/log", "base64.binary.k8s.io") as far:
        assert b"".join(base64.b64decode(frame) for frame in far) == b"line one\nline two\n"


def test_which_container_is_meant(apiserver: APIServer, node: KubeletStandIn) -> None:
    error = refused(apiserver, f"{BASE}/two/log")
    assert (error.code, error.reason) == (400, "BadRequest")
    assert error.message == (
        "a container name must be specified for pod two, choose one of: [a b] or one of the init containers: [i]"
    )
    assert refused(apiserver, f"{BASE}/two/log?container=c").message == "container c is not valid for pod two"
    assert get(apiserver, f"{BASE}/two/log?container=i")[0] == 200
    assert [path for _, path in node.seen] == [f"/containerLogs/{NS}/two/i?"[:-1]]


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("none/log", 404, 'pods "none" not found'),
        ("odd/log?container=waiting", 400, 'container "waiting" in pod "p" is waiting to start: ContainerCreating'),
        ("p/log?tailLines=-1", 422, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("p/log?limitBytes=0", 422, "limitBytes: Invalid value: 0: must be greater than 0"),
        ("p/log?sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", 422, "at most one of `sinceTime` or `sinceSeconds`"),
        ("p/log?tailLines=many", 400, "tailLines=many"),
        ("lost/log", 500, "error dialing backend"),
        ("early/log", 503, "node bare has no InternalIP address yet"),
    ],
)
def test_logs_that_cannot_be_had_say_why(apiserver: APIServer, path: str, code: int, said: str) -> None:
    error = refused(apiserver, f"{BASE}/{path}")
    assert error.code == code
    assert said in error.message


def test_a_pod_without_a_node_has_no_logs_yet(apiserver: APIServer) -> None:
    assert get(apiserver, f"{BASE}/pending/log") == (204, "")


# -- exec and attach ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"])
def test_exec_carries_frames_both_ways(apiserver: APIServer, node: KubeletStandIn, protocol: str) -> None:
    path = f"{BASE}/p/exec?command=cat&command=-n&stdin=true&stdout=true&stderr=true"
    with websocket(apiserver, path, "unknown", protocol) as far:
        assert far.subprotocol == protocol
        assert far.recv() == b"\1cat -n"
        far.send(b"\0hello")
        assert far.recv() == b"\1HELLO"
        far.send(b"\0" + b"x" * 200_000)
        assert far.recv() == b"\1" + b"X" * 200_000
        far.send(b"\0exit")
        assert list(far) == [SUCCESS if protocol.startswith("v") else b"\3"], "before version 4 success says nothing"
        assert far.close_code == 1000
    assert node.seen == [("GET", f"/exec/{NS}/p/main?command=cat&command=-n&input=1&output=1&error=1")]


def test_a_failure_is_told_in_words_before_version_4() -> None:
    failure = b'\3{"metadata": {}, "status": "Failure", "message": "command terminated with exit code 3"}'
    assert in_words(failure) == b"\3command terminated with exit code 3"
    assert in_words(b"\1{}") == b"\1{}"


def test_exec_in_base64(apiserver: APIServer, node: KubeletStandIn) -> None:
    with websocket(apiserver, f"{BASE}/p/exec?command=cat&stdin=1&stdout=1", "base64.channel.k8s.io") as far:
        assert far.recv() == "1" + base64.b64encode(b"cat").decode()
        far.send("0" + base64.b64encode(b"hi").decode())
        assert far.recv() == "1" + base64.b64encode(b"HI").decode()
    assert node.closed.wait(10), "the kubelet was not told that the client left"


def test_attach_asks_for_a_terminal(apiserver: APIServer, node: KubeletStandIn) -> None:
    path = f"{BASE}/two/attach?container=b&stdin=true&stdout=true&stderr=true&tty=true"
    with websocket(apiserver, path, "v4.channel.k8s.io") as far:
        far.send(b"\0exit")
        assert list(far)[-1] == SUCCESS
    assert node.seen == [("GET", f"/attach/{NS}/two/b?input=1&output=1&tty=1")]


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("none/exec?command=x&stdout=1", 404, 'pods "none" not found'),
        ("two/exec?command=x&stdout=1", 400, "choose one of: [a b]"),
        ("odd/exec?container=gone&command=x&stdout=1", 404, 'container not found ("gone")'),
        ("pending/exec?command=x&stdout=1", 400, "pod pending does not have a host assigned"),
        ("lost/exec?command=x&stdout=1", 500, "error dialing backend"),
        ("p/exec?stdout=1", 400, "you must specify at least one command"),
        ("p/exec?command=x&stdout=false", 400, "you must specify at least 1 of stdin, stdout, stderr"),
    ],
)
def test_exec_that_cannot_be_is_a_status(apiserver: APIServer, path: str, code: int, said: str) -> None:
    status = refusal(apiserver, f"{BASE}/{path}", "v5.channel.k8s.io")
    assert status["code"] == code
    assert said in status["message"]


def test_exec_needs_a_known_user_and_a_known_protocol(apiserver: APIServer) -> None:
    path = f"{BASE}/p/exec?command=x&stdout=1"
    assert refusal(apiserver, path, "v5.channel.k8s.io", token="wrong")["code"] == 401
    assert "none of the subprotocols v9.k8s.io" in refusal(apiserver, path, "v9.k8s.io")["message"]


def test_spdy_and_plain_requests_are_refused_in_one_sentence(apiserver: APIServer) -> None:
    tls = ssl.create_default_context(cafile=apiserver.ca_file)
    headers = {"Authorization": f"Bearer {apiserver.token}"}
    spdy = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "v4.channel.k8s.io"}
    url = f"{apiserver.url}{BASE}/p/exec?command=x&stdout=1"
    with urllib3.PoolManager(ssl_context=tls) as pool:
        answer = pool.request("POST", url, headers=headers | spdy)
        assert answer.status == 400
        assert "SPDY is not supported" in answer.json()["message"]
        answer = pool.request("POST", url, headers=headers)
        assert (answer.status, answer.json()["message"]) == (400, "Upgrade request required")


def test_kubectl_execs_and_reads_logs(apiserver: APIServer, node: KubeletStandIn) -> None:
    kubectl = shutil.which("kubectl")
    assert kubectl, "kubectl is not installed (make test installs it)"

    def run(*arguments: str, stdin: str = "") -> str:
        command = [kubectl or "", "--kubeconfig", apiserver.kubeconfig, "-n", NS, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=True).stdout

    assert run("exec", "p", "--", "echo", "hello") == "echo hello"
    assert run("exec", "-i", "p", "--", "cat", stdin="abc") == "catABC"
    wrong = [kubectl, "--kubeconfig", apiserver.kubeconfig, "-n", NS, "exec"]
    for arguments, why in (
        (["p", "-c", "nope", "--", "true"], "container nope is not valid for pod p"),
        (["odd", "-c", "gone", "--", "true"], 'container not found ("gone")'),
        (["pending", "--", "true"], "pod pending does not have a host assigned"),
    ):
        said = subprocess.run([*wrong, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert (said.returncode, why in said.stderr) == (1, True), said.stderr
    assert run("logs", "p", "--tail=7") == "line one\nline two\n"
    assert ("GET", f"/containerLogs/{NS}/p/main?tailLines=7") in node.seen


# -- port-forward ---------------------------------------------------------------------------------------------------------


def test_port_forward_carries_its_channels(apiserver: APIServer, node: KubeletStandIn) -> None:
    with websocket(apiserver, f"{BASE}/p/portforward?ports=8080", "v4.channel.k8s.io") as far:
        assert [far.recv(), far.recv()] == [b"\0\x90\x1f", b"\1\x90\x1f"]
        far.send(b"\0abc")
        assert far.recv() == b"\0cba"
    assert node.seen == [("GET", f"/portForward/{NS}/p?port=8080")]
    bad = refusal(apiserver, f"{BASE}/p/portforward?ports=http", "v4.channel.k8s.io")
    assert (bad["code"], bad["message"]) == (400, "unable to parse 'http' as a port: use a number from 1 to 65535")
    assert refusal(apiserver, f"{BASE}/p/portforward", "v4.channel.k8s.io")["code"] == 400


def test_kubectl_forwards_ports(apiserver: APIServer, node: KubeletStandIn) -> None:
    """SPDY in a WebSocket: several connections over one tunnel, half-closed ones, and one that cannot be made."""
    kubectl = shutil.which("kubectl")
    assert kubectl, "kubectl is not installed (make test installs it)"
    command = [kubectl, "--kubeconfig", apiserver.kubeconfig, "-n", NS, "port-forward", "pod/p", ":8080", ":1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        local: dict[str, int] = {}
        while len(local) < 2:
            words = process.stdout.readline().split()
            assert words[:2] == ["Forwarding", "from"], process.stderr.read()
            if words[2].startswith("127.0.0.1:"):
                local[words[4]] = int(words[2].rpartition(":")[2])
        sockets = [socket.create_connection(("127.0.0.1", local["8080"]), timeout=20) for _ in range(3)]
        for number, each in enumerate(sockets):
            each.sendall(f"hello{number}".encode())
        for number, each in enumerate(sockets):
            assert each.recv(100) == f"{number}olleh".encode()
        for each in sockets:
            each.shutdown(socket.SHUT_WR)
            assert each.makefile("rb").read() == b"goodbye"
            each.close()
        with socket.create_connection(("127.0.0.1", local["1"]), timeout=20) as refused_one:
            assert refused_one.recv(100) == b""
        said = harness.eventually(process.stderr.readline)
        assert "nothing listens on port 1" in said
    finally:
        harness.stop(process)
    assert ("GET", f"/portForward/{NS}/p?port=8080") in node.seen


# -- proxies --------------------------------------------------------------------------------------------------------------


def fetch(apiserver: APIServer, method: str, path: str, **options: Any) -> Any:
    tls = ssl.create_default_context(cafile=apiserver.ca_file)
    with urllib3.PoolManager(ssl_context=tls) as pool:
        headers = {"Authorization": f"Bearer {apiserver.token}", **options.pop("headers", {})}
        return pool.request(method, apiserver.url + path, headers=headers, redirect=False, **options)


def test_a_pod_is_reached_through_its_proxy(apiserver: APIServer, node: KubeletStandIn) -> None:
    base = f"{BASE}/p:{node.plain_port}/proxy"
    answer = fetch(apiserver, "GET", f"{base}/some/pa%20th/?a=b%2Fc", headers={"X-Mine": "1"})
    said = answer.json()
    assert (answer.status, answer.headers["x-from"]) == (200, "pod")
    assert (said["method"], said["path"]) == ("GET", "/some/pa%20th/?a=b%2Fc")
    assert said["headers"]["x-mine"] == "1"
    assert said["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert "authorization" not in said["headers"], "our credentials are not the pod's business"
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        said = fetch(apiserver, method, f"{base}/x", body=b"payload").json()
        assert (said["method"], said["body"]) == (method, "payload")
    chunks = iter([b"one", b"two"])
    assert fetch(apiserver, "POST", f"{base}/x", body=chunks).json()["body"] == "onetwo"
    assert fetch(apiserver, "GET", f"{base}/x?code=418").status == 418
    slashless = fetch(apiserver, "GET", base + "?q=1")
    assert (slashless.status, slashless.headers["location"]) == (301, f"{base}/?q=1")
    page = fetch(apiserver, "GET", f"{base}/some/?page=1")
    assert page.data == f'<a href="{base}/x">'.encode(), "its root is behind our path"
    moved = fetch(apiserver, "GET", f"{base}/some/?page=moved")
    assert (moved.status, moved.headers["location"]) == (302, f"{base}/elsewhere?a=b")


def test_a_websocket_goes_through_the_proxy(apiserver: APIServer, node: KubeletStandIn) -> None:
    with websocket(apiserver, f"{BASE}/p:{node.plain_port}/proxy/chat", "chat") as far:
        assert far.subprotocol == "chat"
        far.send("abc")
        assert far.recv() == "cba"


def test_a_service_is_reached_at_a_ready_endpoint(apiserver: APIServer, node: KubeletStandIn) -> None:
    client = apiserver.client()
    service = new_object(SERVICES, "web", NS) | {"spec": {"ports": [{"name": "http", "port": 80}]}}
    client.create(SERVICES, service)
    base = f"/api/v1/namespaces/{NS}/services"
    empty = fetch(apiserver, "GET", f"{base}/web/proxy/")
    assert (empty.status, empty.json()["message"]) == (503, 'no endpoints available for service "web"')
    piece = {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
        "ports": [{"name": "http", "port": node.plain_port, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}},
                      {"addresses": ["127.0.0.9"], "conditions": {"ready": False}}],
    }  # fmt: skip
    client.request("POST", f"/apis/discovery.k8s.io/v1/namespaces/{NS}/endpointslices", body=piece)
    for name in ("web", "web:http", "web:80", "http:web:http"):
        assert fetch(apiserver, "GET", f"{base}/{name}/proxy/where").json()["path"] == "/where"
    assert fetch(apiserver, "GET", f"{base}/web:grpc/proxy/").status == 503
    assert fetch(apiserver, "GET", f"{base}/a:b:c:d/proxy/").status == 400
    assert fetch(apiserver, "GET", f"{base}/none/proxy/").status == 404


def test_a_node_is_its_kubelet(apiserver: APIServer, node: KubeletStandIn) -> None:
    for name in ("stand-in", f"stand-in:{node.port}"):
        assert fetch(apiserver, "GET", f"/api/v1/nodes/{name}/proxy/healthz").json()["path"] == "/healthz"
    plain = fetch(apiserver, "GET", f"/api/v1/nodes/stand-in:{node.plain_port}/proxy/x")
    assert plain.json()["path"] == "/x"
    dead = fetch(apiserver, "GET", "/api/v1/nodes/dead/proxy/healthz")
    assert (dead.status, dead.json()["reason"]) == (503, "ServiceUnavailable")
    assert "error trying to reach service" in dead.json()["message"]


def test_a_stopping_server_ends_its_streams(fresh_apiserver: APIServer) -> None:
    stand_in = KubeletStandIn(fresh_apiserver.pki, "n")
    client = fresh_apiserver.client()
    made = client.create(NODES, new_object(NODES, "n"))
    endpoint = {"kubeletEndpoint": {"Port": urlsplit(f"//x:{stand_in.port}").port}}
    made["status"] = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": endpoint}
    client.update(NODES, made, subresource="status")
    client.create(NAMESPACES, new_object(NAMESPACES, NS))
    client.request("POST", f"/api/v1/namespaces/{NS}/serviceaccounts", body={"metadata": {"name": "default"}})
    client.create(PODS, pod_object("p", "main", node="n"))
    with websocket(fresh_apiserver, f"{BASE}/p/exec?command=cat&stdin=1&stdout=1", "v4.channel.k8s.io") as far:
        assert far.recv() == b"\1cat"
        started = time.monotonic()
        fresh_apiserver.stop()
        assert fresh_apiserver.process.returncode == 0
        assert time.monotonic() - started < 10
    assert stand_in.closed.wait(10)
    log = (fresh_apiserver.directory / "apiserver.log").read_text()
    assert "Traceback" not in log
    assert "Unclosed" not in log
    stand_in.stop()
