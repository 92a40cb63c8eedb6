"""Connections to aggregated API servers: TLS with our front-proxy certificate, and a plain GET for the checks.

Who calls it: the availability checks (`get`, on their own threads), the proxy (`tls`). Invariant: the server is verified
against the APIService's own CA bundle under the Service's name, unless the APIService says not to; our certificate is always
shown, so that the server can believe who we say asks.
Upstream: kube-aggregator/pkg/controllers/status/remote (BuildTransportConfig).
"""

import http.client
import ssl
from collections.abc import Sequence
from typing import NamedTuple

from apiserver import services
from apiserver.aggregation.catalogue import Remote
from apiserver.auth import front_proxy
from apiserver.auth.user import MASTERS, UserInfo
from apiserver.options import Options
from apiserver.storage.cache import Store

AGGREGATOR = UserInfo("system:kube-aggregator", groups=(MASTERS,))
_CHECK_SECONDS = 5.0
_REMEMBER = 64


class Answer(NamedTuple):
    status: int
    content_type: str
    etag: str
    body: bytes


class Dialer:
    """Thread-safe."""

    def __init__(self, store: Store, options: Options) -> None:
        self._store, self._options = store, options
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}

    def tls(self, remote: Remote) -> ssl.SSLContext:
        """How to speak to this server. Raises ssl.SSLError or ValueError for a CA bundle that is none."""
        key = (remote.ca, remote.insecure)
        context = self._contexts.get(key)
        if context is None:
            context = ssl.create_default_context(cadata=remote.ca or None)
            if remote.insecure:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if self._options.proxy_client_cert:
                context.load_cert_chain(self._options.proxy_client_cert, self._options.proxy_client_key)
            if len(self._contexts) >= _REMEMBER:
                self._contexts.clear()
            self._contexts[key] = context
        return context

    def endpoint(self, remote: Remote) -> tuple[str, int]:
        """An address and port to dial now. Raises services.NoEndpoint."""
        return services.endpoint(self._store, remote.namespace, remote.service, remote.port)

    def get(self, remote: Remote, path: str, accept: str = "application/json", etag: str = "") -> Answer:
        """Ask as the aggregator itself. Raises OSError, http.client.HTTPException, ValueError or services.NoEndpoint."""
        address, port = self.endpoint(remote)
        connection = services.Connection(address, port, remote.host, self.tls(remote), _CHECK_SECONDS)
        try:
            _send(connection, remote, path, [("Accept", accept), *((("If-None-Match", etag),) if etag else ())])
            response = connection.getresponse()
            return Answer(
                response.status, response.headers.get("Content-Type", ""), response.headers.get("ETag", ""), response.read()
            )  # fmt: skip
        finally:
            connection.close()


def _send(
    connection: http.client.HTTPConnection, remote: Remote, path: str, headers: Sequence[tuple[str, str]]
) -> None:  # fmt: skip
    connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
    for name, value in [("Host", remote.host), *headers, *front_proxy.headers_for(AGGREGATOR)]:
        connection.putheader(name, value)
    connection.endheaders()
