"""The Accept header: which of the forms this server can answer in the client takes, and prefers.

Who calls it: the REST edge before encoding, discovery and OpenAPI handlers. Invariant: an answer is only ever in a form the
client named; with no header, or with `*/*`, it is JSON.
Upstream: apiserver/pkg/endpoints/handlers/negotiation/negotiate.go, pkg/endpoints/discovery/aggregated/negotiation.go.
"""

from typing import NamedTuple

from minikube_py.api.errors import NotAcceptable

JSON, YAML = "application/json", "application/yaml"
_FORMS = {JSON: "json", YAML: "yaml", "*/*": "json", "application/*": "json"}
_META = ("meta.k8s.io", ("v1", "v1beta1"))
_DISCOVERY = ("apidiscovery.k8s.io", ("v2", "v2beta1"))
_GROUPS = {
    "Table": _META,
    "PartialObjectMetadata": _META,
    "PartialObjectMetadataList": _META,
    "APIGroupDiscoveryList": _DISCOVERY,
}
TRANSFORMS = frozenset(("Table", "PartialObjectMetadata", "PartialObjectMetadataList"))
"""What objects and lists can be turned into."""
AGGREGATED = frozenset(("APIGroupDiscoveryList",))
"""What /api and /apis can be turned into."""
NONE: frozenset[str] = frozenset()
"""For answers that are themselves only: reviews, scales, logs."""


class Accepted(NamedTuple):
    """The chosen form: `form` json or yaml; `kind` "" or what the answer is turned into, in `group`/`version`."""

    form: str = "json"
    kind: str = ""
    group: str = ""
    version: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}"

    @property
    def content_type(self) -> str:
        """The answer's Content-Type; discovery repeats the parameters, by which clients tell the forms apart."""
        plain = JSON if self.form == "json" else YAML
        if self.kind != "APIGroupDiscoveryList":
            return plain
        return f"{plain};g={self.group};v={self.version};as={self.kind}"


PLAIN = Accepted()


def negotiate(accept: str | None, transforms: frozenset[str] = NONE, forms: tuple[str, ...] = (JSON, YAML)) -> Accepted:
    """The best form of those the header names, in its order of preference.

    In: `transforms` is what this answer can be turned into. Raises NotAcceptable when nothing fits.
    """
    if not accept or accept in ("*/*", JSON):
        return PLAIN
    clauses = [_clause(text) for text in accept.split(",") if text.strip()]
    for media_type, parameters in sorted(clauses, key=lambda clause: -_quality(clause[1])):
        if media_type not in _FORMS or (media_type == YAML and YAML not in forms) or not _quality(parameters):
            continue
        kind = parameters.get("as", "")
        if not kind:
            return PLAIN if _FORMS[media_type] == "json" else Accepted("yaml")  # callers test for PLAIN itself
        group, versions = _GROUPS.get(kind, ("", ()))
        version = parameters.get("v", "")
        if kind in transforms and parameters.get("g") == group and version in versions and "profile" not in parameters:
            return Accepted(_FORMS[media_type], kind, group, version)
    raise NotAcceptable(f"only the following media types are accepted: {', '.join(forms)}")


def _clause(text: str) -> tuple[str, dict[str, str]]:
    media_type, *parameters = text.split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    return media_type.strip().lower(), {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


def _quality(parameters: dict[str, str]) -> float:
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 1.0
