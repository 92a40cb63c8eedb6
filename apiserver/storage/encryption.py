"""Secrets encrypted at rest: a backend around a backend that seals the values under certain prefixes.

Who calls it: `storage.open_backend` when `--encryption-key` is given. The only module that does AES here.
Invariant: sealed bytes say which key sealed them and are bound to their key in the store, so that a value copied to
another place does not open. The first key of the file seals; every key opens, which is how keys are rotated: put a new
one first and restart; when `resealing.py` is done, drop the others. Values from before there was a key are read as they are.
Key file: one key a line, "NAME:BASE64", 16, 24 or 32 bytes each; "#" begins a comment.
Upstream: apiserver/pkg/storage/value/encrypt/aes (aesgcm) and its k8s:enc: prefix.
"""

import base64
import binascii
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apiserver.storage.base import Backend, Change, KeyValue, Listing, RevisionMismatch, StoreUnavailable, Watch

SECRETS = ("/registry/secrets/",)
_SEALED = b"k8s:enc:aesgcm:v1:"
_NONCE = 12


def generate_key(name: str = "key1") -> str:
    """A line for a key file with a new random 256-bit key."""
    return f"{name}:{base64.b64encode(os.urandom(32)).decode()}\n"


def load_keys(path: Path) -> dict[bytes, AESGCM]:
    """The keys of a file by name, in order. Raises StoreUnavailable naming the line that is wrong."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise StoreUnavailable(f"the encryption key file {path} cannot be read: {error.strerror}") from error
    keys: dict[bytes, AESGCM] = {}
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        name, _, encoded = text.partition(":")
        try:
            keys[name.encode()] = AESGCM(base64.b64decode(encoded, validate=True))
        except (ValueError, binascii.Error) as error:
            raise StoreUnavailable(
                f"line {number} of {path} is not NAME:BASE64 with 16, 24 or 32 bytes: {error}"
            ) from error
    if not keys:
        raise StoreUnavailable(f"the encryption key file {path} holds no key: put a line NAME:BASE64 in it")
    return keys


class EncryptedBackend:
    """`Backend` that seals and opens values on the way. Raises StoreUnavailable for a value that no key opens."""

    def __init__(self, backend: Backend, key_file: Path, prefixes: tuple[str, ...] = SECRETS) -> None:
        self._backend, self._prefixes = backend, prefixes
        self._keys = load_keys(key_file)
        self.shared = backend.shared

    def get(self, key: str, revision: int = 0) -> KeyValue | None:
        return self._opened(self._backend.get(key, revision))

    def list(self, prefix: str, *, revision: int = 0, start_after: str = "", limit: int = 0) -> Listing:
        listing = self._backend.list(prefix, revision=revision, start_after=start_after, limit=limit)
        return listing._replace(items=[self.open(item) for item in listing.items])

    def create(self, key: str, value: bytes) -> int:
        return self._backend.create(key, self._seal(key, value))

    def update(self, key: str, value: bytes, expected_revision: int) -> int:
        try:
            return self._backend.update(key, self._seal(key, value), expected_revision)
        except RevisionMismatch as error:
            raise RevisionMismatch(key, self._opened(error.current)) from None

    def delete(self, key: str, expected_revision: int) -> int:
        try:
            return self._backend.delete(key, expected_revision)
        except RevisionMismatch as error:
            raise RevisionMismatch(key, self._opened(error.current)) from None

    def watch(self, prefix: str, after_revision: int, into: Watch | None = None) -> Watch:
        outer = into or Watch()
        self._backend.watch(prefix, after_revision, _Opening(self, outer))
        return outer

    def compact(self, revision: int) -> None:
        self._backend.compact(revision)

    def current_revision(self) -> int:
        return self._backend.current_revision()

    def mark(self) -> int:
        return self._backend.mark()

    def close(self) -> None:
        self._backend.close()

    @property
    def rotates(self) -> bool:
        """There are older keys in the file, which history may still need."""
        return len(self._keys) > 1

    def stale(self) -> Sequence[KeyValue]:
        """What is not sealed with the first key, as it lies in the store."""
        ours = _SEALED + next(iter(self._keys)) + b":"
        found = (item for prefix in self._prefixes for item in self._backend.list(prefix).items)
        return [item for item in found if not item.value.startswith(ours)]

    def open(self, item: KeyValue) -> KeyValue:
        """The entry with its value in the clear."""
        return item._replace(value=self.open_value(item.key, item.value))

    def open_value(self, key: str, value: bytes) -> bytes:
        if not value.startswith(_SEALED):
            return value
        name, _, sealed = value[len(_SEALED) :].partition(b":")
        cipher = self._keys.get(name)
        if cipher is None:
            raise StoreUnavailable(f"{key} was encrypted with key {name.decode()!r}, which the key file does not hold")
        try:
            return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], key.encode())
        except InvalidTag as error:
            raise StoreUnavailable(
                f"{key} cannot be decrypted with key {name.decode()!r}: wrong key or damaged"
            ) from error

    def _seal(self, key: str, value: bytes) -> bytes:
        if not key.startswith(self._prefixes):
            return value
        name, cipher = next(iter(self._keys.items()))
        nonce = os.urandom(_NONCE)
        return _SEALED + name + b":" + nonce + cipher.encrypt(nonce, value, key.encode())

    def _opened(self, item: KeyValue | None) -> KeyValue | None:
        return None if item is None else self.open(item)


class _Opening(Watch):
    """Opens what passes through. Shares its end with the watch it feeds."""

    def __init__(self, backend: EncryptedBackend, into: Watch) -> None:
        self._backend, self._into = backend, into
        super().__init__()

    @property
    def closed(self) -> bool:
        return self._into.closed

    @closed.setter
    def closed(self, value: bool) -> None:
        if value:
            self._into.close()

    def push(self, changes: "list[Change]") -> None:
        self._into.push([self._open(change) for change in changes])

    def fail(self, error: Exception) -> None:
        self._into.fail(error)

    def _open(self, change: Change) -> Change:
        value, before = change.value, change.previous
        return change._replace(
            value=None if value is None else self._backend.open_value(change.key, value),
            previous=None if before is None else self._backend.open(before),
        )
