"""The cluster's objects -> what each sidecar shall do. Pure.

Who calls it: control.py. Invariant: only Services with an endpoint in the mesh or with a MeshRoute are the mesh's business; all
other traffic of a pod goes on untouched. Of several MeshRoutes of a Service the oldest counts, of several MeshPolicies of a pod
the one with a selector, then the first by name.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from minikube_py.api import selectors
from minikube_py.api.meta import key_of, labels_of, name_of, namespace_of
from minikube_py.api.types import Obj
from minikube_py.ingress.model import EXACT, PREFIX, Condition, Match
from minikube_py.mesh.kinds import SIDECAR, identity
from minikube_py.mesh.model import Endpoint, Fault, Rule, Sidecar, Target

_SERVICE_NAME = "kubernetes.io/service-name"
_HEAVIEST = 256  # HAProxy's largest weight


class World(NamedTuple):
    """The objects a configuration follows from."""

    services: list[Obj]
    slices: list[Obj]
    pods: Mapping[str, Obj]
    routes: list[Obj]
    policies: list[Obj]


class Common(NamedTuple):
    """What all sidecars have in common, computed once per change; `ports` are each pod's ports that speak HTTP."""

    targets: tuple[Target, ...]
    peers: tuple[Endpoint, ...]
    ports: Mapping[str, tuple[int, ...]]


def identity_of(pod: Obj) -> str:
    return identity(namespace_of(pod), pod["spec"].get("serviceAccountName") or "default")


def common(world: World) -> Common:
    """What every sidecar is told about the Services of the cluster."""
    services = {key_of(service): service for service in world.services}
    routes = _oldest_routes(world.routes)
    endpoints: dict[tuple[str, str], set[Endpoint]] = {}  # by Service and name of its port
    ports: dict[str, set[int]] = {}
    for entry in world.slices:
        key = f"{namespace_of(entry)}/{labels_of(entry).get(_SERVICE_NAME, '')}"
        for port in entry.get("ports") or []:
            found = endpoints.setdefault((key, port.get("name") or ""), set())
            for pod, endpoint in _endpoints(entry, port, world.pods):
                found.add(endpoint)
                if key in services and _speaks_http(services[key], port.get("name") or "", key in routes):
                    ports.setdefault(pod, set()).add(endpoint.port)
    targets = [
        target
        for service in services.values()
        for target in _targets(service, routes.get(key_of(service)), services, endpoints)
    ]
    peers = {endpoint for found in endpoints.values() for endpoint in found if endpoint.identity}
    return Common(tuple(sorted(targets)), tuple(sorted(peers)), {pod: tuple(sorted(p)) for pod, p in ports.items()})


def sidecar(pod: Obj, shared: Common, policies: Iterable[Obj]) -> Sidecar:
    """What one pod's proxy shall do."""
    mine = [p for p in policies if namespace_of(p) == namespace_of(pod) and _selects(p, pod)]
    policy: Obj = min(mine, key=lambda p: (not p["spec"].get("selector"), name_of(p)), default={"spec": {}})["spec"]
    allowed = policy.get("from")
    callers = None
    if allowed is not None:
        callers = tuple(sorted(identity(c.get("namespace") or namespace_of(pod), c["serviceAccount"]) for c in allowed))
    return Sidecar(
        (pod.get("status") or {}).get("podIP") or "",
        shared.targets,
        shared.peers,
        shared.ports.get(key_of(pod), ()),
        policy.get("mode") == "Strict",
        callers,
    )


def _selects(policy: Obj, pod: Obj) -> bool:
    return selectors.from_label_selector(policy["spec"].get("selector") or {}).matches(labels_of(pod))


def _oldest_routes(routes: Iterable[Obj]) -> dict[str, Obj]:
    found: dict[str, Obj] = {}
    for route in sorted(routes, key=lambda r: (r["metadata"].get("creationTimestamp") or "", name_of(r))):
        found.setdefault(f"{namespace_of(route)}/{route['spec']['service']}", route)
    return found


def _speaks_http(service: Obj, port_name: str, routed: bool) -> bool:
    """Said by `appProtocol: http`, by a port called http or http-…, or by a MeshRoute."""
    port: Obj = next((p for p in service["spec"].get("ports") or [] if (p.get("name") or "") == port_name), {})
    said = port.get("appProtocol") or port_name.partition("-")[0]
    return routed or said == "http"


def _endpoints(entry: Obj, port: Obj, pods: Mapping[str, Obj]) -> Iterator[tuple[str, Endpoint]]:
    for endpoint in entry.get("endpoints") or []:
        pod_key = f"{namespace_of(entry)}/{(endpoint.get('targetRef') or {}).get('name', '')}"
        pod = pods.get(pod_key)
        meshed = pod is not None and SIDECAR in labels_of(pod)
        if (endpoint.get("conditions") or {}).get("ready", True) and port.get("port"):
            for address in endpoint["addresses"]:
                yield pod_key, Endpoint(address, port["port"], identity_of(pod) if pod and meshed else "")


def _targets(
    service: Obj, route: Obj | None, services: Mapping[str, Obj], endpoints: Mapping[tuple[str, str], set[Endpoint]]
) -> Iterator[Target]:
    spec, key = service["spec"], key_of(service)
    for port in spec.get("ports") or []:
        own = endpoints.get((key, port.get("name") or ""), set())
        if spec.get("clusterIP") in (None, "", "None") or port.get("protocol", "TCP") != "TCP":
            continue
        if route is None and not any(endpoint.identity for endpoint in own):
            continue
        name = f"{namespace_of(service)}.{name_of(service)}.{port['port']}"
        http = _speaks_http(service, port.get("name") or "", route is not None)
        last = Rule(name, servers=_weighted([(1, own)]))
        rules = [
            _rule(f"{name}.{rule.get('name') or number}", rule, port["port"], key, services, endpoints)
            for number, rule in enumerate(route["spec"]["rules"] if route else ())
        ]
        yield Target(name, f"{spec['clusterIP']}:{port['port']}", http, (*rules, last))


def _rule(
    name: str, rule: Obj, port: int, key: str, services: Mapping[str, Obj],
    endpoints: Mapping[tuple[str, str], set[Endpoint]],
) -> Rule:  # fmt: skip
    """In: `key` and `port` are the Service's that requests are for; a backend without a port is asked at the same one."""
    namespace, _, own = key.partition("/")
    groups = []
    for backend in rule.get("backends") or [{"service": own}]:
        to = services.get(f"{namespace}/{backend['service']}")
        asked = backend.get("port") or port
        named = next(
            (p.get("name") or "" for p in (to or {"spec": {}})["spec"].get("ports") or [] if p["port"] == asked), None
        )
        found = endpoints.get((f"{namespace}/{backend['service']}", named), set()) if named is not None else set()
        groups.append((backend.get("weight", 1), found))
    fault, limit = rule.get("fault") or {}, rule.get("rateLimit") or {}
    delay, abort = fault.get("delay") or {}, fault.get("abort") or {}
    return Rule(
        name, _match(rule.get("match") or {}), _weighted(groups), rule.get("timeoutMilliseconds", 0),
        rule.get("retries"),
        Fault(delay.get("milliseconds", 0), delay.get("percent", 100) if delay else 0,
              abort.get("status", 0), abort.get("percent", 100) if abort else 0),
        limit.get("requests", 0), limit.get("perMilliseconds", 1000) if limit else 0,
    )  # fmt: skip


def _match(match: Obj) -> Match:
    headers = tuple(Condition(name, value) for name, value in sorted((match.get("headers") or {}).items()))
    kind = EXACT if match.get("path") else PREFIX
    return Match("", match.get("path") or match.get("pathPrefix") or "/", kind, match.get("method") or "", headers)


def _weighted(groups: list[tuple[int, set[Endpoint]]]) -> tuple[tuple[Endpoint, int], ...]:
    """A group's weight divided among its endpoints, as whole numbers of which the largest is 256 (or 1 where all are equal)."""
    shares = {endpoint: weight / len(found) for weight, found in groups if weight for endpoint in found}
    if len(set(shares.values())) <= 1:
        return tuple((endpoint, 1) for endpoint in sorted(shares))
    largest = max(shares.values())
    return tuple((e, max(1, round(_HEAVIEST * share / largest))) for e, share in sorted(shares.items()))
