"""Why a write happens: the text every write carries in its `Minikube-Cause` header.

Who calls it: the reconcile loop sets it around each reconcile, other components around what they do; `rest.Client` reads it.
Invariant: it follows the thread (or the task) that acts, so a write can never carry somebody else's cause.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

HEADER = "Minikube-Cause"
_current: ContextVar[str] = ContextVar("minikube_cause", default="")


def current() -> str:
    """The cause of what this thread does now; "" when nobody named one."""
    return _current.get()


@contextlib.contextmanager
def because(text: str) -> Iterator[None]:
    """Name the cause of every write made inside the block, e.g. "deployment Deployment default/web@1234"."""
    token = _current.set(text)
    try:
        yield
    finally:
        _current.reset(token)
