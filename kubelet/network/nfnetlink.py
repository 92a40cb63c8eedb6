"""The few nft commands that a changed Service takes, spoken directly to the kernel.

Who calls it: nft.py, which has `nft` run whatever is not in this vocabulary. Why: the program reads every table of the host
before each transaction; with a thousand Services in four tables one changed endpoint took 0.4 s.
Invariant: `encode` says what `nft` would have said, or nothing at all (tests compare what the kernel lists afterwards); a batch
is one transaction, of which the kernel takes all or nothing.
Upstream: linux/netfilter/nf_tables.h, nfnetlink.h; `nft --debug=mnl` shows the same messages.
"""

import re
import socket
import struct
from collections.abc import Callable

from kubelet.network.netlink import ACK, Socket, attribute

_NETFILTER, _NFTABLES = 12, 10
_BEGIN, _END = 16, 17
_NEWCHAIN, _DELCHAIN, _NEWRULE, _DELRULE, _NEWSET, _DELSET, _NEWSETELEM, _DELSETELEM = 3, 5, 6, 8, 9, 11, 12, 14
_CREATE, _APPEND, _NESTED = 0x400, 0x800, 0x8000
_VERDICT, _REG_1, _REG_1_NEXT, _REG_2 = 0, 1, 9, 2  # registers: 1 and 2 have 16 bytes, 9 is the second word of 1
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_GOTO = -4
_INTEGER, _ADDRESS, _ADDRESS_AND_PORT, _VERDICTS = 4, 7, 0x1CD, -256  # nft's numbers for the types of keys and values
_KEYS_OF_HOST = b"\0\4\1\0\0\0"  # nft's note to itself in a set: which way round its keys are to be listed
_MANY = 200  # elements per message: an attribute holds 64 kB

Message = tuple[int, int, bytes]
"""Kind, flags, attributes."""


class _UnknownError(Exception):
    """Not in the vocabulary."""


def opened() -> Socket:
    """What `apply` needs, of the caller's network namespace. Keep it: closing waits for whatever the kernel has to tidy up."""
    return Socket(_NETFILTER)


def apply(kernel: Socket, batch: list[Message]) -> None:
    """Run the messages as one transaction. Raises OSError with the kernel's reason; then nothing was changed."""
    family, edge = struct.pack(">BBH", socket.AF_INET, 0, 0), struct.pack(">BBH", 0, 0, _NFTABLES)
    inner = [(_NFTABLES << 8 | kind, flags, family + body) for kind, flags, body in batch]
    inner[-1] = (inner[-1][0], inner[-1][1] | ACK, inner[-1][2])
    kernel.batch([(_BEGIN, 0, edge), *inner, (_END, 0, edge)])


def encode(commands: str) -> list[Message] | None:
    """Lines as `nft -f` takes them -> the same as messages; None where one of them cannot be said here."""
    batch: list[Message] = []
    try:
        for line in commands.splitlines():
            batch += _command(line, len(batch) + 1)
    except _UnknownError:
        return None
    return batch


def _command(line: str, number: int) -> list[Message]:
    """In: `number` is a set's that the command makes for itself; no other in the batch has it."""
    verb, kind, _ip, table, name, body = [*line.split(" ", 5), "", "", "", "", ""][:6]
    own = _text(1, table)
    match verb, kind:
        case "add", "chain" if not body:
            return [(_NEWCHAIN, _CREATE, own + _text(3, name))]
        case "flush", "chain":
            return [(_DELRULE, 0, own + _text(2, name))]
        case "delete", "chain":
            return [(_DELCHAIN, 0, own + _text(3, name))]
        case "delete", "set":
            return [(_DELSET, 0, own + _text(2, name))]
        case "add", "set" if clients := _CLIENTS.fullmatch(body):
            lifetime = attribute(11, struct.pack(">Q", int(clients[1]) * 1000))
            kinds = _number(3, 0x30) + _number(4, _ADDRESS) + _number(5, 4)  # flags: dynamic, timeout
            return [(_NEWSET, _CREATE, own + _text(2, name) + kinds + _number(10, number) + lifetime)]
        case "add", "rule":
            rule = _Rule(own, number, body)
            expressions = b"".join(rule.expressions)
            return [*rule.sets, (_NEWRULE, _CREATE | _APPEND, own + _text(2, name) + _nest(4, expressions))]
        case (("add" | "delete"), "element"):
            doing, flags = (_NEWSETELEM, _CREATE) if verb == "add" else (_DELSETELEM, 0)
            return _elements(doing, flags, own + _text(2, name), _entries(body[2:-2]))
    raise _UnknownError(line)


_CLIENTS = re.compile(r"{ type ipv4_addr; flags dynamic,timeout; timeout (\d+)s; }")


class _Rule:
    """One rule: the anonymous sets it needs first, and its expressions."""

    def __init__(self, table: bytes, number: int, text: str) -> None:
        self._table, self._number = table, number
        self.sets: list[Message] = []
        self.expressions: list[bytes] = []
        while text:
            found = next(((m, say) for p, say in _STATEMENTS if (m := p.match(text))), None)
            if found is None:
                raise _UnknownError(text)
            found[1](self, *found[0].groups())
            text = text[found[0].end() :].lstrip()

    def protocol(self, name: str) -> None:
        self._say("meta", _number(2, 16), _number(1, _REG_1))
        self._say("cmp", _number(1, _REG_1), _number(2, 0), _nest(3, attribute(1, bytes([_PROTOCOLS[name]]))))

    def source_in(self, network: str, bits: str) -> None:
        if int(bits) % 8 or not int(bits):
            raise _UnknownError(bits)
        wanted = _value(network)[: int(bits) // 8]
        self._source(len(wanted))
        self._say("cmp", _number(1, _REG_1), _number(2, 0), _nest(3, attribute(1, wanted)))

    def source_among(self, clients: str) -> None:
        self._source(4)
        self._say("lookup", _number(2, _REG_1), _text(1, clients))

    def remember_source(self, clients: str) -> None:
        self._source(4)
        self._say("dynset", _number(4, _REG_1), _number(3, 1), _text(1, clients))

    def rewrite(self, address: str, port: str) -> None:
        for register, value in ((_REG_1, _value(address)), (_REG_2, _value(port)[:2])):
            self._say("immediate", _number(1, register), _nest(2, attribute(1, value)))
        self._say("nat", *map(_number, (1, 2, 3, 5, 7), (1, socket.AF_INET, _REG_1, _REG_2, 2)))

    def rewrite_to_any(self, count: str, choices: str) -> None:
        self._pick(count, choices, _ADDRESS_AND_PORT, 8, _REG_1)
        self._say("nat", *map(_number, (1, 2, 3, 5), (1, socket.AF_INET, _REG_1, _REG_1_NEXT)))

    def go_to_any(self, count: str, choices: str) -> None:
        self._pick(count, choices, _VERDICTS, 0, _VERDICT)

    def verdict(self, text: str) -> None:
        self._say("immediate", _number(1, _VERDICT), _nest(2, _data(text)))

    def _source(self, length: int) -> None:
        self._say("payload", *map(_number, (1, 2, 3, 4), (_REG_1, 1, 12, length)))

    def _pick(self, count: str, choices: str, values: int, size: int, register: int) -> None:
        """Look a random number below `count` up in a map of this rule's own."""
        name, entries = _text(2, "__map%d"), _entries(choices, lambda key: struct.pack("=I", int(key)))
        kinds = b"".join(map(_number, (3, 4, 5, 6, 7, 10), (0xB, _INTEGER, 4, values, size, self._number)))
        described = _nest(9, _number(1, len(entries))) + attribute(13, _KEYS_OF_HOST)
        self.sets.append((_NEWSET, _CREATE, self._table + name + kinds + described))
        where = self._table + name + _number(4, self._number)
        self.sets += _elements(_NEWSETELEM, _CREATE, where, entries)
        self._say("numgen", *map(_number, (1, 2, 3, 4), (_REG_1, int(count), 1, 0)))
        self._say("lookup", *map(_number, (2, 3), (_REG_1, register)), _text(1, "__map%d"), _number(4, self._number))

    def _say(self, name: str, *attributes: bytes) -> None:
        self.expressions.append(_nest(1, _text(1, name) + _nest(2, b"".join(attributes))))


_STATEMENTS: tuple[tuple[re.Pattern[str], Callable[..., None]], ...] = (
    (re.compile(r"meta l4proto (tcp|udp|sctp)\b"), _Rule.protocol),
    (re.compile(r"ip saddr ([\d.]+)/(\d+)"), _Rule.source_in),
    (re.compile(r"ip saddr @(\S+)"), _Rule.source_among),
    (re.compile(r"update @(\S+) { ip saddr }"), _Rule.remember_source),
    (re.compile(r"dnat to ([\d.]+):(\d+)$"), _Rule.rewrite),
    (re.compile(r"dnat ip to numgen random mod (\d+) map { ([^{}]*) }$"), _Rule.rewrite_to_any),
    (re.compile(r"numgen random mod (\d+) vmap { ([^{}]*) }$"), _Rule.go_to_any),
    (re.compile(r"(drop|goto \S+)$"), _Rule.verdict),
)


def _entries(text: str, key: Callable[[str], bytes] | None = None) -> list[bytes]:
    """ "KEY : VALUE, …" of a map, "KEY, …" of a set, or of what shall go."""
    found = []
    for entry in text.split(", "):
        left, _, right = entry.partition(" : ")
        value = _nest(2, _data(right)) if right else b""
        found.append(_nest(1, _nest(1, attribute(1, (key or _value)(left))) + value))
    return found


def _elements(kind: int, flags: int, where: bytes, entries: list[bytes]) -> list[Message]:
    return [
        (kind, flags, where + _nest(3, b"".join(entries[start : start + _MANY])))
        for start in range(0, len(entries), _MANY)
    ]


def _data(text: str) -> bytes:
    """A verdict, or a value."""
    if text == "drop":
        return _nest(2, _number(1, 0))
    if text.startswith("goto "):
        return _nest(2, _number(1, _GOTO) + _text(2, text.removeprefix("goto ")))
    return attribute(1, _value(text))


def _value(text: str) -> bytes:
    """Addresses, protocols and ports with dots between them, each in four bytes, the way packets have them."""
    return b"".join(_word(part) for part in text.split(" . "))


def _word(text: str) -> bytes:
    if text in _PROTOCOLS:
        return bytes([_PROTOCOLS[text], 0, 0, 0])
    if text.isdigit():
        return struct.pack(">HH", int(text), 0)
    try:
        return socket.inet_pton(socket.AF_INET, text)
    except OSError:
        raise _UnknownError(text) from None


def _nest(kind: int, payload: bytes) -> bytes:
    return attribute(kind | _NESTED, payload)


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _number(kind: int, number: int) -> bytes:
    return attribute(kind, struct.pack(">i" if number < 0 else ">I", number))
