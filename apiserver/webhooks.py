"""Calling webhooks: a JSON document is posted to a URL, or to a Service in the cluster, and a JSON document comes back.

Who calls it: conversion of custom resources. Blocks its thread, so it must not run on the event loop. Invariant: the
connection is always TLS, verified with the configuration's own CA bundle; a Service is reached through one of its ready
endpoints, under the name its certificate has to carry (NAME.NAMESPACE.svc).
Upstream: apiserver/pkg/util/webhook (client.go, serviceresolver.go).
"""

import base64
import http.client
import random
import ssl
from urllib.parse import urlsplit

import orjson

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
        address, port = self._endpoint(namespace, name, service.get("port") or 443)
        path = service.get("path") or "/"
        return address, port, f"{name}.{namespace}.svc", path if path.startswith("/") else f"/{path}"

    def _endpoint(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        """Where a Service's port leads: a ready endpoint."""
        stored = self._store.get(f"/registry/services/{namespace}/{name}", fresh=False)
        if stored is None:
            raise WebhookError(f'failed calling webhook: service "{name}" not found')
        ports = (stored.obj().get("spec") or {}).get("ports") or ()
        wanted = next((one.get("name") or "" for one in ports if one.get("port") == port), None)
        if wanted is None:
            raise WebhookError(f'failed calling webhook: no service port {port} found for service "{name}"')
        found = []
        for item in self._store.list(f"/registry/endpointslices.discovery.k8s.io/{namespace}/", fresh=False).items:
            if item.labels.get("kubernetes.io/service-name") == name:
                found += _ready(item.obj(), wanted)
        if not found:
            raise WebhookError(f'failed calling webhook: no endpoints available for service "{name}"')
        return random.choice(found)


def _ready(endpoints: Obj, name: str) -> list[tuple[str, int]]:
    ports = [one["port"] for one in endpoints.get("ports") or () if (one.get("name") or "") == name and one.get("port")]
    return [
        (address, port)
        for one in endpoints.get("endpoints") or ()
        if (one.get("conditions") or {}).get("ready", True)
        for address in one.get("addresses") or ()
        for port in ports
    ]


def _tls(client: Obj) -> ssl.SSLContext:
    if not client.get("caBundle"):
        return ssl.create_default_context()
    return ssl.create_default_context(cadata=base64.b64decode(client["caBundle"]).decode())


def _post(
    host: str, port: int, name: str, path: str, body: bytes, tls: ssl.SSLContext, timeout: float
) -> tuple[int, bytes]:  # fmt: skip
    connection = _Connection(host, port, name, tls, timeout)
    try:
        connection.request("POST", path or "/", body, {"Content-Type": "application/json", "Host": name})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class _Connection(http.client.HTTPSConnection):
    """Connects to one host and expects the certificate of another name."""

    def __init__(self, host: str, port: int, name: str, tls: ssl.SSLContext, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout, context=tls)
        self._name, self._tls = name, tls

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)
