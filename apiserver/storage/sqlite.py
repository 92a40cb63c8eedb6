"""The embedded backend: one append-only revision log in one SQLite file.

Who calls it: `storage.open_backend` makes it, the watch cache uses it. The only module that imports sqlite3.
Invariant: a row of `log` is a write and its autoincrement id is the write's revision. Rows are only ever added by one
writer thread, which drains all waiting writers into one transaction (group commit) and acknowledges after the commit
reached the disk (WAL, synchronous=FULL); a failed compare fails alone. Compaction removes a row only once a later row of
the same key, or the row's own deletion, is at or below the compacted revision.
Crash safety: SQLite's write-ahead log makes a transaction appear whole or not at all, and nothing outside the file is
needed to go on. A write that was committed but not acknowledged when the process died is simply there afterwards.
Stop of the data path: 4 (compare-and-swap).
Upstream: the table is the idea of k3s-io/kine (pkg/drivers/generic), the semantics are etcd's.
"""

import contextlib
import fcntl
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from apiserver import waiting
from apiserver.storage.base import (
    MARK,
    Change,
    Compacted,
    KeyExists,
    KeyValue,
    Listing,
    RevisionMismatch,
    StoreUnavailable,
    Watch,
    end_of,
)
from apiserver.storage.broadcast import Broadcast

log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    key      TEXT NOT NULL,
    value    BLOB,               -- NULL: this write deleted the key
    created  INTEGER NOT NULL,   -- revision of the create this version descends from, 0 = itself
    previous INTEGER NOT NULL    -- revision of the row of the same key before this one, 0 = none
);
CREATE INDEX IF NOT EXISTS log_key ON log (key);  -- an index entry ends in the row id, so this is (key, revision)
CREATE TABLE IF NOT EXISTS compacted (revision INTEGER NOT NULL);
"""
_NEWEST = "SELECT revision, value, created FROM log WHERE key = ? ORDER BY revision DESC LIMIT 1"
_AS_OF = "SELECT revision, value, created FROM log WHERE key = ? AND revision <= ? ORDER BY revision DESC LIMIT 1"
_INSERT = "INSERT INTO log (key, value, created, previous) VALUES (?, ?, ?, ?)"
_LIVE = """FROM log WHERE key >= ? AND key < ? AND revision <= ? AND value IS NOT NULL AND NOT EXISTS
    (SELECT 1 FROM log AS later WHERE later.key = log.key AND later.revision > log.revision AND later.revision <= ?)"""
_COLUMNS = "SELECT key, revision, value, created"
_HISTORY = """SELECT log.revision, log.key, log.value, before.revision, before.value, before.created
    FROM log LEFT JOIN log AS before ON before.revision = log.previous
    WHERE log.revision > ? AND log.key >= ? AND log.key < ? ORDER BY log.revision"""
_CURRENT = "SELECT seq FROM sqlite_sequence WHERE name = 'log'"

_MAX_BATCH = 512
_COMPACT_SLICE = 500
_VACUUM_PAGES = 500
_SPARE_PAGES = 1000


class _Write(NamedTuple):
    """One queued write: `value` None deletes; `expected` 0 creates, -1 marks. `done` gets the revision."""

    key: str
    value: bytes | None
    expected: int
    done: "Future[int]"


class _Job(NamedTuple):
    """Work that must run on the writer thread, between transactions."""

    run: Callable[[sqlite3.Connection], Any]
    done: "Future[Any]"


_Item = _Write | _Job
_Batch = list[_Write]
_Outcomes = list[int | Exception]
_Changes = list[Change]


class SQLiteBackend:
    """`Backend` over one file. Raises StoreUnavailable when the file cannot be opened, is damaged or in use."""

    shared = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_file = _lock(path)
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._broadcast = Broadcast()
        self._read_lock = threading.Lock()
        self._closed = self._failing = False
        with self._explained():
            self._writer_db = self._connect()
            self._writer_db.executescript(_SCHEMA)
            self._reader_db = self._connect()
            first = self._writer_db.execute(_CURRENT).fetchone()
            row = self._writer_db.execute("SELECT revision FROM compacted").fetchone()
        self._compact_revision = int(row[0]) if row else 0
        self._revision = int(first[0]) if first else 0
        self._writer = threading.Thread(target=self._write_loop, name="sqlite-writer", daemon=True)
        self._writer.start()
        if not first:
            self.mark()  # revision 0 means "any" to clients, so that an empty store must be past it

    # -- reading ------------------------------------------------------------------------------------------------------

    def get(self, key: str, revision: int = 0) -> KeyValue | None:
        with self._reading() as db:
            self._check_kept(revision)
            row = db.execute(_AS_OF, (key, revision)) if revision else db.execute(_NEWEST, (key,))
            return _key_value(key, row.fetchone())

    def list(self, prefix: str, *, revision: int = 0, start_after: str = "", limit: int = 0) -> Listing:
        with self._reading() as db:
            self._check_kept(revision)
            revision = revision or int(db.execute(_CURRENT).fetchone()[0])
            first = start_after + "\0" if start_after else prefix
            bounds = (first, end_of(prefix), revision, revision)
            rows = db.execute(f"{_COLUMNS} {_LIVE} ORDER BY key LIMIT ?", (*bounds, limit or -1))
            items = [KeyValue(key, value, created or rev, rev) for key, rev, value, created in rows]
            remaining = 0
            if limit and len(items) == limit:
                bounds = (items[-1].key + "\0", *bounds[1:])
                remaining = int(db.execute(f"SELECT COUNT(*) {_LIVE}", bounds).fetchone()[0])
            return Listing(items, revision, remaining)

    def watch(self, prefix: str, after_revision: int, into: Watch | None = None) -> Watch:
        tail = self._broadcast.subscribe(prefix, after_revision, into or Watch())
        try:
            with self._reading() as db:
                self._check_kept(after_revision)
                rows = db.execute(_HISTORY, (after_revision, prefix, end_of(prefix)))
                history = [Change(rev, key, value, _key_value(key, before)) for rev, key, value, *before in rows]
        except BaseException:
            tail.into.close()
            raise
        tail.start(history)
        return tail.into

    def current_revision(self) -> int:
        return self._revision

    # -- writing ------------------------------------------------------------------------------------------------------

    def create(self, key: str, value: bytes) -> int:
        return self._write(key, value, 0)

    def update(self, key: str, value: bytes, expected_revision: int) -> int:
        return self._write(key, value, expected_revision)

    def delete(self, key: str, expected_revision: int) -> int:
        return self._write(key, None, expected_revision)

    def mark(self) -> int:
        return self._write(MARK, None, -1)

    def compact(self, revision: int) -> None:
        """Slice by slice, so that writers wait for at most one slice; then hand free pages back to the file system."""
        revision = min(revision, self._revision)
        while self._compact_revision < revision:
            upto = min(revision, self._compact_revision + _COMPACT_SLICE)
            self._on_writer(partial(self._compact_slice, upto=upto))
        while self._on_writer(_vacuum_slice):
            pass

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._writer.join()
            self._broadcast.close()
            with self._read_lock:
                self._reader_db.close()
            self._lock_file.close()

    def _write(self, key: str, value: bytes | None, expected: int) -> int:
        done: Future[int] = Future()
        self._enqueue(_Write(key, value, expected, done))
        return waiting.result(done)

    def _on_writer(self, run: Callable[[sqlite3.Connection], Any]) -> Any:
        done: Future[Any] = Future()
        self._enqueue(_Job(run, done))
        return done.result()

    def _enqueue(self, item: _Item) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed: the API server is stopping")
        self._queue.put(item)

    # -- the writer thread --------------------------------------------------------------------------------------------

    def _write_loop(self) -> None:
        item: _Item | None = None
        while (item := self._queue.get()) is not None:
            batch: _Batch = []
            while isinstance(item, _Write):
                batch.append(item)
                item = None
                if len(batch) < _MAX_BATCH:
                    with contextlib.suppress(queue.Empty):
                        item = self._queue.get_nowait()
                        if item is None:
                            self._queue.put(None)  # stopping: finish this batch, then meet the None again
            if batch:
                self._commit(batch)
            if item is not None:
                self._run_job(item)
        self._writer_db.close()

    def _commit(self, batch: _Batch) -> None:
        """One transaction for the whole batch; acknowledge only what is on disk and was shown to every watcher."""
        db = self._writer_db
        changes: _Changes = []
        outcomes: _Outcomes = []
        try:
            with self._explained():
                db.execute("BEGIN IMMEDIATE")
                for write in batch:
                    outcome = _append(db, write)
                    outcomes.append(outcome.revision if isinstance(outcome, Change) else outcome)
                    if isinstance(outcome, Change):
                        changes.append(outcome)
                db.execute("COMMIT")
        except StoreUnavailable as error:
            with contextlib.suppress(sqlite3.Error):
                db.rollback()
            if not self._failing:  # once: the log may be on the same full disk
                log.error("%s", error)
            self._failing = True
            changes, outcomes = [], [error] * len(batch)
        if changes:
            if self._failing:
                log.warning("the store %s takes writes again", self.path)
                self._failing = False
            self._revision = changes[-1].revision
            self._broadcast.publish(changes)
        for write, result in zip(batch, outcomes, strict=True):
            if isinstance(result, Exception):
                write.done.set_exception(result)
            else:
                write.done.set_result(result)

    def _run_job(self, job: _Job) -> None:
        try:
            with self._explained():
                job.done.set_result(job.run(self._writer_db))
        except Exception as error:
            with contextlib.suppress(sqlite3.Error):
                self._writer_db.rollback()
            job.done.set_exception(error)

    def _compact_slice(self, db: sqlite3.Connection, upto: int) -> None:
        since = self._compact_revision
        db.execute("BEGIN IMMEDIATE")
        db.execute(
            "DELETE FROM log WHERE revision IN (SELECT previous FROM log WHERE revision > ? AND revision <= ?)",
            (since, upto),
        )
        db.execute("DELETE FROM log WHERE revision > ? AND revision <= ? AND value IS NULL", (since, upto))
        db.execute("DELETE FROM compacted")
        db.execute("INSERT INTO compacted VALUES (?)", (upto,))
        db.execute("COMMIT")
        self._compact_revision = upto

    # -- the file -----------------------------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30)
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only has an effect on a file that is still empty
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_autocheckpoint = 2000")
        db.execute("PRAGMA journal_size_limit = 16777216")
        db.execute("PRAGMA cache_size = -4096")
        return db

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The reading connection inside one snapshot."""
        with self._read_lock, self._explained():
            if self._closed:
                raise StoreUnavailable("the store is closed: the API server is stopping")
            self._reader_db.execute("BEGIN")
            try:
                yield self._reader_db
            finally:
                self._reader_db.execute("COMMIT")

    def _check_kept(self, revision: int) -> None:
        row = self._reader_db.execute("SELECT revision FROM compacted").fetchone()
        if revision and row and revision < row[0]:
            raise Compacted(revision, row[0])

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreUnavailable(_sentence(self.path, str(error))) from error


def _append(db: sqlite3.Connection, write: _Write) -> Change | Exception:
    """Compare and, when the compare holds, add the row. The compare's failure is returned: it is this writer's alone."""
    key, value, expected, _ = write
    row = db.execute(_NEWEST, (key,)).fetchone() if expected >= 0 else None
    current = _key_value(key, row)
    if expected == 0 and current is not None:
        return KeyExists(key)
    if expected > 0 and (current is None or current.mod_revision != expected):
        return RevisionMismatch(key, current)
    created = current.create_revision if current else 0
    revision = db.execute(_INSERT, (key, value, created, row[0] if row else 0)).lastrowid
    assert revision is not None
    return Change(revision, key, value, current)


def _key_value(key: str, row: Any) -> KeyValue | None:
    """A (revision, value, created) row as what it says about the key; None for no row and for a deletion."""
    return None if row is None or row[1] is None else KeyValue(key, row[1], row[2] or row[0], row[0])


def _vacuum_slice(db: sqlite3.Connection) -> bool:
    """Give some free pages back. Out: True while there is more than a working reserve of them."""
    free = int(db.execute("PRAGMA freelist_count").fetchone()[0])
    if free > _SPARE_PAGES:
        db.execute(f"PRAGMA incremental_vacuum({min(_VACUUM_PAGES, free - _SPARE_PAGES)})").fetchall()
        return True
    db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    return False


def _lock(path: Path) -> Any:
    """Hold the file for this process alone: two writers would hand out the same revisions. Freed when the process dies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock_file = os.fdopen(os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")
    except OSError as error:
        raise StoreUnavailable(_sentence(path, error.strerror or str(error))) from error
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock_file.close()
        raise StoreUnavailable(f"the store {path} is in use by another process; stop that one first") from error
    return lock_file


def _sentence(path: Path, error: str) -> str:
    """What went wrong, for the person who has to fix it."""
    if "full" in error:
        return f"the disk that holds {path} is full; free some space and writes work again by themselves"
    if "malformed" in error or "not a database" in error or "corrupt" in error:
        return f"the store {path} is damaged ({error}); put back a copy, or delete it to start with an empty cluster"
    return f"the store {path} cannot be used ({error}); check that its directory is readable and writable"
