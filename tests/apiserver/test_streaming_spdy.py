"""SPDY frames: what a client may send, in whatever pieces it arrives, and what it reads of ours."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube_py.api import spdy
from minikube_py.api.spdy import Connection, Data, Frame, Goaway, Opened, Ping, Reset

NAMES = st.text("abcdefgXYZ-", min_size=1, max_size=12)
HEADERS = st.dictionaries(NAMES, st.text(max_size=20), max_size=4)
STREAMS = st.integers(1, 0x7FFFFFFF)


class Client:
    """The other side, written from the frame layout alone."""

    def __init__(self) -> None:
        self.deflate = zlib.compressobj(zdict=spdy.DICTIONARY)

    def control(self, kind: int, payload: bytes, flags: int = 0) -> bytes:
        return struct.pack(">HHI", 0x8003, kind, flags << 24 | len(payload)) + payload

    def open(self, stream: int, headers: dict[str, str], fin: bool = False) -> bytes:
        block = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name.encode(), value.encode()):
                block += struct.pack(">I", len(text)) + text
        packed = self.deflate.compress(block) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        return self.control(1, struct.pack(">IIH", stream, 0, 0) + packed, int(fin))


def test_the_dictionary_is_the_one_every_peer_has() -> None:
    assert (len(spdy.DICTIONARY), zlib.adler32(spdy.DICTIONARY)) == (1423, 0xE3C6A7C2)


EXCHANGE = st.lists(
    st.tuples(st.just("open"), STREAMS, HEADERS, st.booleans())
    | st.tuples(st.just("data"), STREAMS, st.binary(max_size=300), st.booleans())
    | st.tuples(st.just("reset"), STREAMS)
    | st.tuples(st.just("ping"), st.integers(0, 0xFFFFFFFF))
    | st.tuples(st.just("noise"), st.sampled_from([4, 9])),
    max_size=12,
)


@given(EXCHANGE, st.lists(st.integers(1, 40), min_size=1))
def test_frames_are_found_however_the_bytes_are_cut(exchange: list[tuple[object, ...]], cuts: list[int]) -> None:
    client, wire, wanted = Client(), b"", list[Frame]()
    for step in exchange:
        match step:
            case ("open", int(stream), dict(headers), bool(fin)):
                wire += client.open(stream, headers, fin)
                wanted.append(Opened(stream, {name.lower(): value for name, value in headers.items()}, fin))
            case ("data", int(stream), bytes(content), bool(fin)):
                wire += spdy.data(stream, content, fin=fin)
                wanted.append(Data(stream, content, fin))
            case ("reset", int(stream)):
                wire += client.control(3, struct.pack(">II", stream, 5))
                wanted.append(Reset(stream))
            case ("ping", int(number)):
                wire += spdy.ping(number)
                wanted.append(Ping(number))
            case ("noise", int(kind)):
                wire += client.control(kind, b"\0" * 8)
    wire += client.control(7, b"\0" * 8)
    connection, found, at = Connection(), list[Frame](), 0
    while at < len(wire):
        size = cuts[len(found) % len(cuts)]
        found += connection.receive(wire[at : at + size])
        at += size
    assert found == [*wanted, Goaway()]


def test_replies_are_read_by_a_client_across_the_whole_connection() -> None:
    connection, inflate = Connection(), zlib.decompressobj(zdict=spdy.DICTIONARY)
    for stream in (1, 3, 5):
        reply = connection.reply(stream)
        assert reply[:4] == b"\x80\x03\x00\x02"
        assert int.from_bytes(reply[8:12], "big") == stream
        assert inflate.decompress(reply[12:]) == b"\0\0\0\0"


def test_long_data_becomes_several_frames_and_only_the_last_ends() -> None:
    content = b"x" * (0xFFFFFF + 10)
    frames = Connection().receive(spdy.data(7, content, fin=True))
    assert [(len(frame.data), frame.fin) for frame in frames if isinstance(frame, Data)] == [
        (0xFFFFFF, False),
        (10, True),
    ]


@pytest.mark.parametrize(
    "wire", [b"\x80\x02\x00\x01\x00\x00\x00\x00", b"\x80\x03\x00\x01\x00\x00\x00\x0c" + b"\0\0\0\1" + b"\xff" * 8]
)
def test_what_is_not_spdy_is_an_error(wire: bytes) -> None:
    with pytest.raises(ValueError, match="SPDY"):
        Connection().receive(wire)
