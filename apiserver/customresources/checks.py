"""Is this CustomResourceDefinition one? Names, versions, subresources, columns, conversion; with upstream's words.

Who calls it: the strategy of CustomResourceDefinitions. The schemas inside have `schema_checks.py`. Invariant: pure.
Upstream: apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go.
"""

from apiserver.customresources import printing, schema_checks
from apiserver.strategies.checks import forbidden, immutable, invalid, one_of, required, required_syntax, syntax
from apiserver.strategies.validation.webhook_client import client_config
from minikube_py.api import names
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_COLUMN_TYPES = ("integer", "number", "string", "boolean", "date")
_COLUMN_FORMATS = ("int32", "int64", "float", "double", "byte", "date", "date-time", "password")
_MOST_SELECTABLE = 8
_APPROVED = "api-approved.kubernetes.io"


def definition(obj: Obj) -> list[Cause]:
    """A definition by itself."""
    spec = obj.get("spec") or {}
    names_, group = spec.get("names") or {}, spec.get("group") or ""
    causes = required_syntax("spec.group", group, names.subdomain)
    if group and "." not in group:
        causes.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    if obj["metadata"].get("name") != f"{names_.get('plural')}.{group}":
        causes.append(invalid("metadata.name", obj["metadata"].get("name"), 'must be spec.names.plural+"."+spec.group'))
    causes += _approval(obj["metadata"], group)
    causes += one_of("spec.scope", spec.get("scope"), ("Cluster", "Namespaced"))
    causes += _names(names_)
    if spec.get("preserveUnknownFields"):
        why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        causes.append(invalid("spec.preserveUnknownFields", True, why))
    return causes + _versions(spec.get("versions") or [], obj) + _conversion(spec.get("conversion") or {})


def _approval(meta: Obj, group: str) -> list[Cause]:
    protected = group.endswith((".k8s.io", ".kubernetes.io")) or group in ("k8s.io", "kubernetes.io")
    if not protected or (meta.get("annotations") or {}).get(_APPROVED):
        return []
    why = (
        f'protected groups must have approval annotation "{_APPROVED}", see '
        "https://github.com/kubernetes/enhancements/pull/1111"
    )
    return [required(f"metadata.annotations[{_APPROVED}]", why)]


def _names(names_: Obj) -> list[Cause]:
    causes: list[Cause] = []
    for name in ("plural", "singular"):
        causes += required_syntax(f"spec.names.{name}", names_.get(name), names.label_1035)
    for name in ("kind", "listKind"):
        causes += required_syntax(f"spec.names.{name}", (names_.get(name) or "").lower(), names.label_1035)
    if names_.get("kind") and names_.get("kind") == names_.get("listKind"):
        causes.append(invalid("spec.names.listKind", names_["listKind"], "kind and listKind may not be the same"))
    for key in ("shortNames", "categories"):
        for index, name in enumerate(names_.get(key) or ()):
            causes += syntax(f"spec.names.{key}[{index}]", name, names.label_1035)
    return causes


def _versions(versions: list[Obj], obj: Obj) -> list[Cause]:
    causes: list[Cause] = []
    found = [version.get("name") for version in versions]
    for index, version in enumerate(versions):
        causes += _version(version, f"spec.versions[{index}]")
    if len(set(found)) != len(found):
        causes.append(invalid("spec.versions", found, "must contain unique version names"))
    storage = [version.get("name") for version in versions if version.get("storage")]
    if len(storage) != 1:
        causes.append(invalid("spec.versions", found, "must have exactly one version marked as storage version"))
    stored = (obj.get("status") or {}).get("storedVersions") or []
    for index, name in enumerate(stored):
        if name not in found:
            causes.append(invalid(f"status.storedVersions[{index}]", name, "must appear in spec.versions"))
    return causes


def _version(version: Obj, path: str) -> list[Cause]:
    causes = required_syntax(f"{path}.name", version.get("name"), names.label_1035)
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    at = f"{path}.schema.openAPIV3Schema"
    causes += schema_checks.validate(schema, at) if schema else [required(at, "schemas are required")]
    if version.get("deprecationWarning") is not None and not version.get("deprecated"):
        causes.append(
            invalid(
                f"{path}.deprecationWarning", version["deprecationWarning"], "can only be set for deprecated versions"
            )
        )
    causes += _subresources(version.get("subresources") or {}, f"{path}.subresources")
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        causes += _column(column, f"{path}.additionalPrinterColumns[{index}]")
    return causes + _selectable(version.get("selectableFields") or [], schema or {}, f"{path}.selectableFields")


def _subresources(subresources: Obj, path: str) -> list[Cause]:
    scale = subresources.get("scale")
    if scale is None:
        return []
    causes: list[Cause] = []
    rules = (("specReplicasPath", (".spec.",)), ("statusReplicasPath", (".status.",)),
             ("labelSelectorPath", (".spec.", ".status.")))  # fmt: skip
    for name, roots in rules:
        value = scale.get(name) or ""
        if not value:
            causes += [required(f"{path}.scale.{name}")] if name != "labelSelectorPath" else []
        elif not value.startswith(roots) or "[" in value:
            listed = " or ".join(root.rstrip(".") for root in roots)
            causes.append(invalid(f"{path}.scale.{name}", value, f"should be a json path under {listed}"))
    return causes


def _column(column: Obj, path: str) -> list[Cause]:
    causes = [required(f"{path}.name")] if not column.get("name") else []
    if not column.get("type"):
        causes.append(required(f"{path}.type", "must be one of " + ",".join(_COLUMN_TYPES)))
    elif column["type"] not in _COLUMN_TYPES:
        causes.append(invalid(f"{path}.type", column["type"], "must be one of " + ",".join(_COLUMN_TYPES)))
    if column.get("format") and column["format"] not in _COLUMN_FORMATS:
        causes.append(invalid(f"{path}.format", column["format"], "must be one of " + ",".join(_COLUMN_FORMATS)))
    return causes + _json_path(f"{path}.jsonPath", column.get("jsonPath"))


def _json_path(path: str, text: str | None) -> list[Cause]:
    if not text:
        return [required(path)]
    try:
        printing.parse(text)
    except ValueError as error:
        return [invalid(path, text, str(error))]
    return []


def _selectable(fields: list[Obj], schema: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if len(fields) > _MOST_SELECTABLE:
        causes.append(
            Cause("FieldValueTooMany", f"Too many: {len(fields)}: must have at most {_MOST_SELECTABLE} items", path)
        )
    seen: set[str] = set()
    for index, field in enumerate(fields):
        at, text = f"{path}[{index}].jsonPath", field.get("jsonPath") or ""
        if text in seen:
            causes.append(Cause("FieldValueDuplicate", f'Duplicate value: "{text}"', at))
        seen.add(text)
        if problem := _json_path(at, text):
            causes += problem
            continue
        target, steps = schema, printing.parse(text)
        for kind, name in steps:
            target = (target.get("properties") or {}).get(name) or {} if kind == "name" else {}
        if not target or steps[0][1] == "metadata":
            causes.append(invalid(at, text, "is an invalid path: does not refer to a valid field"))
        elif target.get("type") not in ("string", "integer", "boolean"):
            causes.append(invalid(at, text, "must point to a field of type string, boolean or integer. Enum string fields "
                                            "and strings with formats are allowed."))  # fmt: skip
    return causes


def _conversion(conversion: Obj) -> list[Cause]:
    causes = one_of("spec.conversion.strategy", conversion.get("strategy"), ("None", "Webhook"))
    hook, path = conversion.get("webhook"), "spec.conversion.webhook"
    if conversion.get("strategy") != "Webhook":
        if hook:
            causes.append(forbidden(path, "should not be set when strategy is not set to Webhook"))
        return causes
    if not hook:
        return [*causes, required(f"{path}.clientConfig", "required when strategy is set to Webhook")]
    causes += client_config(hook.get("clientConfig") or {}, f"{path}.clientConfig")
    versions = hook.get("conversionReviewVersions") or []
    if not versions:
        causes.append(required(f"{path}.conversionReviewVersions"))
    elif "v1" not in versions and "v1beta1" not in versions:
        why = "must include at least one of v1, v1beta1"
        causes.append(invalid(f"{path}.conversionReviewVersions", versions, why))
    return causes


def successor(new: Obj, old: Obj) -> list[Cause]:
    """A definition as what another becomes."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    causes = immutable("spec.group", spec.get("group"), before.get("group"))
    conditions = (old.get("status") or {}).get("conditions") or ()
    if any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions):
        causes += immutable("spec.scope", spec.get("scope"), before.get("scope"))
        for name in ("kind", "plural"):
            at = f"spec.names.{name}"
            causes += immutable(at, (spec.get("names") or {}).get(name), (before.get("names") or {}).get(name))
    return causes


def status_update(new: Obj, old: Obj) -> list[Cause]:
    """A write to /status: the storage version stays among the stored ones, and all of them exist."""
    causes: list[Cause] = []
    versions = (new.get("spec") or {}).get("versions") or []
    stored = (new.get("status") or {}).get("storedVersions") or []
    storage = next((version.get("name", "") for version in versions if version.get("storage")), "")
    if not stored:
        causes.append(invalid("status.storedVersions", stored, "must have at least one stored version"))
    elif storage not in stored:
        causes.append(invalid("status.storedVersions", stored, f"must have the storage version {storage}"))
    known = [version.get("name") for version in versions]
    for index, name in enumerate(stored):
        if name not in known:
            causes.append(invalid(f"status.storedVersions[{index}]", name, "must appear in spec.versions"))
    return causes
