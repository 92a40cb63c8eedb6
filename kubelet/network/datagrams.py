"""Many datagrams in one call, without letting go of the interpreter.

Who calls it: dns.py. Why: every call of the socket module lets another thread have the interpreter, and while a kubelet is busy
starting pods it comes back milliseconds later; twice per question, that is. These calls never wait, so they keep it.
Invariant: a reply that the kernel refuses, or that is too long for a slot, does not stop those behind it.
Upstream: recvmmsg(2), sendmmsg(2).
"""

import ctypes
import logging
import socket
import struct
from contextlib import suppress

log = logging.getLogger(__name__)

_SLOTS, _SIZE, _ADDRESS_SIZE = 64, 4096, 16
_libc = ctypes.PyDLL(None)  # PyDLL: other threads do not run meanwhile
Peer = bytes
"""An address as the kernel writes it (sockaddr_in)."""


class _Piece(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p), ("name_length", ctypes.c_uint32), ("pieces", ctypes.c_void_p),
        ("count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )  # fmt: skip


class _Message(ctypes.Structure):
    _fields_ = (("header", _Header), ("length", ctypes.c_uint32))


class _Slots:
    """Room for a batch: contents, addresses, and the lengths the kernel reads and writes."""

    def __init__(self) -> None:
        contents, names = (
            ctypes.create_string_buffer(_SLOTS * _SIZE),
            ctypes.create_string_buffer(_SLOTS * _ADDRESS_SIZE),
        )
        pieces, self.messages = (_Piece * _SLOTS)(), (_Message * _SLOTS)()
        for n in range(_SLOTS):
            pieces[n] = _Piece(ctypes.addressof(contents) + n * _SIZE, _SIZE)
            name, piece = ctypes.addressof(names) + n * _ADDRESS_SIZE, ctypes.addressof(pieces[n])
            self.messages[n].header = _Header(name, _ADDRESS_SIZE, piece, 1, None, 0, 0)
        # Views are several times faster than ctypes' fields; they keep the memory they look at.
        self.contents, self.names = memoryview(contents).cast("B"), memoryview(names).cast("B")
        self.room = memoryview(pieces).cast("B").cast("L")[1::2]
        words = ctypes.sizeof(_Message) // 4
        self.lengths = memoryview(self.messages).cast("B").cast("I")[_Message.length.offset // 4 :: words]


class Datagrams:
    """A bound UDP socket (IPv4). One thread; `owner` is closed by whoever made it."""

    def __init__(self, owner: socket.socket) -> None:
        self._socket, self._received, self._leaving = owner, _Slots(), _Slots()
        self._waiting = 0

    def receive(self) -> list[tuple[bytes, Peer]]:
        """What has come, at most one batch; nothing where there is nothing."""
        slots = self._received
        count = _libc.recvmmsg(self._socket.fileno(), slots.messages, _SLOTS, socket.MSG_DONTWAIT, None)
        contents, names, lengths, size = slots.contents, slots.names, slots.lengths, _ADDRESS_SIZE
        return [
            (bytes(contents[n * _SIZE : n * _SIZE + lengths[n]]), bytes(names[n * size : n * size + size]))
            for n in range(count)
        ]

    def send(self, data: bytes, peer: Peer) -> None:
        """Say this with the next `flush`."""
        if len(data) > _SIZE:
            with suppress(OSError):  # as for any datagram, nobody hears whether it came
                self._socket.sendto(data, (socket.inet_ntoa(peer[4:8]), *struct.unpack_from(">H", peer, 2)))
            return
        slots, n = self._leaving, self._waiting
        slots.contents[n * _SIZE : n * _SIZE + len(data)] = data
        slots.names[n * _ADDRESS_SIZE : (n + 1) * _ADDRESS_SIZE] = peer
        slots.room[n] = len(data)
        self._waiting += 1
        if self._waiting == _SLOTS:
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        count, self._waiting, done = self._waiting, 0, 0
        while done < count:
            first = ctypes.byref(self._leaving.messages, done * ctypes.sizeof(_Message))
            sent = _libc.sendmmsg(self._socket.fileno(), first, count - done, socket.MSG_DONTWAIT)
            if sent <= 0:
                log.debug("cluster DNS: a reply was lost")
            done += max(sent, 1)
