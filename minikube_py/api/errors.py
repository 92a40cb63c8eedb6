"""The one error tree, and its mapping to and from `metav1.Status`.

Who uses it: API server code raises these and only its edge turns them into a response; the client raises the same classes
when it receives such a response, so both sides read alike.
Invariant: every class has exactly one HTTP code and one upstream reason; `to_status(from_status(s))` keeps code, reason,
message and details.
Upstream: staging/src/k8s.io/apimachinery/pkg/api/errors and pkg/apis/meta/v1 (StatusReason).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from minikube_py.api.types import Obj


class Cause(NamedTuple):
    """One entry of `status.details.causes`: upstream's reason (`FieldValueRequired`, …), a sentence, a field path."""

    reason: str
    message: str
    field: str = ""


class APIError(Exception):
    """Anything the API answers with a failure Status. Attributes: `code`, `reason`, `message`, `details` (Obj).

    `metadata` is the Status's ListMeta: an expired list puts the token there that continues it.
    """

    code = 500
    reason = "InternalError"

    def __init__(self, message: str = "", *, details: Obj | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: Obj = details or {}
        self.metadata: Obj = {}


class BadRequest(APIError):
    code, reason = 400, "BadRequest"


class Unauthorized(APIError):
    code, reason = 401, "Unauthorized"


class Forbidden(APIError):
    code, reason = 403, "Forbidden"


class NotFound(APIError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(APIError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(APIError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(APIError):
    code, reason = 409, "AlreadyExists"


class Conflict(APIError):
    code, reason = 409, "Conflict"


class Gone(APIError):
    code, reason = 410, "Gone"


class Expired(APIError):
    code, reason = 410, "Expired"


class RequestEntityTooLarge(APIError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(APIError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(APIError):
    code, reason = 422, "Invalid"


class TooManyRequests(APIError):
    code, reason = 429, "TooManyRequests"


class InternalError(APIError):
    code, reason = 500, "InternalError"


class ServiceUnavailable(APIError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(APIError):
    code, reason = 504, "Timeout"


_BY_REASON: dict[str, type[APIError]] = {
    cls.reason: cls
    for cls in (
        BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, AlreadyExists, Conflict, Gone,
        Expired, RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError,
        ServiceUnavailable, Timeout,
    )
}  # fmt: skip
_BY_CODE: dict[int, type[APIError]] = {cls.code: cls for cls in reversed(_BY_REASON.values())} | {409: Conflict}


def qualified(plural: str, group: str = "") -> str:
    """How messages name a resource: "pods", "deployments.apps"."""
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, name: str, group: str = "") -> NotFound:
    """404 in upstream's words."""
    details = {"name": name, **({"group": group} if group else {}), "kind": plural}
    return NotFound(f'{qualified(plural, group)} "{name}" not found', details=details)


def already_exists(plural: str, name: str, group: str = "") -> AlreadyExists:
    """409 for a name that is taken, in upstream's words."""
    details = {"name": name, **({"group": group} if group else {}), "kind": plural}
    return AlreadyExists(f'{qualified(plural, group)} "{name}" already exists', details=details)


def conflict(plural: str, name: str, why: str, group: str = "") -> Conflict:
    """409 for a stale resourceVersion or a failed precondition, in upstream's words."""
    details = {"name": name, **({"group": group} if group else {}), "kind": plural}
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    return Conflict(message, details=details)


STALE = "the object has been modified; please apply your changes to the latest version and try again"


def invalid(kind: str, name: str, causes: Sequence[Cause], group: str = "") -> Invalid:
    """422 with one cause per bad field; the message lists them as upstream does."""
    shown = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes]
    listed = shown[0] if len(shown) == 1 else "[" + ", ".join(shown) + "]"
    details: Obj = {"name": name, **({"group": group} if group else {}), "kind": kind}
    details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]
    subject = f"{kind}.{group}" if group else kind
    return Invalid(f'{subject} "{name}" is invalid: {listed}', details=details)


def to_status(error: APIError) -> Obj:
    """The failure Status a client receives for this error."""
    status: Obj = {
        "kind": "Status", "apiVersion": "v1", "metadata": error.metadata, "status": "Failure",
        "message": error.message, "reason": error.reason,
    }  # fmt: skip
    if error.details:
        status["details"] = error.details
    status["code"] = error.code
    return status


def from_status(status: Any, code: int = 500) -> APIError:
    """The error a Status describes; `code` is the HTTP status, used when the body is not a Status at all."""
    if not isinstance(status, dict) or status.get("kind") != "Status":
        cls = _BY_CODE.get(code, InternalError)
        return cls(str(status)[:500] if status else f"the server answered with HTTP {code}")
    cls = _BY_REASON.get(status.get("reason", "")) or _BY_CODE.get(status.get("code") or code, InternalError)
    error = cls(status.get("message", ""), details=status.get("details"))
    error.metadata = status.get("metadata") or {}
    error.code = status.get("code") or code
    error.reason = status.get("reason") or cls.reason
    return error
