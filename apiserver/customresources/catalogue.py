"""Which custom kinds are served right now: the rows of all established definitions in the store.

Who calls it: the resource table, for everything that is not built in. Invariant: the snapshot follows the store's collection
of definitions, whoever wrote it: its revision is compared before every answer, so a definition is served by every server as
soon as its watch cache has it; nothing is polled. A snapshot is replaced as a whole.
Upstream: apiextensions-apiserver/pkg/apiserver/{customresource_handler,customresource_discovery_controller}.go.
"""

import logging
import re
import threading
from collections.abc import Iterable

from apiserver.customresources.definition import Definition
from apiserver.resources.row import Row
from apiserver.resources.table import Custom
from apiserver.storage.cache import Store
from apiserver.storage.stored import Stored
from apiserver.webhooks import Webhooks
from minikube_py.api.types import Obj

log = logging.getLogger(__name__)
COLLECTION = "/registry/customresourcedefinitions.apiextensions.k8s.io/"
_VERSION = re.compile(r"v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?")


class Catalogue:
    """Thread-safe. `computed` are the rows of kinds that are described like custom ones, and served without being stored."""

    def __init__(self, store: Store, webhooks: Webhooks, computed: Iterable[Row] = ()) -> None:
        self._store, self._webhooks, self._computed = store, webhooks, tuple(computed)
        self._revision, self._custom = -1, Custom()
        self._definitions: dict[str, tuple[int, Definition]] = {}
        self._lock = threading.Lock()

    def custom(self) -> Custom:
        """The rows as of the newest definition."""
        revision = self._store.changed(COLLECTION)
        if revision != self._revision:
            self._refresh(revision)
        return self._custom

    def _refresh(self, revision: int) -> None:
        items = self._store.list(COLLECTION, fresh=False).items
        with self._lock:  # never held while the store's is asked for: whoever holds that may be on the way here
            changed = self._replace(revision, items) if revision > self._revision else []
        for prefix in changed:
            self._store.forget_fields(prefix)
            self._store.end_watches(prefix)

    def _replace(self, revision: int, items: list[Stored]) -> list[str]:
        """Make the snapshot. Out: prefixes of the collections whose kinds are served otherwise now, or no more."""
        before, self._definitions = self._definitions, {}
        for stored in items:
            known = before.get(stored.key)
            made = known[1] if known and known[0] == stored.revision else _definition(stored, self._webhooks)
            if made is not None:
                self._definitions[stored.key] = (stored.revision, made)
        definitions = [definition for _, definition in self._definitions.values()]
        rows = sorted((version.row for one in definitions for version in one.served), key=_order)
        blocking = (one.group for one in definitions if one.conversion.blocks)
        self._custom = Custom((*self._computed, *rows), (one.storage.row for one in definitions), blocking)
        self._revision = revision
        now = {key: definition for key, (_, definition) in self._definitions.items()}
        return [
            known.storage.row.key_prefix
            for key, (_, known) in before.items()
            if key not in now or now[key].fingerprint != known.fingerprint or now[key].names != known.names
        ]


def _definition(stored: Stored, webhooks: Webhooks) -> Definition | None:
    """A definition that is served: its names were accepted, now or earlier."""
    crd = stored.obj()
    try:
        return Definition(stored.raw, webhooks) if established(crd) else None
    except (KeyError, StopIteration, TypeError):
        log.exception("a stored CustomResourceDefinition cannot be served: %s", stored.key)
        return None


def established(crd: Obj) -> bool:
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions)


def _order(row: Row) -> tuple[object, ...]:
    return row.group, version_order(row.version), row.plural


def version_order(name: str) -> tuple[object, ...]:
    """Sorts versions as discovery lists them: v2, v1, v1beta2, v1beta1, v1alpha1, and then everything else by name."""
    found = _VERSION.fullmatch(name)
    if not found:
        return 1, 0, 0, 0, name
    major, stage, minor = found.groups()
    return 0, {None: 0, "beta": 1, "alpha": 2}[stage], -int(major), -int(minor or 0), name
