"""Seats: how many requests are worked on at once, and what one gets that finds none.

Who calls it: the shell around every request that takes a thread or waits for the store, the streams around those that are no
conversations. Invariant: watches and streams need no seat; a member of system:masters is served without one; whoever is
refused is told 429 and when to come again, and costs no more than being recognised.
Upstream: staging/src/k8s.io/apiserver/pkg/server/filters/maxinflight.go. Differs: no queues by priority level, all share the
two limits.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from apiserver import pipeline
from apiserver.auth.user import MASTERS
from apiserver.pipeline import Admitted, Response
from apiserver.request import Request, RequestInfo
from apiserver.server import Server
from minikube_py.api import errors

_READS = frozenset(("GET", "HEAD", "OPTIONS"))
_LONG_VERBS = frozenset(("watch", "proxy"))
LONG_SUBRESOURCES = frozenset(("attach", "exec", "log", "portforward", "proxy"))
_COME_AGAIN_SECONDS = 1


def is_long_running(info: RequestInfo) -> bool:
    """Whether a request may last as long as its client likes."""
    return info.verb in _LONG_VERBS or (info.is_resource and info.subresource in LONG_SUBRESOURCES)


@contextmanager
def seat(server: Server, method: str) -> Iterator[bool]:
    """Count a request while it is worked on. Out: whether there was a seat. Used on the event loop alone."""
    reads = method in _READS
    kind = "readOnly" if reads else "mutating"
    limit = server.options.max_requests_inflight if reads else server.options.max_mutating_requests_inflight
    inflight = server.metrics.inflight
    free = not limit or inflight[kind] < limit
    inflight[kind] += free
    try:
        yield free
    finally:
        inflight[kind] -= free


def refusal(server: Server, request: Request) -> Response | None:
    """The answer for a request that found no seat, None for those who need none."""
    try:
        who = server.authenticate(request.headers, request.certificate)
    except errors.APIError:
        return pipeline.handle(server, request, _refuse)  # which says so in its own words
    return None if MASTERS in who.groups else pipeline.handle(server, request, _refuse)


def _refuse(server: Server, request: Request, admitted: Admitted) -> Response:
    why = "Too many requests, please try again later."
    raise errors.TooManyRequests(why, details={"retryAfterSeconds": _COME_AGAIN_SECONDS})
