"""Calls of webhooks as such: connections that are used again, and servers that do not do what they should."""

import base64
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apiserver.webhooks import WebhookError, Webhooks
from minikube_py.api.errors import APIError
from minikube_py.api.gvr import CONFIGMAPS, NAMESPACES, new_object
from minikube_py.api.types import Obj
from minikube_py.cluster import pki
from tests.apiserver.test_admission_webhooks import CONFIGMAP_RULE, VALIDATING
from tests.apiserver.webhook_server import WebhookServer
from tests.conftest import APIServer
from tests.harness import eventually


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("webhooks")
    pki.ensure(directory, api_addresses=["10.96.0.1"])
    return directory


@pytest.fixture
def server(keys: Path) -> Iterator[WebhookServer]:
    made = WebhookServer(f"{keys}/apiserver.crt", f"{keys}/apiserver.key", f"{keys}/ca.crt")
    made.answers["/"] = lambda _: {}
    yield made
    made.close()


@pytest.fixture
def webhooks() -> Iterator[Webhooks]:
    made = Webhooks(None)  # type: ignore[arg-type]  # nothing here names a Service
    yield made
    made.close()


REVIEW: Obj = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {"uid": "1"}}


def _accepting(keys: Path, serve: Callable[[ssl.SSLSocket], None]) -> tuple[str, list[int]]:
    """A server made of one function. Out: its URL, and a list that grows with every connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{keys}/apiserver.crt", f"{keys}/apiserver.key")
    connections: list[int] = []

    def accept() -> None:
        while True:
            raw, _ = listener.accept()
            connections.append(1)
            with context.wrap_socket(raw, server_side=True) as stream:
                serve(stream)

    threading.Thread(target=accept, daemon=True).start()
    return f"https://127.0.0.1:{listener.getsockname()[1]}/", connections


def _client(url: str, keys: Path) -> Obj:
    return {"url": url, "caBundle": base64.b64encode((keys / "ca.crt").read_bytes()).decode()}


def _request(stream: ssl.SSLSocket) -> bytes:
    """One request to its end; b"" when there is none any more."""
    text = b""
    while b"\r\n\r\n" not in text or not text.endswith(b"}"):
        piece = stream.recv(65536)
        if not piece:
            return b""
        text += piece
    return text


_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_a_connection_is_used_again(webhooks: Webhooks, keys: Path) -> None:
    def serve(stream: ssl.SSLSocket) -> None:
        while _request(stream):
            stream.sendall(_OK)

    url, connections = _accepting(keys, serve)
    for _ in range(5):
        assert webhooks.call(_client(url, keys), {"a": 1}) == {}
    assert len(connections) == 1


def test_a_connection_that_was_closed_meanwhile_is_made_anew(webhooks: Webhooks, keys: Path) -> None:
    def serve(stream: ssl.SSLSocket) -> None:
        _request(stream)
        stream.sendall(_OK)

    url, connections = _accepting(keys, serve)
    for _ in range(3):
        assert webhooks.call(_client(url, keys), {"a": 1}) == {}
    assert len(connections) == 3


def test_an_answer_that_drips_ends_with_the_time(webhooks: Webhooks, keys: Path) -> None:
    """Each byte comes in time, but all of them never do."""

    def serve(stream: ssl.SSLSocket) -> None:
        _request(stream)
        for letter in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
            try:
                stream.sendall(bytes([letter]))
            except OSError:
                return
            time.sleep(0.05)

    url, _ = _accepting(keys, serve)
    with pytest.raises(WebhookError, match="context deadline exceeded"):
        webhooks.call(_client(url, keys), {"a": 1}, timeout=0.5)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 2", b"what?\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"]
)
def test_answers_that_break_off(webhooks: Webhooks, keys: Path, said: bytes) -> None:
    def serve(stream: ssl.SSLSocket) -> None:
        _request(stream)
        stream.sendall(said)

    url, _ = _accepting(keys, serve)
    with pytest.raises(WebhookError, match=f'^Post "{url}": '):
        webhooks.call(_client(url, keys), {"a": 1}, timeout=5)


def test_many_calls_at_once(webhooks: Webhooks, server: WebhookServer) -> None:
    waits = [webhooks.begin(server.client("/"), REVIEW) for _ in range(100)]
    assert all(wait()["response"]["allowed"] for wait in waits)


def test_a_server_stops_though_a_webhook_hangs(fresh_apiserver: APIServer, server: WebhookServer, keys: Path) -> None:
    let_go = threading.Event()

    def hang(_: Obj) -> Obj:
        let_go.wait(30)
        return {}

    server.answers["/hang"] = hang
    client = fresh_apiserver.client()
    hook: dict[str, Any] = {
        "name": "hang.example.com", "clientConfig": server.client("/hang"), "sideEffects": "None", "timeoutSeconds": 30,
        "admissionReviewVersions": ["v1"], "rules": [CONFIGMAP_RULE],
    }  # fmt: skip
    client.create(VALIDATING, {**new_object(VALIDATING, "hang"), "webhooks": [hook]})
    client.create(NAMESPACES, new_object(NAMESPACES, "here"))

    def write() -> None:
        with contextlib.suppress(APIError):
            client.create(CONFIGMAPS, new_object(CONFIGMAPS, "a"), "here")

    thread = threading.Thread(target=write)
    thread.start()
    eventually(lambda: bool(server.asked), what="the webhook's call")
    fresh_apiserver.process.terminate()
    assert fresh_apiserver.process.wait(15) == 0
    let_go.set()
    thread.join()
