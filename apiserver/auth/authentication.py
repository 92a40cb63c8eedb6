"""Authentication: front proxy, client certificate, static, bootstrap or service-account token → the user of a request.

Who calls it: the pipeline (`apiserver/pipeline.py`), first of all. Invariant: a credential that is present but bad is 401;
no credential at all is the anonymous user, who may see nothing but health and version. Answers are remembered for seconds
only, so that deleting the object a token is bound to revokes it quickly.
Stop of the data path: 2 (authenticate).
Upstream: staging/src/k8s.io/apiserver/pkg/authentication (x509, token/tokenfile, serviceaccount, token/cache).
"""

import base64
import csv
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from apiserver.auth import user
from apiserver.auth.bootstrap_tokens import bootstrap_user
from apiserver.auth.front_proxy import FrontProxy
from apiserver.auth.tokens import InvalidToken, Lookup, ServiceAccountTokens
from apiserver.auth.user import ANONYMOUS, UserInfo
from apiserver.options import OptionError
from minikube_py.api import errors
from minikube_py.api.clock import Clock

_REMEMBER_SECONDS = 5.0
_REMEMBER_TOKENS = 4096
_REMEMBER_CERTIFICATES = 4096


class Authenticator:
    """Certificates were already verified by TLS; here they are only read."""

    def __init__(
        self, static_tokens: Mapping[str, UserInfo], accounts: ServiceAccountTokens | None, lookup: Lookup, clock: Clock,
        front_proxy: FrontProxy,
    ) -> None:  # fmt: skip
        self._static, self._accounts, self._lookup, self._clock = static_tokens, accounts, lookup, clock
        self._front_proxy = front_proxy
        self._by_certificate: dict[bytes, UserInfo] = {}
        self._by_token: dict[str, tuple[float, UserInfo]] = {}

    def __call__(self, headers: Mapping[str, str], certificate: bytes) -> UserInfo:
        """The user of a request. In: lower-case header names; the peer's certificate as DER, b"" for none.

        Raises Unauthorized for a bad token, and for a front proxy that is nobody of itself and names nobody.
        """
        proxied = bool(certificate) and self._front_proxy.signed(certificate)
        if proxied and (named := self._front_proxy.named(headers, certificate)) is not None:
            return named
        if certificate and not proxied:
            return self._certificate_user(certificate)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            return self.token_user(token.strip())
        if protocol := headers.get("sec-websocket-protocol"):
            return self._websocket_user(protocol)
        if scheme or proxied:
            raise errors.Unauthorized("Unauthorized")
        return ANONYMOUS

    def token_user(self, token: str) -> UserInfo:
        """The user a bearer token stands for. Raises Unauthorized."""
        known = self._static.get(token)
        if known is not None:
            return known
        now = self._clock.monotonic()
        remembered = self._by_token.get(token)
        if remembered is not None and remembered[0] > now:
            return remembered[1]
        found = bootstrap_user(token, self._lookup, self._clock) or self._account_user(token)
        if len(self._by_token) >= _REMEMBER_TOKENS:
            self._by_token.clear()
        self._by_token[token] = (now + _REMEMBER_SECONDS, found)
        return found

    def _account_user(self, token: str) -> UserInfo:
        if self._accounts is None:
            raise errors.Unauthorized("Unauthorized")
        try:
            return self._accounts.user(self._accounts.claims(token))
        except InvalidToken as error:
            raise errors.Unauthorized("Unauthorized") from error  # the cause is for the audit log

    def _websocket_user(self, protocols: str) -> UserInfo:
        """Browsers cannot set headers on a WebSocket: the token comes base64url-encoded in a subprotocol."""
        prefix = "base64url.bearer.authorization.k8s.io."
        for protocol in protocols.split(","):
            encoded = protocol.strip().removeprefix(prefix)
            if encoded != protocol.strip():
                try:
                    return self.token_user(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode())
                except ValueError:
                    raise errors.Unauthorized("Unauthorized") from None
        return ANONYMOUS

    def _certificate_user(self, der: bytes) -> UserInfo:
        known = self._by_certificate.get(der)
        if known is None:
            known = certificate_user(der)
            if len(self._by_certificate) >= _REMEMBER_CERTIFICATES:
                self._by_certificate.clear()
            self._by_certificate[der] = known
        return known


def certificate_user(der: bytes) -> UserInfo:
    """Common name = user, organisations = groups. Raises Unauthorized for a certificate without a common name."""
    subject = x509.load_der_x509_certificate(der).subject
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names or not names[0].value:
        raise errors.Unauthorized("Unauthorized")
    groups = tuple(str(attribute.value) for attribute in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    return user.authenticated(str(names[0].value), groups=groups)


def read_static_tokens(path: str) -> dict[str, UserInfo]:
    """Upstream's CSV: token,user,uid[,"group1,group2"]. Raises OptionError for a file that cannot be read or understood."""
    tokens: dict[str, UserInfo] = {}
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise OptionError(f"--token-auth-file {path}: {error.strerror}") from None
    for number, line in enumerate(csv.reader(lines, skipinitialspace=True), 1):
        if not line:
            continue
        if len(line) < 3 or not line[0]:
            raise OptionError(f'--token-auth-file {path}, line {number}: expected token,user,uid[,"group1,group2"]')
        groups = tuple(group.strip() for group in line[3].split(",") if group.strip()) if len(line) > 3 else ()
        tokens[line[0]] = user.authenticated(line[1], line[2], groups)
    return tokens
