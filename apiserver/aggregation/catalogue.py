"""The APIServices of this moment: which paths another server answers, and in which order groups and versions are listed.

Who calls it: the shell and the streams for every request below /apis, discovery, OpenAPI. Invariant: the snapshot follows
the store's collection of APIServices, whoever wrote it; nothing is polled, and asking costs a dictionary look-up.
Upstream: kube-aggregator/pkg/apiserver/{apiserver,handler_apis}.go, pkg/apis/apiregistration/v1/helper.
"""

import base64
from collections.abc import Collection, Iterable
from typing import NamedTuple

from apiserver.aggregation import local
from apiserver.customresources.catalogue import version_order
from apiserver.resources.row import Row
from apiserver.storage.cache import Store
from minikube_py.api.meta import condition_is
from minikube_py.api.types import Obj

COLLECTION = "/registry/apiservices.apiregistration.k8s.io/"
_OWN = "apiregistration.k8s.io"
_OPENAPI = "/openapi/v3"

GroupVersion = tuple[str, str]


class Remote(NamedTuple):
    """A group and version behind a Service. `ca` is a PEM bundle ("" trusts the machine's authorities)."""

    name: str
    group: str
    version: str
    namespace: str
    service: str
    port: int
    ca: str
    insecure: bool
    available: bool

    @property
    def host(self) -> str:
        """The name that the server's certificate has to carry."""
        return f"{self.service}.{self.namespace}.svc"


class _Snapshot(NamedTuple):
    remote: dict[GroupVersion, Remote]
    priority: dict[GroupVersion, tuple[int, int]]


class APIServices:
    """Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._revision, self._snapshot = -1, _Snapshot({}, {})

    def remote(self, path: str) -> Remote | None:
        """The server that answers this path, None when it is ours to answer."""
        path = path.removeprefix(_OPENAPI)
        if not path.startswith("/apis/") or not (found := self._current().remote):
            return None
        parts = path.split("/", 4)
        return found.get((parts[2], parts[3])) if len(parts) > 3 else None

    def remotes(self) -> Collection[Remote]:
        """Every group and version that another server serves."""
        return self._current().remote.values()

    def listed(self, rows: Iterable[Row]) -> list[GroupVersion]:
        """Every named group and version, the most important group first, and in it the preferred version."""
        snapshot = self._current()
        there = dict.fromkeys([*((row.group, row.version) for row in rows if row.group), *snapshot.remote])
        priority = {key: snapshot.priority.get(key) or local.priority(*key) for key in there}
        groups: dict[str, int] = {}
        for (group, _), (minimum, _) in priority.items():
            groups[group] = max(minimum, groups.get(group, 0))

        def order(key: GroupVersion) -> tuple[object, ...]:
            group, version = key
            return group != _OWN, -groups[group], group, -priority[key][1], version_order(version)

        return sorted(there, key=order)

    def _current(self) -> _Snapshot:
        revision = self._store.changed(COLLECTION)
        if revision != self._revision:
            snapshot = _made(item.obj() for item in self._store.list(COLLECTION, fresh=False).items)
            self._snapshot, self._revision = snapshot, revision  # a change in between only makes us look once more
        return self._snapshot


def _made(services: Iterable[Obj]) -> _Snapshot:
    snapshot = _Snapshot({}, {})
    for service in services:
        spec = service["spec"]
        key = (spec.get("group") or "", spec["version"])
        snapshot.priority[key] = (spec["groupPriorityMinimum"], spec["versionPriority"])
        if spec.get("service") and key[0]:
            snapshot.remote[key] = remote_of(service)
    return snapshot


def remote_of(service: Obj) -> Remote:
    """An APIService that has a Service."""
    spec = service["spec"]
    place = spec["service"]
    ca = base64.b64decode(spec.get("caBundle") or "").decode("latin-1")
    return Remote(
        service["metadata"]["name"], spec.get("group") or "", spec["version"], place["namespace"], place["name"],
        place.get("port") or 443, ca, bool(spec.get("insecureSkipTLSVerify")), condition_is(service, "Available"),
    )  # fmt: skip
