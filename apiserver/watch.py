"""A watch request as the stream of bytes its response consists of.

Who calls it: the ASGI shell, which sends each chunk as it comes and stops iterating when the client goes away.
Invariant: chunks are whole JSON lines in revision order; a bookmark is only sent when everything up to its revision was.
When the chosen revision is gone the stream is one ERROR event with a 410 Status, as clients expect; when the server ends a
stream (timeoutSeconds, a client too slow to follow, a restarted cache) it simply ends, and the client resumes.
The waits here are promises of the protocol to the client, so they are in real seconds of the event loop.
Stop of the data path: 5 (the watch stream).
Upstream: apiserver/pkg/endpoints/handlers/{get,watch}.go and storage/cacher.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

import orjson

from apiserver.storage.base import Compacted
from apiserver.storage.cache import Store
from apiserver.storage.stored import Matcher
from apiserver.storage.subscription import Batch, Sink, Subscription, WatchEvent
from minikube_py.api.errors import Expired, to_status

BOOKMARK_SECONDS = 60.0
_BUSY_SECONDS = 1.0
"""After how long a bookmark is tried again that came while events were still on their way."""
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(frozen=True)
class WatchRequest:
    """What to watch and how to show it. `transform` turns an event into its line (Table, other version), None = as is;
    `blocks` when that may have to wait for somebody."""

    prefix: str
    api_version: str
    kind: str
    resource_version: str = ""
    labels: Matcher | None = None
    fields: Matcher | None = None
    bookmarks: bool = False
    send_initial_events: bool | None = None
    timeout_seconds: float = 0.0
    transform: Callable[[WatchEvent], bytes] | None = None
    blocks: bool = False


def bookmark(request: WatchRequest, revision: int, *, initial_events_end: bool = False) -> bytes:
    """A BOOKMARK line: an otherwise empty object of the watched kind that carries a resourceVersion."""
    metadata: dict[str, object] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial_events_end:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    shell = {"kind": request.kind, "apiVersion": request.api_version, "metadata": metadata}
    return orjson.dumps({"type": "BOOKMARK", "object": shell}) + b"\n"


def expired(error: Compacted, asked: str) -> bytes:
    """The ERROR line for a revision that is gone."""
    status = to_status(Expired(f"too old resource version: {asked} ({error.compact_revision})"))
    return orjson.dumps({"type": "ERROR", "object": status}) + b"\n"


async def stream(
    store: Store, request: WatchRequest, write: Callable[[bytes], bool] | None = None
) -> AsyncIterator[bytes]:
    """The body of a watch response, chunk by chunk. In: a validated request (resourceVersion is "" or a number);
    `write` sends a chunk past this stream when everything before is sent, False when it must come through here."""
    if store.reads_block:
        await asyncio.get_running_loop().run_in_executor(None, store.catch_up)
    try:
        subscription = _subscribe(store, request)
    except Compacted as error:
        yield expired(error, request.resource_version)
        return
    timer = _Timer(subscription, request)
    if write is not None and request.transform is None:
        subscription.sink = _sink(write)
    try:
        for initial in _slices(subscription.initial):
            yield await _lines(request, initial)
        subscription.initial = []
        if request.send_initial_events and request.bookmarks:
            yield bookmark(request, subscription.revision, initial_events_end=True)
        async for batch in subscription:
            if batch:
                yield await _lines(request, batch)
            elif timer.over():
                return
            elif (revision := timer.bookmark_due()) is not None:
                yield bookmark(request, revision)
    finally:
        timer.cancel()
        subscription.close()


def _sink(write: Callable[[bytes], bool]) -> Sink:
    def sink(batch: Batch) -> bool:
        return write(batch.lines)

    return sink


def _subscribe(store: Store, request: WatchRequest) -> Subscription:
    """From the given revision; without one (or with "0"), or when asked to, from the present state."""
    from_start = request.resource_version in ("", "0")
    if request.send_initial_events is False and from_start:
        return store.subscribe(request.prefix, store.revision, request.labels, request.fields)
    after = None if from_start or request.send_initial_events else int(request.resource_version)
    return store.subscribe(request.prefix, after, request.labels, request.fields)


class _Timer:
    """Wakes a quiet subscription when its time is over or a bookmark is due: one timer, not one per event."""

    def __init__(self, subscription: Subscription, request: WatchRequest) -> None:
        self._loop, self._subscription = asyncio.get_running_loop(), subscription
        now, never = self._loop.time(), float("inf")
        self._end = now + request.timeout_seconds if request.timeout_seconds else never
        self._bookmark = now + BOOKMARK_SECONDS if request.bookmarks else never
        self._sent = subscription.revision
        self._handle: asyncio.TimerHandle | None = None
        self._arm()

    def over(self) -> bool:
        return self._loop.time() >= self._end

    def bookmark_due(self) -> int | None:
        """The revision to put into a bookmark now; None when nothing happened since the last one."""
        now = self._loop.time()
        if now < self._bookmark:
            return None
        revision = self._subscription.progress()
        self._bookmark = now + (_BUSY_SECONDS if revision is None else BOOKMARK_SECONDS)
        self._arm()
        if revision is None or revision <= self._sent:
            return None
        self._sent = revision
        return revision

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _arm(self) -> None:
        due = min(self._end, self._bookmark)
        if due < float("inf"):
            self._handle = self._loop.call_at(due, self._subscription.nudge)


async def _lines(request: WatchRequest, events: list[WatchEvent]) -> bytes:
    """The events as the watcher wants to see them."""
    transform = request.transform
    if transform is None:
        return events[0].line if len(events) == 1 else b"".join([event.line for event in events])
    if request.blocks:
        return await asyncio.get_running_loop().run_in_executor(None, lambda: b"".join(map(transform, events)))
    return b"".join(map(transform, events))


def _slices(events: list[WatchEvent], size: int = 500) -> Iterable[list[WatchEvent]]:
    return (events[at : at + size] for at in range(0, len(events), size))
