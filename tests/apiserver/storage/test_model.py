"""Random operations against a model: the backend answers as a plain dictionary of histories would, at every revision."""

import bisect
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from apiserver.storage import open_backend
from apiserver.storage.base import Backend, Change, Compacted, KeyExists, KeyValue, RevisionMismatch
from tests.apiserver.storage.test_cache import MEMORY
from tests.apiserver.storage.test_contract import take

NAMES = st.sampled_from(["a/1", "a/2", "aa/1", "b/1", "b/ü", "b/10"])
VALUES = st.binary(max_size=20)
ROOT = "/registry/things/"


class StoreMachine(RuleBasedStateMachine):
    """`log` is the model: every change in order. What a key or a list was at a revision follows from it."""

    store = "sqlite"
    serial = 0

    @initialize()
    def open(self) -> None:
        StoreMachine.serial += 1
        self.directory = TemporaryDirectory(dir=MEMORY)
        self.url = self.store.replace("SERIAL", str(StoreMachine.serial))
        self.backend: Backend = open_backend(self.url, self.directory.name)
        self.start = self.watched_after = self.backend.current_revision()
        self.compacted = 0
        self.log: list[Change] = []
        self.watch = self.backend.watch(ROOT, self.start)

    def teardown(self) -> None:
        if hasattr(self, "backend"):
            self.check_watch()
            self.backend.close()
            self.directory.cleanup()

    def at(self, revision: int) -> dict[str, KeyValue]:
        """The model's state at a revision."""
        state: dict[str, KeyValue] = {}
        for change in self.log[: bisect.bisect_right(self.log, revision, key=lambda c: c.revision)]:
            before = state.pop(change.key, None)
            if change.value is not None:
                created = before.create_revision if before else change.revision
                state[change.key] = KeyValue(change.key, change.value, created, change.revision)
        return state

    def present(self) -> dict[str, KeyValue]:
        return self.at(self.log[-1].revision if self.log else self.start)

    def record(self, revision: int, key: str, value: bytes | None) -> None:
        assert revision > (self.log[-1].revision if self.log else self.start)
        self.log.append(Change(revision, key, value, self.present().get(key)))

    @rule(name=NAMES, value=VALUES)
    def create(self, name: str, value: bytes) -> None:
        key = ROOT + name
        if key in self.present():
            with pytest.raises(KeyExists):
                self.backend.create(key, value)
        else:
            self.record(self.backend.create(key, value), key, value)

    @rule(name=NAMES, value=st.none() | VALUES, off=st.sampled_from([0, 0, 0, -1, 1]))
    def write(self, name: str, value: bytes | None, off: int) -> None:
        key = ROOT + name
        current = self.present().get(key)
        expected = max(1, (current.mod_revision if current else self.start) + off)

        def attempt() -> int:
            if value is None:
                return self.backend.delete(key, expected)
            return self.backend.update(key, value, expected)

        if current is None or current.mod_revision != expected:
            with pytest.raises(RevisionMismatch) as lost:
                attempt()
            assert lost.value.current == current
        else:
            self.record(attempt(), key, value)

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def read_the_past(self, data: Any) -> None:
        revision = data.draw(st.sampled_from([change.revision for change in self.log]))
        prefix = ROOT + data.draw(st.sampled_from(["", "a", "a/", "b/", "b/1"]))
        start_after = data.draw(st.sampled_from(["", ROOT + "a/1", ROOT + "aa/1", ROOT + "b/ü"]))
        limit = data.draw(st.integers(0, 3))
        if start_after and not start_after.startswith(prefix):
            start_after = ""
        if revision < self.compacted:
            with pytest.raises(Compacted):
                self.backend.list(prefix, revision=revision)
            return
        state = self.at(revision)
        wanted = [state[key] for key in sorted(state) if key.startswith(prefix) and key > start_after]
        listing = self.backend.list(prefix, revision=revision, start_after=start_after, limit=limit)
        assert listing.items == (wanted[:limit] if limit else wanted)
        assert listing.remaining == len(wanted) - len(listing.items)

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def watch_the_past(self, data: Any) -> None:
        after = data.draw(st.sampled_from([change.revision for change in self.log]))
        if after < self.compacted:
            with pytest.raises(Compacted):
                self.backend.watch(ROOT, after)
            return
        wanted = [change for change in self.log if change.revision > after]
        watch = self.backend.watch(ROOT, after)
        assert (take(watch, len(wanted)) if wanted else []) == wanted
        watch.close()

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def compact(self, data: Any) -> None:
        revision = data.draw(st.sampled_from([change.revision for change in self.log]))
        self.backend.compact(revision)
        self.compacted = max(self.compacted, revision)

    @rule()
    def reopen(self) -> None:
        self.check_watch()
        self.backend.close()
        self.backend = open_backend(self.url, self.directory.name)
        self.watched_after = self.backend.current_revision()
        assert self.watched_after >= (self.log[-1].revision if self.log else self.start)
        self.watch = self.backend.watch(ROOT, self.watched_after)

    def check_watch(self) -> None:
        """The watch that runs beside everything has seen exactly the history."""
        wanted = [change for change in self.log if change.revision > self.watched_after]
        assert (take(self.watch, len(wanted)) if wanted else []) == wanted
        self.watch.close()

    @invariant()
    def every_key_is_as_in_the_model(self) -> None:
        if hasattr(self, "backend"):
            assert self.backend.list(ROOT).items == [item for _, item in sorted(self.present().items())]


def run(store: str, examples: int) -> None:
    """Random histories, judged by the asserts of every rule and invariant of `StoreMachine`."""
    machine = type("Machine", (StoreMachine,), {"store": store})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_sqlite_behaves_as_the_model() -> None:
    run("sqlite", 40)


def test_etcd_behaves_as_the_model(etcd: str) -> None:
    run(f"etcd://{etcd}?prefix=/model-SERIAL", 15)
