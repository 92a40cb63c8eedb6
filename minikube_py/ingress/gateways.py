"""Gateway API: Gateways and HTTPRoutes -> listeners, and what their statuses shall say. Pure.

Who calls it: main.py. Invariant: a route is served by exactly the listeners that its status says accepted it; a reference that
does not resolve answers 500 and is named in the status. Every port of every Gateway has a port of its own inside the proxy, and
a Service of type LoadBalancer leads to it, so Gateways never meet.
Where we differ: HTTP and HTTPS (terminated) listeners and HTTPRoutes alone; references into other namespaces are refused, as
without a ReferenceGrant.
Upstream: gateway-api.sigs.k8s.io, apis/v1 (Gateway, HTTPRoute, conditions and reasons).
"""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import NamedTuple

from minikube_py.api import selectors
from minikube_py.api.meta import labels_of, name_of, namespace_of
from minikube_py.api.types import Obj
from minikube_py.ingress.model import (
    EXACT,
    PREFIX,
    REGEX,
    Certificate,
    Change,
    Condition,
    Listener,
    Match,
    Route,
    Server,
    certificate_of,
    servers_of,
    sorted_routes,
)

CONTROLLER = "minikube-py.io/gateway"
_FIRST_PORT, _PORTS = 20000, 10000
_KINDS = {"PathPrefix": PREFIX, "Exact": EXACT, "RegularExpression": REGEX}
_NARROWER = (("sectionName", "name"), ("port", "port"))
Verdict = tuple[str, str, str, str]
"""A condition to be: type, status, reason, message."""


class World(NamedTuple):
    """What there is; objects by "namespace/name" (namespaces by name)."""

    classes: list[Obj]
    gateways: list[Obj]
    routes: list[Obj]
    services: Mapping[str, Obj]
    secrets: Mapping[str, Obj]
    namespaces: Mapping[str, Obj]


class Attachment(NamedTuple):
    """One parentRef of a route at one Gateway: what the route's status says of it."""

    ref: Obj
    verdicts: tuple[Verdict, ...]


class Outcome(NamedTuple):
    """`ports`: by Gateway, its ports and theirs inside; `listeners` for the proxy; verdicts by object, and by listener."""

    ports: dict[str, dict[int, int]]
    listeners: list[Listener]
    listener_verdicts: dict[tuple[str, str], tuple[Verdict, ...]]
    attached: dict[tuple[str, str], int]
    parents: dict[str, list[Attachment]]


def ours(world: World) -> list[Obj]:
    """The Gateways of our classes, sorted by name."""
    names = {name_of(c) for c in world.classes if c["spec"].get("controllerName") == CONTROLLER}
    return sorted((g for g in world.gateways if g["spec"]["gatewayClassName"] in names), key=_key)


def evaluate(world: World) -> Outcome:
    """Everything the proxy shall do for Gateways, and what to say about it."""
    gateways = ours(world)
    outcome = Outcome(_inner_ports(gateways), [], {}, {}, {})
    served: dict[tuple[str, str], list[Route]] = {}
    ordered = sorted(world.routes, key=lambda r: (r["metadata"].get("creationTimestamp") or "", _key(r)))
    for route in ordered:
        _attach(world, route, gateways, served, outcome)
    for gateway in gateways:
        by_port: dict[int, list[Obj]] = {}
        for listener in gateway["spec"]["listeners"]:
            where = (_key(gateway), listener["name"])
            outcome.listener_verdicts[where] = _judge(world, gateway, listener)
            outcome.attached.setdefault(where, 0)
            by_port.setdefault(listener["port"], []).append(listener)
        for port, listeners in by_port.items():
            usable = [
                entry for entry in listeners if _accepted(outcome.listener_verdicts[_key(gateway), entry["name"]])
            ]
            routes = [r for entry in usable for r in served.get((_key(gateway), entry["name"]), [])]
            certificates = [c for entry in usable for c in _certificates(world, gateway, entry)]
            if usable:
                inner, name = outcome.ports[_key(gateway)][port], _key(gateway).replace("/", ".")
                outcome.listeners.append(Listener(f"{name}-{port}", inner, sorted_routes(routes), tuple(certificates)))
    return outcome


def _inner_ports(gateways: Iterable[Obj]) -> dict[str, dict[int, int]]:
    """A port of the proxy for every port of every Gateway, the same as long as the Gateway lives."""
    taken: set[int] = set()
    found: dict[str, dict[int, int]] = {}
    for gateway in gateways:
        for port in sorted({listener["port"] for listener in gateway["spec"]["listeners"]}):
            number = int(sha256(f"{_key(gateway)}:{port}".encode()).hexdigest(), 16) % _PORTS
            while number in taken:
                number = (number + 1) % _PORTS
            taken.add(number)
            found.setdefault(_key(gateway), {})[port] = _FIRST_PORT + number
    return found


def _judge(world: World, gateway: Obj, listener: Obj) -> tuple[Verdict, ...]:
    if listener["protocol"] not in ("HTTP", "HTTPS"):
        why = f"protocol {listener['protocol']} is not served, only HTTP and HTTPS"
        return (("Accepted", "False", "UnsupportedProtocol", why), ("Programmed", "False", "Invalid", why))
    on_port = [other for other in gateway["spec"]["listeners"] if other["port"] == listener["port"]]
    if any(other["protocol"] != listener["protocol"] for other in on_port):
        why = f"port {listener['port']} has listeners of several protocols"
        return (("Accepted", "False", "ProtocolConflict", why), ("Programmed", "False", "Invalid", why))
    resolved: Verdict = ("ResolvedRefs", "True", "ResolvedRefs", "")
    if listener["protocol"] == "HTTPS" and not _certificates(world, gateway, listener):
        resolved = (
            "ResolvedRefs",
            "False",
            "InvalidCertificateRef",
            "no certificateRef names a TLS Secret of this namespace",
        )
        return (("Accepted", "True", "Accepted", ""), ("Programmed", "False", "Invalid", resolved[3]), resolved)
    return (("Accepted", "True", "Accepted", ""), ("Programmed", "True", "Programmed", ""), resolved)


def _accepted(verdicts: tuple[Verdict, ...]) -> bool:
    return all(status == "True" for kind, status, _, _ in verdicts if kind == "Programmed")


def _certificates(world: World, gateway: Obj, listener: Obj) -> list[Certificate]:
    hosts = [listener["hostname"]] if listener.get("hostname") else []
    refs = (listener.get("tls") or {}).get("certificateRefs") or [] if listener["protocol"] == "HTTPS" else []
    own = [r for r in refs if r.get("namespace", namespace_of(gateway)) == namespace_of(gateway)]
    found = [certificate_of(world.secrets, namespace_of(gateway), ref["name"], hosts) for ref in own]
    return [certificate for certificate in found if certificate]


def _attach(
    world: World, route: Obj, gateways: list[Obj], served: dict[tuple[str, str], list[Route]], outcome: Outcome
) -> None:
    """Offer the route to every Gateway of ours it names."""
    by_key = {_key(gateway): gateway for gateway in gateways}
    for ref in route["spec"].get("parentRefs") or []:
        gateway = by_key.get(f"{ref.get('namespace') or namespace_of(route)}/{ref['name']}")
        if gateway is None or ref.get("kind", "Gateway") != "Gateway":
            continue
        made, problem = _translate(world, route)
        reason, taken = "NoMatchingParent", False
        for listener in gateway["spec"]["listeners"]:
            if any(ref.get(field, listener[own]) != listener[own] for field, own in _NARROWER):
                continue
            if not _admits(world, gateway, listener, route):
                reason = "NotAllowedByListeners"
                continue
            hosts = _hosts(listener.get("hostname") or "", route["spec"].get("hostnames") or [])
            if not hosts:
                reason = "NoMatchingListenerHostname"
                continue
            taken = True
            where = (_key(gateway), listener["name"])
            outcome.attached[where] = outcome.attached.get(where, 0) + 1
            served.setdefault(where, []).extend(
                r._replace(match=r.match._replace(host=h, deep=True)) for h in hosts for r in made
            )
        accepted: Verdict = ("Accepted", "True", "Accepted", "")
        if not taken:
            accepted = ("Accepted", "False", reason, "no listener takes it")
        resolved: Verdict = (
            ("ResolvedRefs", "False", *problem) if problem else ("ResolvedRefs", "True", "ResolvedRefs", "")
        )
        outcome.parents.setdefault(_key(route), []).append(Attachment(ref, (accepted, resolved)))


def _admits(world: World, gateway: Obj, listener: Obj, route: Obj) -> bool:
    allowed = ((listener.get("allowedRoutes") or {}).get("namespaces")) or {}
    match allowed.get("from", "Same"):
        case "All":
            return True
        case "Selector":
            labels = labels_of(world.namespaces.get(namespace_of(route)) or {"metadata": {}})
            return selectors.from_label_selector(allowed.get("selector")).matches(labels)
    return namespace_of(route) == namespace_of(gateway)


def _hosts(listener: str, route: list[str]) -> list[str]:
    """The names both sides accept, the narrower of each pair; [""] when neither names any."""
    if not listener or not route:
        return route or [listener]
    return list(dict.fromkeys(met for name in route if (met := _narrower(listener, name))))


def _narrower(a: str, b: str) -> str:
    for wide, narrow in ((a, b), (b, a)):
        if wide == narrow or (wide.startswith("*.") and narrow.removeprefix("*").endswith(wide[1:])):
            return narrow
    return ""


def _translate(world: World, route: Obj) -> tuple[list[Route], tuple[str, str] | None]:
    """The route's rules, and (reason, message) of the first reference that does not resolve."""
    made: list[Route] = []
    problem: tuple[str, str] | None = None
    for rule in route["spec"].get("rules") or [{}]:
        servers, wrong = _backends(world, route, rule.get("backendRefs") or [])
        problem = problem or wrong
        timeout = (rule.get("timeouts") or {}).get("request") or ""
        changes = tuple(c for f in rule.get("filters") or [] for c in _changes(f))
        name = f"{namespace_of(route)}.{name_of(route)}"
        made += [Route(name, _match(m), servers, changes, timeout, 500) for m in rule.get("matches") or [{}]]
    return made, problem


def _backends(world: World, route: Obj, refs: list[Obj]) -> tuple[tuple[Server, ...], tuple[str, str] | None]:
    servers: list[Server] = []
    problem = None
    for ref in refs:
        called = f"{ref.get('namespace') or namespace_of(route)}/{ref['name']}"
        found: tuple[Server, ...] = ()
        if ref.get("kind", "Service") != "Service" or ref.get("group"):
            problem = problem or ("InvalidKind", f"{ref.get('kind')} {called} is no Service")
        elif ref.get("namespace", namespace_of(route)) != namespace_of(route):
            problem = problem or ("RefNotPermitted", f"Service {called} is in another namespace")
        else:
            found = servers_of(world.services, namespace_of(route), ref["name"], ref.get("port"), ref.get("weight", 1))
            if not found:
                problem = problem or ("BackendNotFound", f"there is no Service {called} with port {ref.get('port')}")
        servers += found
    return tuple(servers), problem


def _match(match: Obj) -> Match:
    path = match.get("path") or {}
    headers, queries = (
        tuple(
            Condition(c["name"], c["value"], REGEX if c.get("type") == REGEX else EXACT) for c in match.get(field) or []
        )
        for field in ("headers", "queryParams")
    )
    kind = _KINDS[path.get("type", "PathPrefix")]
    return Match("", path.get("value") or "/", kind, match.get("method") or "", headers, queries)


def _changes(entry: Obj) -> Iterator[Change]:
    """A filter of a rule; those that mirror or are extensions are not served."""
    for side, field in (("request", "requestHeaderModifier"), ("response", "responseHeaderModifier")):
        modifier = entry.get(field) or {}
        for verb in ("set", "add"):
            yield from (Change(f"{side}-{verb}", h["name"], h["value"]) for h in modifier.get(verb) or [])
        yield from (Change(f"{side}-remove", name) for name in modifier.get("remove") or [])
    rewrite = entry.get("urlRewrite") or {}
    if rewrite.get("hostname"):
        yield Change("host", "", rewrite["hostname"])
    path = rewrite.get("path") or {}
    if path.get("type") == "ReplaceFullPath":
        yield Change("path", "", path["replaceFullPath"])
    elif path.get("type") == "ReplacePrefixMatch":
        yield Change("prefix", "", path["replacePrefixMatch"])
    if redirect := entry.get("requestRedirect"):
        yield _redirect(redirect)


def _redirect(redirect: Obj) -> Change:
    """To another scheme, host, port or path; what is not said stays."""
    scheme = redirect.get("scheme") or "%[req.hdr(X-Forwarded-Proto)]"
    port = f":{redirect['port']}" if redirect.get("port") else ""
    path = (redirect.get("path") or {}).get("replaceFullPath") or ""
    host = redirect.get("hostname") or "%[var(txn.host)]"
    return Change("redirect", f"{redirect.get('statusCode', 302)} {scheme}://{host}{port}", path)


def _key(obj: Obj) -> str:
    return f"{namespace_of(obj)}/{name_of(obj)}"
