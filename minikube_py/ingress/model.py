"""What the proxy shall do, as data: listeners with ordered routes. Pure.

Who calls it: ingresses.py and gateways.py make these, haproxy.py writes them down. Invariant: routes of a listener are tried in
`sorted_routes` order, so that the most specific one wins whatever order the objects come in.
Upstream: the precedence rules of networking.k8s.io/v1 Ingress and of gateway.networking.k8s.io/v1 HTTPRoute.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from minikube_py.api.types import Obj

EXACT, PREFIX, REGEX = "Exact", "Prefix", "RegularExpression"


class Server(NamedTuple):
    """Where requests go: an address or, with `resolve`, a name to look up again and again."""

    host: str
    port: int
    weight: int = 1
    resolve: bool = False


class Condition(NamedTuple):
    """A header's or a query parameter's value: `kind` EXACT or REGEX."""

    name: str
    value: str
    kind: str = EXACT


class Match(NamedTuple):
    """Which requests. `host` "" is any, "*.x" one label more than x, with `deep` any number; a prefix is of path elements."""

    host: str = ""
    path: str = "/"
    kind: str = PREFIX
    method: str = ""
    headers: tuple[Condition, ...] = ()
    queries: tuple[Condition, ...] = ()
    deep: bool = False


class Change(NamedTuple):
    """What happens to a request (or its answer) on the way: one filter. See haproxy.py for the kinds."""

    kind: str
    name: str = ""
    value: str = ""


class Route(NamedTuple):
    """`name` is the object's, for logs and metrics; `failure` is the status when there is no server to ask."""

    name: str
    match: Match
    servers: tuple[Server, ...] = ()
    changes: tuple[Change, ...] = ()
    timeout: str = ""
    failure: int = 503


class Certificate(NamedTuple):
    """`pem` is the chain and the key; `hosts` the names it is for, none: those the certificate names."""

    pem: str
    hosts: tuple[str, ...] = ()


class Listener(NamedTuple):
    """One port of the proxy; with certificates it speaks TLS."""

    name: str
    port: int
    routes: tuple[Route, ...] = ()
    certificates: tuple[Certificate, ...] = ()


def sorted_routes(routes: Iterable[Route]) -> tuple[Route, ...]:
    """The most specific first: host, then path, then method, headers, queries; the older of equals keeps its place."""
    return tuple(sorted(routes, key=lambda route: _specificity(route.match)))


def _specificity(match: Match) -> tuple[object, ...]:
    wild = match.host.startswith("*")
    host = (2, 0) if not match.host else (1, -len(match.host)) if wild else (0, 0)
    path = (0, 0) if match.kind == EXACT else (1, -len(match.path))
    return host, path, not match.method, -len(match.headers), -len(match.queries)


def servers_of(
    services: Mapping[str, Obj], namespace: str, name: str, port: object, weight: int = 1
) -> tuple[Server, ...]:
    """How to reach a port (by number or name) of a Service: its cluster IP, where the service proxy balances, or its DNS name
    if it has none. Out: nothing if there is no such Service or port."""
    service = services.get(f"{namespace}/{name}")
    if service is None:
        return ()
    spec = service["spec"]
    found = next((p for p in spec.get("ports") or [] if port in (p["port"], p.get("name"))), None)
    if spec.get("type") == "ExternalName":
        number = found["port"] if found else port
        return (Server(spec["externalName"], number, weight, True),) if isinstance(number, int) else ()
    if found is None:
        return ()
    if spec.get("clusterIP") in (None, "", "None"):
        target = found.get("targetPort")
        number = target if isinstance(target, int) else found["port"]
        return (Server(f"{name}.{namespace}.svc", number, weight, True),)
    return (Server(spec["clusterIP"], found["port"], weight),)


def certificate_of(
    secrets: Mapping[str, Obj], namespace: str, name: str, hosts: Iterable[str] = ()
) -> Certificate | None:
    """The certificate in a TLS Secret; None if there is none."""
    import base64
    import binascii

    data = (secrets.get(f"{namespace}/{name}") or {}).get("data") or {}
    try:
        chain, key = (base64.b64decode(data.get(part) or "").decode() for part in ("tls.crt", "tls.key"))
    except (binascii.Error, UnicodeDecodeError):
        return None
    return Certificate(f"{chain.strip()}\n{key.strip()}\n", tuple(hosts)) if chain and key else None
