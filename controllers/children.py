"""Owning children: adopt what matches, release what does not, make more of them, and never count on a stale copy.

Who calls it: ReplicaSet, Deployment, and every controller whose objects own others.
Invariants: a child is adopted only while its new owner lives (asked live) and only if nobody else controls it; two
reconciles never create the same missing child, because `Expectations` hold the second back until the informer has seen
what the first wrote, and a create whose answer was lost is repeated under the same name.
Upstream: pkg/controller/controller_ref_manager.go, pkg/controller/controller_utils.go (expectations, slow start).
"""

import contextvars
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from controllers.pod import random_name
from minikube_py.api import errors, selectors
from minikube_py.api.clock import Clock
from minikube_py.api.gvr import GVR
from minikube_py.api.meta import (
    controller_of,
    controller_reference,
    is_terminating,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    owners_of,
    uid_of,
)  # fmt: skip
from minikube_py.api.selectors import Selector
from minikube_py.api.types import Obj
from minikube_py.client.informer import Informer
from minikube_py.client.rest import Client

_EXPIRY = 300.0
_PARALLEL = 8


def selector_of(parent: Obj) -> Selector:
    """The children a parent selects: a label selector, or ReplicationController's plain map."""
    selector = parent["spec"].get("selector")
    if parent["kind"] == "ReplicationController":
        return selectors.from_map(selector or {})
    return selectors.from_label_selector(selector)


def parent_keys(child: Obj, kind: str, parents: Informer) -> Iterable[str]:
    """The work-queue key of the `kind` that controls a child; of one without a controller, those that may want to adopt it."""
    owner, namespace = controller_of(child), namespace_of(child)
    if owner is not None:
        return (f"{namespace}/{owner['name']}",) if owner["kind"] == kind else ()
    labels = labels_of(child)
    return [key_of(one) for one in parents.list(namespace) if selector_of(one).matches(labels)] if labels else ()


def claim(
    client: Client,
    parent_res: GVR,
    parent: Obj,
    res: GVR,
    candidates: list[Obj],
    selector: Selector,
    finalizer: str = "",
) -> list[Obj]:
    """The children of `parent` among `candidates`, after adopting and releasing what has to be.

    In: `candidates` are objects of `res` in the parent's namespace; `finalizer` is put on what is adopted. Raises
    APIError when an adoption fails.
    """
    claimed: list[Obj] = []
    may_adopt: bool | None = None
    for obj in candidates:
        owner, matches = controller_of(obj), selector.matches(labels_of(obj))
        if owner is not None:
            if owner["uid"] != uid_of(parent):
                continue
            if matches:
                claimed.append(obj)
            elif not is_terminating(parent):
                _release(client, res, obj, parent)
        elif matches and not is_terminating(parent) and not is_terminating(obj):
            if may_adopt is None:
                may_adopt = _lives(client, parent_res, parent)
            if may_adopt and (adopted := _adopt(client, res, obj, parent, finalizer)) is not None:
                claimed.append(adopted)
    return claimed


def _lives(client: Client, res: GVR, parent: Obj) -> bool:
    """Our copy of the parent may be stale: nothing may be adopted for an owner that is gone or going."""
    try:
        live = client.get(res, name_of(parent), namespace_of(parent))
    except errors.NotFound:
        return False
    return uid_of(live) == uid_of(parent) and not is_terminating(live)


def _adopt(client: Client, res: GVR, obj: Obj, parent: Obj, finalizer: str) -> Obj | None:
    held = obj["metadata"].get("finalizers") or []
    more = {"finalizers": [*held, finalizer]} if finalizer and finalizer not in held else {}
    return _patch_owners(client, res, obj, [*owners_of(obj), controller_reference(parent)], more)


def _release(client: Client, res: GVR, obj: Obj, parent: Obj) -> None:
    _patch_owners(client, res, obj, [ref for ref in owners_of(obj) if ref["uid"] != uid_of(parent)])


def _patch_owners(client: Client, res: GVR, obj: Obj, owners: list[Obj], more: Obj | None = None) -> Obj | None:
    """Replace the owner references, if nobody wrote the object since we read it. None when it is gone."""
    guard = {"uid": uid_of(obj), "resourceVersion": obj["metadata"]["resourceVersion"]}
    change = {"metadata": {**guard, **(more or {}), "ownerReferences": owners or None}}
    try:
        return client.patch(res, name_of(obj), change, namespace_of(obj))
    except errors.NotFound:
        return None


class Expectations:
    """What a controller has written and its informer of the children has not shown it yet, by key of the parent."""

    def __init__(self, children: Informer, clock: Clock) -> None:
        self._children, self._clock = children, clock
        self._revision: dict[str, tuple[str, float]] = {}  # parent key -> (revision to wait for, when that was noted)
        self._deleted: dict[str, dict[str, str]] = {}  # parent key -> {uid of the child: its key}

    def wrote(self, key: str, child: Obj) -> None:
        """A child was created or changed, and this is the answer."""
        revision = str(child["metadata"].get("resourceVersion") or "0")
        known = self._revision.get(key, ("0", 0.0))[0]
        self._revision[key] = (max(known, revision, key=int), self._clock.monotonic())

    def deleted(self, key: str, child: Obj) -> None:
        """This child was deleted."""
        self._deleted.setdefault(key, {})[uid_of(child)] = key_of(child)
        self._revision.setdefault(key, ("0", self._clock.monotonic()))

    def met(self, key: str) -> bool:
        """Whether the informer shows everything this controller did to the children of `key`."""
        if key not in self._revision:
            return True
        revision, since = self._revision[key]
        unseen = not self._children.has_seen(revision) or any(
            (child := self._children.get_key(child_key)) is not None
            and uid_of(child) == uid
            and not is_terminating(child)
            for uid, child_key in self._deleted.get(key, {}).items()
        )
        if unseen and self._clock.monotonic() - since < _EXPIRY:
            return False
        self.forget(key)
        return True

    def forget(self, key: str) -> None:
        self._revision.pop(key, None)
        self._deleted.pop(key, None)


def create_once(client: Client, res: GVR, obj: Obj, owner: Obj) -> Obj:
    """Create a child under the name it carries; one that is there already and is ours counts as created.

    Raises AlreadyExists when the name belongs to something else.
    """
    try:
        return client.create(res, obj)
    except errors.AlreadyExists:
        found = client.get(res, name_of(obj), namespace_of(obj))
        ref = controller_of(found)
        if ref is None or ref["uid"] != uid_of(owner):
            raise
        return found


class Names:
    """Names of children in the making. One whose create got no answer is used again before any new one is thought of."""

    def __init__(self) -> None:
        self._unanswered: dict[tuple[str, str], list[str]] = {}  # by (key of the parent, base of the name)
        self._lock = threading.Lock()

    def create(self, client: Client, res: GVR, key: str, base: str, make: Callable[[str], Obj], owner: Obj) -> Obj:
        """Create the child `make(name)` for the parent called `key`. Raises APIError."""
        with self._lock:
            unanswered = self._unanswered.get((key, base))
            name = unanswered.pop() if unanswered else random_name(base)
        try:
            return create_once(client, res, make(name), owner)
        except errors.AlreadyExists:
            raise  # a stranger has the name; the next attempt takes another
        except errors.APIError as error:
            if error.code >= 500:
                with self._lock:
                    self._unanswered.setdefault((key, base), []).append(name)
            raise

    def forget(self, key: str) -> None:
        """The parent is gone."""
        with self._lock:
            for known in [k for k in self._unanswered if k[0] == key]:
                del self._unanswered[known]


def slow_start(count: int, do: Callable[[], Any]) -> Iterator[Any | Exception]:
    """Call `do` `count` times in batches of 1, 2, 4, …, each batch in parallel; stop after the batch with a failure.

    A parent whose children are all refused (a quota, say) thus costs one request per attempt, not `count`.
    Out: results and exceptions, as they come.
    """
    done, size = 0, 1
    while done < count:
        size = min(size, count - done)
        results = list(_in_parallel(size, do))
        yield from results
        if any(isinstance(result, Exception) for result in results):
            return
        done, size = done + size, size * 2


def _in_parallel(count: int, do: Callable[[], Any]) -> Iterator[Any | Exception]:
    if count == 1:
        yield _attempt(do)
        return
    with ThreadPoolExecutor(min(count, _PARALLEL), thread_name_prefix="batch") as pool:
        context = contextvars.copy_context  # the cause of the writes goes with them
        yield from [future.result() for future in [pool.submit(context().run, _attempt, do) for _ in range(count)]]


def _attempt(do: Callable[[], Any]) -> Any | Exception:
    try:
        return do()
    except Exception as error:
        return error
