"""SPDY/3.1 frames, as far as Kubernetes' streams need them: a codec that does no input or output.

Who calls it: the API server's `streaming.tunnel`, as a server inside a WebSocket; the kubelet's `runtime.cri_stream`, as a
client of a container runtime.
Invariant: header blocks are one compressed stream per direction for the whole connection, so that every frame that carries
one must pass through here, in order. Frames that mean nothing to these streams (settings, window updates, headers) are
read and dropped. Raises ValueError for bytes that are not SPDY/3.
Upstream: github.com/moby/spdystream; the SPDY protocol draft 3.1 (frame layout, and the dictionary of section 2.6.10.1).
"""

import struct
import zlib
from typing import NamedTuple

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200+OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal "
    "Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, "
    "Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8"
    "charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(
    struct.pack(">I", len(word)) + word.replace("+", " ").encode() for word in _WORDS.split()
) + _TEXT.encode()  # fmt: skip

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY, _HEADERS = 1, 2, 3, 6, 7, 8
_FIN = 1
_CONTROL = 0x8003
_MAX_DATA = 0xFFFFFF


class Opened(NamedTuple):
    """The peer opened a stream; header names are in lower case."""

    stream: int
    headers: dict[str, str]
    fin: bool


class Data(NamedTuple):
    """Bytes of a stream; `fin` says that none follow."""

    stream: int
    data: bytes
    fin: bool


class Reset(NamedTuple):
    """The peer gave a stream up."""

    stream: int


class Ping(NamedTuple):
    """To be sent back as it is."""

    number: int


class Goaway(NamedTuple):
    """The peer is about to leave."""


Frame = Opened | Data | Reset | Ping | Goaway


class Connection:
    """Both directions of one SPDY connection."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def receive(self, data: bytes) -> list[Frame]:
        """The frames that are complete with these bytes. Raises ValueError."""
        self._buffer += data
        frames: list[Frame] = []
        while len(self._buffer) >= 8:
            length = int.from_bytes(self._buffer[5:8], "big")
            if len(self._buffer) < 8 + length:
                break
            head, flags = int.from_bytes(self._buffer[:4], "big"), self._buffer[4]
            payload = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            frame = self._frame(head, flags, payload)
            if frame is not None:
                frames.append(frame)
        return frames

    def _frame(self, head: int, flags: int, payload: bytes) -> Frame | None:
        fin = bool(flags & _FIN)
        if not head >> 31:
            return Data(head, payload, fin)
        if head >> 16 != _CONTROL:
            raise ValueError(f"SPDY version {(head >> 16) & 0x7FFF} instead of 3")
        kind, first = head & 0xFFFF, int.from_bytes(payload[:4], "big")
        if kind == _SYN_STREAM:
            return Opened(first & 0x7FFFFFFF, self._headers(payload[10:]), fin)
        if kind == _RST_STREAM:
            return Reset(first & 0x7FFFFFFF)
        if kind == _PING:
            return Ping(first)
        if kind == _GOAWAY:
            return Goaway()
        if kind in (_SYN_REPLY, _HEADERS):
            self._headers(payload[4:])  # only to keep the compression's state
        return None

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block)
            count, at = struct.unpack_from(">I", plain)[0], 4
            texts: list[str] = []
            for _ in range(count * 2):
                (length,) = struct.unpack_from(">I", plain, at)
                texts.append(plain[at + 4 : at + 4 + length].decode())
                at += 4 + length
        except (zlib.error, struct.error, UnicodeDecodeError) as error:
            raise ValueError(f"a SPDY header block is damaged: {error}") from error
        return {name.lower(): value for name, value in zip(texts[::2], texts[1::2], strict=True)}

    def reply(self, stream: int) -> bytes:
        """Accept a stream the peer opened."""
        return _control(_SYN_REPLY, struct.pack(">I", stream) + self._block({}))

    def open(self, stream: int, headers: dict[str, str]) -> bytes:
        """Open a stream to the peer; a client's streams have odd numbers, each higher than the one before."""
        return _control(_SYN_STREAM, struct.pack(">IIH", stream, 0, 0) + self._block(headers))

    def _block(self, headers: dict[str, str]) -> bytes:
        texts = [text.encode() for pair in headers.items() for text in pair]
        plain = struct.pack(">I", len(headers)) + b"".join(struct.pack(">I", len(text)) + text for text in texts)
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def data(stream: int, content: bytes, *, fin: bool = False) -> bytes:
    """Data frames with this content; `fin` ends our side of the stream."""
    pieces = [content[at : at + _MAX_DATA] for at in range(0, len(content), _MAX_DATA)] or [b""]
    last = len(pieces) - 1
    return b"".join(
        struct.pack(">IB", stream, _FIN if fin and number == last else 0) + len(piece).to_bytes(3, "big") + piece
        for number, piece in enumerate(pieces)
    )


def ping(number: int) -> bytes:
    return _control(_PING, struct.pack(">I", number))


def _control(kind: int, payload: bytes) -> bytes:
    return struct.pack(">HHB", _CONTROL, kind, 0) + len(payload).to_bytes(3, "big") + payload
