"""The subresources that speak a kind of their own: scale, binding, eviction, token. One table.

Who calls it: `apiserver/rest.py`, which finds the parent, decodes the body, and answers with what the handler returns.
Subresources that are another view of the parent itself (status, resize, ephemeralcontainers, approval, finalize) are not
here: they are ordinary updates, see `Strategy.prepare_view`.
Invariant: a handler gets a private copy of the parent, and writes only through `ctx.writer()`.
Upstream: the storage.go of each kind under pkg/registry.
"""

from collections.abc import Callable
from typing import NamedTuple

from apiserver.resources.row import Row
from apiserver.strategies import binding, eviction, scale, token_request
from apiserver.strategies.base import Context
from minikube_py.api.types import Obj

Read = Callable[[Context, Obj], Obj]
Act = Callable[[Context, Obj, Obj], Obj]


class Subresource(NamedTuple):
    """`read(ctx, parent)` and `create(ctx, parent, body)` return the answer; `update(ctx, parent, body)` returns the parent
    as it shall be stored, and `read` of what was stored is the answer."""

    read: Read | None = None
    create: Act | None = None
    update: Act | None = None


_SCALE = Subresource(read=scale.of, update=scale.apply)

TABLE: dict[tuple[str, str], Subresource] = {
    ("pods", "binding"): Subresource(create=binding.bind),
    ("pods", "eviction"): Subresource(create=eviction.evict),
    ("serviceaccounts", "token"): Subresource(create=token_request.request),
    ("deployments.apps", "scale"): _SCALE,
    ("replicasets.apps", "scale"): _SCALE,
    ("statefulsets.apps", "scale"): _SCALE,
    ("replicationcontrollers", "scale"): _SCALE,
}


def find(row: Row, subresource: str) -> Subresource | None:
    """The handlers of a subresource that speaks another kind than its parent; None when it is a view of the parent."""
    if row.custom is not None:
        handlers: Subresource | None = row.custom.handlers(subresource)
        return handlers
    return TABLE.get((row.plural_key, subresource))
