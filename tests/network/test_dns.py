"""Cluster DNS over real sockets: every record kind, NXDOMAIN against NODATA, TCP, truncation, forwarding, caching."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from dnslib import EDNS0, QTYPE, RCODE, RR, SOA, A, DNSRecord

from kubelet.network.dns import DNSServer, host_resolvers
from kubelet.network.netlink import RouteNetlink, entered
from minikube_py.api.clock import FakeClock
from minikube_py.api.gvr import ENDPOINTSLICES, GVR, SERVICES
from minikube_py.api.meta import key_of
from minikube_py.api.types import Obj
from minikube_py.client.config import Config
from minikube_py.client.informer import SharedInformers
from minikube_py.client.rest import Client
from tests.network.netns import Netns
from tests.network.objects import service, slice_of


class Resolver:
    """Somebody else's name server: answers names below example.com, counts, can be silent."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.silent = False
        self._udp, self._tcp = self._pair()
        self.address = f"127.0.0.1:{self._udp.getsockname()[1]}"
        threading.Thread(target=self._serve_udp, daemon=True).start()
        threading.Thread(target=self._serve_tcp, daemon=True).start()

    @staticmethod
    def _pair() -> tuple[socket.socket, socket.socket]:
        for _ in range(50):
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.bind(("127.0.0.1", 0))
            with suppress(OSError):
                return udp, socket.create_server(udp.getsockname())
            udp.close()
        raise AssertionError("no port is free for UDP and TCP")

    def _serve_udp(self) -> None:
        with suppress(OSError):
            while True:
                data, peer = self._udp.recvfrom(4096)
                if not self.silent:
                    self._udp.sendto(self._reply(data), peer)

    def _serve_tcp(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._tcp.accept()
                with connection:
                    reply = self._reply(connection.recv(4096)[2:])
                    connection.sendall(struct.pack(">H", len(reply)) + reply)

    def _reply(self, data: bytes) -> bytes:
        query = DNSRecord.parse(data)
        name = str(query.q.qname)
        self.asked.append(name)
        made = query.reply()
        if name.endswith("example.com."):
            made.add_answer(RR(name, QTYPE.A, ttl=30, rdata=A("192.0.2.7")))
        else:
            made.header.rcode = RCODE.NXDOMAIN
            made.add_auth(RR(".", QTYPE.SOA, ttl=20, rdata=SOA("a.", "b.", (1, 2, 3, 4, 10))))
        return bytes(made.pack())

    def close(self) -> None:
        self._udp.close()
        self._tcp.close()


class Cluster:
    """A DNS server over informers that hold what `put` gave them."""

    def __init__(self, upstreams: list[str], clock: FakeClock) -> None:
        self.informers = SharedInformers(Client(Config(server="https://127.0.0.1:1")))
        self.clock = clock
        self.server = self._started(upstreams)

    def _started(self, upstreams: list[str]) -> DNSServer:
        """On a port that is free for UDP and TCP alike, which the kernel does not promise for a port it picks."""
        for _ in range(50):
            server = DNSServer(self.informers, "127.0.0.1", port=0, upstreams=upstreams, clock=self.clock)
            with suppress(OSError):
                server.start()
                return server
        raise AssertionError("no port is free for UDP and TCP")

    def put(self, obj: Obj, resource: GVR = SERVICES) -> None:
        self.informers.of(resource)._change(key_of(obj), obj)

    def ask(self, name: str, kind: str = "A", *, tcp: bool = False, edns: int = 0) -> DNSRecord:
        query = DNSRecord.question(name, kind)
        if edns:
            query.add_ar(EDNS0(udp_len=edns))
        where = ("127.0.0.1", self.server.port)
        if not tcp:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(5)
                sock.connect(where)
                sock.send(query.pack())
                reply = DNSRecord.parse(sock.recv(65535))
        else:
            with socket.create_connection(where, 5) as connection:
                packed = query.pack()
                connection.sendall(struct.pack(">H", len(packed)) + packed)
                stream = connection.makefile("rb")
                reply = DNSRecord.parse(stream.read(struct.unpack(">H", stream.read(2))[0]))
        assert reply.header.id == query.header.id
        return reply

    def values(self, name: str, kind: str = "A", *, tcp: bool = False) -> list[str]:
        reply = self.ask(name, kind, tcp=tcp)
        assert reply.header.rcode == RCODE.NOERROR, f"{name} {kind}: {RCODE[reply.header.rcode]}"
        return sorted(str(record.rdata) for record in reply.rr)

    def code(self, name: str, kind: str = "A") -> str:
        return str(RCODE[self.ask(name, kind).header.rcode])


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    made = Resolver()
    yield made
    made.close()


@pytest.fixture
def cluster(resolver: Resolver) -> Iterator[Cluster]:
    made = Cluster([resolver.address], FakeClock())
    made.put(
        service("web", "10.96.3.4", [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}])
    )
    made.put(service("db", "None", [{"name": "sql", "port": 5432}]))
    made.put({**service("away", ""), "spec": {"type": "ExternalName", "externalName": "www.example.com"}})
    made.put(
        {**service("alias", ""), "spec": {"type": "ExternalName", "externalName": "web.default.svc.cluster.local"}}
    )
    first = slice_of("db", ["10.201.1.2", "10.201.2.2"], 5432, port_name="sql")
    first["endpoints"][0]["hostname"] = "db-0"
    made.put(first, ENDPOINTSLICES)
    made.put(slice_of("db", ["10.201.2.9"], 5432, port_name="sql", suffix="2", ready=False), ENDPOINTSLICES)
    yield made
    made.server.stop()


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_services(cluster: Cluster, tcp: bool) -> None:
    assert cluster.values("web.default.svc.cluster.local", tcp=tcp) == ["10.96.3.4"]
    assert cluster.values("WEB.Default.svc.cluster.LOCAL", tcp=tcp) == ["10.96.3.4"]
    assert cluster.values("db.default.svc.cluster.local", tcp=tcp) == ["10.201.1.2", "10.201.2.2"]
    assert cluster.values("db-0.db.default.svc.cluster.local", tcp=tcp) == ["10.201.1.2"]
    assert cluster.values("10-201-2-2.db.default.svc.cluster.local", tcp=tcp) == ["10.201.2.2"]
    assert cluster.values("10-201-1-7.default.pod.cluster.local", tcp=tcp) == ["10.201.1.7"]
    assert cluster.values("dns-version.cluster.local", "TXT", tcp=tcp) == ['"1.1.0"']


def test_srv(cluster: Cluster) -> None:
    reply = cluster.ask("_http._tcp.web.default.svc.cluster.local", "SRV")
    assert [str(r.rdata) for r in reply.rr] == ["0 100 80 web.default.svc.cluster.local."]
    assert [(str(r.rname), str(r.rdata)) for r in reply.ar] == [("web.default.svc.cluster.local.", "10.96.3.4")]
    assert cluster.values("_dns._udp.web.default.svc.cluster.local", "SRV") == [
        "0 100 53 web.default.svc.cluster.local."
    ]
    assert cluster.values("_sql._tcp.db.default.svc.cluster.local", "SRV") == [
        "0 100 5432 10-201-2-2.db.default.svc.cluster.local.", "0 100 5432 db-0.db.default.svc.cluster.local.",
    ]  # fmt: skip
    assert cluster.code("_http._udp.web.default.svc.cluster.local", "SRV") == "NXDOMAIN"
    assert cluster.code("_nope._tcp.web.default.svc.cluster.local", "SRV") == "NXDOMAIN"


def test_reverse(cluster: Cluster) -> None:
    assert cluster.values("4.3.96.10.in-addr.arpa", "PTR") == ["web.default.svc.cluster.local."]
    assert cluster.values("2.1.201.10.in-addr.arpa", "PTR") == ["db-0.db.default.svc.cluster.local."]
    assert cluster.values("2.2.201.10.in-addr.arpa", "PTR") == ["10-201-2-2.db.default.svc.cluster.local."]
    assert cluster.code("9.9.9.10.in-addr.arpa", "PTR") == "NXDOMAIN", "asked elsewhere"


def test_nodata_is_not_nxdomain(cluster: Cluster) -> None:
    for name, kind in (
        ("web.default.svc.cluster.local", "AAAA"), ("db.default.svc.cluster.local", "AAAA"), ("cluster.local", "A"),
        ("default.svc.cluster.local", "A"), ("svc.cluster.local", "A"), ("_tcp.web.default.svc.cluster.local", "A"),
    ):  # fmt: skip
        reply = cluster.ask(name, kind)
        assert (RCODE[reply.header.rcode], reply.rr) == ("NOERROR", []), name
        assert reply.auth[0].rtype == QTYPE.SOA and reply.header.aa == 1
    for name in (
        "nope.default.svc.cluster.local", "web.other.svc.cluster.local", "other.svc.cluster.local", "x.cluster.local",
        "db-9.db.default.svc.cluster.local", "web.default.svc.cluster.local.svc.cluster.local", "x.default.pod.cluster.local",
        "web.default.svc.cluster.local.default.svc.cluster.local", "www.example.com.default.svc.cluster.local",
        "x.web.default.svc.cluster.local",
    ):  # fmt: skip
        reply = cluster.ask(name)
        assert RCODE[reply.header.rcode] == "NXDOMAIN", name
        assert reply.auth[0].rdata.times[4] == 5


def test_external_names(cluster: Cluster, resolver: Resolver) -> None:
    assert cluster.values("away.default.svc.cluster.local", "CNAME") == ["www.example.com."]
    assert cluster.values("away.default.svc.cluster.local") == ["192.0.2.7", "www.example.com."]
    assert cluster.values("alias.default.svc.cluster.local") == ["10.96.3.4", "web.default.svc.cluster.local."]
    resolver.close()


def test_changes_are_seen_at_once(cluster: Cluster) -> None:
    assert cluster.code("new.default.svc.cluster.local") == "NXDOMAIN"
    cluster.put(service("new", "10.96.9.9"))
    assert cluster.values("new.default.svc.cluster.local") == ["10.96.9.9"]
    cluster.put({**service("new", ""), "spec": {"type": "ExternalName", "externalName": "a.example.com"}})
    assert cluster.values("new.default.svc.cluster.local", "CNAME") == ["a.example.com."]
    assert cluster.code("9.9.96.10.in-addr.arpa", "PTR") == "NXDOMAIN"


def test_what_does_not_fit_a_datagram_comes_by_tcp(cluster: Cluster) -> None:
    cluster.put(service("many", "None"))
    many = [f"10.201.3.{n}" for n in range(1, 120)]
    cluster.put(slice_of("many", many), ENDPOINTSLICES)
    name = "many.default.svc.cluster.local"
    cut = cluster.ask(name)
    assert cut.header.tc == 1 and not cut.rr and len(cut.pack()) <= 512
    assert cluster.values(name, tcp=True) == sorted(many)
    cluster.put(slice_of("many", many[:40]), ENDPOINTSLICES)
    assert cluster.ask(name).header.tc == 1
    assert len(cluster.ask(name, edns=4096).rr) == 40


def test_forwarding_and_its_cache(cluster: Cluster, resolver: Resolver) -> None:
    for _ in range(3):
        assert cluster.values("www.example.com") == ["192.0.2.7"]
        assert cluster.code("nobody.test") == "NXDOMAIN"
    # Random ids differ; the rest of the packet is the cache's key.
    assert sorted(resolver.asked) == ["nobody.test.", "www.example.com."]
    cluster.clock.advance(11)
    assert cluster.code("nobody.test") == "NXDOMAIN"
    assert cluster.values("www.example.com") == ["192.0.2.7"]
    assert sorted(resolver.asked) == ["nobody.test.", "nobody.test.", "www.example.com."], "the negative one lived 10 s"
    assert cluster.values("tcp.example.com", tcp=True) == ["192.0.2.7"]


def test_offline_is_fast(resolver: Resolver) -> None:
    offline = Cluster([], FakeClock())
    assert offline.code("www.example.com") == "SERVFAIL"
    offline.server.stop()
    dead = Cluster(["127.0.0.1:1", resolver.address], FakeClock())
    assert dead.values("www.example.com") == ["192.0.2.7"], "a refused question goes to the next server"
    dead.server.stop()


def test_a_silent_resolver_is_left_alone_for_a_while(cluster: Cluster, resolver: Resolver) -> None:
    resolver.silent = True
    replies: list[str] = []
    thread = threading.Thread(target=lambda: replies.append(cluster.code("slow.example.com")))
    thread.start()
    thread.join(0.2)
    assert cluster.values("web.default.svc.cluster.local") == ["10.96.3.4"], "nobody waits for it"
    while thread.is_alive():
        cluster.clock.advance(0.5)
        thread.join(0.1)
    assert replies == ["SERVFAIL"]
    assert cluster.code("other.example.com") == "SERVFAIL", "at once now"
    resolver.silent = False
    cluster.clock.advance(6)
    assert cluster.values("third.example.com") == ["192.0.2.7"]


def test_garbage_is_ignored(cluster: Cluster) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for data in (b"", b"x", b"\0" * 12, b"\xff" * 40, DNSRecord.question("a.b").reply().pack()):
            sock.sendto(data, ("127.0.0.1", cluster.server.port))
    with socket.create_connection(("127.0.0.1", cluster.server.port)) as half:
        half.sendall(b"\0\x50abc")
        assert cluster.values("web.default.svc.cluster.local") == ["10.96.3.4"]


def test_the_port_being_taken_is_a_plain_error(cluster: Cluster) -> None:
    with pytest.raises(OSError, match="in use"):
        DNSServer(cluster.informers, "127.0.0.1", port=cluster.server.port).start()


@pytest.mark.netns
def test_cached_answers_keep_taking_turns_and_are_counted(cluster: Cluster) -> None:
    answers = {tuple(str(r.rdata) for r in cluster.ask("db.default.svc.cluster.local").rr) for _ in range(40)}
    assert len(answers) > 1, "several orders, from the cache too"
    assert len({frozenset(order) for order in answers}) == 1
    text = cluster.server.cache.metrics()
    counts = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert int(counts['coredns_dns_requests_total{proto="udp"}']) == 40
    assert int(counts['coredns_dns_responses_total{rcode="NOERROR"}']) == 40
    assert int(counts["coredns_cache_hits_total"]) == 32
    cluster.ask("nosuch.default.svc.cluster.local")
    cluster.ask("nosuch.default.svc.cluster.local")
    assert 'rcode="NXDOMAIN"} 2' in cluster.server.cache.metrics(), "a negative answer is cached too"


def test_port_53_of_a_host_with_a_name_server_of_its_own() -> None:
    """The cluster's DNS then answers on another port, where the proxy finds it."""
    netns = Netns()
    with entered(netns.fd):
        with RouteNetlink() as route:
            route.set_up(1)
        with netns.serves("host's own", 53):
            server = DNSServer(SharedInformers(Client(Config(server="https://127.0.0.1:1"))), "127.0.0.1", upstreams=[])
            server.start()
            assert server.port == 1053
            server.stop()
    netns.close()


def test_host_resolvers_leave_ourselves_out() -> None:
    for server in host_resolvers(""):
        assert server not in host_resolvers(server)
