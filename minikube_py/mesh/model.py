"""What one sidecar shall do, as data. Pure.

Who calls it: view.py makes it from the cluster's objects, haproxy.py writes it down. Invariant: everything in it is sorted, so
that equal clusters give equal values and an unchanged sidecar is not told anything.
"""

from typing import NamedTuple

from minikube_py.ingress.model import Match


class Endpoint(NamedTuple):
    """A pod's port. `identity` is the SPIFFE URI its certificate must carry; "" for a pod without a sidecar (plain text)."""

    host: str
    port: int
    identity: str = ""


class Fault(NamedTuple):
    """Percentages of requests that wait for `delay` (milliseconds) and that are answered with `status`."""

    delay: int = 0
    delay_percent: int = 0
    status: int = 0
    abort_percent: int = 0


class Rule(NamedTuple):
    """One way to treat requests; `name` is the backend's, and so the metrics'. Times are milliseconds.

    `retries` None: connections that fail are tried again, answers count as they are.
    """

    name: str
    match: Match = Match()
    servers: tuple[tuple[Endpoint, int], ...] = ()
    timeout: int = 0
    retries: int | None = None
    fault: Fault = Fault()
    limit: int = 0
    limit_period: int = 0


class Target(NamedTuple):
    """One port of a Service: the "address:port" it is dialled at, and its rules, of which the last takes every request."""

    name: str
    address: str
    http: bool
    rules: tuple[Rule, ...]


class Sidecar(NamedTuple):
    """One pod's view: its own address, where it may go, the peers it may dial by address, its ports that speak HTTP, whom it
    lets in. What it says to itself stays in the pod, in plain text."""

    address: str = ""
    targets: tuple[Target, ...] = ()
    peers: tuple[Endpoint, ...] = ()
    http_ports: tuple[int, ...] = ()
    strict: bool = False
    allowed: tuple[str, ...] | None = None
