"""Secrets at rest: what lies on the disk, key rotation, and keys that are wrong or missing."""

from pathlib import Path

import pytest

from apiserver.storage.base import StoreUnavailable
from apiserver.storage.encryption import EncryptedBackend, generate_key
from apiserver.storage.sqlite import SQLiteBackend

SECRET, PLAIN = "/registry/secrets/default/s", "/registry/configmaps/default/c"


def files(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.glob("store.db*"))


def test_only_secrets_are_sealed_and_they_are(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(generate_key())
    backend = EncryptedBackend(SQLiteBackend(tmp_path / "store.db"), tmp_path / "key")
    first = backend.create(SECRET, b"hidden treasure")
    backend.create(PLAIN, b"open book")
    second = backend.update(SECRET, b"hidden again", first)
    found = backend.get(SECRET)
    assert found == (SECRET, b"hidden again", first, second)
    on_disk = files(tmp_path)
    assert b"open book" in on_disk
    assert b"hidden" not in on_disk
    backend.close()


def test_keys_rotate(tmp_path: Path) -> None:
    key_file, path = tmp_path / "key", tmp_path / "store.db"
    plain = SQLiteBackend(path)
    plain.create("/registry/secrets/default/old", b"from before encryption")
    plain.close()
    key_file.write_text("# keys\n" + generate_key("one"))
    backend = EncryptedBackend(SQLiteBackend(path), key_file)
    first = backend.create(SECRET, b"v")
    backend.close()
    key_file.write_text(generate_key("two") + key_file.read_text())
    backend = EncryptedBackend(SQLiteBackend(path), key_file)
    values = [item.value for item in backend.list("/registry/secrets/").items]
    assert values == [b"from before encryption", b"v"]
    backend.update(SECRET, b"v", first)
    backend.close()
    key_file.write_text(key_file.read_text().splitlines()[0])
    backend = EncryptedBackend(SQLiteBackend(path), key_file)
    found = backend.get(SECRET)
    assert found is not None
    assert found.value == b"v"
    with pytest.raises(StoreUnavailable, match="was encrypted with key 'one'"):
        backend.get(SECRET, first)
    backend.close()


def test_a_value_moved_to_another_name_does_not_open(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(generate_key())
    inner = SQLiteBackend(tmp_path / "store.db")
    backend = EncryptedBackend(inner, tmp_path / "key")
    backend.create(SECRET, b"v")
    sealed = inner.get(SECRET)
    assert sealed is not None
    inner.create(SECRET + "-copy", sealed.value)
    with pytest.raises(StoreUnavailable, match="cannot be decrypted"):
        backend.get(SECRET + "-copy")
    backend.close()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no key"),
        ("name:short", "line 1 of .* is not NAME:BASE64"),
        ("# c\n\nname:c2hvcnQ=", "line 3 of .* is not NAME:BASE64"),
    ],
)
def test_a_key_file_that_is_wrong_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "key").write_text(content)
    inner = SQLiteBackend(tmp_path / "store.db")
    with pytest.raises(StoreUnavailable, match=said):
        EncryptedBackend(inner, tmp_path / "key")
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        EncryptedBackend(inner, tmp_path / "none")
    inner.close()
