"""Backends under test: each test of the contract suite runs on every one of them."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apiserver.storage import open_backend
from apiserver.storage.base import Backend

_serial = itertools.count(1)
Opener = Callable[[], Backend]


@pytest.fixture(params=["sqlite", pytest.param("etcd", marks=pytest.mark.etcd), "encrypted"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens (again) the same empty store."""
    if request.param == "etcd":
        store = f"etcd://{request.getfixturevalue('etcd')}?prefix=/contract-{next(_serial)}"
        return lambda: open_backend(store, "")
    if request.param == "encrypted":
        from apiserver.storage.encryption import EncryptedBackend, generate_key
        from apiserver.storage.sqlite import SQLiteBackend

        (tmp_path / "key").write_text(generate_key())
        return lambda: EncryptedBackend(SQLiteBackend(tmp_path / "store.db"), tmp_path / "key", ("/registry/",))
    return lambda: open_backend("sqlite", str(tmp_path))


@pytest.fixture
def backend(opener: Opener) -> Iterator[Backend]:
    backend = opener()
    yield backend
    backend.close()
