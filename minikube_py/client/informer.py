"""Informers: a local, live copy of one collection, and the changes to it, told to handlers.

Who calls it: controllers, scheduler, kubelet and proxy read through informers instead of asking the API each time.
Invariants: handlers see every object's life as add, updates, delete, in order and without a gap: after a lost connection
the same list is compared with what is held, and the difference is told. They run on the informer's one thread; one that
raises is logged and stops nothing. Objects are shared: nobody may change them. A synced, idle informer costs no CPU.
Stop of the data path: 6. Upstream: staging/src/k8s.io/client-go/tools/cache (reflector.go, shared_informer.go).
"""

import logging
import random
import threading
from collections.abc import Callable, Iterable

from minikube_py.api import errors
from minikube_py.api.clock import REAL, Clock
from minikube_py.api.gvr import GVR
from minikube_py.api.meta import key_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client, Watch
from minikube_py.client.store import IndexFunction, ObjectStore

log = logging.getLogger(__name__)

Handler = Callable[[Obj | None, Obj | None], None]
_BACKOFF_FIRST, _BACKOFF_MAX = 0.1, 5.0
_SHORT_WATCH = 1.0
_WATCH_SECONDS = 300  # a watch is renewed after 5 to 10 minutes, so that a server can shed its old connections


class Informer:
    """One collection (optionally one namespace, a label or a field selection of it; optionally the metadata alone)."""

    def __init__(
        self, client: Client, res: GVR, *, namespace: str = "", label_selector: str = "", field_selector: str = "",
        metadata_only: bool = False, clock: Clock = REAL,
    ) -> None:  # fmt: skip
        self.client, self.res, self._metadata_only = client, res, metadata_only
        self._scope = {"namespace": namespace, "label_selector": label_selector, "field_selector": field_selector}
        self._clock = clock
        self._store = ObjectStore()
        self._handlers: list[Handler] = []
        self._dispatch = threading.RLock()  # held while a change is stored and told, so that late handlers miss nothing
        self._synced, self._stopped = threading.Event(), threading.Event()
        self._revision = ""
        self._connected_since: float | None = None
        self._watch: Watch | None = None
        self._thread: threading.Thread | None = None

    # -- use ----------------------------------------------------------------------------------------------------------

    def add_handler(self, handler: Handler) -> None:
        """Tell `handler(old, new)` of every change: old None = added, new None = deleted. Told of what is held already."""
        with self._dispatch:
            self._handlers.append(handler)
            for obj in self._store.list():
                self._call(handler, None, obj)

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Keep objects findable by the values `function(obj)` gives; adding the same name again replaces it."""
        self._store.add_index(name, function)

    def start(self) -> None:
        """Start listing and watching (a daemon thread). Starting twice is no error."""
        if self._thread is None and not self._stopped.is_set():
            self._thread = threading.Thread(target=self._run, name=f"informer-{self.res.plural}", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End for good; what is held stays readable."""
        self._stopped.set()
        if (watch := self._watch) is not None:
            watch.close()

    def wait_synced(self, timeout: float | None = None) -> bool:
        """Wait until the first list is held and told; False when the timeout (seconds) passed."""
        if timeout is None or self._synced.is_set():
            return self._synced.wait()
        return self._clock.wait(self._synced, timeout)

    def get(self, namespace: str, name: str) -> Obj | None:
        return self._store.get(f"{namespace}/{name}" if namespace else name)

    def get_key(self, key: str) -> Obj | None:
        """The object with this "namespace/name" (or "name")."""
        return self._store.get(key)

    def by_index(self, name: str, value: str) -> list[Obj]:
        """Objects whose index function gave this value. Raises KeyError for an index nobody added."""
        return self._store.by_index(name, value)

    def list(self, namespace: str = "") -> list[Obj]:
        """All objects held, or those of one namespace."""
        return self._store.list(namespace)

    def has_seen(self, resource_version: str) -> bool:
        """Whether every change up to this revision is held: true once this informer has caught up with a write."""
        return bool(self._revision) and int(self._revision) >= int(resource_version or 0)

    @property
    def connected_since(self) -> float | None:
        """Since when (clock.monotonic) changes reach us without a break; None while the API server is away."""
        return self._connected_since

    # -- list and watch -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        failures, relist = 0, True
        while not self._stopped.is_set():
            began = self._clock.monotonic()
            try:
                if relist:
                    self._relist()
                    relist = False
                self._watch_on()
                if self._clock.monotonic() - began > _SHORT_WATCH:
                    failures = 0
                    continue
                failures += 1  # a server that ends every watch at once must not be asked in a tight loop
            except errors.ServiceUnavailable as error:
                log.debug("informer %s: %s", self.res.plural, error)
                failures += 1
            except errors.APIError as error:
                # 410, or a revision the server has never seen (a restored store): only a new list helps.
                level = logging.DEBUG if error.code == 410 else logging.WARNING
                log.log(level, "informer %s lists again: %s", self.res.plural, error)
                failures, relist = (failures + 1, True)
            except Exception:
                log.exception("informer %s lists again", self.res.plural)
                failures, relist = (failures + 1, True)
            self._connected_since = None
            if self._clock.monotonic() - began > _BACKOFF_MAX:
                failures = 1
            delay = min(_BACKOFF_MAX, _BACKOFF_FIRST * 2.0 ** min(failures - 1, 10))
            self._clock.wait(self._stopped, delay * random.uniform(0.75, 1.25))

    def _relist(self) -> None:
        scope = self._scope
        listed = self.client.list(
            self.res, scope["namespace"], label_selector=scope["label_selector"], field_selector=scope["field_selector"],
            metadata_only=self._metadata_only,
        )  # fmt: skip
        fresh = {key_of(item): self._prepare(item) for item in listed.get("items") or []}
        for key in self._store.all_keys():
            if key not in fresh:
                self._change(key, None)
        for key, obj in fresh.items():
            old = self._store.get(key)
            if old is not None and old["metadata"].get("uid") != obj["metadata"].get("uid"):
                self._change(key, None)  # deleted and made again while we could not see it: two lives, told as two
                old = None
            if old is None or old["metadata"].get("resourceVersion") != obj["metadata"].get("resourceVersion"):
                self._change(key, obj)
        self._revision = listed["metadata"].get("resourceVersion", "")
        self._synced.set()

    def _watch_on(self) -> None:
        scope = self._scope
        watch = self.client.watch(
            self.res, scope["namespace"], resource_version=self._revision, label_selector=scope["label_selector"],
            field_selector=scope["field_selector"], timeout_seconds=int(_WATCH_SECONDS * random.uniform(1, 2)),
            metadata_only=self._metadata_only,
        )  # fmt: skip
        self._watch = watch
        if self._connected_since is None:
            self._connected_since = self._clock.monotonic()
        with watch:
            if self._stopped.is_set():
                return
            for kind, obj in watch:
                if self._stopped.is_set():
                    return
                self._event(kind, obj)

    def _event(self, kind: str, obj: Obj) -> None:
        revision = obj["metadata"].get("resourceVersion", "") or self._revision
        if kind in ("ADDED", "MODIFIED"):
            self._change(key_of(obj), self._prepare(obj), revision)
        elif kind == "DELETED":
            self._change(key_of(obj), None, revision, last=obj)
        else:
            self._revision = revision

    def _change(self, key: str, new: Obj | None, revision: str = "", last: Obj | None = None) -> None:
        with self._dispatch:
            old = self._store.put(key, new)
            if revision:
                self._revision = revision  # before the handlers run: whoever they wake must find `has_seen` true
            if old is None and new is None:
                return
            if new is None and last is not None:
                old = self._prepare(last)  # the state it died in, which may be newer than what we held
            for handler in self._handlers:
                self._call(handler, old, new)

    def _call(self, handler: Handler, old: Obj | None, new: Obj | None) -> None:
        try:
            handler(old, new)
        except Exception:
            log.exception("a handler of informer %s failed", self.res.plural)

    def _prepare(self, obj: Obj) -> Obj:
        """Lists leave kind and apiVersion out of their items; managedFields would be half of the memory and nobody reads it."""
        obj["metadata"].pop("managedFields", None)
        if self._metadata_only:
            return {"apiVersion": self.res.api_version, "kind": self.res.kind, "metadata": obj["metadata"]}
        if "kind" not in obj:
            return {"apiVersion": self.res.api_version, "kind": self.res.kind, **obj}
        return obj


class SharedInformers:
    """One informer per distinct collection and selection, shared by everything in a process."""

    def __init__(self, client: Client, clock: Clock = REAL) -> None:
        self.client, self._clock = client, clock
        self._informers: dict[tuple[str, ...], Informer] = {}
        self._lock = threading.Lock()
        self._started = False

    def of(self, res: GVR, *, namespace: str = "", label_selector: str = "", field_selector: str = "") -> Informer:
        """The informer of a collection, or of a selection of it."""
        with self._lock:
            known: tuple[str, ...] = (res.group, res.version, res.plural)
            if namespace or label_selector or field_selector:
                known = (*known, namespace, label_selector, field_selector)
            if known not in self._informers:
                self._informers[known] = Informer(
                    self.client, res, namespace=namespace, label_selector=label_selector, field_selector=field_selector,
                    clock=self._clock,
                )  # fmt: skip
                if self._started:
                    self._informers[known].start()
            return self._informers[known]

    def metadata_of(self, res: GVR) -> Informer:
        """An informer of which only the metadata is needed: the full one if there is one, else one that asks for no more."""
        with self._lock:
            full = (res.group, res.version, res.plural)
            known = self._informers.get(full) or self._informers.get((*full, "metadata"))
            if known is None:
                known = self._informers[(*full, "metadata")] = Informer(
                    self.client, res, metadata_only=True, clock=self._clock
                )
                if self._started:
                    known.start()
            return known

    def drop(self, informer: Informer) -> None:
        """End one informer; the next `of` for its collection makes a new one."""
        with self._lock:
            for known in [key for key, value in self._informers.items() if value is informer]:
                del self._informers[known]
        informer.stop()

    def start(self) -> None:
        """Start all of them; one asked for later starts at once."""
        with self._lock:
            self._started = True
            for informer in self._informers.values():
                informer.start()

    def wait_synced(self, timeout: float | None = None) -> bool:
        """Wait until every informer has synced; False when the timeout (seconds, in all) passed."""
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        for informer in self._all():
            left = None if deadline is None else max(0.0, deadline - self._clock.monotonic())
            if not informer.wait_synced(left):
                return False
        return True

    def stop(self) -> None:
        """End all of them."""
        for informer in self._all():
            informer.stop()

    def _all(self) -> Iterable[Informer]:
        with self._lock:
            return list(self._informers.values())
