"""The audit log: one JSON line per write, saying who did what to which object, and because of what.

Who calls it: the pipeline, once per answered write. Invariant: recording puts a line into a queue and never waits; a line
that the disk cannot take is dropped and counted, a request is never held up or failed by its log. The file is rotated at a
size; the cause a component names in its `Minikube-Cause` header stands in the annotation `minikube-py.io/cause`.
Upstream: audit.k8s.io/v1 Event at level Metadata (staging/src/k8s.io/apiserver/pkg/apis/audit).
"""

import logging
import threading
import uuid
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import orjson

from apiserver.auth.user import UserInfo
from apiserver.request import Request, RequestInfo
from minikube_py.api.clock import Clock
from minikube_py.api.types import Obj

log = logging.getLogger(__name__)
CAUSE = "minikube-py.io/cause"
_ROTATE_BYTES = 64 * 1024 * 1024
_KEEP = 3
_TIMES = orjson.OPT_UTC_Z
_QUEUE = 20_000
_GATHER_SECONDS = 0.05
_WRITES = frozenset(("create", "update", "patch", "delete", "deletecollection"))


class Audit:
    """Writes to `path`, or nowhere when it is ""."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._path, self._clock = Path(path) if path else None, clock
        self._queue: deque[Obj] = deque()
        self._some, self._stop = threading.Event(), threading.Event()
        self.dropped = 0
        self._thread = threading.Thread(target=self._write_loop, name="audit", daemon=True)

    def start(self) -> None:
        """Open the file and begin to write. Raises OSError when it cannot be opened."""
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.open("ab").close()
            self._thread.start()

    def close(self) -> None:
        """Write what is queued, and end."""
        if self._path is not None and self._thread.is_alive():
            self._stop.set()
            self._some.set()
            self._thread.join(2)

    def record(
        self, request: Request, info: RequestInfo, user: UserInfo, code: int, status: Obj | None, revision: str, started: float,
        impersonator: UserInfo | None = None, annotations: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """One answered write. In: `status` the failure Status, None for success; `revision` of what was written; `annotations`
        what admission notes about it.
        """
        if self._path is None or info.verb not in _WRITES:
            return
        event: Obj = {
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": str(uuid.uuid4()),
            "stage": "ResponseComplete", "requestURI": request.uri, "verb": info.verb,
            "user": _shown(impersonator or user), "sourceIPs": [request.remote],
            "userAgent": request.headers.get("user-agent", ""), "objectRef": _reference(info, revision),
            "responseStatus": _outcome(code, status), "requestReceivedTimestamp": started,
            "stageTimestamp": self._clock.time(), "annotations": dict(annotations or {}),
        }  # fmt: skip
        if impersonator is not None:
            event["impersonatedUser"] = _shown(user)
        if cause := request.headers.get("minikube-cause"):
            event["annotations"][CAUSE] = cause
        if len(self._queue) >= _QUEUE:
            self.dropped += 1
            return
        self._queue.append(event)
        if not self._some.is_set():
            self._some.set()

    def _write_loop(self) -> None:
        while not self._stop.is_set():
            self._clock.wait(self._some)
            self._clock.wait(self._stop, _GATHER_SECONDS)  # a moment for more: one write takes many lines
            self._some.clear()
            self._drain()

    def _drain(self) -> None:
        batch = [self._queue.popleft() for _ in range(len(self._queue))]
        try:
            self._append(b"".join(orjson.dumps(_timed(event), option=_TIMES) + b"\n" for event in batch))
        except OSError as error:
            self.dropped += len(batch)
            log.warning("the audit log cannot be written, %d entries so far are missing: %s", self.dropped, error)

    def _append(self, lines: bytes) -> None:
        assert self._path is not None
        with self._path.open("ab") as file:
            file.write(lines)
            full = file.tell() > _ROTATE_BYTES
        if full:
            for number in range(_KEEP - 1, 0, -1):
                older = self._path.with_name(f"{self._path.name}.{number}")
                if older.exists():
                    older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))


def _timed(event: Obj) -> Obj:
    for name in ("requestReceivedTimestamp", "stageTimestamp"):
        event[name] = datetime.fromtimestamp(event[name], UTC)
    return event


def _shown(user: UserInfo) -> Obj:
    shown: Obj = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        shown["uid"] = user.uid
    if user.extra:
        shown["extra"] = {key: list(values) for key, values in user.extra.items()}
    return shown


def _reference(info: RequestInfo, revision: str) -> Obj:
    named = {
        "resource": info.resource, "namespace": info.namespace, "name": info.name, "apiGroup": info.group,
        "apiVersion": info.version, "subresource": info.subresource, "resourceVersion": revision,
    }  # fmt: skip
    return {key: value for key, value in named.items() if value}


def _outcome(code: int, status: Obj | None) -> Obj:
    if status is None:
        return {"metadata": {}, "code": code}
    return {"metadata": {}, "status": "Failure", "message": status["message"], "reason": status["reason"], "code": code}
