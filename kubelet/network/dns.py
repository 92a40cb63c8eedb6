"""Cluster DNS of one node: names of the cluster domain from the informers, everything else from the host's resolvers.

Who calls it: the kubelet, on its node's address, port 53; the service proxy leads the cluster's DNS address here. So every node
answers its own pods, and there is no server whose loss takes names away.
Invariant: one thread, and nothing in it waits for anybody: a forwarded question is a socket in the same loop with a deadline.
Replies about the cluster are never older than the informers; replies of others live as long as their own TTL says.
When the host has no resolver, or none answers, questions outside the cluster fail at once, so that an offline cluster does not
hang. Upstream: CoreDNS with the plugins kubernetes, forward, cache.
"""

import errno
import logging
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from kubelet.network import dns_message as message
from kubelet.network.datagrams import Datagrams, Peer
from kubelet.network.dns_cache import Cache, until
from kubelet.network.dns_message import Question
from kubelet.network.dns_records import NOERROR, Answer, Record, Records
from kubelet.network.dns_upstream import Upstream
from minikube_py.api.clock import REAL, Clock
from minikube_py.api.gvr import ENDPOINTSLICES, SERVICES
from minikube_py.api.types import Obj
from minikube_py.client.informer import SharedInformers

log = logging.getLogger(__name__)

_TCP_IDLE, _TCP_MAX, _CNAME_MAX = 10.0, 200, 8
_OTHER_PORT = 1053
Send = Callable[[bytes], None]


class DNSServer:
    """UDP and TCP on one address. `upstreams` are "address" or "address:port" of resolvers; None reads the host's own."""

    def __init__(
        self, informers: SharedInformers, address: str, *, port: int = 53, domain: str = "cluster.local",
        upstreams: Sequence[str] | None = None, clock: Clock = REAL,
    ) -> None:  # fmt: skip
        self.address, self.port, self.domain = address, port, domain.strip(".").lower()
        self.records = Records(informers, domain)
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        servers = host_resolvers(address) if upstreams is None else upstreams
        self._upstream = Upstream(servers, self._selector, clock)
        self.cache = Cache()
        for informer in (informers.of(SERVICES), informers.of(ENDPOINTSLICES)):
            informer.add_handler(self._changed)
        self._connections: dict[socket.socket, tuple[bytearray, float]] = {}
        self._wake, self._woken = socket.socketpair()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen and serve (a daemon thread); `port` says where. Raises OSError for a missing address or a taken port."""
        try:
            self._bind(self.port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or self.port != 53:
                raise
            # A name server of the host's own may hold port 53 of every address. Pods come through the proxy, to any port.
            log.warning(
                "port 53 of %s is taken on this host; cluster DNS answers on port %d", self.address, _OTHER_PORT
            )
            self._bind(_OTHER_PORT)
        self._tcp.listen(128)
        self._datagrams = Datagrams(self._udp)
        self._selector.register(self._udp, selectors.EVENT_READ, self._read_udp)
        self._selector.register(self._tcp, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="cluster-dns", daemon=True)
        self._thread.start()

    def _bind(self, port: int) -> None:
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._udp.bind((self.address, port))
            self.port = self._udp.getsockname()[1]
            self._tcp.bind((self.address, self.port))
        except OSError:
            self._udp.close()
            self._tcp.close()
            raise
        self._udp.setblocking(False)
        self._tcp.setblocking(False)

    def stop(self) -> None:
        """Stop serving and close the sockets."""
        self._wake.send(b"x")
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select(self._upstream.timeout() or (1.0 if self._connections else None)):
                if key.data is None:
                    return self._close()
                try:
                    key.data(key.fileobj)
                except Exception:
                    log.exception("cluster DNS: a message could not be handled")
            self._upstream.expire()
            self._datagrams.flush()
            self._close_idle()

    def _close(self) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._wake.close()
        self._selector.close()

    def _changed(self, _old: Obj | None, _new: Obj | None) -> None:
        self.cache.generation += 1

    # -- UDP and TCP --------------------------------------------------------------------------------------------------

    def _read_udp(self, _server: socket.socket) -> None:
        datagrams = self._datagrams
        for data, peer in datagrams.receive():

            def send(reply: bytes, peer: Peer = peer) -> None:
                datagrams.send(reply, peer)

            try:
                self._handle(data, send, tcp=False)
            except Exception:
                log.exception("cluster DNS: a question could not be answered")

    def _accept(self, server: socket.socket) -> None:
        try:
            connection, _ = server.accept()
        except OSError as error:
            log.debug("cluster DNS: %s", error)
            return
        if len(self._connections) >= _TCP_MAX:
            connection.close()
            return
        connection.settimeout(1.0)  # for sending; reading only follows the selector
        self._connections[connection] = (bytearray(), self._clock.monotonic() + _TCP_IDLE)
        self._selector.register(connection, selectors.EVENT_READ, self._read_tcp)

    def _read_tcp(self, connection: socket.socket) -> None:
        buffer, _ = self._connections[connection]
        try:
            data = connection.recv(4096)
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        buffer += data
        self._connections[connection] = (buffer, self._clock.monotonic() + _TCP_IDLE)
        while len(buffer) >= 2 and len(buffer) >= 2 + (size := struct.unpack_from(">H", buffer)[0]):
            asked = bytes(buffer[2 : 2 + size])
            del buffer[: 2 + size]
            self._handle(asked, lambda reply: self._send_tcp(connection, reply), tcp=True)

    def _send_tcp(self, connection: socket.socket, reply: bytes) -> None:
        try:
            connection.sendall(struct.pack(">H", len(reply)) + reply)
        except OSError:
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        if self._connections.pop(connection, None) is not None:
            self._selector.unregister(connection)
            connection.close()

    def _close_idle(self) -> None:
        now = self._clock.monotonic()
        for connection, (_, deadline) in list(self._connections.items()):
            if deadline < now:
                self._drop(connection)

    # -- answers ------------------------------------------------------------------------------------------------------

    def _handle(self, data: bytes, send: Send, *, tcp: bool) -> None:
        cache = self.cache
        cache.requests["tcp" if tcp else "udp"] += 1
        generation = cache.generation
        known = None if tcp else cache.find(data[2:], self._clock.monotonic())
        if known is not None:
            cache.rcodes[known[1] & 15] += 1
            send(data[:2] + known)
            return
        send = self._counting(send)
        question = message.parse(data)
        if question is None:
            return
        room = 65535 if tcp else question.room
        address = message.reverse_address(question.name)
        if self.records.owns(question.name):
            answer = self.records.answer(question.name, question.kind)
            if not tcp and not any(
                record.type == "CNAME" for record in answer.records
            ):  # where that leads others may change
                send = self._remembering(send, data[2:], generation, shuffled=len(answer.records) > 1)
            self._answer_own(question, answer, send, room)
        elif address and (name := self.records.reverse(address)):
            found = (Record(question.name, "PTR", name),) if question.kind in ("PTR", "ANY") else ()
            send(message.fit(message.reply(question, Answer(NOERROR, found), self.domain), room))
        else:
            self._forward(question, data, send, tcp=tcp)

    def _remembering(self, send: Send, question: bytes, generation: int, *, shuffled: bool) -> Send:
        def both(reply: bytes) -> None:
            self.cache.keep_own(question, generation, reply[2:], shuffled=shuffled)
            send(reply)

        return both

    def _counting(self, send: Send) -> Send:
        def both(reply: bytes) -> None:
            self.cache.rcodes[reply[3] & 15] += 1
            send(reply)

        return both

    def _answer_own(self, question: Question, answer: Answer, send: Send, room: int) -> None:
        """Follow the CNAME of an ExternalName Service: inside the cluster here, else through the host's resolvers."""
        records = list(answer.records)
        for _ in range(_CNAME_MAX):
            target = records[-1].value.lower() if records and records[-1].type == "CNAME" else ""
            if not target or question.kind == "CNAME":
                break
            if not self.records.owns(target):
                self._answer_foreign(question, records, target, send, room)
                return
            records += self.records.answer(target, question.kind).records or [Record("", "", "")]
        found = Answer(answer.rcode, tuple(r for r in records if r.type), answer.additional)
        send(message.fit(message.reply(question, found, self.domain), room))

    def _answer_foreign(self, question: Question, records: list[Record], target: str, send: Send, room: int) -> None:
        made = message.reply(question, Answer(NOERROR, tuple(records)), self.domain)

        def complete(reply: bytes | None) -> None:
            for record in message.records_of(reply or b""):
                made.add_answer(record)
            send(message.fit(made, room))

        self.cache.forwards += 1
        self._upstream.ask(bytes(message.query(target, question.kind).pack()), complete, tcp=False)

    def _forward(self, question: Question, data: bytes, send: Send, *, tcp: bool) -> None:
        def complete(reply: bytes | None) -> None:
            if reply is None:
                send(message.failure(question, message.SERVFAIL))
                return
            seconds = 0 if tcp else message.lifetime(reply)
            if seconds:
                self.cache.keep_others(data[2:], reply[2:], until(self._clock.monotonic(), seconds))
            send(data[:2] + reply[2:])

        self.cache.forwards += 1
        self._upstream.ask(data, complete, tcp=tcp)


def host_resolvers(own: str) -> list[str]:
    """The host's name servers (IPv4), without ourselves."""
    try:
        lines = Path("/etc/resolv.conf").read_text().splitlines()
    except OSError:
        return []
    servers = [words[1] for line in lines if (words := line.split())[:1] == ["nameserver"] and len(words) > 1]
    return [server for server in servers if ":" not in server and server != own]
