"""What several clients saw while servers and stores died, and whether one story explains all of it.

Who uses it: `test_history.py`. Every operation is noted with the revision its answer carried. What must hold, by the API's own
rules: an acknowledged write is in the store's order exactly once and every later reader sees it or something newer; of two
compare-and-swaps from one revision at most one succeeds; a watch shows each change once, in order, and nothing that no client
wrote. An operation whose answer never came may have happened or not.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from minikube_py.api import errors
from minikube_py.api.gvr import CONFIGMAPS, new_object
from minikube_py.client.rest import Client

NAMES = ("a", "b", "c")


@dataclass
class History:
    """The notes of all clients. Revisions are numbers of the whole store, so they order everything."""

    acknowledged: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Revision → (object, value) of every write that was answered; value "" for a deletion."""
    attempted: set[str] = field(default_factory=set)
    """Every value that anybody tried to write."""
    swapped: dict[tuple[str, int], int] = field(default_factory=dict)
    """(object, revision it replaced) → revision of the compare-and-swap that won."""
    watched: list[list[tuple[int, str, str]]] = field(default_factory=list)
    """Per watcher: (revision, object, value or ""), as they came."""
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wrote(self, name: str, value: str, revision: int, replaced: int = 0) -> None:
        with self.lock:
            if revision in self.acknowledged and self.acknowledged[revision] != (name, value):
                self.wrong.append(f"two writes were answered with revision {revision}")
            self.acknowledged[revision] = (name, value)
            if replaced:
                if (name, replaced) in self.swapped:
                    self.wrong.append(f"{name} was swapped twice from {replaced}")
                self.swapped[(name, replaced)] = revision


class Writer(threading.Thread):
    """Creates, swaps and deletes at random until stopped; reads its own writes."""

    def __init__(self, client: Client, namespace: str, history: History, seed: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._client, self._namespace, self._history, self._over = client, namespace, history, stop
        self._random, self._seed, self._count, self.done = random.Random(seed), seed, 0, 0

    def run(self) -> None:
        while not self._over.is_set():
            name = self._random.choice(NAMES)
            try:
                self._step(name)
                self.done += 1
            except (errors.Conflict, errors.AlreadyExists, errors.NotFound):
                continue
            except errors.APIError:
                self._over.wait(0.05)  # the server or its store is away: what was asked for may have happened or not

    def _step(self, name: str) -> None:
        held = self._get(name)
        choice = self._random.random()
        if held is None:
            value = self._value()
            made = self._client.create(CONFIGMAPS, new_object(CONFIGMAPS, name, self._namespace, data={"v": value}))
            self._wrote(name, value, made)
        elif choice < 0.15:
            revision = held["metadata"]["resourceVersion"]
            uid = held["metadata"]["uid"]
            self._client.delete(CONFIGMAPS, name, self._namespace, uid=uid, resource_version=revision)
        else:
            value = self._value()
            changed = self._client.update(CONFIGMAPS, {**held, "data": {"v": value}})
            self._wrote(name, value, changed, int(held["metadata"]["resourceVersion"]))

    def _get(self, name: str) -> Any:
        try:
            return self._client.get(CONFIGMAPS, name, self._namespace)
        except errors.NotFound:
            return None

    def _value(self) -> str:
        self._count += 1
        value = f"{self._seed}-{self._count}"
        with self._history.lock:
            self._history.attempted.add(value)
        return value

    def _wrote(self, name: str, value: str, answer: Any, replaced: int = 0) -> None:
        revision = int(answer["metadata"]["resourceVersion"])
        self._history.wrote(name, value, revision, replaced)
        seen = self._get(name)
        if seen is not None and int(seen["metadata"]["resourceVersion"]) < revision:
            self._history.wrong.append(
                f"{name} was read at {seen['metadata']['resourceVersion']} after {revision} was answered"
            )


class Watcher(threading.Thread):
    """Follows the namespace from a revision on, again and again from where it was cut off."""

    def __init__(self, client: Client, namespace: str, history: History, since: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._client, self._namespace, self._over = client, namespace, stop
        self.revision, self.seen = since, list[tuple[int, str, str]]()
        history.watched.append(self.seen)

    def run(self) -> None:
        while not self._over.is_set():
            try:
                with self._client.watch(
                    CONFIGMAPS, self._namespace, resource_version=str(self.revision), timeout_seconds=2
                ) as events:
                    for kind, obj in events:
                        self._note(kind, obj)
            except errors.APIError:
                self._over.wait(0.05)

    def _note(self, kind: str, obj: Any) -> None:
        if kind in ("BOOKMARK", "ERROR"):
            return
        self.revision = int(obj["metadata"]["resourceVersion"])
        value = "" if kind == "DELETED" else obj["data"]["v"]
        self.seen.append((self.revision, obj["metadata"]["name"], value))


def run(
    clients: Callable[[], Client], namespace: str, faults: Callable[[random.Random], None], seconds: float, seed: int
) -> History:
    """Four writers and two watchers while `faults` strike; the watchers have caught up when this returns."""
    history, stop, chance = History(), threading.Event(), random.Random(seed)
    since = int(clients().list(CONFIGMAPS, namespace)["metadata"]["resourceVersion"])
    halt = threading.Event()
    writers = [Writer(clients(), namespace, history, number, halt) for number in range(4)]
    watchers = [Watcher(clients(), namespace, history, since, stop) for _ in range(2)]
    for thread in (*watchers, *writers):
        thread.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        faults(chance)
    halt.set()
    for writer in writers:
        writer.join(60)
        assert not writer.is_alive(), "a client hangs"
    assert sum(writer.done for writer in writers) > 20, "hardly anything could be written"
    last = _last(clients(), namespace)
    deadline = time.monotonic() + 30
    while any(watcher.revision < last for watcher in watchers):
        assert time.monotonic() < deadline, f"a watcher is at {[w.revision for w in watchers]} of {last}"
        time.sleep(0.05)
    stop.set()
    return history


def _last(client: Client, namespace: str) -> int:
    """The newest revision of a write that is surely seen by everybody."""
    made = client.create(CONFIGMAPS, new_object(CONFIGMAPS, "last", namespace, data={"v": "last"}))
    return int(made["metadata"]["resourceVersion"])


def check(history: History, final: dict[str, str]) -> None:
    """Raises AssertionError for what no order of the operations explains. In: the objects at the end, name to value."""
    assert not history.wrong, history.wrong[:5]
    first = history.watched[0]
    for seen in history.watched:
        revisions = [revision for revision, _, _ in seen]
        assert revisions == sorted(set(revisions)), "a watch repeats or reorders"
        assert seen == first, "two watches tell two stories"
    told = {revision: (name, value) for revision, name, value in first}
    for revision, write in history.acknowledged.items():
        assert told.get(revision) == write, (
            f"an acknowledged write is missing: {revision} {write}, told {told.get(revision)}"
        )
    state: dict[str, tuple[str, int]] = {}
    for revision, name, value in first:
        assert value in history.attempted | {"", "last"}, f"nobody wrote {value!r}"
        if value:
            state[name] = (value, revision)
        else:
            assert name in state, f"{name} was deleted at {revision} without being there"
            del state[name]
    values = [value for _, _, value in first if value]
    assert len(values) == len(set(values)), "a write happened twice"
    assert {name: value for name, (value, _) in state.items()} == final, "the end is not what the story leads to"
    for (name, replaced), revision in history.swapped.items():
        between = [r for r, n, _ in first if n == name and replaced < r < revision]
        assert not between, f"{name} was swapped from {replaced} to {revision} although {between} lay between"
