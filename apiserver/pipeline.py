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
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from apiserver import request as routing
from apiserver.auth import impersonation
from apiserver.auth.user import UserInfo
from apiserver.request import Request, RequestInfo
from apiserver.server import Server
from apiserver.storage.base import StoreUnavailable
from minikube_py.api import errors
from minikube_py.api.errors import APIError, to_status
from minikube_py.api.types import Obj

log = logging.getLogger(__name__)
JSON = "application/json"


@dataclass(slots=True)
class Response:
    """What the shell sends. `revision` is the resourceVersion of what was written, for the audit log."""

    code: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    revision: str = ""


@dataclass(slots=True)
class Admitted:
    """A request that may be served. `impersonator` is who asked, when that is not `user`.

    `warnings` are for the client, whether it gets what it wants or not; `annotations` for the audit log.
    """

    info: RequestInfo
    user: UserInfo
    impersonator: UserInfo | None = None
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Server, Request, Admitted], Response]


def admit(server: Server, request: Request) -> Admitted:
    """Authenticate, route, authorise. Raises Unauthorized or Forbidden."""
    info = routing.parse(request.method, request.path, request.query)
    return _admit(server, request, Admitted(info, _NOBODY))


_NOBODY = UserInfo("")


def _admit(server: Server, request: Request, admitted: Admitted) -> Admitted:
    admitted.user = server.authenticate(request.headers, request.certificate)
    if "impersonate-user" in request.headers:
        admitted.impersonator = admitted.user
        admitted.user = impersonation.impersonated(server.authorize, admitted.user, request.headers)
    server.authorize(admitted.user, admitted.info)
    return admitted


def handle(server: Server, request: Request, serve: Handler) -> Response:
    """Answer one plain request. Never raises: what goes wrong is a Status in the response."""
    received, started = server.clock.time(), server.clock.monotonic()
    admitted = Admitted(routing.parse(request.method, request.path, request.query), _NOBODY)
    server.metrics.begin(admitted.info)
    status: Obj | None = None
    try:
        response = serve(server, request, _admit(server, request, admitted))
    except Exception as error:
        api_error = as_api_error(error)
        status = to_status(api_error)
        response = failure(api_error)
    if admitted.warnings:
        response.headers["Warning"] = warning_header(admitted.warnings)
    info = admitted.info
    server.metrics.end(info, response.code, server.clock.monotonic() - started, dry_run="dryRun" in request.query)
    server.audit.record(
        request, info, admitted.user, response.code, status, response.revision, received, admitted.impersonator,
        admitted.annotations,
    )  # fmt: skip
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
