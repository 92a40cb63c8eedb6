"""What is the embedded backend's own: crashes, full and damaged disks, its lock, and that compaction gives space back."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from apiserver.storage.base import StoreUnavailable
from apiserver.storage.compactor import KEEP_SECONDS, Compactor
from apiserver.storage.sqlite import SQLiteBackend
from minikube_py.api.clock import FakeClock
from tests import harness

THINGS = "/registry/things/"

_WRITER = """
import sys, threading
from pathlib import Path
from apiserver.storage.sqlite import SQLiteBackend
backend = SQLiteBackend(Path(sys.argv[1]))
lock = threading.Lock()
def say(*words):
    with lock:
        print(*words, flush=True)
def work(number):
    step = 0
    while True:
        key = f"/registry/things/{sys.argv[2]}-{number}-{step}"
        first = backend.create(key, b"x" * 500)
        second = backend.update(key, b"y" * 500, first)
        say(key, second)
        if step % 3 == 0:
            backend.delete(key, second)
            say(key, 0)
        if step % 50 == 49:
            backend.compact(second)
        step += 1
for number in range(8):
    threading.Thread(target=work, args=(number,)).start()
"""


def test_a_killed_process_loses_no_acknowledged_write(tmp_path: Path) -> None:
    """Three times: kill -9 in the middle of eight writers and their compactions, reopen, compare with what was said."""
    path = tmp_path / "store.db"
    said: dict[str, int] = {}
    newest = 0
    for generation in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path), str(generation)],
            stdout=subprocess.PIPE, text=True, env=harness.environment(),
        )  # fmt: skip
        assert process.stdout is not None
        for _ in range(150):
            key, revision = process.stdout.readline().split()
            said[key] = int(revision)
        os.kill(process.pid, signal.SIGKILL)
        for line in process.stdout:
            if line.endswith("\n"):
                key, revision = line.split()
                said[key] = int(revision)
        process.wait()
        backend = SQLiteBackend(path)
        found = {item.key: item for item in backend.list(THINGS).items}
        for name, expected in said.items():
            if expected and name in found:
                assert (found[name].mod_revision, found[name].value) == (expected, b"y" * 500)
            elif expected:  # its deletion may have been committed and not acknowledged
                assert int(name.rpartition("-")[2]) % 3 == 0, f"{name} was acknowledged and is gone"
            else:
                assert name not in found, f"the deletion of {name} was acknowledged"
        assert backend.current_revision() > newest
        newest = backend.current_revision()
        with sqlite3.connect(path) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        backend.close()


def test_a_second_process_is_told_to_go_away(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "store.db")
    with pytest.raises(StoreUnavailable, match="in use by another process"):
        SQLiteBackend(tmp_path / "store.db")
    backend.close()
    SQLiteBackend(tmp_path / "store.db").close()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(StoreUnavailable, match=r"store\.db is damaged .*delete it to start"):
        SQLiteBackend(path)


def test_a_place_that_cannot_hold_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match=r"file/store\.db cannot be used"):
        SQLiteBackend(tmp_path / "file" / "store.db")


def test_a_full_disk_fails_writes_and_heals(tmp_path: Path) -> None:
    """A limit on the file's pages is the disk's end; lifting it is the space somebody freed."""
    backend = SQLiteBackend(tmp_path / "store.db")
    backend._writer_db.execute("PRAGMA max_page_count = 60")
    written: dict[str, int] = {}
    with pytest.raises(StoreUnavailable, match="is full; free some space"):
        for number in range(1000):
            key = f"{THINGS}{number:04}"
            written[key] = backend.create(key, b"x" * 2000)
    assert 10 < len(written) < 200
    assert {item.key: item.mod_revision for item in backend.list(THINGS).items} == written
    backend._writer_db.execute("PRAGMA max_page_count = 1000000")
    assert backend.create(THINGS + "later", b"x") > max(written.values())
    backend.close()


def test_compaction_gives_space_back(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    backend = SQLiteBackend(path)
    revision = backend.create(THINGS + "a", b"x" * 50_000)
    for _ in range(150):
        revision = backend.update(THINGS + "a", os.urandom(50_000), revision)
    backend.create(THINGS + "b", b"kept")
    backend.compact(backend.current_revision())
    backend.close()
    assert path.stat().st_size < 6_000_000
    backend = SQLiteBackend(path)
    assert [item.key for item in backend.list(THINGS).items] == [THINGS + "a", THINGS + "b"]
    backend.close()


def test_the_compactor_keeps_ten_minutes_and_not_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    backend = SQLiteBackend(tmp_path / "store.db")
    compactor = Compactor(backend, clock)
    old = backend.create(THINGS + "a", b"1")
    assert compactor.step() == 0
    clock.advance(KEEP_SECONDS / 2)
    young = backend.update(THINGS + "a", b"2", old)
    assert compactor.step() == 0
    clock.advance(KEEP_SECONDS / 2)
    newest = backend.update(THINGS + "a", b"3", young)
    assert compactor.step() == old
    clock.advance(KEEP_SECONDS / 2)
    assert compactor.step() == young
    monkeypatch.setattr("apiserver.storage.compactor.KEEP_REVISIONS", 0)
    assert compactor.step() == newest
    assert [item.value for item in backend.list(THINGS).items] == [b"3"]
    backend.close()
