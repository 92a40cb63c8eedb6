"""Keeps the APIServices: makes those of what this server serves itself, and says of every one whether it is available.

Who calls it: `main.run` starts it, in every API server; the store wakes it when an APIService, a definition, a Service or its
endpoints change. Invariant: an APIService that somebody else made is never changed but in its status; every step reads the
newest state and may be repeated by anybody. A server is asked again after half a minute, sooner after a failure, at once
when something about it changed.
Upstream: kube-aggregator/pkg/controllers/{autoregister,status}, pkg/controlplane/controller/crdregistration.
"""

import contextlib
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from apiserver import services
from apiserver.aggregation import availability, local
from apiserver.aggregation.availability import Verdict
from apiserver.aggregation.catalogue import COLLECTION, APIServices, remote_of
from apiserver.aggregation.dial import Dialer
from apiserver.aggregation.documents import Documents
from apiserver.auth.user import SERVER
from apiserver.background import Background
from apiserver.customresources.catalogue import COLLECTION as DEFINITIONS
from apiserver.registry import Call, Registry
from apiserver.resources import table
from minikube_py.api import errors
from minikube_py.api.clock import rfc3339
from minikube_py.api.meta import labels_of, name_of, set_condition
from minikube_py.api.types import Obj

log = logging.getLogger(__name__)
_KIND = "apiservices.apiregistration.k8s.io"
_WOKEN_BY = (COLLECTION, DEFINITIONS, "/registry/services/", services.SLICES)
_AGAIN_SECONDS, _FIRST_BACKOFF, _LONGEST_BACKOFF = 30.0, 0.5, 15.0
_PARALLEL = 8


class _Checked(NamedTuple):
    """The last look at a server: what it rested on, how often in a row it failed, when it is due again."""

    inputs: object
    failures: int
    due: float


class AggregationController:
    """A background thread, and a few more while servers are asked."""

    def __init__(self, registry: Registry, services: APIServices, dialer: Dialer, documents: Documents) -> None:
        self._registry, self._services, self._dialer, self._documents = registry, services, dialer, documents
        self._registered: list[int] = []
        self._store, self._clock = registry.store, registry.clock
        self._row = table.get("apiregistration.k8s.io", "apiservices")
        self._checked: dict[str, _Checked] = {}
        self._thread = Background("aggregation", self._clock, self.step)

    def start(self) -> None:
        for prefix in _WOKEN_BY:
            self._store.on_change(prefix, self._thread.wake)
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop()

    def step(self) -> float:
        """Look at every APIService once. Out: the seconds until one must be looked at again."""
        revisions = [self._store.changed(prefix) for prefix in (COLLECTION, DEFINITIONS)]
        if revisions != self._registered:  # Services and their endpoints change all the time
            self._register()
            self._registered = revisions
        remote = [service for service in self._listed() if service["spec"].get("service")]
        now = self._clock.monotonic()
        due = [service for service in remote if self._is_due(service, now)]
        if due:
            with ThreadPoolExecutor(min(_PARALLEL, len(due)), thread_name_prefix="availability") as pool:
                list(pool.map(self._check, due))
        self._forget(map(name_of, remote))
        return min([_AGAIN_SECONDS, *(one.due - self._clock.monotonic() for one in self._checked.values())])

    def _listed(self) -> list[Obj]:
        """All APIServices when there are such of other servers; none costs nothing."""
        return self._registry.lister(_KIND) if self._services.remotes() else []

    # ---- what we serve ourselves -------------------------------------------------------------------------------------

    def _register(self) -> None:
        wanted = {local.name_of(row): row for row in table.rows()}
        there = {name_of(service): service for service in self._registry.lister(_KIND)}
        for service in there.values():
            if not service["spec"].get("service"):
                self._say(service, availability.LOCAL)
        for name, row in wanted.items():
            if name not in there:
                with contextlib.suppress(errors.AlreadyExists):
                    self._registry.create(Call(self._row, "", name, SERVER), local.service(row))
        for name, service in there.items():
            if name not in wanted and labels_of(service).get(local.MANAGED):
                with contextlib.suppress(errors.NotFound, errors.Conflict):
                    self._registry.remove(
                        _KIND, "", name, {"preconditions": {"uid": service["metadata"]["uid"]}}, SERVER
                    )

    # ---- what others serve -------------------------------------------------------------------------------------------

    def _is_due(self, service: Obj, now: float) -> bool:
        known = self._checked.get(name_of(service))
        return known is None or known.due <= now or known.inputs != self._inputs(service)

    def _inputs(self, service: Obj) -> object:
        """What the verdict rests on, besides the server itself."""
        place = service["spec"]["service"]
        found = services.find(self._store, place["namespace"], place["name"])
        slices = services.slices(self._store, place["namespace"], place["name"])
        return service["spec"], found and found["spec"], [(one.get("ports"), one.get("endpoints")) for one in slices]

    def _check(self, service: Obj) -> None:
        name, inputs, remote = name_of(service), self._inputs(service), remote_of(service)
        verdict = availability.judge(self._store, self._dialer, remote)
        if verdict is availability.PASSED:
            self._documents.fetch(remote)
        known = self._checked.get(name)
        failures = 0 if verdict is availability.PASSED else 1 + (known.failures if known else 0)
        pause = min(_FIRST_BACKOFF * 2 ** (failures - 1), _LONGEST_BACKOFF) if failures else _AGAIN_SECONDS
        self._checked[name] = _Checked(inputs, failures, self._clock.monotonic() + pause)
        self._say(service, verdict)

    def _say(self, service: Obj, verdict: Verdict) -> None:
        """Write the condition where it is another."""
        now = rfc3339(self._clock.now())

        def mutate(new: Obj) -> Obj:
            if new["spec"] == service["spec"]:  # else the verdict is about something that is no more
                status = new.setdefault("status", {})
                set_condition(status, "Available", verdict.status, now, verdict.reason, verdict.message)
            return new

        with contextlib.suppress(errors.NotFound):
            self._registry.change(_KIND, "", name_of(service), mutate)

    def _forget(self, names: Iterable[str]) -> None:
        kept = set(names)
        self._checked = {name: known for name, known in self._checked.items() if name in kept}
        self._documents.keep(kept)
