"""Datagrams in batches, over real sockets: everything that came is answered, each to its sender."""

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from kubelet.network.datagrams import Datagrams


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        yield made


def received(datagrams: Datagrams, count: int) -> list[tuple[bytes, bytes]]:
    """Loopback delivers before `send` returns, so nothing has to be waited for."""
    found: list[tuple[bytes, bytes]] = []
    while len(found) < count:
        batch = datagrams.receive()
        assert batch, "a datagram was lost"
        found += batch
    return found


def test_more_than_a_batch_each_to_its_sender(server: socket.socket) -> None:
    datagrams = Datagrams(server)
    assert datagrams.receive() == []
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)]
        for number in range(150):
            clients[number % 3].sendto(b"%d" % number * (number % 5), server.getsockname())
        for data, peer in received(datagrams, 150):
            datagrams.send(b"re " + data, peer)
        datagrams.flush()
        for number in range(150):
            clients[number % 3].settimeout(5)
            assert clients[number % 3].recv(100) == b"re " + b"%d" % number * (number % 5)
    assert datagrams.receive() == []


def test_long_and_refused_replies_do_not_stop_the_others(server: socket.socket) -> None:
    datagrams = Datagrams(server)
    nobody = struct.pack("=H", socket.AF_INET) + struct.pack(">H", 0) + socket.inet_aton("127.0.0.1") + bytes(8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(b"?", server.getsockname())
        [(_, peer)] = received(datagrams, 1)
        for reply in (b"first", b"x" * 9000, b"last"):
            datagrams.send(b"refused", nobody)
            datagrams.send(b"y" * 9000, nobody)
            datagrams.send(reply, peer)
        datagrams.flush()
        assert sorted(client.recv(10000)[:5] for _ in range(3)) == [b"first", b"last", b"xxxxx"]
