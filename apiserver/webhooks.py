"""Calling webhooks: a JSON document is posted to a URL, or to a Service in the cluster, and a JSON document comes back.

Who calls it: conversion of custom resources, admission webhooks. Invariant: the connection is always TLS, verified with the
configuration's own CA bundle; a Service is reached through one of its ready endpoints, under the name its certificate has
to carry (NAME.NAMESPACE.svc). A call ends when its time is over, whatever the other side does: the connection is cut then.
Each call takes a thread of its own, so `call` may be used on the event loop, inside a write (`waiting.py`).
Upstream: apiserver/pkg/util/webhook (client.go, serviceresolver.go); the sentences are client-go's (rest/request.go).
"""

import base64
import http.client
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from urllib.parse import urlsplit

import orjson

from apiserver import services, waiting
from apiserver.exchange import Exchange, Idle, Target
from apiserver.storage.cache import Store
from minikube_py.api.types import Obj

_MOST_CALLS = 256
_SHOWN = 2048
"""How much of an error's page is repeated."""


class WebhookError(Exception):
    """The webhook could not be asked, or did not answer with a document; `str()` says why."""


class Webhooks:
    """Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(_MOST_CALLS, thread_name_prefix="webhook")
        self._idle = Idle()
        self._running: set[Exchange] = set()

    def close(self) -> None:
        """Cut what is under way: nobody waits for it any more."""
        for exchange in list(self._running):
            exchange.abort()

    def call(self, client: Obj, document: Obj, *, query: str = "", timeout: float = 30.0) -> Obj:
        """Post a document. In: `client` a WebhookClientConfig; `timeout` seconds. Raises WebhookError."""
        return self.begin(client, document, query=query, timeout=timeout)()

    def begin(self, client: Obj, document: Obj, *, query: str = "", timeout: float = 30.0) -> Callable[[], Obj]:
        """As `call`, but only begin. Out: what waits for the answer; it must be called, and raises WebhookError."""
        exchange = Exchange(self._idle, time.monotonic() + timeout)
        url, name, port, path = _address(client, query)
        work: Future[tuple[int, bytes]] = Future()
        try:
            target, tls = self._target(client, name, port), _tls(client.get("caBundle") or "")
            self._running.add(exchange)
            work = self._threads.submit(exchange.post, target, path, orjson.dumps(document), tls)
        except (OSError, ValueError, services.NoEndpoint) as error:
            work.set_exception(error)

        def finish() -> Obj:
            try:
                status, body = waiting.result(work, exchange.left())
            except TimeoutError:
                raise WebhookError(f'Post "{url}": context deadline exceeded') from None
            except (OSError, http.client.HTTPException, ValueError, services.NoEndpoint) as error:
                raise WebhookError(f'Post "{url}": {_why(error, client)}') from None
            finally:
                self._running.discard(exchange)
                exchange.abort()
            return _answer(status, body)

        return finish

    def _target(self, client: Obj, name: str, port: int) -> Target:
        service = client.get("service")
        if not service:
            return Target(name, port, name)
        found = services.endpoint(self._store, service.get("namespace") or "", service.get("name") or "", port)
        return Target(*found, name)


def _address(client: Obj, query: str) -> tuple[str, str, int, str]:
    """(URL as it is shown, name of the host, port, path with query)."""
    if url := client.get("url"):
        parts = urlsplit(url)
        name, port, path = parts.hostname or "", parts.port or 443, parts.path
        query = "&".join(filter(None, (parts.query, query)))
        shown = f"https://{parts.netloc}{path}"
    else:
        service = client.get("service") or {}
        name, port = f"{service.get('name') or ''}.{service.get('namespace') or ''}.svc", service.get("port") or 443
        path = "/" + (service.get("path") or "").removeprefix("/")
        shown = f"https://{name}:{port}{path}"
    suffix = f"?{query}" if query else ""
    return shown + suffix, name, port, (path or "/") + suffix


@lru_cache(maxsize=64)
def _tls(bundle: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=base64.b64decode(bundle).decode() if bundle else None)


def _why(error: Exception, client: Obj) -> str:
    """A failed connection in the words that client-go's users know."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {error.verify_message}"
    if isinstance(error, ConnectionRefusedError):
        where = f" {urlsplit(client['url']).netloc}" if client.get("url") else ""
        return f"dial tcp{where}: connect: connection refused"
    if isinstance(error, (ConnectionError, http.client.RemoteDisconnected)):
        return "EOF"
    if isinstance(error, socket.gaierror):
        return f"dial tcp: lookup {urlsplit(client.get('url') or '').hostname}: no such host"
    return str(error) or type(error).__name__


_STATUSES = {
    404: "the server could not find the requested resource", 401: "the server has asked for the client to provide credentials",
    405: "the server does not allow this method on the requested resource",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
}  # fmt: skip


def _answer(status: int, body: bytes) -> Obj:
    if not 200 <= status < 300:
        text = body[:_SHOWN].decode(errors="replace").strip() or "unknown"
        if status in _STATUSES:
            raise WebhookError(_STATUSES[status])
        if status >= 500:
            raise WebhookError(f'an error on the server ("{text}") has prevented the request from succeeding')
        raise WebhookError(f"the server rejected our request for an unknown reason (HTTP {status})")
    try:
        answer = orjson.loads(body)
    except ValueError as error:
        raise WebhookError(f"couldn't decode the answer: {error}") from None
    if not isinstance(answer, dict):
        raise WebhookError("couldn't decode the answer: it is no JSON object")
    return answer
