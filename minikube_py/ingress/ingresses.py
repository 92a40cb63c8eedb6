"""Ingresses -> routes and certificates. Pure.

Who calls it: main.py. Invariant: only Ingresses of a class whose controller we are count; among equals the older one wins, so a
newcomer cannot take a host and path away. ImplementationSpecific paths are prefixes. A backend that is a resource instead of a
Service is not served.
Upstream: staging/src/k8s.io/api/networking/v1/types.go; kubernetes.io "Ingress".
"""

from collections.abc import Iterable, Iterator, Mapping

from minikube_py.api.meta import annotations_of, name_of, namespace_of
from minikube_py.api.types import Obj
from minikube_py.ingress.model import (
    EXACT,
    PREFIX,
    Certificate,
    Match,
    Route,
    certificate_of,
    servers_of,
    sorted_routes,
)

CONTROLLER = "minikube-py.io/ingress"
_OLD_CLASS = "kubernetes.io/ingress.class"


def ours(ingresses: Iterable[Obj], classes: Iterable[Obj]) -> list[Obj]:
    """The Ingresses of our classes, the oldest first."""
    names = {name_of(c) for c in classes if c["spec"].get("controller") == CONTROLLER}
    found = [i for i in ingresses if (i["spec"].get("ingressClassName") or annotations_of(i).get(_OLD_CLASS)) in names]
    return sorted(found, key=lambda i: (i["metadata"].get("creationTimestamp") or "", namespace_of(i), name_of(i)))


def routes(ingresses: Iterable[Obj], services: Mapping[str, Obj]) -> tuple[Route, ...]:
    """What `ours` ask for."""
    return sorted_routes(route for ingress in ingresses for route in _routes(ingress, services))


def certificates(ingresses: Iterable[Obj], secrets: Mapping[str, Obj]) -> tuple[Certificate, ...]:
    """Those of `ours` that exist, by Secret ("namespace/name"), each once."""
    found = {
        certificate: None for ingress in ingresses for entry in ingress["spec"].get("tls") or []
        if (certificate := certificate_of(
            secrets, namespace_of(ingress), entry.get("secretName") or "", entry.get("hosts") or []
        ))
    }  # fmt: skip
    return tuple(found)


def _routes(ingress: Obj, services: Mapping[str, Obj]) -> Iterator[Route]:
    spec, namespace = ingress["spec"], namespace_of(ingress)
    name = f"{namespace}.{name_of(ingress)}"

    def route(match: Match, backend: Obj) -> Iterator[Route]:
        if service := backend.get("service"):
            port = (service.get("port") or {}).get("number") or (service.get("port") or {}).get("name")
            yield Route(name, match, servers_of(services, namespace, service["name"], port))

    for rule in spec.get("rules") or []:
        host = (rule.get("host") or "").lower()
        for path in (rule.get("http") or {}).get("paths") or []:
            kind = EXACT if path.get("pathType") == "Exact" else PREFIX
            yield from route(Match(host, path.get("path") or "/", kind), path["backend"])
        if spec.get("defaultBackend") and host:
            yield from route(Match(host), spec["defaultBackend"])  # what none of the host's paths takes
    if spec.get("defaultBackend"):
        yield from route(Match(), spec["defaultBackend"])
