"""Columns of access control, admission, certificates, API extension, flow control, leases and devices.

Who uses it: `kinds.py`. Upstream: pkg/printers/internalversion/printers.go, and the printers of the extension servers.
"""

from apiserver.printers.columns import (
    AGE,
    CREATED_AT,
    NAME,
    NONE,
    UNKNOWN,
    UNSET,
    Column,
    column,
    condition,
    dig,
    field,
    human_duration,
    number,
    size,
)  # fmt: skip
from minikube_py.api.types import Obj

ROLE = (NAME, CREATED_AT)


def _subjects(kind: str, name: str) -> Column:
    def cell(binding: Obj) -> str:
        chosen = [one for one in binding.get("subjects") or () if one.get("kind") == kind]
        prefix = kind == "ServiceAccount"
        return ", ".join(
            f"{one.get('namespace')}/{one.get('name')}" if prefix else str(one.get("name")) for one in chosen
        )

    return column(name, cell, wide=True)


def _role(binding: Obj) -> str:
    ref = binding.get("roleRef") or {}
    return f"{ref.get('kind', '')}/{ref.get('name', '')}"


ROLE_BINDING = (
    NAME,
    column("Role", _role),
    AGE,
    _subjects("User", "Users"),
    _subjects("Group", "Groups"),
    _subjects("ServiceAccount", "ServiceAccounts"),
)


def _csr_condition(csr: Obj) -> str:
    kinds = {one.get("type") for one in dig(csr, "status", "conditions") or ()}
    words = [next((word for word in ("Denied", "Approved") if word in kinds), "Pending")]
    if "Failed" in kinds:
        words.append("Failed")
    if dig(csr, "status", "certificate"):
        words.append("Issued")
    return ",".join(words)


def _csr_duration(csr: Obj) -> str:
    seconds = dig(csr, "spec", "expirationSeconds")
    return NONE if seconds is None else human_duration(seconds)


CERTIFICATE_SIGNING_REQUEST = (
    NAME,
    AGE,
    column("SignerName", field("spec.signerName", NONE)),
    column("Requestor", field("spec.username")),
    column("RequestedDuration", _csr_duration),
    column("Condition", _csr_condition),
)
CUSTOM_RESOURCE_DEFINITION = (NAME, CREATED_AT)


def _api_service(obj: Obj) -> str:
    service = dig(obj, "spec", "service")
    return f"{service.get('namespace')}/{service.get('name')}" if service else "Local"


def _available(obj: Obj) -> str:
    found = next((c for c in dig(obj, "status", "conditions") or () if c.get("type") == "Available"), None)
    if found is None:
        return UNKNOWN
    return "True" if found.get("status") == "True" else f"{found.get('status')} ({found.get('reason', '')})"


API_SERVICE = (NAME, column("Service", _api_service), column("Available", _available), AGE)
WEBHOOK_CONFIGURATION = (NAME, column("Webhooks", size("webhooks"), "integer"), AGE)


def _param_kind(policy: Obj) -> str:
    found = dig(policy, "spec", "paramKind")
    return f"{found.get('apiVersion')}/{found.get('kind')}" if found else UNSET


def _param_ref(binding: Obj) -> str:
    found = dig(binding, "spec", "paramRef")
    if not found:
        return UNSET
    if not found.get("name"):
        return "*"
    return f"{found['namespace']}/{found['name']}" if found.get("namespace") else str(found["name"])


_PARAM_KIND = column("ParamKind", _param_kind)
VALIDATING_ADMISSION_POLICY = (NAME, column("Validations", size("spec.validations"), "integer"), _PARAM_KIND, AGE)
MUTATING_ADMISSION_POLICY = (NAME, column("Mutations", size("spec.mutations"), "integer"), _PARAM_KIND, AGE)
ADMISSION_POLICY_BINDING = (
    NAME,
    column("PolicyName", field("spec.policyName")),
    column("ParamRef", _param_ref),
    AGE,
)


def _missing_level(schema: Obj) -> str:
    return {"True": "True", "False": "False"}.get(condition(schema, "Dangling"), "?")


FLOW_SCHEMA = (
    NAME,
    column("PriorityLevel", field("spec.priorityLevelConfiguration.name", NONE)),
    column("MatchingPrecedence", number("spec.matchingPrecedence"), "integer"),
    column("DistinguisherMethod", field("spec.distinguisherMethod.type", NONE)),
    AGE,
    column("MissingPL", _missing_level),
)


def _limited(name: str, *path: str) -> Column:
    def cell(level: Obj) -> str:
        kind = "limited" if dig(level, "spec", "type") == "Limited" else "exempt"
        value = dig(level, "spec", kind, *path)
        return NONE if value is None else str(value)

    return column(name, cell)


_QUEUING = ("limitResponse", "queuing")
PRIORITY_LEVEL_CONFIGURATION = (
    NAME,
    column("Type", field("spec.type")),
    _limited("NominalConcurrencyShares", "nominalConcurrencyShares"),
    _limited("Queues", *_QUEUING, "queues"),
    _limited("HandSize", *_QUEUING, "handSize"),
    _limited("QueueLengthLimit", *_QUEUING, "queueLengthLimit"),
    AGE,
)
LEASE = (NAME, column("Holder", field("spec.holderIdentity")), AGE)
RUNTIME_CLASS = (NAME, column("Handler", field("handler")), AGE)


def _claim_state(claim: Obj) -> str:
    words = ["deleted"] if dig(claim, "metadata", "deletionTimestamp") else []
    if not dig(claim, "status", "allocation"):
        return ",".join([*words, "pending"]) if not words else ",".join(words)
    return ",".join([*words, "allocated", *(["reserved"] if dig(claim, "status", "reservedFor") else [])])


RESOURCE_CLAIM = (NAME, column("State", _claim_state), AGE)
RESOURCE_SLICE = (
    NAME,
    column("Node", field("spec.nodeName", UNSET)),
    column("Driver", field("spec.driver")),
    column("Pool", field("spec.pool.name")),
    AGE,
)
