"""Clients that mean harm, or just mean too much: each is told no, and somebody else is served all the while.

A server of its own, because some of it would be in the way of others. All on loopback, all bounded.
"""

import contextlib
import http.client
import json
import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from minikube_py.cluster import pki
from tests.apiserver.wire import APPLY, JSON_PATCH, MERGE, Wire, config_map
from tests.conftest import APIServer

_MEMORY = 3 << 30
RBAC = "/apis/rbac.authorization.k8s.io/v1"
MAPS, OTHERS = "/api/v1/namespaces/attacked/configmaps", "/api/v1/namespaces/other/configmaps"


class Target:
    """The server, the attacker (who may do anything in one namespace), and another tenant in another."""

    def __init__(self, server: APIServer) -> None:
        self.server = server
        self.admin = Wire(server.url, server.ca_file, server.token)
        for name in ("attacked", "other"):
            self.admin.ok("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
            ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
            subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}
            binding = {"metadata": {"name": "all"}, "roleRef": ref, "subjects": [subject]}
            self.admin.ok("POST", f"{RBAC}/namespaces/{name}/rolebindings", binding)
            pki.issue(server.pki, name, name)

    def as_(self, name: str) -> Wire:
        cert = (f"{self.server.pki}/{name}.crt", f"{self.server.pki}/{name}.key")
        return Wire(self.server.url, self.server.ca_file, cert=cert)

    def connect(self, name: str = "") -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self.server.ca_file)
        if name:
            context.load_cert_chain(f"{self.server.pki}/{name}.crt", f"{self.server.pki}/{name}.key")
        plain = socket.create_connection(("127.0.0.1", self.server.port), 30)
        return context.wrap_socket(plain, server_hostname="127.0.0.1")

    @property
    def memory(self) -> int:
        """Bytes the server's process holds."""
        with open(f"/proc/{self.server.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    server = APIServer(tmp_path_factory.mktemp("attacked"))
    try:
        server.start()
        resource.prlimit(
            server.process.pid, resource.RLIMIT_AS, (_MEMORY, _MEMORY)
        )  # rather it fails than this machine
        yield Target(server)
    finally:
        server.stop()


pytestmark = pytest.mark.apiserver


@contextlib.contextmanager
def somebody_else(target: Target) -> Iterator[list[float]]:
    """Another tenant writes and reads until the block ends, and every single thing it does succeeds. Out: seconds each took."""
    over, took, failed = threading.Event(), list[float](), list[Any]()

    def work() -> None:
        wire, number = target.as_("other"), 0
        while not over.is_set():
            number += 1
            began = time.monotonic()
            for method, path, body in (
                ("POST", OTHERS, config_map(f"c{number}", data={"n": str(number)})), ("GET", f"{OTHERS}/c{number}", None),
                ("DELETE", f"{OTHERS}/c{number}", None),
            ):  # fmt: skip
                answer = _patiently(lambda m=method, p=path, b=body: wire(m, p, b))  # type: ignore[misc]
                if answer.status >= 300:
                    failed.append(answer)
            took.append(time.monotonic() - began)
            over.wait(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join(60)
    assert not thread.is_alive(), "the other tenant hangs"
    assert took and not failed, failed[:3]


def _patiently(send: Callable[[], Any]) -> Any:
    """As a client does: 429 says when to come again."""
    for _ in range(60):
        answer = send()
        if answer.status != 429:
            return answer
        assert answer.headers["retry-after"].isdigit()
        time.sleep(min(1.0, float(answer.headers["retry-after"])))
    return answer


def deep(kind: str, depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth if kind == "object" else "[" * depth + "]" * depth


PAIRS = zip(["x", *(f"*{name}" for name in "abcdefg")], "abcdefgh", strict=True)
BOMB = "\n".join(f"{name}: &{name} [{','.join([of] * 9)}]" for of, name in PAIRS)
DEEP = (
    b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"d","annotations":'
    + deep("object", 50_000).encode()
    + b"}}"
)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"x" * (3 * 1024 * 1024 + 1), "application/json"),
        (json.dumps(config_map("big", data={"k": "x" * (3 << 20)})).encode(), "application/json"),
        (DEEP, "application/json"),
        (deep("array", 100_000).encode(), "application/json"),
        (deep("array", 100_000).encode(), "application/yaml"),
        (f"apiVersion: v1\nkind: ConfigMap\n{BOMB}".encode(), "application/yaml"),
        (b"k8s\x00" + b"\x0a\xff\xff\xff\xff\x0f" + b"x" * 100, "application/vnd.kubernetes.protobuf"),
        (b"k8s\x00" + b"\x12" + b"\x0b" * 100_000, "application/vnd.kubernetes.protobuf"),
        (b"\xff\xfe" * 1000, "application/json"), (b"", "application/json"), (b"null", "application/json"),
    ],
    ids=["too large", "too large json", "deep", "deep array", "deep yaml", "yaml bomb", "protobuf length", "protobuf groups",
         "not utf-8", "empty", "null"],
)  # fmt: skip
def test_a_body_that_is_an_attack_is_a_client_error(target: Target, body: bytes, content_type: str) -> None:
    with somebody_else(target):
        for method, path in (("POST", MAPS), ("PUT", f"{MAPS}/big"), ("PATCH", f"{MAPS}/big")):
            kind = content_type or "application/json"
            answer = target.as_("attacked")(method, path, body, content_type=MERGE if method == "PATCH" else kind)
            assert 400 <= answer.status < 500, (method, answer.status, str(answer.body)[:200])
            assert isinstance(answer.body, dict) and answer.body["kind"] == "Status"


def test_labels_and_annotations_have_a_limit(target: Target) -> None:
    wire = target.as_("attacked")
    for field in ("labels", "annotations"):
        meta = {"name": "labelled", field: {f"k{n}": "v" * 60 for n in range(20_000)}}
        answer = wire("POST", MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
        assert answer.status in (201, 413, 422), answer.body
        wire("DELETE", f"{MAPS}/labelled")
    many = wire("POST", MAPS, config_map("labelled", data={f"k{n}": "v" for n in range(100_000)}))
    assert many.status in (201, 413), many.body
    wire("DELETE", f"{MAPS}/labelled")
    meta = {"name": "labelled", "labels": {"k" * 100_000: "v"}}
    assert wire("POST", MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}).status == 422


def test_patches_that_explode(target: Target) -> None:
    wire = target.as_("attacked")
    wire.ok("POST", MAPS, config_map("exploding", data={"a": "x" * 1000}))
    doubling = [{"op": "copy", "from": "/data", "path": f"/data/k{n}"} for n in range(10_001)]
    with somebody_else(target):
        for body, kind in (
            (doubling, JSON_PATCH),
            (doubling[:60], JSON_PATCH),
            ({"data": {"a": deep("object", 10_000)}}, MERGE),
        ):
            answer = wire("PATCH", f"{MAPS}/exploding", body, content_type=kind)
            assert answer.status < 500, answer.body
        answer = wire("PATCH", f"{MAPS}/exploding", deep("object", 10_000), content_type=APPLY, fieldManager="m")
        assert 400 <= answer.status < 500
    wire.ok("DELETE", f"{MAPS}/exploding")


QUERIES = [
    {"labelSelector": "a in (" + ",".join(f"v{n}" for n in range(5000)) + ")"}, {"labelSelector": "((((("},
    {"fieldSelector": "metadata.name=" + "\\" * 999}, {"limit": "-1"}, {"limit": "99999999999999999999"}, {"limit": "x"},
    {"continue_": "x" * 10_000}, {"resourceVersion": "-5"}, {"resourceVersion": "99999999999999999999999"},
    {"timeoutSeconds": "x"}, {"timeoutSeconds": "-1", "watch": "1"}, {"resourceVersionMatch": "Sideways"},
]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: next(iter(query)))
def test_queries_that_make_no_sense(target: Target, query: dict[str, Any]) -> None:
    answer = target.as_("attacked")("GET", MAPS, **query)
    assert answer.status < 500 or "Too large resource version" in str(answer.body), answer.body  # upstream's 504


def test_who_dribbles_is_not_waited_for(target: Target) -> None:
    """Slow-loris: hundreds of connections that never finish saying what they want, each a byte now and then."""
    slow = [target.connect() for _ in range(300)]
    try:
        for connection in slow:
            connection.sendall(b"GET /api/v1/pods HTTP/1.1\r\nHost: x\r\nX-A: ")
        body = [target.connect("attacked") for _ in range(50)]
        for connection in body:
            head = f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
            connection.sendall(head.encode() + b"{")
        slow += body
        began = time.monotonic()
        with somebody_else(target) as took:
            gone = 0
            while gone < 300 and time.monotonic() - began < 55:
                for connection in slow[:300]:
                    gone += _byte_is_refused(connection)
                time.sleep(1)
        assert gone >= 300, "who does not come to an end is cut off"
        assert len(took) > 100, "nobody else notices"
    finally:
        for connection in slow:
            connection.close()


def _byte_is_refused(connection: ssl.SSLSocket) -> bool:
    if connection.fileno() < 0:
        return False
    try:
        connection.sendall(b"a")
        return False
    except OSError:
        connection.close()
        return True


def test_endless_heads_and_handshakes_that_never_come(target: Target) -> None:
    with somebody_else(target):
        silent = [socket.create_connection(("127.0.0.1", target.server.port)) for _ in range(200)]
        before = target.memory
        connection = target.connect()
        with pytest.raises(OSError):
            connection.sendall(b"GET / HTTP/1.1\r\n")
            for number in range(100_000):
                connection.sendall(b"X-%d: " % number + b"a" * 1000 + b"\r\n")
        connection.close()
        assert target.memory - before < 64 << 20
        for one in silent:
            one.close()


def test_a_flood_of_watches(target: Target) -> None:
    """Hundreds of watches by one tenant that reads none of them: somebody else is served, and the server does not swell."""
    wire = target.as_("attacked")
    request = f"GET {MAPS}?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    watchers: list[ssl.SSLSocket] = []
    with somebody_else(target):
        for _ in range(200):
            connection = target.connect("attacked")
            connection.sendall(request)
            watchers.append(connection)
        for connection in watchers:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        held = target.memory
        for number in range(15):  # nobody reads: the server must not keep it all for them
            wire.ok("PUT" if number else "POST", f"{MAPS}/watched" if number else MAPS,
                    config_map("watched", data={"x": str(number) * 30_000}))  # fmt: skip
        assert target.memory - held < 600 << 20
        for connection in watchers:
            connection.close()
    wire.ok("DELETE", f"{MAPS}/watched")


def test_ten_thousand_requests_at_once(target: Target) -> None:
    """500 connections, 20 requests each, all sent before any answer is read: each is answered, with what it asked or 429."""
    lines = f"GET {MAPS}?limit=500 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    codes: dict[int, int] = {}
    for number in range(200):
        target.admin.ok("POST", MAPS, config_map(f"many-{number}", data={"x": "y" * 500}))
    with somebody_else(target) as took, ThreadPoolExecutor(20) as pool:
        connections = list(pool.map(lambda _: target.connect("attacked"), range(500)))
        list(pool.map(lambda one: one.sendall(lines * 20), connections))
        for found in pool.map(_answers, connections):
            for code in found:
                codes[code] = codes.get(code, 0) + 1
    assert sum(codes.values()) == 10_000 and set(codes) <= {200, 429}, codes
    assert took, "another tenant was served meanwhile"


def _answers(connection: ssl.SSLSocket) -> list[int]:
    """The codes of 20 pipelined answers; a 429 says when to come again."""
    connection.settimeout(60)
    file, codes = connection.makefile("rb"), []
    for _ in range(20):
        status = file.readline()
        headers = http.client.parse_headers(file)
        file.read(int(headers["content-length"]))
        codes.append(int(status.split()[1]))
        assert codes[-1] != 429 or headers["retry-after"]
    connection.close()
    return codes


def test_afterwards_the_server_is_as_it_was(target: Target) -> None:
    assert target.admin("GET", "/readyz").status == 200
    assert target.server.process.poll() is None
    assert len(os.listdir(f"/proc/{target.server.process.pid}/fd")) < 200
    log = (target.server.directory / "apiserver.log").read_text()
    assert "Traceback" not in log, log[-3000:]
