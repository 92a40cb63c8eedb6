"""What can go wrong between a controller and the API server, as a client that makes it go wrong.

Who uses it: test_every_controller.py. A process sees nothing but its own test's objects, because many share an API server and
run beside each other; of its writes those count that are about them (`mine`). `Ledger` outlives the process that a test lets
die: it knows what was ever created.
"""

import contextlib
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from minikube_py.api import errors
from minikube_py.api.clock import RealClock
from minikube_py.api.gvr import CUSTOMRESOURCEDEFINITIONS, GVR
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from minikube_py.client.stream import Watch

WRITES = (
    "conflict",
    "down",
    "lost",
    "twice",
)  # each write, the first time and every other: refused; not sent; done, unanswered; sent twice
# The process ends: before the next write, or right after one, unanswered.
DEATHS = ("dies before", "dies after")
EVENTS = ("events lost", "events repeated", "events late")
CLOCK = ("clock jumps",)
QUIET = ""


class JumpingClock(RealClock):
    """The time of day leaps by up to an hour, ahead and back, at every look; durations are true."""

    def time(self) -> float:
        return super().time() + random.uniform(-3600, 3600)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time(), UTC)


class Ledger:
    """The uids of what was created, by collection."""

    def __init__(self) -> None:
        self.made: dict[str, set[str]] = defaultdict(set)

    def note(self, path: str, answer: bytes) -> None:
        with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
            self.made[path.rpartition("/")[2]].add(orjson.loads(answer)["metadata"]["uid"])

    def counts(self) -> dict[str, int]:
        return {plural: len(uids) for plural, uids in sorted(self.made.items())}


class Disturbed(Client):
    """A client of one life of the process in the world of one namespace. `allowed`: the writes it makes before it dies."""

    def __init__(
        self, client: Client, namespace: str, mode: str, mine: Callable[[str], bool], ledger: Ledger, allowed: int = 0
    ) -> None:
        self.__dict__.update(client.__dict__)
        self.mode, self.ledger, self.dead = mode, ledger, False
        self.done: list[str] = []
        self._namespace, self._mine, self._allowed, self._lock = namespace, mine, allowed, threading.Lock()
        self._tries: dict[tuple[str, str], int] = defaultdict(int)

    def _sees(self, obj: Obj) -> bool:
        """Whether the object names the test's namespace in any way; those without a namespace are named after it."""
        return self._namespace.encode() in orjson.dumps(obj)

    def list(self, res: GVR, namespace: str = "", **kw: Any) -> Obj:
        listed = super().list(res, namespace or self._namespace, **kw)
        if not res.namespaced and res != CUSTOMRESOURCEDEFINITIONS:
            listed["items"] = [item for item in listed.get("items") or [] if self._sees(item)]
        return listed

    def watch(self, res: GVR, namespace: str = "", **kw: Any) -> Watch:
        watch = super().watch(res, namespace or self._namespace, **kw)
        hidden = not res.namespaced and res != CUSTOMRESOURCEDEFINITIONS
        return _Events(watch, self.mode, self._sees if hidden else lambda obj: True)

    def request(self, method: str, path: str, **kw: Any) -> Any:
        if self.dead:
            raise errors.ServiceUnavailable("made up: this process is dead")
        body = kw.get("body")
        name = (body.get("metadata") or {}).get("name", "") if isinstance(body, dict) else ""
        if method == "GET" or "/events" in path or not self._mine(f"{path}/{name}"):
            return super().request(method, path, **kw)
        with self._lock:  # one write at a time: what comes after the last must not slip through beside it
            return self._disturbed(method, path, kw)

    def _disturbed(self, method: str, path: str, kw: dict[str, Any]) -> Any:
        if self.dead:
            raise errors.ServiceUnavailable("made up: this process is dead")
        self._tries[method, path] += 1
        fault = self.mode if self._tries[method, path] % 2 else ""
        if self.mode == "dies before" and len(self.done) >= self._allowed:
            self.dead = True
            raise errors.ServiceUnavailable("made up: died")
        if fault == "conflict":
            raise errors.Conflict("made up: conflict")
        if fault == "down":
            raise errors.ServiceUnavailable("made up: not sent")
        if fault == "twice":
            with contextlib.suppress(errors.APIError):
                self._perform(method, path, kw)
        answer = self._perform(method, path, kw)
        if self.mode == "dies after" and len(self.done) >= self._allowed:
            self.dead = True
        if fault == "lost" or self.dead:
            raise errors.ServiceUnavailable("made up: the answer was lost")
        return answer

    def _perform(self, method: str, path: str, kw: dict[str, Any]) -> Any:
        answer = super().request(method, path, **kw)
        self.done.append(f"{method} {path}")
        if method == "POST":
            self.ledger.note(path, answer[2])
        return answer


class _Events(Watch):
    """A watch that shows what `sees` lets through, in the modes `EVENTS` wrongly."""

    def __init__(self, watch: Watch, mode: str, sees: Callable[[Obj], bool]) -> None:
        super().__init__(watch._stream)
        self._mode, self._sees = mode, sees

    def __iter__(self) -> Iterator[tuple[str, Obj]]:
        seen = (event for event in super().__iter__() if event[0] == "BOOKMARK" or self._sees(event[1]))
        for number, event in enumerate(seen, start=1):
            if self._mode == "events lost" and number % 3 == 0:  # the connection breaks over it, or history is gone too
                raise errors.Expired("made up") if number % 2 else errors.ServiceUnavailable("made up")
            if self._mode == "events late":
                time.sleep(0.1)
            yield event
            if self._mode == "events repeated":
                yield event
