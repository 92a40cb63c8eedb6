"""Which resources an API server serves: built-in kinds, custom ones, aggregated ones.

Who calls it: the namespace and garbage collector controllers, which must treat kinds nobody told them about; kctl.
Invariant: only preferred versions are listed, so every kind appears once, unless `all_versions` is asked for; a group whose
own server is down is named in `Discovered.failed`, never silently missing.
Upstream: staging/src/k8s.io/client-go/discovery (aggregated_discovery.go and the older documents as fall-back).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from minikube_py.api import errors
from minikube_py.api.gvr import GVR
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;q=0.9"


@dataclass(frozen=True)
class Resource:
    """One served resource."""

    gvr: GVR
    verbs: frozenset[str]
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()


@dataclass
class Discovered:
    """`resources` in the server's order; `failed` are "group/version" names that could not be asked."""

    resources: list[Resource] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def with_verbs(self, *verbs: str) -> list[Resource]:
        """Resources that support all these verbs."""
        return [resource for resource in self.resources if resource.verbs.issuperset(verbs)]

    def by_kind(self, api_version: str, kind: str) -> GVR | None:
        """The collection of a kind, by group; another version of it is as good."""
        group = api_version.rpartition("/")[0]
        return next((r.gvr for r in self.resources if (r.gvr.group, r.gvr.kind) == (group, kind)), None)


def discover(client: Client, *, all_versions: bool = False) -> Discovered:
    """Ask the server. Raises APIError when it does not answer at all."""
    found = Discovered()
    for path in ("/api", "/apis"):
        _, _, data = client.request("GET", path, accept=_AGGREGATED)
        document = orjson.loads(data)
        if document.get("kind") == "APIGroupDiscoveryList":
            _read_aggregated(document, found, all_versions=all_versions)
        else:
            _read_legacy(client, document, found, all_versions=all_versions)
    return found


def _read_aggregated(document: Obj, found: Discovered, *, all_versions: bool) -> None:
    for group in document.get("items") or []:
        name, seen = group["metadata"].get("name", ""), set[str]()
        for version in group.get("versions") or []:
            if version.get("freshness") == "Stale":
                found.failed.append(f"{name}/{version['version']}")
            for resource in version.get("resources") or []:
                if resource["resource"] in seen and not all_versions:
                    continue
                seen.add(resource["resource"])
                found.resources.append(_aggregated_resource(name, version["version"], resource))


def _aggregated_resource(group: str, version: str, resource: Obj) -> Resource:
    kind = (resource.get("responseKind") or {}).get("kind", "")
    return Resource(
        GVR(group, version, resource["resource"], kind, resource.get("scope") == "Namespaced"),
        frozenset(resource.get("verbs") or []), resource.get("singularResource", ""),
        tuple(resource.get("shortNames") or []), tuple(resource.get("categories") or []),
        tuple(sub["subresource"] for sub in resource.get("subresources") or []),
    )  # fmt: skip


def _read_legacy(client: Client, document: Obj, found: Discovered, *, all_versions: bool) -> None:
    for group, versions in _legacy_groups(document):
        seen: set[str] = set()
        for version in versions:
            path = f"/apis/{group}/{version}" if group else f"/api/{version}"
            try:
                _, _, data = client.request("GET", path)
            except errors.APIError:
                found.failed.append(f"{group}/{version}")
                continue
            _read_resources(orjson.loads(data), group, version, found, seen, all_versions=all_versions)


def _legacy_groups(document: Obj) -> Iterator[tuple[str, list[str]]]:
    """(group, its versions, the preferred one first)."""
    if document.get("kind") == "APIVersions":
        yield "", list(document.get("versions") or [])
        return
    for group in document.get("groups") or []:
        preferred = (group.get("preferredVersion") or {}).get("version", "")
        versions = [v["version"] for v in group.get("versions") or []]
        yield group["name"], sorted(versions, key=lambda version: version != preferred)


def _read_resources(
    document: Obj, group: str, version: str, found: Discovered, seen: set[str], *, all_versions: bool
) -> None:
    listed: list[Obj] = document.get("resources") or []
    subresources: dict[str, list[str]] = {}
    for resource in listed:
        plural, slash, sub = resource["name"].partition("/")
        if slash:
            subresources.setdefault(plural, []).append(sub)
    for resource in listed:
        plural = resource["name"]
        if "/" in plural or (plural in seen and not all_versions):
            continue
        seen.add(plural)
        found.resources.append(Resource(
            GVR(group, version, plural, resource["kind"], bool(resource.get("namespaced"))),
            frozenset(resource.get("verbs") or []), resource.get("singularName", ""),
            tuple(resource.get("shortNames") or []), tuple(resource.get("categories") or []),
            tuple(subresources.get(plural, ())),
        ))  # fmt: skip
