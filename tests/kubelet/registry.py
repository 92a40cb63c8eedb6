"""A registry of one image on the loopback, as far as `docker pull` asks: engines speak plain HTTP to 127.0.0.0/8.

Who uses it: test_image_pulls.py. It can ask for a password, refuse everything, and count what it is asked.
"""

import base64
import gzip
import hashlib
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from minikube_py.cluster import images

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
USER, PASSWORD = "somebody", "a secret"


class Registry:
    """Serves `127.0.0.1:PORT/team/app:1`, an image like no other: busybox with a label of its own."""

    def __init__(self, *, login: bool = False) -> None:
        self.login, self.broken = login, False
        self.asked: list[str] = []
        self._blobs: dict[str, bytes] = {}
        layer = images.busybox_tree()
        config = json.dumps({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"], "Labels": {"test": secrets.token_hex(8)}},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
            "history": [{"created_by": "a test"}],
        }).encode()  # fmt: skip
        kind = "application/vnd.docker.image.rootfs.diff.tar.gzip"
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": _MANIFEST,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", **self._blob(config)},
            "layers": [{"mediaType": kind, **self._blob(gzip.compress(layer, 1, mtime=0))}],
        }).encode()  # fmt: skip
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.image = f"127.0.0.1:{self._server.server_port}/team/app:1"
        threading.Thread(target=self._server.serve_forever, name="registry", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _blob(self, data: bytes) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self._blobs[digest] = data
        return {"digest": digest, "size": len(data)}

    def _answer(self, path: str, authorization: str) -> tuple[int, str, bytes]:
        """(status, content type, body)"""
        self.asked.append(path)
        if self.broken:
            return 500, "text/plain", b"the disk of the registry is on fire"
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.login and authorization != wanted:
            return 401, "application/json", b'{"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}'
        if path == "/v2/":
            return 200, "application/json", b"{}"
        if "/manifests/" in path:
            known = path.endswith("/app/manifests/1") or hashlib.sha256(self.manifest).hexdigest() in path
            return (200, _MANIFEST, self.manifest) if known else (404, "application/json", _UNKNOWN)
        blob = self._blobs.get(path.rsplit("/", 1)[-1])
        return (200, "application/octet-stream", blob) if blob is not None else (404, "application/json", _UNKNOWN)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, kind, body = registry._answer(self.path, self.headers.get("Authorization", ""))
                self.send_response(status)
                self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
                if status == 401:
                    self.send_header("WWW-Authenticate", 'Basic realm="test"')
                if "/manifests/" in self.path and status == 200:
                    digest = hashlib.sha256(registry.manifest).hexdigest()
                    self.send_header("Docker-Content-Digest", f"sha256:{digest}")
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *args: object) -> None:
                """Quiet."""

        return Handler


_UNKNOWN = b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
