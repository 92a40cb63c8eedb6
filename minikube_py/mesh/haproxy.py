"""A sidecar's view -> HAProxy's configuration. Pure; golden-tested, and checked by the real HAProxy in tests.

Who calls it: control.py; agent.py adds the certificates `own.pem` and `ca.pem`. Invariant: what objects say stands inside
quotes or not at all; equal views give equal text.

Every connection of the pod arrives at one of two doors, sent there by nft (inject.py); `dst` is where it wanted to go.
  out:  15001 -> (a Service of HTTP)  outbound-http -> the rule's backend -> mTLS to a pod
              -> (a Service of TCP, or a pod of the mesh by its address) -> mTLS to it
              -> (anything else) passthrough, as it came
  in:   15006 -> (mesh TLS)  inbound-*-mtls: who is it? may it? -> the application
              -> (plain text) refused if strict, else the application
Requests are parsed in frontends of their own, behind sockets that only the proxy's user can open; the PROXY protocol carries
the addresses across. Upstream: docs.haproxy.org configuration manual 2.6.
"""

from collections.abc import Iterable, Iterator

from minikube_py.ingress.haproxy import Configuration, conditions, quoted
from minikube_py.mesh.kinds import GROUP, HEALTH_PORT, INBOUND_PORT, OUTBOUND_PORT, RUN, tls_name
from minikube_py.mesh.model import Rule, Sidecar, Target

DELAY_LUA = """\
-- Fault injection: http-request lua.delay MILLISECONDS
core.register_action("delay", {"http-req"}, function(txn, milliseconds) core.msleep(tonumber(milliseconds)) end, 1)
"""
# A reload lets the old process finish what it has; idle connections are told with their next answer.
_HEAD = f"""global
    nbthread 1
    maxconn 2000
    hard-stop-after 30s
    stats socket {RUN}/haproxy.sock mode 600 level admin expose-fd listeners
    lua-load {RUN}/delay.lua
defaults
    mode http
    log global
    option redispatch 1
    retries 2
    timeout connect 2s
    timeout client 1h
    timeout server 1h
    timeout http-request 30s
    timeout http-keep-alive 60s
frontend metrics
    bind :{HEALTH_PORT}
    http-request return status 200 content-type text/plain string ok if {{ path /healthz }}
    http-request use-service prometheus-exporter if {{ path /metrics }}
    http-request return status 404
"""
_OUTBOUND = f"""frontend outbound
    mode tcp
    bind 127.0.0.1:{OUTBOUND_PORT}
    tcp-request connection reject if {{ dst_port {OUTBOUND_PORT} }}
    tcp-request connection set-var(sess.port) dst_port
    use_backend %[dst,concat(:,sess.port),map_str({RUN}/outbound.map,passthrough)]
backend passthrough
    mode tcp
    server original *
backend to-http
    mode tcp
    server http unix@{RUN}/outbound-http.sock send-proxy-v2
frontend outbound-http
    bind unix@{RUN}/outbound-http.sock mode 600 accept-proxy
    option idle-close-on-response
    http-request set-var(sess.port) dst_port
    http-request set-var(txn.target) dst,concat(:,sess.port),map_str({RUN}/targets.map)"""
_INBOUND = f"""frontend inbound
    mode tcp
    bind :{INBOUND_PORT}
    tcp-request connection reject if {{ dst_port {INBOUND_PORT} }}
    tcp-request inspect-delay 3s
    tcp-request content accept if {{ req.ssl_hello_type 1 }} {{ req.ssl_sni -m end .{GROUP} }}"""


def write(view: Sidecar) -> Configuration:
    """The main file, and the files it reads."""
    targets = [target for target in view.targets if all(_is_plain(rule) for rule in target.rules)]
    outbound = {
        peer_address: f"peer.{tls_name(i)}"
        for peer_address, i in ((f"{p.host}:{p.port}", p.identity) for p in view.peers)
    }
    outbound |= {target.address: "to-http" if target.http else target.name for target in targets}
    files = {
        "outbound.map": _map(outbound), "targets.map": _map({t.address: t.name for t in targets if t.http}),
        "delay.lua": DELAY_LUA,
    }  # fmt: skip
    lines = [_HEAD.rstrip(), _OUTBOUND, *_outbound_rules(targets), *_inbound(view)]
    for target in targets:
        for rule in target.rules if target.http else target.rules[-1:]:
            lines += _backend(rule, view.address, http=target.http)
    for name in sorted({peer.identity for peer in view.peers}):
        lines += [f"backend peer.{tls_name(name)}", "    mode tcp", f"    server original * {_tls(name)}"]
    return Configuration("\n".join(lines) + "\n", files)


def _map(entries: dict[str, str]) -> str:
    return "".join(f"{address} {name}\n" for address, name in sorted(entries.items()))


def _outbound_rules(targets: Iterable[Target]) -> Iterator[str]:
    """The first rule whose match holds; a Service without rules needs no line of its own."""
    for target in targets:
        for rule in target.rules[:-1] if target.http else ():
            for condition in conditions(rule.match):
                rest = condition.removeprefix("if ")
                yield f"    use_backend {rule.name} if {{ var(txn.target) -m str {target.name} }} {rest}".rstrip()
    yield "    use_backend %[var(txn.target)]"


def _backend(rule: Rule, own: str, *, http: bool) -> Iterator[str]:
    yield f"backend {rule.name}"
    yield f"    mode {'http' if http else 'tcp'}"
    yield "    balance roundrobin"
    if rule.retries is not None:
        yield f"    retries {rule.retries}"
    if http:
        yield from _request_rules(rule)
    for number, (endpoint, weight) in enumerate(rule.servers):
        suffix = f" weight {weight}" if weight != 1 else ""
        suffix += f" {_tls(endpoint.identity)}" if endpoint.identity and endpoint.host != own else ""
        yield f"    server s{number} {endpoint.host}:{endpoint.port}{suffix}"


def _request_rules(rule: Rule) -> Iterator[str]:
    """What only HTTP has. Limits count what was let through, so that one who asks too often still gets the share."""
    if rule.timeout:
        yield f"    timeout server {rule.timeout}ms"
    if rule.retries:
        yield "    retry-on conn-failure empty-response response-timeout 500 502 503 504"
        yield "    http-request disable-l7-retry unless { method GET HEAD OPTIONS PUT DELETE }"
    if rule.limit:
        yield f"    stick-table type integer size 1 store gpc0,gpc0_rate({rule.limit_period}ms)"
        yield "    http-request track-sc0 int(1)"
        yield f"    http-request return status 429 if {{ sc0_gpc0_rate ge {rule.limit} }}"
        yield "    http-request sc-inc-gpc0(0)"
    fault = rule.fault
    if fault.delay_percent:
        yield f"    http-request lua.delay {fault.delay} if {{ rand(100) lt {fault.delay_percent} }}"
    if fault.abort_percent:
        yield f"    http-request return status {fault.status} if {{ rand(100) lt {fault.abort_percent} }}"


def _tls(identity: str) -> str:
    name = tls_name(identity)
    return f"ssl crt {RUN}/own.pem ca-file {RUN}/ca.pem verify required verifyhost {name} sni str({name})"


def _inbound(view: Sidecar) -> Iterator[str]:
    yield _INBOUND
    mesh = f"{{ req.ssl_sni -m end .{GROUP} }}"
    http = f"{{ dst_port {' '.join(map(str, view.http_ports))} }}" if view.http_ports else ""
    kinds = ["http", "tcp"] if http else ["tcp"]
    if view.strict:
        yield "    tcp-request content reject"
    for kind in kinds:
        yield f"    use_backend to-inbound-{kind}-mtls if {mesh} {http if kind == 'http' else ''}".rstrip()
    if not view.strict:
        if http:
            yield f"    use_backend to-inbound-http-plain if {http}"
        yield "    default_backend to-inbound-tcp-plain"
    for kind in kinds:
        sockets = ["mtls"] if view.strict else ["mtls", "plain"]
        for socket in sockets:
            yield f"backend to-inbound-{kind}-{socket}"
            yield "    mode tcp"
            yield f"    server {kind} unix@{RUN}/inbound-{kind}-{socket}.sock send-proxy-v2"
        yield f"frontend inbound-{kind}"
        yield f"    mode {kind}"
        for socket in sockets:
            tls = f" ssl crt {RUN}/own.pem ca-file {RUN}/ca.pem verify required" if socket == "mtls" else ""
            yield f"    bind unix@{RUN}/inbound-{kind}-{socket}.sock mode 600 accept-proxy{tls}"
        yield from (_who_http if kind == "http" else _who_tcp)(view.allowed)
        yield f"    default_backend application-{kind}"
        yield f"backend application-{kind}"
        yield f"    mode {kind}"
        if kind == "http":
            yield "    http-reuse never"
        yield "    server application *"


def _who_http(allowed: tuple[str, ...] | None) -> Iterator[str]:
    """The cluster's CA signs for others too (nodes, users): only who has an identity of the mesh is a peer."""
    yield "    option idle-close-on-response"
    yield "    option forwardfor"
    yield "    http-request del-header X-Mesh-Peer"
    yield "    http-request set-var(txn.peer) ssl_c_s_dn(UID) if { ssl_fc }"
    yield "    http-request return status 403 if { ssl_fc } !{ var(txn.peer) -m beg spiffe:// }"
    yield "    http-request set-header X-Mesh-Peer %[var(txn.peer)] if { ssl_fc }"
    if allowed is not None:
        yield f"    http-request return status 403 unless {_one_of('var(txn.peer)', allowed)}"


def _who_tcp(allowed: tuple[str, ...] | None) -> Iterator[str]:
    yield "    tcp-request content reject if { ssl_fc } !{ ssl_c_s_dn(UID) -m beg spiffe:// }"
    if allowed is not None:
        yield f"    tcp-request content reject unless {_one_of('ssl_c_s_dn(UID)', allowed)}"


def _one_of(what: str, names: tuple[str, ...]) -> str:
    return f"{{ {what} -m str {' '.join(map(quoted, names)) or 'nobody'} }}"


def _is_plain(rule: Rule) -> bool:
    """Whether the rule's words may stand in a line of the file; the definition's schema lets no other in."""
    words = [rule.name, rule.match.path, rule.match.method, *(w for h in rule.match.headers for w in (h.name, h.value))]
    return all(word.isprintable() for word in words) and not any(" " in h.name for h in rule.match.headers)
