"""Listeners -> HAProxy's configuration. Pure; golden-tested, and checked by the real HAProxy in tests.

Who calls it: main.py. Invariant: whatever an object says ends up inside quotes or not at all, so that no path, host or header
can write configuration of its own; equal listeners give equal text, so that an unchanged cluster reloads nothing.
Upstream: docs.haproxy.org configuration manual 2.6 (use_backend, http-request, crt-list).
"""

import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple

from minikube_py.ingress.model import EXACT, PREFIX, Certificate, Condition, Listener, Match, Route, Server

HEALTH_PORT = 8404
_HEAD = f"""global
    maxconn 4096
    hard-stop-after 30s
    stats socket {{run}}/haproxy.sock mode 600 level admin expose-fd listeners
defaults
    mode http
    log global
    # A reload lets the old process finish what it has; idle connections are told with their next answer.
    option idle-close-on-response
    option redispatch
    retries 3
    timeout connect 3s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
    timeout http-request 10s
    timeout http-keep-alive 60s
resolvers cluster
    parse-resolv-conf
    hold valid 5s
frontend health
    bind :{HEALTH_PORT}
    http-request return status 200 content-type text/plain string ok if {{{{ path /healthz }}}}
    http-request use-service prometheus-exporter if {{{{ path /metrics }}}}
backend none
    http-request return status 404 content-type text/plain string "no route for this host and path"
"""


class Configuration(NamedTuple):
    """The main file's text, and files beside it by name."""

    text: str
    files: dict[str, str]


def write(listeners: Iterable[Listener], run: str) -> Configuration:
    """In: `run` is the directory the files will be in."""
    files: dict[str, str] = {}
    backends: dict[str, list[str]] = {}
    lines = [_HEAD.format(run=run).rstrip()]
    for listener in listeners:
        lines += _frontend(listener, run, files, backends)
    for name, body in sorted(backends.items()):
        lines += [f"backend {name}", *body]
    return Configuration("\n".join(lines) + "\n", files)


def _frontend(listener: Listener, run: str, files: dict[str, str], backends: dict[str, list[str]]) -> Iterator[str]:
    bind = f"    bind :{listener.port}"
    if listener.certificates:
        name = f"{listener.port}.list"
        files[name] = "".join(_crt_line(certificate, run, files) for certificate in listener.certificates)
        bind += f" ssl crt-list {run}/{name} alpn h2,http/1.1"
    yield f"frontend {listener.name}"
    yield bind
    yield f"    http-request set-header X-Forwarded-Proto {'https' if listener.certificates else 'http'}"
    yield f"    http-request set-header X-Forwarded-Port {listener.port}"
    yield "    option forwardfor"
    yield "    http-request set-var(txn.host) req.hdr(host),field(1,:),lower"
    for route in listener.routes:
        if _is_plain(route):
            name = _backend(route, backends)
            yield from (f"    use_backend {name} {condition}".rstrip() for condition in conditions(route.match))
    yield "    default_backend none"


def _crt_line(certificate: Certificate, run: str, files: dict[str, str]) -> str:
    name = f"{_digest(certificate.pem)}.pem"
    files[name] = certificate.pem
    return " ".join([f"{run}/{name}", *certificate.hosts]) + "\n"


def conditions(match: Match) -> list[str]:
    """One or several ways to meet a match, each a line's `if`; a host is looked for in `txn.host`."""
    shared = []
    if match.host.startswith("*."):
        labels = r"([^.]+\.)+" if match.deep else r"[^.]+\."
        shared.append(f"{{ var(txn.host) -m reg {quoted('^' + labels + re.escape(match.host[2:]) + '$')} }}")
    elif match.host:
        shared.append(f"{{ var(txn.host) -m str {quoted(match.host)} }}")
    if match.method:
        shared.append(f"{{ method {quoted(match.method)} }}")
    shared += [f"{{ req.hdr({h.name}) {_value(h)} }}" for h in match.headers]
    shared += [f"{{ url_param({q.name}) {_value(q)} }}" for q in match.queries]
    path = match.path.rstrip("/") if match.kind == PREFIX else match.path
    if match.kind == EXACT:
        paths = [f"{{ path -m str {quoted(path)} }}"]
    elif match.kind == PREFIX:
        paths = [f"{{ path -m str {quoted(path)} }}", f"{{ path -m beg {quoted(path + '/')} }}"] if path else [""]
    else:
        paths = [f"{{ path -m reg {quoted(path)} }}"]
    tests = [" ".join(filter(None, [*shared, path])) for path in paths]
    return [f"if {test}" if test else "" for test in tests]


def _value(condition: Condition) -> str:
    exact = condition.kind == EXACT
    if not condition.value:  # HAProxy takes no empty pattern
        return "-m len 0" if exact else "-m found"
    return f"-m {'str' if exact else 'reg'} {quoted(condition.value)}"


def _backend(route: Route, backends: dict[str, list[str]]) -> str:
    body = [
        f"    {line}" for change in route.changes for line in _change(change.kind, change.name, change.value, route)
    ]
    if route.timeout:
        body.append(f"    timeout server {route.timeout}")
    serving = [server for server in route.servers if server.weight]
    if not serving and not any(change.kind == "redirect" for change in route.changes):
        body.append(f"    http-request return status {route.failure}")
    body += [f"    server s{n} {_server(server)}" for n, server in enumerate(serving)]
    name = f"{re.sub(r'[^A-Za-z0-9.-]', '-', route.name)[:60]}-{_digest(repr(body))}"
    backends[name] = body
    return name


def _server(server: Server) -> str:
    weight = f" weight {server.weight}" if server.weight != 1 else ""
    return f"{server.host}:{server.port}{weight}" + (" resolvers cluster init-addr none" if server.resolve else "")


def _change(kind: str, name: str, value: str, route: Route) -> Iterator[str]:
    """One filter as HAProxy's rules. Kinds: request-set, request-add, request-remove and the same for response; host; path (the
    whole path); prefix (what the match's prefix becomes); redirect (name: status and scheme://host, value: path or "")."""
    where, _, verb = kind.partition("-")
    if not value and (verb in ("set", "add") or kind in ("host", "path")):
        return  # HAProxy takes no empty value
    match kind:
        case "request-remove" | "response-remove":
            yield f"http-{where} del-header {quoted(name)}"
        case "request-set" | "request-add" | "response-set" | "response-add":
            yield f"http-{where} {verb}-header {quoted(name)} {_format(value)}"
        case "host":
            yield f"http-request set-header Host {_format(value)}"
        case "path":
            yield f"http-request set-path {_format(value)}"
        case "prefix":
            old, new = re.escape(route.match.path.rstrip("/")), value.rstrip("/")
            yield f"http-request replace-path {quoted(f'^{old}/?$')} {_format(new or '/')}"
            yield f"http-request replace-path {quoted(f'^{old}/(.*)$')} {quoted(_escaped(new) + '/' + chr(92) + '1')}"
        case "redirect":
            code, _, place = name.partition(" ")
            path = _escaped(value) or "%[pathq]"
            yield f"http-request redirect code {code} location {quoted(place + path)}"


def _is_plain(route: Route) -> bool:
    """Whether the route holds only what may stand in a line of the file; control characters never do."""
    words = [route.name, *(str(part) for part in route.match[:4]), *(s.host for s in route.servers)]
    words += [part for c in (*route.match.headers, *route.match.queries) for part in c]
    words += [part for change in route.changes for part in change]
    names = [c.name for c in (*route.match.headers, *route.match.queries)] + [s.host for s in route.servers]
    return all(word.isprintable() for word in words) and all(
        re.fullmatch(r"[A-Za-z0-9_.!#$%&*+^~-]+", name) for name in names
    )


def quoted(text: str) -> str:
    """One word, taken literally."""
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _escaped(text: str) -> str:
    """Text for a place where % begins a variable."""
    return text.replace("%", "%%")


def _format(text: str) -> str:
    return quoted(_escaped(text))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:10]
