"""What one kind does differently on its way through the registry: the hooks, and the generic behaviour behind them.

Who calls it: `apiserver/registry.py`, in upstream's fixed order: decode → default → (admit) → prepare → validate → (admit)
→ begin → store → after. Who fills it: one row per kind with quirks in `apiserver/strategies/__init__.py`.
Invariant: a hook mutates only the object it is given as new; `old` is never mutated. Writes to the main endpoint never
change status, writes to `/status` never change spec. `metadata.generation` is the server's own.
Stop of the data path: 3 (defaults, preparation, validation).
Upstream: staging/src/k8s.io/apiserver/pkg/registry/rest (create.go, update.go, delete.go) and pkg/registry/*/strategy.go.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, NamedTuple, Protocol

from apiserver.strategies import metadata
from minikube_py.api.clock import Clock, parse_rfc3339, rfc3339
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

Finish = Callable[[bool], None]
"""What a `begin_*` hook leaves behind; called once with True when the store took the write, with False when it did not."""


class User(Protocol):
    """Who makes the request (`apiserver/auth` has the concrete class)."""

    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def groups(self) -> Sequence[str]: ...
    @property
    def extra(self) -> Mapping[str, Sequence[str]]: ...


class Writer(Protocol):
    """The few writes that strategies and admission do themselves; `apiserver/registry.py` is the real one.

    `resource` is the qualified plural: "pods", "deployments.apps". All raise NotFound, Conflict … of `api/errors`.
    """

    def change(self, resource: str, namespace: str, name: str, mutate: Callable[[Obj], Obj | None]) -> Obj:
        """Read, mutate a copy, compare-and-swap; read again when somebody was faster. Returning None writes nothing.

        No strategy and no admission run: this is the server acting on its own state. Out: the object as stored.
        """

    def remove(self, resource: str, namespace: str, name: str, options: Obj, user: User) -> Obj:
        """The ordinary delete, DeleteOptions included (preconditions, grace), without admission."""


def _nothing(*_: Any) -> None:
    return None


def _no_causes(*_: Any) -> list[Cause]:
    return []


def _no_fields(_: Obj) -> dict[str, str]:
    return {}


def _spec_changed(new: Obj, old: Obj) -> bool:
    return bool(new.get("spec") != old.get("spec"))


@dataclass(frozen=True)
class Context:
    """One request as the hooks see it. `lookup` and `lister` take the qualified plural and read the store.

    `allocators` is `strategies.allocators.Allocators`, `options` the server's Options, `accounts` the signer of
    service-account tokens (`auth/tokens.py`), given only to subresources. `dynamic` is `admission.dynamic.Dynamic`.
    """

    user: User
    clock: Clock
    lookup: Callable[[str, str, str], Obj | None]
    lister: Callable[[str, str], list[Obj]]
    registry: Writer | None = None
    dry_run: bool = False
    allocators: Any = None
    options: Any = None
    accounts: Any = None
    dynamic: Any = None

    def writer(self) -> Writer:
        """The registry; a request that gets here without one is a wiring mistake."""
        assert self.registry is not None, "this context was made without a registry"
        return self.registry

    def now(self) -> str:
        """The moment as `metav1.Time`."""
        return rfc3339(self.clock.now())


class View(NamedTuple):
    """A subresource through which the parent is updated (`pods/resize`): what it may change, and what is wrong with it.

    `prepare(new, old, ctx)` takes from `new` only what the view is for; `validate(new, old)` judges the result.
    """

    prepare: Callable[[Obj, Obj, Context], None]
    validate: Callable[[Obj, Obj], list[Cause]] = _no_causes


Deletion = Literal["now", "marked", "pending"]


@dataclass(frozen=True)
class Strategy:
    """The hooks of one kind. Fields are what the kind's row fills in; methods are what the registry calls.

    `name_rule`: value → sentence that says what is wrong with it, or "". `generation`: the kind counts its generations.
    `checks` run at creation and update, `create_checks` at creation alone. `initial_status`: what status holds right after
    creation. `keep_status`: status may be given at creation (Node). `views`: subresources that update the object itself.
    `on_delete(obj, now)` may hold an object back by a finalizer when its deletion begins.
    """

    name_rule: Callable[[str], str] = metadata.subdomain
    defaults: Callable[[Obj], None] = _nothing
    on_create: Callable[[Obj, Context], None] = _nothing
    on_update: Callable[[Obj, Obj, Context], None] = _nothing
    on_status_update: Callable[[Obj, Obj], None] = _nothing
    checks: Callable[[Obj], list[Cause]] = _no_causes
    create_checks: Callable[[Obj], list[Cause]] = _no_causes
    update_checks: Callable[[Obj, Obj], list[Cause]] = _no_causes
    status_checks: Callable[[Obj, Obj], list[Cause]] = _no_causes
    selectable: Callable[[Obj], dict[str, str]] = _no_fields
    on_delete: Callable[[Obj, str], None] = _nothing
    grace: Callable[[Obj, Obj], int | None] = _nothing
    begin_create: Callable[[Obj, Context], Finish | None] = _nothing
    begin_update: Callable[[Obj, Obj, Context], Finish | None] = _nothing
    after_create: Callable[[Obj, Context], None] = _nothing
    after_update: Callable[[Obj, Obj, Context], None] = _nothing
    after_delete: Callable[[Obj, Context], None] = _nothing
    changed: Callable[[Obj, Obj], bool] = _spec_changed
    generation: bool = False
    has_status: bool = False
    keep_status: bool = False
    initial_status: Obj | None = None
    unconditional_update: bool = True
    create_on_update: bool = False
    returns_deleted: bool = False
    warnings: Callable[[Obj], list[str]] = field(default=lambda _: [])
    views: Mapping[str, View] = field(default_factory=dict)

    def default(self, obj: Obj) -> None:
        """Fill in what the client left out. Idempotent; runs on every decoded object, and again after mutating admission."""
        self.defaults(obj)

    def prepare_create(self, obj: Obj, ctx: Context) -> None:
        """Take away what a client may not set: status, generation, deletion marks."""
        meta = obj["metadata"]
        for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"):
            meta.pop(name, None)
        if self.generation:
            meta["generation"] = 1
        if self.has_status and not self.keep_status:
            obj.pop("status", None)
            if self.initial_status is not None:
                obj["status"] = _copy(self.initial_status)
        self.on_create(obj, ctx)

    def prepare_update(self, new: Obj, old: Obj, ctx: Context) -> None:
        """A write to the main endpoint: status and server-owned metadata come from `old`; generation follows the spec."""
        metadata.carry_over(new, old)
        if self.has_status:
            _take(new, old, "status")
        self.on_update(new, old, ctx)
        self.count_generation(new, old)

    def prepare_status_update(self, new: Obj, old: Obj) -> None:
        """A write to `/status`: takes status and metadata's labels, annotations, finalizers … ; everything else is old."""
        metadata.carry_over(new, old)
        for name in [*new, *old]:
            if name not in ("apiVersion", "kind", "metadata", "status"):
                _take(new, old, name)
        _take(new["metadata"], old["metadata"], "deletionTimestamp")
        _take(new["metadata"], old["metadata"], "ownerReferences")
        self.on_status_update(new, old)

    def prepare_view(self, subresource: str, new: Obj, old: Obj, ctx: Context) -> None:
        """A write to a subresource that updates its parent: `status`, or one of `views`."""
        if subresource == "status" or subresource not in self.views:
            self.prepare_status_update(new, old)
            return
        metadata.carry_over(new, old)
        self.views[subresource].prepare(new, old, ctx)
        self.count_generation(new, old)

    def validate_view(self, subresource: str, new: Obj, old: Obj) -> list[Cause]:
        """What is wrong with such a write."""
        if subresource == "status" or subresource not in self.views:
            return self.validate_status_update(new, old)
        causes = metadata.validate_update(new["metadata"], old["metadata"])
        return [*causes, *self.views[subresource].validate(new, old)]

    def count_generation(self, new: Obj, old: Obj) -> None:
        """generation + 1 when what the kind counts has changed; otherwise as before."""
        generation = old["metadata"].get("generation")
        if self.generation:
            generation = (generation or 0) + 1 if self.changed(new, old) else generation
        if generation is None:
            new["metadata"].pop("generation", None)
        else:
            new["metadata"]["generation"] = generation

    def validate(self, obj: Obj) -> list[Cause]:
        """What is wrong with an object about to be created, beyond what the schema says."""
        return [*metadata.validate(obj["metadata"], self.name_rule), *self.checks(obj), *self.create_checks(obj)]

    def validate_update(self, new: Obj, old: Obj) -> list[Cause]:
        """What is wrong with `new` as a successor of `old` (main endpoint)."""
        return [
            *metadata.validate_update(new["metadata"], old["metadata"]),
            *self.checks(new),
            *self.update_checks(new, old),
        ]

    def validate_status_update(self, new: Obj, old: Obj) -> list[Cause]:
        """What is wrong with a write to `/status`."""
        return [*metadata.validate_update(new["metadata"], old["metadata"]), *self.status_checks(new, old)]

    def fields(self, obj: Obj) -> dict[str, str]:
        """What field selectors may ask about this kind, besides metadata.name and metadata.namespace."""
        return self.selectable(obj)

    def field_names(self) -> frozenset[str]:
        """The field labels this kind supports; any other is a 400."""
        return frozenset(self.selectable({"metadata": {}}))

    def graceful_seconds(self, obj: Obj, options: Obj) -> int | None:
        """Seconds the object is given to end in order; None: it goes at once."""
        return self.grace(obj, options) or None

    def before_delete(self, obj: Obj, options: Obj, clock: Clock) -> Deletion:
        """Decide about a delete. "now": remove it (finalizers permitting); "marked": store the changed object, which now
        carries deletionTimestamp; "pending": nothing to do, it is already going. Mutates `obj` only when marking.
        """
        meta = obj["metadata"]
        asked = options.get("gracePeriodSeconds")
        if meta.get("deletionTimestamp"):
            running = meta.get("deletionGracePeriodSeconds") or 0
            if running == 0:
                return "now"
            if asked is None or asked >= running:
                return "pending"
            asked = max(int(asked), 0) if asked >= 0 else 1
            started = parse_rfc3339(meta["deletionTimestamp"]) - timedelta(seconds=running)
            meta["deletionTimestamp"] = rfc3339(started + timedelta(seconds=asked))
            meta["deletionGracePeriodSeconds"] = asked
            return "marked" if asked else "now"
        self.on_delete(obj, rfc3339(clock.now()))
        seconds = self.graceful_seconds(obj, options)
        if seconds is None:
            return "now"
        mark_deleting(obj, clock, seconds)
        return "marked"


def mark_deleting(obj: Obj, clock: Clock, grace: int = 0) -> None:
    """Set deletionTimestamp (now + grace) and deletionGracePeriodSeconds, and count the generation. Mutates `obj`."""
    meta = obj["metadata"]
    meta["deletionTimestamp"] = rfc3339(clock.now() + timedelta(seconds=grace))
    meta["deletionGracePeriodSeconds"] = grace
    if meta.get("generation"):
        meta["generation"] += 1


def _take(new: Obj, old: Obj, name: str) -> None:
    if name in old:
        new[name] = old[name]
    else:
        new.pop(name, None)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


GENERIC = Strategy()
