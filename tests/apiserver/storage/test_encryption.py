"""Secrets at rest: what lies on the disk, key rotation (interrupted anywhere), and keys that are wrong or missing."""

import random
import threading
from pathlib import Path

import pytest

from apiserver.storage.base import Compacted, RevisionMismatch, StoreUnavailable
from apiserver.storage.cache import Store
from apiserver.storage.encryption import EncryptedBackend, generate_key
from apiserver.storage.resealing import Resealing
from apiserver.storage.sqlite import SQLiteBackend
from minikube_py.api.clock import REAL

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


# ---- rotation --------------------------------------------------------------------------------------------------------


def opened(directory: Path) -> Store:
    """A store as the API server has it at its start. Raises StoreUnavailable."""
    store = Store(EncryptedBackend(SQLiteBackend(directory / "store.db"), directory / "key"), lambda *_: {})
    try:
        store.start()
    except StoreUnavailable:
        store.backend.close()
        raise
    return store


def secret(number: int) -> tuple[str, dict[str, object]]:
    body: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"s{number}"},
        "data": {"n": str(number)},
    }
    return f"/registry/secrets/default/s{number}", body


def resealed(store: Store, told: list[int]) -> bool:
    assert isinstance(store.backend, EncryptedBackend)
    resealing = Resealing(store, REAL, told.append)
    return resealing.step(store.backend) or resealing.step(store.backend)


def test_after_a_rotation_the_old_key_is_needed_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(generate_key("one"))
    store = opened(tmp_path)
    for number in range(20):
        store.create(*secret(number))
    before = store.revision
    store.close()
    (tmp_path / "key").write_text(generate_key("two") + (tmp_path / "key").read_text())
    store, told = opened(tmp_path), list[int]()
    assert resealed(store, told) and told == [*range(20, 0, -1), 0]
    with pytest.raises(Compacted):
        store.list("/registry/secrets/", revision=before)
    store.close()
    (tmp_path / "key").write_text((tmp_path / "key").read_text().splitlines()[0])
    store = opened(tmp_path)
    found = {stored.obj()["data"]["n"] for stored in store.list("/registry/secrets/").items}
    assert found == {str(number) for number in range(20)}
    store.close()


class Interrupted:
    """A resealing that is stopped after so many objects."""

    def __init__(self, store: Store, stop_at: int) -> None:
        self.resealing, self.over, self._left = Resealing(store, REAL, self._told), False, stop_at

    def _told(self, left: int) -> None:
        self._left -= 1
        if self._left < 0:
            self.over = True
            self.resealing.stop()


@pytest.mark.parametrize("seed", range(5))
def test_interrupted_anywhere_while_others_write_nothing_is_lost(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    (tmp_path / "key").write_text(generate_key("one"))
    store, wanted = opened(tmp_path), dict[str, str]()
    for number in range(30):
        key, obj = secret(number)
        store.create(key, obj)
        wanted[key] = str(number)
    store.close()
    for name in ("two", "three"):
        (tmp_path / "key").write_text(generate_key(name) + (tmp_path / "key").read_text())
        done = False
        while not done:
            store = opened(tmp_path)
            stop_at, writer = (
                chance.randrange(0, 40),
                threading.Thread(target=_write_some, args=(store, wanted, chance)),
            )
            writer.start()
            assert isinstance(store.backend, EncryptedBackend)
            interrupted = Interrupted(store, stop_at)
            for _ in range(5):
                done = done or (not interrupted.over and interrupted.resealing.step(store.backend))
            writer.join()
            store.close()
        (tmp_path / "key").write_text((tmp_path / "key").read_text().splitlines()[0])
    store = opened(tmp_path)
    assert {item.key: item.obj()["data"]["n"] for item in store.list("/registry/secrets/").items} == wanted
    store.close()


def _write_some(store: Store, wanted: dict[str, str], chance: random.Random) -> None:
    """What clients do meanwhile: read, change, and try again when somebody was faster."""
    for _ in range(10):
        key, text = chance.choice(sorted(wanted)), str(chance.random())
        while True:
            stored = store.get(key)
            assert stored is not None
            obj = stored.obj() | {"data": {"n": text}}
            try:
                store.update(key, obj, stored.revision)
            except RevisionMismatch:
                continue
            wanted[key] = text
            break


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("two", r"was encrypted with key 'one', which the key file does not hold"),
        ("one", r"cannot be decrypted with key 'one': wrong key or damaged"),
    ],
)
def test_a_missing_or_wrong_key_is_one_sentence_at_the_start(tmp_path: Path, key: str, said: str) -> None:
    content = generate_key(key)
    (tmp_path / "key").write_text(generate_key("one"))
    store = opened(tmp_path)
    store.create(*secret(1))
    store.close()
    (tmp_path / "key").write_text(content)
    with pytest.raises(StoreUnavailable, match=said) as raised:
        opened(tmp_path)
    assert "\n" not in str(raised.value)
