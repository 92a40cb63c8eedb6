"""How to reach and prove oneself to one API server: `Config`, and the TLS context and headers made from it.

Who calls it: `rest.Client`; whoever opens a connection of its own (WebSocket exec, port-forward).
Invariant: key material given as bytes touches the disk only for the moment OpenSSL needs a file, mode 0600.
Upstream: staging/src/k8s.io/client-go/rest/config.go.
"""

import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from minikube_py.api.clock import REAL


@dataclass(frozen=True)
class Config:
    """`server` is "https://host:port" (or http://). Credentials come as files or as PEM bytes; the bytes win."""

    server: str
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    token: str = ""
    token_file: str = ""
    insecure: bool = False
    namespace: str = "default"
    source_address: str = ""
    tls_server_name: str = ""
    ca_data: bytes = b""
    cert_data: bytes = b""
    key_data: bytes = b""


def ssl_context(config: Config) -> ssl.SSLContext:
    """A client context that trusts the config's CA and shows its certificate. Raises OSError, ssl.SSLError on bad files."""
    context = ssl.create_default_context(
        cafile=config.ca_file or None if not config.ca_data else None,
        cadata=config.ca_data.decode() if config.ca_data else None,
    )
    if config.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.cert_data or config.key_data:
        _load_bytes(context, config.cert_data or Path(config.cert_file).read_bytes(),
                    config.key_data or Path(config.key_file).read_bytes())  # fmt: skip
    elif config.cert_file:
        context.load_cert_chain(config.cert_file, config.key_file or None)
    return context


def _load_bytes(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    descriptor, path = tempfile.mkstemp(prefix="minikube-py-")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(certificate + b"\n" + key)
        context.load_cert_chain(path)
    finally:
        os.unlink(path)


class Credentials:
    """The Authorization header of a config; a token file is read again after a minute, because tokens are rotated."""

    _FRESH = 60.0

    def __init__(self, config: Config) -> None:
        self._config = config
        self._token, self._read_at = config.token, 0.0

    def headers(self) -> dict[str, str]:
        """{} or {"Authorization": "Bearer …"}. Keeps the last token it read when the file is unreadable for a moment."""
        path = self._config.token_file
        # The age of a file on disk is real time even when the cluster's clock is stepped.
        if path and (not self._token or REAL.monotonic() - self._read_at > self._FRESH):
            try:
                self._token = Path(path).read_text().strip()
                self._read_at = REAL.monotonic()
            except OSError:
                if not self._token:
                    raise
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}
