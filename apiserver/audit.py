"""The audit log: who did what to which object, with which outcome, because of what; and who was refused, and why.

Who calls it: the pipeline at each stage of a request. Invariant: recording puts a closure into a queue and never waits.
With a policy file, that decides what is logged. Without one: every write and every conversation with a container at level
Metadata, and everybody who was refused (401, 403, 429). The cause a component names in its `Minikube-Cause` header stands in
the annotation `minikube-py.io/cause`; the authoriser's answer in `authorization.k8s.io/decision` and `/reason`.
Upstream: staging/src/k8s.io/apiserver/pkg/{apis/audit,audit}, endpoints/filters/{audit,authorization}.go.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from apiserver import decode
from apiserver.audit_log import AuditLog
from apiserver.audit_policy import (
    COMPLETE,
    METADATA,
    NONE,
    RECEIVED,
    REQUEST,
    REQUEST_RESPONSE,
    STARTED,
    Decision,
    Policy,
)  # fmt: skip
from apiserver.auth.user import UserInfo
from apiserver.decode import Kind
from apiserver.request import Request, RequestInfo
from minikube_py.api.clock import Clock
from minikube_py.api.errors import APIError
from minikube_py.api.types import Obj

CAUSE = "minikube-py.io/cause"
REFUSED = "minikube-py.io/refused-because"
_TIMES = orjson.OPT_UTC_Z
_WRITES = frozenset(("create", "update", "patch", "delete", "deletecollection"))
_CONVERSATIONS = frozenset(("exec", "attach", "portforward", "proxy"))
_REFUSALS = frozenset((401, 403, 429))


@dataclass(slots=True)
class Trail:
    """What becomes known of one request on its way: who asks, as whom, what the authoriser said (None: not asked), and in
    `annotations` what admission notes."""

    info: RequestInfo
    received: float
    who: UserInfo
    acting_as: UserInfo | None = None
    allowed: bool | None = None
    reason: str = ""
    id: str = ""
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """How a request ended. `body` gives the answer; `revision` and `name` are of what was written."""

    code: int
    status: Obj | None = None
    body: Callable[[], bytes] = bytes
    revision: str = ""
    name: str = ""
    why: str = ""


class Audit:
    """Writes to `path`, or nowhere when it is "", what the policy wants."""

    def __init__(self, path: str, clock: Clock, policy: Policy | None = None) -> None:
        self._log = AuditLog(Path(path), clock) if path else None
        self._clock, self._policy = clock, policy

    def start(self) -> None:
        """Raises OSError when the log cannot be written."""
        if self._log is not None:
            self._log.start()

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def received(self, request: Request, trail: Trail) -> None:
        """The request is authenticated, and nothing else has been done about it."""
        if self._policy is not None:
            self._record(RECEIVED, request, trail, None)

    def started(self, request: Request, trail: Trail, code: int) -> None:
        """The answer of a watch or a conversation has begun."""
        self._record(STARTED, request, trail, Outcome(code))

    def completed(self, request: Request, trail: Trail, outcome: Outcome) -> None:
        """The answer has been given."""
        self._record(COMPLETE, request, trail, outcome)

    def _record(self, stage: str, request: Request, trail: Trail, outcome: Outcome | None) -> None:
        if self._log is None:
            return
        decision = self._policy.decide(trail.who, trail.info) if self._policy else _default(stage, trail.info, outcome)
        if not decision.wants(stage):
            return
        trail.id = trail.id or request.headers.get("audit-id") or str(uuid.uuid4())
        self._log.put(_line(decision, stage, request, trail, outcome, self._clock.time()))


def _default(stage: str, info: RequestInfo, outcome: Outcome | None) -> Decision:
    refused = stage == COMPLETE and outcome is not None and outcome.code in _REFUSALS
    if info.subresource in _CONVERSATIONS:
        return Decision(METADATA if refused or stage == STARTED else NONE)
    return Decision(METADATA if refused or (stage == COMPLETE and info.verb in _WRITES) else NONE)


def _line(
    decision: Decision, stage: str, request: Request, trail: Trail, outcome: Outcome | None, now: float
) -> Callable[[], bytes]:
    """The event, to be put into words later."""
    info = trail.info

    def make() -> bytes:
        event: Obj = {
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": decision.level, "auditID": trail.id, "stage": stage,
            "requestURI": request.uri, "verb": info.verb, "user": _shown(trail.who), "sourceIPs": [request.remote],
            "userAgent": request.headers.get("user-agent", ""),
        }  # fmt: skip
        if trail.acting_as is not None:
            event["impersonatedUser"] = _shown(trail.acting_as)
        if info.is_resource:
            event["objectRef"] = _reference(info, outcome)
        if outcome is not None:
            event["responseStatus"] = _status(outcome)
        if decision.level in (REQUEST, REQUEST_RESPONSE) and info.is_resource and stage != RECEIVED:
            event |= _objects(decision, request, info, outcome)
        event |= {"requestReceivedTimestamp": _time(trail.received), "stageTimestamp": _time(now)}
        event["annotations"] = _annotations(request, trail, outcome) if stage != RECEIVED else {}
        return orjson.dumps(event, option=_TIMES)

    return make


def _annotations(request: Request, trail: Trail, outcome: Outcome | None) -> Obj:
    found: Obj = dict(trail.annotations)
    if trail.allowed is not None:
        found["authorization.k8s.io/decision"] = "allow" if trail.allowed else "forbid"
        found["authorization.k8s.io/reason"] = trail.reason
    if outcome is not None and outcome.why:
        found[REFUSED] = outcome.why
    if cause := request.headers.get("minikube-cause"):
        found[CAUSE] = cause
    return found


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _shown(user: UserInfo) -> Obj:
    shown: Obj = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        shown["uid"] = user.uid
    if user.extra:
        shown["extra"] = {key: list(values) for key, values in user.extra.items()}
    return shown


def _reference(info: RequestInfo, outcome: Outcome | None) -> Obj:
    written = outcome or Outcome(0)
    named = {
        "resource": info.resource, "namespace": info.namespace, "name": info.name or written.name, "apiGroup": info.group,
        "apiVersion": info.version, "subresource": info.subresource, "resourceVersion": written.revision,
    }  # fmt: skip
    return {key: value for key, value in named.items() if value}


def _status(outcome: Outcome) -> Obj:
    if outcome.status is None:
        return {"metadata": {}, "code": outcome.code}
    kept = {key: outcome.status[key] for key in ("message", "reason", "details") if outcome.status.get(key)}
    return {"metadata": {}, "status": "Failure", **kept, "code": outcome.code}


def _objects(decision: Decision, request: Request, info: RequestInfo, outcome: Outcome | None) -> Obj:
    found: Obj = {}
    if request.body and (sent := _sent(request, info)) is not None:
        found["requestObject"] = _without(sent, decision)
    if decision.level == REQUEST_RESPONSE and outcome is not None and (body := outcome.body())[:1] in (b"{", b"["):
        found["responseObject"] = (
            orjson.Fragment(body) if decision.managed_fields else _without(orjson.loads(body), decision)
        )
    return found


def _sent(request: Request, info: RequestInfo) -> Any:
    """The body as JSON; None for what could not be understood, which the answer says."""
    try:
        return orjson.loads(request.body)
    except orjson.JSONDecodeError:
        row = info.row
    expected = Kind(row.group, row.version, row.kind) if row else Kind("", "", "")
    try:
        return decode.decode(request.body, request.headers.get("content-type"), expected, None)[0]
    except APIError:
        return None


def _without(value: Any, decision: Decision) -> Any:
    """Without managedFields, where the policy says so."""
    if decision.managed_fields or not isinstance(value, dict):
        return value
    for obj in (value, *(value.get("items") or ())):
        if isinstance(obj, dict) and isinstance(obj.get("metadata"), dict):
            obj["metadata"] = {key: part for key, part in obj["metadata"].items() if key != "managedFields"}
    return value
