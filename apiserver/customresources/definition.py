"""A CustomResourceDefinition as it is served: its names, its versions, how objects go from one version to another.

Who calls it: the catalogue makes one per accepted definition; rows and versions point back to it. Invariant: never changed
once made.
Upstream: apiextensions-apiserver/pkg/apiserver/{conversion,customresource_handler.go}.
"""

from apiserver.customresources.version import Version
from minikube_py.api.types import Obj


class Definition:
    """`crd` is the stored CustomResourceDefinition."""

    def __init__(self, crd: Obj) -> None:
        spec = crd["spec"]
        self.name: str = crd["metadata"]["name"]
        self.group: str = spec["group"]
        self.spec: Obj = spec
        self.namespaced: bool = spec["scope"] == "Namespaced"
        self.names: Obj = (crd.get("status") or {}).get("acceptedNames") or spec["names"]
        self.conversion: Obj = spec.get("conversion") or {"strategy": "None"}
        self.terminating = bool(crd["metadata"].get("deletionTimestamp"))
        self.versions = [Version(self, version) for version in spec["versions"]]
        self.storage = next(version for version in self.versions if version.spec.get("storage"))
        self.served = [version for version in self.versions if version.spec.get("served")]

    @property
    def kind(self) -> str:
        kind: str = self.names["kind"]
        return kind

    def convert(self, obj: Obj, api_version: str) -> Obj:
        """The object in another version of its kind; its argument stays as it is."""
        return obj if obj.get("apiVersion") == api_version else {**obj, "apiVersion": api_version}

    def fields(self, obj: Obj) -> dict[str, str]:
        """What field selectors of any version may ask about a stored object. May change its argument."""
        found: dict[str, str] = {}
        for version in self.versions:
            if version.spec.get("selectableFields"):
                found |= version.strategy.fields(version.read(obj))
        return found
