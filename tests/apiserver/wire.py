"""A client that knows nothing: raw requests to the API server, so that tests see exactly what is on the wire."""

import http.client
import json
import ssl
import threading
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def reason(self) -> str:
        return str(self.body.get("reason", "")) if isinstance(self.body, dict) else ""


class Wire:
    """One identity's connections to one server; each thread has its own."""

    def __init__(self, url: str, ca_file: str, token: str = "", cert: tuple[str, str] | None = None) -> None:
        parts = urlsplit(url)
        self.host, self.port, self.token = parts.hostname or "", parts.port or 0, token
        self.context = ssl.create_default_context(cafile=ca_file)
        if cert:
            self.context.load_cert_chain(*cert)
        self._local = threading.local()

    def connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self.host, self.port, context=self.context, timeout=30)

    def __call__(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json",
        headers: dict[str, str] | None = None, **query: Any,
    ) -> Answer:  # fmt: skip
        """Send one request. In: `body` as JSON data, text or bytes; `continue_` stands for `continue`."""
        sent = {"Accept": "application/json", **(headers or {})}
        if self.token:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        if body is not None:
            sent["Content-Type"] = content_type
            if not isinstance(body, bytes):
                body = (body if isinstance(body, str) else json.dumps(body)).encode()
        if query:
            path += "?" + urlencode({name.rstrip("_"): value for name, value in query.items()})
        for attempt in (1, 2):
            connection = getattr(self._local, "connection", None) or self.connection()
            self._local.connection = connection
            try:
                connection.request(method, path, body, sent)
                response = connection.getresponse()
                raw = response.read()
                break
            except (ConnectionError, http.client.HTTPException):
                connection.close()
                self._local.connection = None
                if attempt == 2:
                    raise
        answered = {name.lower(): value for name, value in response.getheaders()}
        is_json = answered.get("content-type", "").startswith("application/json") and raw
        return Answer(response.status, answered, json.loads(raw) if is_json else raw)

    def connection_text(self, path: str) -> bytes:
        """The body of a GET, byte for byte."""
        connection = self.connection()
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        return connection.getresponse().read()

    def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The body of a request that must succeed."""
        answer = self(method, path, body, **more)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.body}"
        return answer.body


def config_map(name: str = "", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name} if name else {}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **fields}


def deployment(name: str, replicas: int = 1) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "c", "image": "busybox"}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }  # fmt: skip
