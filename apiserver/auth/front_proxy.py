"""The front proxy: a client that speaks for others, whom it names in X-Remote-* headers.

Who calls it: authentication, before it takes a certificate for a user's own; the aggregation layer writes the same headers.
Invariant: only a certificate of the front proxy's CA, with one of the allowed common names, is believed about others; such
a certificate is nobody's own identity. Headers from anybody else mean nothing.
Upstream: apiserver/pkg/authentication/request/headerrequest/requestheader.go, client-go/transport/round_trippers.go.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from apiserver.auth import user
from apiserver.auth.user import UserInfo
from apiserver.options import OptionError

USER, UID, GROUP, EXTRA = "X-Remote-User", "X-Remote-Uid", "X-Remote-Group", "X-Remote-Extra-"
_REMEMBER = 256
_KEPT = "!#$&'*+.^`|~"
"""Besides letters, digits, "_", "-": what a header's name may hold unescaped."""


class FrontProxy:
    """In: the CA's file ("" believes nobody), and the allowed common names, comma-separated ("" is any)."""

    def __init__(self, ca_file: str, allowed_names: str) -> None:
        self._allowed = frozenset(filter(None, allowed_names.split(",")))
        self._signed: dict[bytes, bool] = {}
        try:
            self._authorities = x509.load_pem_x509_certificates(Path(ca_file).read_bytes()) if ca_file else []
        except (OSError, ValueError) as error:
            raise OptionError(f"--requestheader-client-ca {ca_file}: {error}") from None

    def signed(self, certificate: bytes) -> bool:
        """Whether this (already verified) certificate, as DER, is of the front proxy's CA."""
        if not self._authorities:
            return False
        known = self._signed.get(certificate)
        if known is None:
            if len(self._signed) >= _REMEMBER:
                self._signed.clear()
            shown = x509.load_der_x509_certificate(certificate)
            known = self._signed[certificate] = any(_issued(shown, authority) for authority in self._authorities)
        return known

    def named(self, headers: Mapping[str, str], certificate: bytes) -> UserInfo | None:
        """Whom the proxy speaks for, None when it names nobody or may not. In: lower-case header names."""
        name = headers.get(USER.lower(), "")
        if not name or (self._allowed and _common_name(certificate) not in self._allowed):
            return None
        groups = tuple(_values(headers.get(GROUP.lower(), "")))
        prefix = EXTRA.lower()
        extra = {
            unquote(header[len(prefix) :]): tuple(_values(value))
            for header, value in headers.items()
            if header.startswith(prefix)
        }
        return user.authenticated(name, headers.get(UID.lower(), ""), groups, extra)


def headers_for(who: UserInfo) -> list[tuple[str, str]]:
    """The headers that name a user to an extension API server."""
    named = [(USER, who.name), *((GROUP, group) for group in who.groups)]
    if who.uid:
        named.append((UID, who.uid))
    return named + [(EXTRA + quote(key, safe=_KEPT), value) for key, values in who.extra.items() for value in values]


def is_ours(header: str) -> bool:
    """Whether a lower-case header name is one of those that only we may send."""
    return header.startswith("x-remote-")


def _values(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _common_name(certificate: bytes) -> str:
    names = x509.load_der_x509_certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""
