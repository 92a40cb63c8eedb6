"""DNS messages: questions in, replies out.

Who calls it: dns.py. Invariant: a reply carries the question's id and name (in the asker's spelling), and
what does not fit the datagram the asker can take is cut and marked, so that it comes again by TCP.
"""

from typing import NamedTuple

from dnslib import CNAME, EDNS0, PTR, QTYPE, RR, SOA, SRV, TXT, A, DNSError, DNSQuestion, DNSRecord

from kubelet.network.dns_records import NOERROR, NXDOMAIN, Answer, Record

SERVFAIL = 2
TTL, NEGATIVE_TTL, MAX_DATAGRAM = 5, 5, 1232


class Question(NamedTuple):
    """A parsed query: `name` in lower case without the final dot, `kind` as "A"; `room` bytes fit the asker's datagram."""

    message: DNSRecord
    name: str
    kind: str
    room: int


def parse(data: bytes) -> Question | None:
    """One standard query, or None for anything else (garbage, replies, several questions)."""
    try:
        message = DNSRecord.parse(data)
    except (DNSError, ValueError, IndexError):
        return None
    if message.header.qr or message.header.opcode or len(message.questions) != 1:
        return None
    asked: DNSQuestion = message.questions[0]
    room = 512
    for extra in message.ar:
        if extra.rtype == QTYPE.OPT:
            room = max(512, min(MAX_DATAGRAM, extra.rclass))
    return Question(message, str(asked.qname).rstrip(".").lower(), str(QTYPE[asked.qtype]), room)


def reply(question: Question, answer: Answer, domain: str, *, authoritative: bool = True) -> DNSRecord:
    """The reply with these records; an empty one names the domain's SOA, which says how long "no" may be remembered."""
    made = question.message.reply(ra=1, aa=int(authoritative))
    made.header.rcode = answer.rcode
    spelling = str(question.message.questions[0].qname)
    for record in answer.records:
        name = spelling if record.name == question.name else record.name
        made.add_answer(_encode(name, record))
    for record in answer.additional:
        made.add_ar(_encode(record.name, record))
    if not answer.records and authoritative and answer.rcode in (NOERROR, NXDOMAIN):
        times = (1, 7200, 1800, 86400, NEGATIVE_TTL)
        made.add_auth(
            RR(domain, QTYPE.SOA, ttl=NEGATIVE_TTL, rdata=SOA(f"ns.dns.{domain}", f"hostmaster.{domain}", times))
        )
    if any(extra.rtype == QTYPE.OPT for extra in question.message.ar):
        made.add_ar(EDNS0(udp_len=MAX_DATAGRAM))
    return made


def failure(question: Question, rcode: int) -> bytes:
    """A reply that says no more than this code."""
    made = question.message.reply(ra=1, aa=0)
    made.header.rcode = rcode
    return bytes(made.pack())


def fit(message: DNSRecord, room: int) -> bytes:
    """The datagram: the whole message, or an empty one marked as cut."""
    packed = bytes(message.pack())
    if len(packed) <= room:
        return packed
    return bytes(message.truncate().pack())


def lifetime(data: bytes) -> int:
    """How many seconds a reply of another server may be kept: its smallest TTL, or its SOA's negative one; 0 if not at all."""
    try:
        message = DNSRecord.parse(data)
    except (DNSError, ValueError, IndexError):
        return 0
    if message.header.tc or message.header.rcode not in (NOERROR, NXDOMAIN):
        return 0
    if message.rr:
        return int(min(record.ttl for record in message.rr))
    negative = [min(int(r.ttl), int(r.rdata.times[4])) for r in message.auth if r.rtype == QTYPE.SOA]
    return min(negative, default=0)


def records_of(data: bytes) -> list[RR]:
    """The answer section of a reply; nothing for garbage."""
    try:
        return list(DNSRecord.parse(data).rr)
    except (DNSError, ValueError, IndexError):
        return []


def query(name: str, kind: str) -> DNSRecord:
    """A fresh recursive query."""
    return DNSRecord.question(name, kind)


def _encode(name: str, record: Record) -> RR:
    value = record.value
    match record.type:
        case "A":
            data = A(value)
        case "CNAME":
            data = CNAME(value)
        case "PTR":
            data = PTR(value)
        case "TXT":
            data = TXT(value)
        case _:
            data = SRV(0, 100, record.port, value)
    return RR(name, getattr(QTYPE, record.type), ttl=TTL, rdata=data)


def reverse_address(name: str) -> str:
    """ "4.3.2.1.in-addr.arpa" -> "1.2.3.4"; "" for other names."""
    parts = name.removesuffix(".in-addr.arpa").split(".")
    return ".".join(parts[::-1]) if name.endswith(".in-addr.arpa") and len(parts) == 4 else ""
