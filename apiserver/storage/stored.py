"""An object as the cache holds it: bytes ready to be sent, decoded only when somebody must look inside.

Who calls it: the watch cache and everything above it that reads from the store.
Invariant: in the store an object has no resourceVersion (it is not known before the commit); `raw` is the same JSON with
the version spliced in as the first member of metadata. The store's JSON always starts apiVersion, kind, metadata, so that
the place is found without parsing. A `Stored` never changes.
Upstream: the role of storage/cacher's cached encoded objects; versions come from the store as in storage/etcd3.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson

from minikube_py.api.types import Obj

FieldsOf = Callable[[str, Obj], dict[str, str]]
"""(plural key such as "deployments.apps", object) to the fields that field selectors may name."""

_METADATA = b'"metadata":{'


class Matcher(Protocol):
    """A label or field selector."""

    def matches(self, values: Mapping[str, str], /) -> bool: ...


def collection_of(key: str) -> str:
    """The part of a key that names the collection: "/registry/pods/" of "/registry/pods/default/a"."""
    return key[: key.index("/", len("/registry/")) + 1]


def encode(obj: Obj) -> bytes:
    """The bytes the store keeps: no resourceVersion, apiVersion, kind and metadata first. `obj` is not changed."""
    metadata = {field: value for field, value in obj["metadata"].items() if field != "resourceVersion"}
    head = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata}
    return orjson.dumps(head | {field: value for field, value in obj.items() if field not in head})


def splice(value: bytes, revision: int) -> bytes:
    """`encode`'s bytes with metadata.resourceVersion put in."""
    at = value.index(_METADATA) + len(_METADATA)
    comma = b"" if value[at : at + 1] == b"}" else b","
    return b'%b"resourceVersion":"%d"%b%b' % (value[:at], revision, comma, value[at:])


class Stored:
    """One version of one object. `raw` is complete JSON; `labels` and `fields` are what selectors are matched with."""

    __slots__ = ("_fields_of", "_selectable", "key", "raw", "revision")

    def __init__(self, key: str, revision: int, raw: bytes, fields_of: FieldsOf) -> None:
        self.key, self.revision, self.raw = key, revision, raw
        self._fields_of = fields_of
        self._selectable: tuple[dict[str, str], dict[str, str]] | None = None

    def obj(self) -> Obj:
        """A fresh decoded copy, the caller's to change."""
        decoded: Any = orjson.loads(self.raw)
        return decoded  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def labels(self) -> dict[str, str]:
        return self._look_inside()[0]

    @property
    def fields(self) -> dict[str, str]:
        return self._look_inside()[1]

    def matches(self, labels: Matcher | None, fields: Matcher | None) -> bool:
        """Both selectors, each None for everything."""
        if labels is not None and not labels.matches(self.labels):
            return False
        return fields is None or fields.matches(self.fields)

    def at_revision(self, revision: int) -> "Stored":
        """The same object under another resourceVersion: what a DELETED event shows."""
        old = b'"resourceVersion":"%d"' % self.revision
        raw = self.raw.replace(old, b'"resourceVersion":"%d"' % revision, 1)
        return Stored(self.key, revision, raw, self._fields_of)

    def forget(self) -> None:
        """Look inside again when next asked."""
        self._selectable = None

    def _look_inside(self) -> tuple[dict[str, str], dict[str, str]]:
        """Decoded on first use and kept; two threads doing it at once come to the same."""
        if self._selectable is None:
            obj = self.obj()
            metadata = obj["metadata"]
            own = {"metadata.name": metadata.get("name", ""), "metadata.namespace": metadata.get("namespace", "")}
            plural = collection_of(self.key)[len("/registry/") : -1]
            self._selectable = (metadata.get("labels") or {}, own | self._fields_of(plural, obj))
        return self._selectable
