"""Recording Events about objects: what `kubectl describe` shows below an object.

Who calls it: controllers, scheduler, kubelet, whenever something happens that a user may ask about.
Invariants: `event` never blocks and never raises; repetitions raise the `count` of one Event instead of making new ones;
one object cannot flood the API (25 events at once, then one in five minutes).
Upstream: staging/src/k8s.io/client-go/tools/record (event.go, events_cache.go).
"""

import hashlib
import logging
import queue
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TypeVar

from minikube_py.api import errors
from minikube_py.api.clock import REAL, Clock, rfc3339
from minikube_py.api.gvr import EVENTS
from minikube_py.api.types import Obj
from minikube_py.client.cause import because, current
from minikube_py.client.rest import Client

log = logging.getLogger(__name__)

_QUEUED, _REMEMBERED = 1000, 4096
_BURST, _REFILL = 25, 1 / 300.0  # spam filter per object and component
_SIMILAR, _SIMILAR_WINDOW = 10, 600.0  # from the 11th similar message in ten minutes on, they are combined
_TRIES = 12


V = TypeVar("V")


@dataclass
class _Spam:
    tokens: float
    at: float


@dataclass
class _Similar:
    messages: set[str] = field(default_factory=set)
    at: float = 0.0


class _Recent(OrderedDict[str, V]):
    """The entries used last, at most `_REMEMBERED` of them."""

    def recall(self, key: str, default: V) -> V:
        value = self.setdefault(key, default)
        self.move_to_end(key)
        while len(self) > _REMEMBERED:
            self.popitem(last=False)
        return value


class EventRecorder:
    """Events of one component. Its thread starts with the first event and ends with `stop`."""

    def __init__(self, client: Client, component: str, clock: Clock = REAL, host: str = "") -> None:
        self._client, self._component, self._clock, self._host = client, component, clock, host
        self._queue: queue.Queue[tuple[str, Obj] | None] = queue.Queue(_QUEUED)
        self._spam, self._similar = _Recent[_Spam](), _Recent[_Similar]()
        self._known: _Recent[Obj] = _Recent()  # by content: the Event as it was last written
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def event(self, obj: Obj, type: str, reason: str, message: str, *, field_path: str = "") -> None:
        """Say that something happened to `obj`. `type`: "Normal" or "Warning"; `field_path`: "spec.containers{name}"."""
        about = _reference(obj, field_path)
        try:
            with self._lock:
                if self._stopped.is_set():
                    return
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name=f"events-{self._component}", daemon=True)
                    self._thread.start()
            self._queue.put_nowait((current(), self._new(about, type, reason, message)))
        except queue.Full:
            log.warning("too many events waiting; dropped: %s %s: %s", about.get("name"), reason, message)

    def stop(self, timeout: float = 1.0) -> None:
        """Write what is queued, for at most `timeout` seconds, then end."""
        with self._lock:
            self._stopped.set()
            thread = self._thread
        if thread is not None:
            try:
                self._queue.put_nowait(None)
            except queue.Full:
                log.debug("events left unwritten at stop")
            thread.join(timeout)

    def _new(self, about: Obj, type: str, reason: str, message: str) -> Obj:
        now = self._clock.now()
        namespace = about.get("namespace") or "default"
        source = {"component": self._component, **({"host": self._host} if self._host else {})}
        return {
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": f"{about.get('name', '')}.{int(self._clock.time() * 1e9):x}", "namespace": namespace},
            "involvedObject": about, "type": type, "reason": reason, "message": message[:1024], "source": source,
            "firstTimestamp": rfc3339(now), "lastTimestamp": rfc3339(now), "count": 1, "eventTime": None,
            "reportingComponent": self._component, "reportingInstance": self._host,
        }  # fmt: skip

    def _run(self) -> None:
        while (queued := self._queue.get()) is not None:
            why, event = queued
            try:
                with because(why):
                    self._correlate_and_write(event)
            except Exception:
                log.exception("event %s cannot be recorded", event["metadata"]["name"])

    def _correlate_and_write(self, event: Obj) -> None:
        if not self._admitted(event):
            return
        content = self._combined(event)
        known = self._known.get(content)
        if known is not None:
            event["count"], event["firstTimestamp"] = known["count"] + 1, known["firstTimestamp"]
            event["metadata"] = known["metadata"]
        written = self._write(event, exists=known is not None)
        if written is not None:
            self._known[content] = written
            self._known.recall(content, written)

    def _admitted(self, event: Obj) -> bool:
        """Spam filter: a token bucket per source and object."""
        now = self._clock.time()
        spam = self._spam.recall(_digest(event, "source", "involvedObject"), _Spam(_BURST, now))
        spam.tokens = min(_BURST, spam.tokens + (now - spam.at) * _REFILL)
        spam.at = now
        if spam.tokens < 1:
            return False
        spam.tokens -= 1
        return True

    def _combined(self, event: Obj) -> str:
        """Many messages that differ only in wording become one Event. Out: what repetitions are recognised by."""
        group = _digest(event, "source", "involvedObject", "type", "reason")
        now = self._clock.time()
        similar = self._similar.recall(group, _Similar())
        if now - similar.at > _SIMILAR_WINDOW:
            similar.messages.clear()
        similar.at = now
        similar.messages.add(hashlib.blake2b(event["message"].encode(), digest_size=8).hexdigest())
        if len(similar.messages) > _SIMILAR:
            similar.messages.pop()
            event["message"] = f"(combined from similar events): {event['message']}"
            return group
        return _digest(event, "source", "involvedObject", "type", "reason", "message")

    def _write(self, event: Obj, *, exists: bool) -> Obj | None:
        """Create the Event, or raise the count of the one that exists; waits out an API server that is away."""
        namespace, name = event["metadata"]["namespace"], event["metadata"]["name"]
        for attempt in range(_TRIES):
            try:
                if exists:
                    patch = {key: event[key] for key in ("count", "lastTimestamp", "message")}
                    return self._client.patch(EVENTS, name, patch, namespace)
                return self._client.create(EVENTS, event)
            except errors.NotFound:
                if not exists:
                    log.debug("event %s: its namespace is gone", name)
                    return None
                exists = False  # it expired meanwhile
                event["metadata"] = {"name": name, "namespace": namespace}
            except errors.ServiceUnavailable as error:
                log.debug("event %s waits: %s", name, error)
                if self._clock.wait(self._stopped, min(10.0, 0.5 * 2**attempt)):
                    return None
            except errors.AlreadyExists:
                return event  # the create whose answer was lost
            except errors.APIError as error:
                log.debug("event %s refused: %s", name, error)
                return None
        return None


def _reference(obj: Obj, field_path: str) -> Obj:
    metadata = obj.get("metadata") or {}
    about = {
        "kind": obj.get("kind"), "namespace": metadata.get("namespace"), "name": metadata.get("name"),
        "uid": metadata.get("uid"), "apiVersion": obj.get("apiVersion"),
        "resourceVersion": metadata.get("resourceVersion"), "fieldPath": field_path,
    }  # fmt: skip
    return {key: value for key, value in about.items() if value}


def _digest(event: Obj, *fields: str) -> str:
    about = {key: value for key, value in event["involvedObject"].items() if key != "resourceVersion"}
    parts = [repr(sorted(about.items())) if name == "involvedObject" else repr(event[name]) for name in fields]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
