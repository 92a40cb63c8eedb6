"""What every command starts from: the connection, the namespace, discovery, and how the user names things.

Who uses it: every module of this package, as click's context object. Invariant: nothing is asked of the server before it is
needed; discovery is kept on disk for ten minutes and asked again when a name is not in it, as kubectl does.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import click

from minikube_py.api.errors import APIError
from minikube_py.api.gvr import GVR
from minikube_py.api.types import Obj
from minikube_py.client import kubeconfig
from minikube_py.client.rest import Client

_AGGREGATED = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)
_TTL = 600.0


class Resource(NamedTuple):
    """One discovered resource of the group's preferred version."""

    gvr: GVR
    singular: str
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    verbs: tuple[str, ...]
    subresources: tuple[str, ...]
    preferred: bool

    @property
    def qualified(self) -> str:
        """How messages name it: "pod", "deployment.apps"."""
        return f"{self.singular}.{self.gvr.group}" if self.gvr.group else self.singular

    @property
    def qualified_plural(self) -> str:
        return f"{self.gvr.plural}.{self.gvr.group}" if self.gvr.group else self.gvr.plural

    def is_called(self, word: str) -> bool:
        """True if a user may mean this by `word` ("po", "Pods", "deploy", "deployments.apps", "deployments.v1.apps")."""
        name, _, group = word.lower().partition(".")
        if name not in (self.gvr.plural, self.singular, self.gvr.kind.lower(), *self.short_names):
            return False
        return group in ("", self.gvr.group, f"{self.gvr.version}.{self.gvr.group}".rstrip("."), self.gvr.version)


class Target(NamedTuple):
    """A resource, and one object of it unless `name` is empty."""

    resource: Resource
    name: str


class Session:
    """One invocation of kctl."""

    def __init__(self, kubeconfig_path: str | None, context: str, namespace: str) -> None:
        self._path, self._context, self._namespace = kubeconfig_path, context, namespace

    @cached_property
    def client(self) -> Client:
        try:
            config = kubeconfig.load(self._path, context=self._context)
        except (OSError, ValueError, APIError) as error:
            raise click.ClickException(str(error)) from None
        return Client(config, user_agent="kctl", timeout=60)

    @cached_property
    def namespace(self) -> str:
        return self._namespace or self.client.config.namespace or "default"

    @cached_property
    def resources(self) -> list[Resource]:
        return _discover(self.client, fresh=False)

    def resource(self, word: str) -> Resource:
        """The resource a user calls `word`. Raises ClickException in kubectl's words."""
        for fresh in (False, True):
            if fresh:
                self.resources = _discover(self.client, fresh=True)
            found = [r for r in self.resources if r.is_called(word)]
            if found:
                return min(found, key=lambda r: not r.preferred)
        raise click.ClickException(f'the server doesn\'t have a resource type "{word}"')

    def resource_of(self, obj: Obj) -> Resource:
        """The resource whose objects have this apiVersion and kind."""
        api_version, kind = obj.get("apiVersion", ""), obj.get("kind", "")
        for fresh in (False, True):
            if fresh:
                self.resources = _discover(self.client, fresh=True)
            for resource in self.resources:
                if resource.gvr.kind == kind and resource.gvr.api_version == api_version:
                    return resource
        raise click.ClickException(
            f'resource mapping not found: no matches for kind "{kind}" in version "{api_version}"\n'
            "ensure CRDs are installed first"
        )

    def category(self, word: str) -> list[Resource]:
        return [r for r in self.resources if word in r.categories and r.preferred]

    def targets(self, words: Sequence[str]) -> list[Target]:
        """What "pods", "pods a b", "pod/a svc/b", "po,svc", "all" mean. Raises UsageError, ClickException."""
        if not words:
            raise click.UsageError("You must specify the type of resource, such as: pods")
        if any("/" in word for word in words):
            return [self._slashed(word) for word in words]
        kinds = [r for word in words[0].split(",") for r in (self.category(word) or [self.resource(word)])]
        names = words[1:] or [""]
        return [Target(resource, name) for resource in kinds for name in names]

    def _slashed(self, word: str) -> Target:
        kind, _, name = word.partition("/")
        if not kind or not name or "/" in name:
            raise click.UsageError(
                "there is no need to specify a resource type as a separate argument when passing arguments in "
                "resource/name form (e.g. 'kctl get resource/<name>' instead of 'kctl get resource resource/<name>')"
            )
        return Target(self.resource(kind), name)

    def where(self, resource: Resource, every: bool = False) -> str:
        """The namespace to use for a resource: "" when cluster-scoped or all are meant."""
        return "" if every or not resource.gvr.namespaced else self.namespace


def _discover(client: Client, *, fresh: bool) -> list[Resource]:
    path = _cache_path(client.config.server)
    if not fresh:
        try:
            if time.time() - path.stat().st_mtime < _TTL:
                return [_revive(row) for row in json.loads(path.read_text())]
        except (OSError, ValueError, TypeError):
            pass  # no cache, or one of another version: ask
    found = [r for root in ("/api", "/apis") for r in _aggregated(client, root)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(found))
        temporary.replace(path)
    except OSError:
        pass  # an unwritable home only costs the next call a question
    return found


def _cache_path(server: str) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "minikube-py" / "discovery" / f"{hashlib.sha256(server.encode()).hexdigest()[:16]}.json"


def _revive(row: list[Any]) -> Resource:
    gvr, singular, short_names, categories, verbs, subresources, preferred = row
    return Resource(
        GVR(*gvr), singular, tuple(short_names), tuple(categories), tuple(verbs), tuple(subresources), preferred
    )  # fmt: skip


def _aggregated(client: Client, root: str) -> Iterator[Resource]:
    _, _, body = client.request("GET", root, accept=_AGGREGATED)
    document = json.loads(body)
    if document.get("kind") != "APIGroupDiscoveryList":
        raise click.ClickException("this server is too old for kctl: it has no aggregated discovery")
    for group in document.get("items") or []:
        name = group["metadata"].get("name", "")
        for place, version in enumerate(group.get("versions") or []):
            for row in version.get("resources") or []:
                yield _resource(name, version["version"], row, preferred=place == 0)


def _resource(group: str, version: str, row: Obj, *, preferred: bool) -> Resource:
    kind = row["responseKind"]["kind"]
    subresources = tuple(sub["subresource"] for sub in row.get("subresources") or [])
    gvr = GVR(group, version, row["resource"], kind, row.get("scope") == "Namespaced")
    return Resource(
        gvr, row.get("singularResource") or kind.lower(), tuple(row.get("shortNames") or ()),
        tuple(row.get("categories") or ()), tuple(row.get("verbs") or ()), subresources, preferred,
    )  # fmt: skip
