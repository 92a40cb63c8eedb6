"""One request from the socket to its answer, in upstream's fixed order.

authenticate → (impersonate) → route → authorise → serve → audit. `serve` goes on: decode → default → admit (mutate) →
default again → validate → admit (validate) → compare-and-swap → encode (`rest.py`, `registry.py`, `encode.py`).

Who calls it: the Flask application for plain requests (`handle`), the shell for watches and streams (`admit`).
Invariant: nothing below `admit` runs for a request that was not authorised; every error becomes a Status here and nowhere
else; every answered write is audited, whatever its outcome.
Stop of the data path: 2 (authenticate, route, authorise, audit).
Upstream: staging/src/k8s.io/apiserver/pkg/server/config.go (DefaultBuildHandlerChain).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson

from apiserver import request as routing
from apiserver.audit import Outcome, Trail
from apiserver.auth import impersonation
from apiserver.auth.authorization import asked_by, forbidden
from apiserver.auth.user import UserInfo
from apiserver.request import Request, RequestInfo
from apiserver.server import Server
from apiserver.storage.base import StoreUnavailable
from minikube_py.api import errors
from minikube_py.api.errors import APIError, to_status

log = logging.getLogger(__name__)
JSON = "application/json"


@dataclass(slots=True)
class Response:
    """What the shell sends: `body` and, where that would be too large a piece of memory, `more` after it.

    `revision` and `name` are of what was written, for the audit log.
    """

    code: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    revision: str = ""
    name: str = ""
    more: Sequence[bytes] = ()

    @property
    def size(self) -> int:
        return len(self.body) + sum(map(len, self.more))

    def whole(self) -> bytes:
        return b"".join((self.body, *self.more)) if self.more else self.body


@dataclass(slots=True)
class Admitted:
    """A request that may be served, on behalf of `user`; `trail` says how it came to that.

    `warnings` are for the client, whether it gets what it wants or not; `annotations` for the audit log.
    """

    info: RequestInfo
    user: UserInfo
    trail: Trail
    warnings: list[str] = field(default_factory=list)

    @property
    def annotations(self) -> dict[str, str]:
        return self.trail.annotations


Handler = Callable[[Server, Request, Admitted], Response]


def admit(server: Server, request: Request) -> Admitted:
    """Authenticate, route, authorise: for what is no plain request. Raises Unauthorized or Forbidden.

    Who calls it says `server.audit.started` when its answer begins, and `ended` at the end.
    """
    admitted = _routed(server, request)
    try:
        return _admit(server, request, admitted)
    except Exception as error:
        ended(server, request, admitted, error)
        raise


def ended(
    server: Server, request: Request, admitted: Admitted, error: Exception | None = None, code: int = 200
) -> None:
    """A watch or a conversation is over, or was refused with an error."""
    outcome = Outcome(code) if error is None else _refused(as_api_error(error), error)
    server.audit.completed(request, admitted.trail, outcome)


def _refused(api_error: APIError, error: Exception) -> Outcome:
    return Outcome(api_error.code, to_status(api_error), why=str(error.__cause__ or ""))


_NOBODY = UserInfo("")


def _routed(server: Server, request: Request) -> Admitted:
    info = routing.parse(request.method, request.path, request.query)
    return Admitted(info, _NOBODY, Trail(info, server.clock.time(), _NOBODY))


def _admit(server: Server, request: Request, admitted: Admitted) -> Admitted:
    trail = admitted.trail
    trail.who = admitted.user = server.authenticate(request.headers, request.certificate)
    server.audit.received(request, trail)
    if any(header.startswith(impersonation.PREFIX) for header in request.headers):
        trail.acting_as = admitted.user = impersonation.impersonated(server.authorize, trail.who, request.headers)
    verdict = server.authorize.decide(admitted.user, admitted.info)
    trail.allowed, trail.reason = verdict.allowed, verdict.reason
    if not verdict.allowed:
        raise forbidden(admitted.user, asked_by(admitted.info), verdict.reason)
    return admitted


def handle(server: Server, request: Request, serve: Handler) -> Response:
    """Answer one plain request. Never raises: what goes wrong is a Status in the response."""
    started = server.clock.monotonic()
    admitted = _routed(server, request)
    try:
        response = serve(server, request, _admit(server, request, admitted))
        outcome = Outcome(response.code, None, response.whole, response.revision, response.name)
    except Exception as error:
        api_error = as_api_error(error)
        response, outcome = failure(api_error), _refused(api_error, error)
    if admitted.warnings:
        response.headers["Warning"] = warning_header(admitted.warnings)
    info = admitted.info
    server.metrics.answered(info, response.code, server.clock.monotonic() - started, dry_run="dryRun" in request.query)
    server.audit.completed(request, admitted.trail, outcome)
    return response


def warning_header(warnings: list[str]) -> str:
    """RFC 7234 warnings, which kubectl shows to its user."""
    shown = [warning.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") for warning in warnings]
    return ", ".join(f'299 - "{text}"' for text in dict.fromkeys(shown)).encode("ascii", "replace").decode()


def as_api_error(error: Exception) -> APIError:
    """Any exception as one of the API's errors. What nobody foresaw is logged with its traceback and becomes a 500."""
    if isinstance(error, APIError):
        return error
    if isinstance(error, StoreUnavailable):
        return errors.ServiceUnavailable(str(error))
    log.error("a request failed unexpectedly", exc_info=error)
    return errors.InternalError(f"Internal error occurred: {type(error).__name__}: {error}")


def failure(error: APIError) -> Response:
    """The response for an error: its Status, and Retry-After when it says so."""
    headers = {}
    if seconds := error.details.get("retryAfterSeconds"):
        headers["Retry-After"] = str(seconds)
    if error.code == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="kubernetes"'
    return Response(error.code, orjson.dumps(to_status(error)), headers=headers)
