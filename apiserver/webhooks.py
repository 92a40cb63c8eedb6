"""Calling webhooks: a JSON document is posted to a URL, or to a Service in the cluster, and a JSON document comes back.

Who calls it: conversion of custom resources. Blocks its thread, so it must not run on the event loop. Invariant: the
connection is always TLS, verified with the configuration's own CA bundle; a Service is reached through one of its ready
endpoints, under the name its certificate has to carry (NAME.NAMESPACE.svc).
Upstream: apiserver/pkg/util/webhook (client.go, serviceresolver.go).
"""

import base64
import http.client
import ssl
from urllib.parse import urlsplit

import orjson

from apiserver import services
from apiserver.storage.cache import Store
from minikube_py.api.types import Obj


class WebhookError(Exception):
    """The webhook could not be asked, or did not answer with a document; `str()` says why."""


class Webhooks:
    """Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def call(self, client: Obj, document: Obj, *, query: str = "", timeout: float = 30.0) -> Obj:
        """Post a document. In: `client` a WebhookClientConfig; `timeout` seconds. Raises WebhookError."""
        host, port, name, path = self._target(client)
        url = f"https://{name}:{port}{path}{query}"
        try:
            status, body = _post(host, port, name, path + query, orjson.dumps(document), _tls(client), timeout)
            if not 200 <= status < 300:
                raise WebhookError(f'failed calling webhook: Post "{url}": the server answered with HTTP {status}')
            answer = orjson.loads(body)
        except TimeoutError:
            raise WebhookError(f'failed calling webhook: Post "{url}": context deadline exceeded') from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise WebhookError(f'failed calling webhook: Post "{url}": {error}') from None
        if not isinstance(answer, dict):
            raise WebhookError(f'failed calling webhook: Post "{url}": the answer is no object')
        return answer

    def _target(self, client: Obj) -> tuple[str, int, str, str]:
        """(address to connect to, port, name to expect, path)."""
        if url := client.get("url"):
            parts = urlsplit(url)
            host = parts.hostname or ""
            return host, parts.port or 443, host, parts.path + (f"?{parts.query}" if parts.query else "")
        service = client.get("service") or {}
        namespace, name = service.get("namespace") or "", service.get("name") or ""
        try:
            address, port = services.endpoint(self._store, namespace, name, service.get("port") or 443)
        except services.NoEndpoint as error:
            raise WebhookError(f"failed calling webhook: {error}") from None
        path = service.get("path") or "/"
        return address, port, f"{name}.{namespace}.svc", path if path.startswith("/") else f"/{path}"


def _tls(client: Obj) -> ssl.SSLContext:
    if not client.get("caBundle"):
        return ssl.create_default_context()
    return ssl.create_default_context(cadata=base64.b64decode(client["caBundle"]).decode())


def _post(
    host: str, port: int, name: str, path: str, body: bytes, tls: ssl.SSLContext, timeout: float
) -> tuple[int, bytes]:  # fmt: skip
    connection = services.Connection(host, port, name, tls, timeout)
    try:
        connection.request("POST", path or "/", body, {"Content-Type": "application/json", "Host": name})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
