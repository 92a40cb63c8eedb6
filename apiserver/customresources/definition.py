"""A CustomResourceDefinition as it is served: its names, its versions, how objects go from one version to another.

Who calls it: the catalogue makes one per accepted definition; rows and versions point back to it. Invariant: never changed
once made.
Upstream: apiextensions-apiserver/pkg/apiserver/{conversion,customresource_handler.go}.
"""

import logging
from collections.abc import Sequence

import orjson

from apiserver.customresources.conversion import ByWebhook, Unchanged
from apiserver.customresources.version import Version, fingerprint
from apiserver.webhooks import Webhooks
from minikube_py.api.clone import clone
from minikube_py.api.errors import APIError
from minikube_py.api.types import Obj

log = logging.getLogger(__name__)


class Definition:
    """`raw` is the stored CustomResourceDefinition; what of it is large, the schemas, is decoded when it is needed."""

    def __init__(self, raw: bytes, webhooks: Webhooks) -> None:
        crd: Obj = orjson.loads(raw)
        spec = crd["spec"]
        self.name: str = crd["metadata"]["name"]
        self.group: str = spec["group"]
        self._raw = raw
        self.fingerprint = fingerprint(spec)
        self.namespaced: bool = spec["scope"] == "Namespaced"
        self.names: Obj = (crd.get("status") or {}).get("acceptedNames") or spec["names"]
        conversion = spec.get("conversion") or {}
        by_webhook = conversion.get("strategy") == "Webhook"
        self.conversion: Unchanged | ByWebhook = ByWebhook(conversion, webhooks) if by_webhook else Unchanged()
        self.terminating = bool(crd["metadata"].get("deletionTimestamp"))
        self.versions = [Version(self, version) for version in spec["versions"]]
        self.storage = next(version for version in self.versions if version.spec.get("storage"))
        self.served = [version for version in self.versions if version.spec.get("served")]

    def schema_of(self, version: str) -> Obj:
        """The text of a version's schema."""
        versions = orjson.loads(self._raw)["spec"]["versions"]
        found = next(one for one in versions if one["name"] == version)
        schema: Obj = (found.get("schema") or {}).get("openAPIV3Schema") or {}
        return schema

    def convert(self, objs: Sequence[Obj], api_version: str) -> list[Obj]:
        """The objects in another version of their kind. Raises InternalError when a webhook fails."""
        return self.conversion.convert(objs, api_version)

    def store(self, obj: Obj) -> Obj:
        """The object as it is stored; its argument stays as it is."""
        stored = self.convert([obj], self.storage.row.api_version)[0]
        if self.conversion.blocks:  # what selectors will ask about is known before anybody has to wait for it
            self.fields(stored)
        return stored

    def fields(self, obj: Obj) -> dict[str, str]:
        """What field selectors of any version may ask about a stored object."""
        found: dict[str, str] = {}
        for version in self.versions:
            if not version.spec.get("selectableFields"):
                continue
            try:
                found |= version.strategy.fields(version.read(clone(obj)))
            except APIError as error:
                log.warning("fields of %s cannot be selected by: %s", version.row.qualified, error)
        return found
