"""Replies that need not be made again, as bytes without their id; and the counts that tell how well that goes.

Who calls it: dns.py, within its one thread. Invariants: what the cluster said is forgotten when a Service or EndpointSlice
changes, what others said when their own TTL ends; answers that shuffle their addresses keep several orders and take turns.
Names of the counts are CoreDNS's, so that its dashboards read them. Upstream: CoreDNS plugin/cache, plugin/metrics.
"""

from itertools import cycle

_SIZE, _LONGEST, ORDERS = 2000, 300, 8
_RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}


class Cache:
    """In: `question` is everything of a query but its id; a reply is everything but its id."""

    def __init__(self) -> None:
        self.generation = 0  # of the cluster's records
        self.requests, self.hits, self.forwards = {"udp": 0, "tcp": 0}, 0, 0
        self.rcodes = [0] * 16
        self._own: dict[bytes, tuple[int, list[bytes], cycle[int]]] = {}
        self._others: dict[bytes, tuple[float, bytes]] = {}

    def find(self, question: bytes, now: float) -> bytes | None:
        """A reply to send by UDP. In: `now` in seconds of the clock given to `keep_others`."""
        own = self._own.get(question)
        if own is not None and own[0] == self.generation and len(own[1]) == ORDERS:
            self.hits += 1
            return own[1][next(own[2])]
        other = self._others.get(question)
        if other is not None and other[0] > now:
            self.hits += 1
            return other[1]
        return None

    def keep_own(self, question: bytes, generation: int, reply: bytes, *, shuffled: bool) -> None:
        """A reply of the cluster, true in this generation; a shuffled one is kept once there are several orders of it."""
        known = self._own.get(question)
        replies = known[1] if known is not None and known[0] == generation and shuffled else []
        replies += [reply] if shuffled else [reply] * ORDERS
        if len(self._own) >= _SIZE:
            self._own.clear()
        self._own[question] = (generation, replies[:ORDERS], cycle(range(ORDERS)))

    def keep_others(self, question: bytes, reply: bytes, until: float) -> None:
        if len(self._others) >= _SIZE:
            self._others.clear()
        self._others[question] = (until, reply)

    def metrics(self) -> str:
        """The counts in Prometheus' text format."""
        lines = ["# TYPE coredns_dns_requests_total counter"]
        lines += [f'coredns_dns_requests_total{{proto="{proto}"}} {count}' for proto, count in self.requests.items()]
        lines += ["# TYPE coredns_dns_responses_total counter"]
        for code, count in enumerate(self.rcodes):
            if count or code in _RCODES:
                lines.append(f'coredns_dns_responses_total{{rcode="{_RCODES.get(code, code)}"}} {count}')
        asked = sum(self.requests.values())
        for name, kind, value in (
            ("cache_hits_total", "counter", self.hits), ("cache_misses_total", "counter", asked - self.hits),
            ("cache_entries", "gauge", len(self._own) + len(self._others)),
            ("forward_requests_total", "counter", self.forwards),
        ):  # fmt: skip
            lines += [f"# TYPE coredns_{name} {kind}", f"coredns_{name} {value}"]
        return "\n".join(lines) + "\n"


def until(now: float, ttl: int) -> float:
    """When a reply of others is forgotten. In: its TTL in seconds."""
    return now + min(ttl, _LONGEST)
