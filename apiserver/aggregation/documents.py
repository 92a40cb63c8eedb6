"""What aggregated servers say about themselves: their resources and their OpenAPI, as last seen.

Who calls it: the controller fetches after every passed check; discovery and OpenAPI read. Invariant: reading never waits; a
server that cannot be asked keeps what it said last, marked stale; an answer that makes no sense counts as none.
Upstream: kube-aggregator/pkg/apiserver/handler_discovery.go, pkg/controllers/{openapi,openapiv3}/aggregator.
"""

import http.client
import logging
from typing import NamedTuple

import orjson

from apiserver import services
from apiserver.aggregation.catalogue import GroupVersion, Remote
from apiserver.aggregation.dial import Answer, Dialer
from minikube_py.api.types import Obj

log = logging.getLogger(__name__)
_AGGREGATED = ",".join(
    f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" for version in ("v2", "v2beta1")
)


class Document(NamedTuple):
    """One group and version: its resources as aggregated discovery writes them; `v3` is the query of its OpenAPI document.

    `paths` and `definitions` are its part of OpenAPI version 2, `etag` that document's.
    """

    resources: list[Obj]
    v3: str
    etag: str
    paths: Obj
    definitions: Obj


class Documents:
    """Thread-safe: entries are replaced as a whole."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._found: dict[str, Document] = {}

    def of(self, remote: Remote) -> Document | None:
        return self._found.get(remote.name)

    def fetch(self, remote: Remote) -> None:
        """Ask the server anew. Blocks; what fails leaves the old document."""
        before = self._found.get(remote.name) or Document([], "", "", {}, {})
        try:
            resources = self._resources(remote)
            made = Document(resources, self._v3(remote), *self._v2(remote, before))
        except (services.NoEndpoint, OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            log.warning("the documents of %s cannot be had: %s", remote.name, error)
            return
        self._found[remote.name] = made

    def keep(self, names: set[str]) -> None:
        """Forget all others."""
        self._found = {name: document for name, document in self._found.items() if name in names}

    def _resources(self, remote: Remote) -> list[Obj]:
        answer = self._dialer.get(remote, "/apis", _AGGREGATED)
        if answer.status == 200 and "as=APIGroupDiscoveryList" in answer.content_type.replace(" ", ""):
            for group in orjson.loads(answer.body)["items"]:
                for version in group["versions"] if group["metadata"]["name"] == remote.group else ():
                    if version["version"] == remote.version:
                        return list(version.get("resources") or ())
            return []
        answer = self._dialer.get(remote, f"/apis/{remote.group}/{remote.version}")
        return from_legacy(orjson.loads(answer.body), (remote.group, remote.version))

    def _v3(self, remote: Remote) -> str:
        answer = self._dialer.get(remote, "/openapi/v3")
        if answer.status != 200:
            return ""
        entry = orjson.loads(answer.body)["paths"].get(f"apis/{remote.group}/{remote.version}") or {}
        return str(entry.get("serverRelativeURL") or "").partition("?")[2]

    def _v2(self, remote: Remote, before: Document) -> tuple[str, Obj, Obj]:
        answer: Answer = self._dialer.get(remote, "/openapi/v2", etag=before.etag)
        if answer.status == 304:
            return before.etag, before.paths, before.definitions
        if answer.status != 200:
            return "", {}, {}
        document = orjson.loads(answer.body)
        prefix = f"/apis/{remote.group}/{remote.version}/"
        paths = {path: item for path, item in document["paths"].items() if f"{path}/".startswith(prefix)}
        return answer.etag, paths, document.get("definitions") or {}


def from_legacy(document: Obj, place: GroupVersion) -> list[Obj]:
    """An APIResourceList in the form of aggregated discovery. In: `place` is its group and version."""
    made: dict[str, Obj] = {}
    for one in document.get("resources") or ():
        name, _, subresource = one["name"].partition("/")
        group, version = one.get("group") or place[0], one.get("version") or place[1]
        kind = {"group": group, "version": version, "kind": one["kind"]}
        if subresource:
            entry = {"subresource": subresource, "responseKind": kind, "verbs": one["verbs"]}
            made.setdefault(name, {"resource": name, "verbs": []}).setdefault("subresources", []).append(entry)
            continue
        more = {key: one[key] for key in ("shortNames", "categories") if one.get(key)}
        made[name] = {
            **made.get(name, {}), "resource": name, "responseKind": kind, "verbs": one["verbs"], **more,
            "scope": "Namespaced" if one["namespaced"] else "Cluster", "singularResource": one.get("singularName") or "",
        }  # fmt: skip
    return list(made.values())
