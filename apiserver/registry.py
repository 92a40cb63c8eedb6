"""The registry: every write to an object, in upstream's fixed order, over the store, the strategies and admission.

Who calls it: the REST edge (`apiserver/rest.py`) after routing, authorisation and decoding; bootstrap; strategies that must
write (`change`, `remove`). Objects here are in their stored form; the edge converts.
Invariant: default → admit (may mutate) → default again → prepare → validate → admit (may refuse) → begin → compare-and-swap
→ after. A write with a stale resourceVersion is refused, one without is retried on the newest object; a write that changes
nothing is not written; nothing is returned before the store has it.
Stop of the data path: 3 (default, admit, validate, compare-and-swap).
Upstream: staging/src/k8s.io/apiserver/pkg/registry/rest (create.go, update.go) and registry/generic/registry/store.go.
"""

import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from apiserver import strategies
from apiserver.admission import chain
from apiserver.options import Options
from apiserver.resources import convert, table
from apiserver.resources.row import Row
from apiserver.storage.base import KeyExists, RevisionMismatch
from apiserver.storage.cache import Store
from apiserver.storage.stored import Stored
from apiserver.strategies.base import Context, Strategy, User
from minikube_py.api import errors, managed_fields, schema
from minikube_py.api.clock import Clock, rfc3339
from minikube_py.api.clone import clone
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_NAME_SUFFIX = 5
_CREATE_ATTEMPTS = 8
_UPDATE_ATTEMPTS = 60

Make = Callable[[Obj], Obj]
"""Given a private copy of the stored object (or, for create-on-update, an empty one), the object that shall replace it."""


@dataclass
class Call:
    """One write as the registry sees it. `row` is the row in whose form the object is stored.

    `manager` is who will own the fields it changes; `applies` says that this is a server-side apply, which settles the
    ownership itself and may create. `requested` is the row that was asked for, `query` what came with it, `patches` that it
    is a PATCH; `admitted`: admission has seen this write already, in the form of its subresource. `warnings` are for the
    client, `annotations` for the audit log.
    """

    row: Row
    namespace: str
    name: str
    user: User
    subresource: str = ""
    dry_run: bool = False
    manager: str = "apiserver"
    applies: bool = False
    options: Obj = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    requested: Row | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    patches: bool = False
    admitted: bool = False


Guard = Callable[[Call, Obj, Obj | None], None]
"""(call, new, old): the last word before the store; raises what refuses the write."""


class Registry:
    """The writes of one API server. Thread-safe: all state is in the store and the allocators.

    `guards`, by qualified plural, are what only the wiring knows: RBAC's rule that nobody grants more than they hold; so is
    `dynamic`, what admission by the cluster's own objects needs.
    """

    def __init__(self, store: Store, clock: Clock, options: Options, allocators: Any = None) -> None:
        self.store, self.clock, self.options, self.allocators = store, clock, options, allocators
        self.guards: dict[str, Guard] = {}
        self.dynamic: Any = None
        self._schemas = schema.load()

    def context(self, user: User, dry_run: bool = False) -> Context:
        """What hooks and plugins get to see of one request."""
        return Context(
            user=user, clock=self.clock, lookup=self.lookup, lister=self.lister, registry=self, dry_run=dry_run,
            allocators=self.allocators, options=self.options, dynamic=self.dynamic,
        )  # fmt: skip

    def lookup(self, plural_key: str, namespace: str, name: str) -> Obj | None:
        """One stored object by qualified plural, or None; for rules, which may lag behind another server as upstream's do."""
        row = _row(plural_key)
        stored = self.store.get(row.key(namespace, name), fresh=False)
        return convert.read(row, stored.obj()) if stored else None

    def lister(self, plural_key: str, namespace: str = "") -> list[Obj]:
        """All stored objects of a collection, or of its part in one namespace."""
        page = self.store.list(_row(plural_key).prefix(namespace), None, None, fresh=False)
        return [stored.obj() for stored in page.items]

    def get(self, row: Row, namespace: str, name: str) -> Stored:
        """The stored object. Raises NotFound."""
        stored = self.store.get(row.key(namespace, name))
        if stored is None:
            raise errors.not_found(row.plural, name, row.group)
        return stored

    # ---- create ------------------------------------------------------------------------------------------------------

    def create(self, call: Call, obj: Obj) -> Stored:
        """Store a new object. In: `obj` decoded, in stored form; it is changed on the way. Out: the object as stored.

        Raises AlreadyExists, BadRequest, Invalid, Forbidden. A generated name that is taken is replaced by another.
        """
        meta = obj.setdefault("metadata", {})
        _match_namespace(call, meta)
        if not meta.get("resourceVersion"):
            meta.pop("resourceVersion", None)
        generated = not meta.get("name") and bool(meta.get("generateName"))
        attempts = _CREATE_ATTEMPTS if generated else 1
        for attempt in range(attempts):
            candidate = clone(obj) if attempts > 1 else obj
            try:
                return self._create(call, candidate)
            except KeyExists:
                call.name = call.name if not generated else candidate["metadata"]["name"]
                if attempt == attempts - 1:
                    raise errors.already_exists(
                        call.row.plural, candidate["metadata"]["name"], call.row.group
                    ) from None
        raise AssertionError("unreachable")

    def _create(self, call: Call, obj: Obj) -> Stored:
        strategy = strategies.for_row(call.row)
        ctx = self.context(call.user, call.dry_run)
        attributes = self.attributes(call, chain.CREATE, obj, None, ctx)
        strategy.default(obj)
        chain.admit(attributes)
        obj = attributes.obj or obj
        strategy.default(obj)
        self._fill_metadata(obj)
        strategy.prepare_create(obj, ctx)
        self._claim_fields(call, obj, None)
        attributes.name = obj["metadata"].get("name", "")
        self._refuse_invalid(call.row, obj, [*self._schema_causes(call.row, obj), *strategy.validate(obj)])
        self._guard(call, obj, None)
        chain.validate(attributes)
        if obj["metadata"].get("resourceVersion"):  # which upstream's store says, after everybody else
            raise errors.BadRequest("resourceVersion should not be set on objects to be created")
        call.warnings += strategy.warnings(obj)
        key = call.row.key(call.namespace, obj["metadata"]["name"])
        if call.dry_run:
            if self.store.get(key) is not None:
                raise KeyExists(key)
            strategy.begin_create(obj, ctx)
            return self.unstored(key, obj)
        stored = _finishing(
            attributes,
            lambda: strategy.begin_create(obj, ctx),
            lambda: self.store.create(key, convert.write(call.row, obj)),
        )
        strategy.after_create(obj, ctx)
        return stored

    def _fill_metadata(self, obj: Obj) -> None:
        """uid, creationTimestamp, and the name when only a prefix was given."""
        meta = obj["metadata"]
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = rfc3339(self.clock.now())
        if not meta.get("name") and meta.get("generateName"):
            suffix = "".join(secrets.choice(_NAME_ALPHABET) for _ in range(_NAME_SUFFIX))
            meta["name"] = meta["generateName"][: 63 - _NAME_SUFFIX] + suffix

    # ---- update ------------------------------------------------------------------------------------------------------

    def update(self, call: Call, make: Make, *, retry: bool = False) -> tuple[Stored, bool]:
        """Replace an object by what `make` returns for it. `retry`: `make` is asked again when somebody was faster.

        Out: the object as stored, and whether it was created (kinds that may be created by update). Raises NotFound,
        Conflict, Invalid, Forbidden.
        """
        row, strategy = call.row, strategies.for_row(call.row)
        key = row.key(call.namespace, call.name)
        for _ in range(_UPDATE_ATTEMPTS):
            before = self.store.get(key)
            if before is None:
                if (call.applies or strategy.create_on_update) and not call.subresource:
                    return self.create(call, make({})), True
                raise errors.not_found(row.plural, call.name, row.group)
            old = convert.read(row, before.obj())
            new = make(convert.read(row, before.obj()))
            conditional = self._check_preconditions(call, strategy, new, old)
            try:
                return self._replace(call, strategy, new, old, before), False
            except RevisionMismatch:
                if conditional and not retry:
                    raise errors.conflict(row.plural, call.name, errors.STALE, row.group) from None
        raise errors.conflict(row.plural, call.name, errors.STALE, row.group)

    def _check_preconditions(self, call: Call, strategy: Strategy, new: Obj, old: Obj) -> bool:
        """Names and namespace fit the URL, uid and resourceVersion fit the stored object. Out: a version was given."""
        row, meta = call.row, new.setdefault("metadata", {})
        _match_namespace(call, meta)
        name = meta.setdefault("name", call.name)
        if name != call.name:
            raise errors.BadRequest(f"the name of the object ({name}) does not match the name on the URL ({call.name})")
        version, current = meta.get("resourceVersion") or "", old["metadata"]["resourceVersion"]
        uid, has = meta.get("uid"), old["metadata"]["uid"]
        if uid and uid != has:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {has}"
            raise errors.conflict(row.plural, call.name, why, row.group)
        if version and version != current:
            raise errors.conflict(row.plural, call.name, errors.STALE, row.group)
        if not version and not strategy.unconditional_update:
            cause = Cause(
                "FieldValueInvalid", "Invalid value: 0: must be specified for an update", "metadata.resourceVersion"
            )
            raise errors.invalid(row.kind, call.name, [cause], row.group)
        return bool(version)

    def _replace(self, call: Call, strategy: Strategy, new: Obj, old: Obj, before: Stored) -> Stored:
        ctx = self.context(call.user, call.dry_run)
        attributes = self.attributes(call, chain.UPDATE, new, old, ctx)
        strategy.default(new)
        if not call.admitted:
            chain.admit(attributes)
        new = attributes.obj or new
        strategy.default(new)
        if call.subresource:
            strategy.prepare_view(call.subresource, new, old, ctx)
            causes = strategy.validate_view(call.subresource, new, old)
        else:
            strategy.prepare_update(new, old, ctx)
            causes = strategy.validate_update(new, old)
        self._claim_fields(call, new, old)
        self._refuse_invalid(call.row, new, [*self._schema_causes(call.row, new), *causes])
        self._guard(call, new, old)
        if not call.admitted:
            chain.validate(attributes)
        if not call.subresource:
            call.warnings += strategy.warnings(new)
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if released(new):
            return self._delete_now(call, strategy, new, before, attributes)
        stored_form = convert.write(call.row, new)
        if managed_fields.same_but_times(stored_form, old if call.row.custom is None else before.obj()):
            return before
        if call.dry_run:
            return self.unstored(before.key, new, before.revision)
        stored = _finishing(
            attributes,
            lambda: strategy.begin_update(new, old, ctx) if not call.subresource else None,
            lambda: self.store.update(before.key, stored_form, before.revision),
        )
        if not call.subresource:
            strategy.after_update(new, old, ctx)
        return stored

    def _delete_now(
        self, call: Call, strategy: Strategy, last: Obj, before: Stored, attributes: chain.Attributes
    ) -> Stored:
        """Remove an object whose last finalizer this write took away."""
        if call.dry_run:
            return self.unstored(before.key, last, before.revision)
        gone = self.store.delete(before.key, before.revision)
        strategy.after_delete(last, attributes.ctx)
        chain.deleted(attributes, last)
        return gone

    # ---- the server's own writes -------------------------------------------------------------------------------------

    def change(self, resource: str, namespace: str, name: str, mutate: Callable[[Obj], Obj | None]) -> Obj:
        """Read, mutate a copy, compare-and-swap, without strategy and admission. See `strategies.base.Writer`."""
        row = _row(resource)
        for _ in range(_UPDATE_ATTEMPTS):
            before = self.get(row, namespace, name)
            new = mutate(before.obj())
            if new is None or managed_fields.same_but_times(new, before.obj()):
                return before.obj()
            try:
                return self.store.update(before.key, new, before.revision).obj()
            except RevisionMismatch:
                continue
        raise errors.conflict(row.plural, name, errors.STALE, row.group)

    def remove(self, resource: str, namespace: str, name: str, options: Obj, user: User) -> Obj:
        """The ordinary delete, but that admission has judged what leads to it. See `strategies.base.Writer`."""
        from apiserver import deletion

        call = Call(_row(resource), namespace, name, user, options=options, admitted=True)
        return deletion.delete(self, call)[0].obj()

    def admit(self, call: Call, obj: Obj, old: Obj | None = None) -> Obj:
        """Admission alone, for what is not stored as it comes: reviews, subresources. Out: what mutation left of `obj`.

        The call is a CREATE without `old`, else an UPDATE. Raises the first refusal.
        """
        verb = chain.CREATE if old is None else chain.UPDATE
        attributes = self.attributes(call, verb, obj, old, self.context(call.user, call.dry_run))
        chain.admit(attributes)
        chain.validate(attributes)
        return attributes.obj or obj

    # ---- shared steps ------------------------------------------------------------------------------------------------

    def attributes(self, call: Call, verb: str, obj: Obj | None, old: Obj | None, ctx: Context) -> chain.Attributes:
        return chain.Attributes(
            verb=verb, row=call.row, namespace=call.namespace, name=call.name, obj=obj, old=old, user=call.user, ctx=ctx,
            subresource=call.subresource, dry_run=call.dry_run, options=call.options, requested=call.requested,
            query=call.query, patches=call.patches, warnings=call.warnings, annotations=call.annotations,
        )  # fmt: skip

    def _guard(self, call: Call, new: Obj, old: Obj | None) -> None:
        guard = self.guards.get(call.row.plural_key)
        if guard is not None:
            guard(call, new, old)

    def _claim_fields(self, call: Call, new: Obj, old: Obj | None) -> None:
        """Note in managedFields whose the changed fields now are."""
        if not call.applies:
            now = rfc3339(self.clock.now())
            managed_fields.update_managed_fields(
                old, new, call.manager, node=self._node(call.row), now=now, subresource=call.subresource
            )

    def _schema_causes(self, row: Row, obj: Obj) -> list[Cause]:
        node = self._node(row)
        return schema.validate(node, obj) if node is not None else []

    def _node(self, row: Row) -> schema.Node | None:
        return self._schemas.for_gvk(row.group, row.version, row.kind) if row.custom is None else row.custom.node

    def _refuse_invalid(self, row: Row, obj: Obj, causes: list[Cause]) -> None:
        if causes:  # schema and strategy may have found the same thing
            raise errors.invalid(row.kind, obj["metadata"].get("name", ""), list(dict.fromkeys(causes)), row.group)

    def unstored(self, key: str, obj: Obj, revision: int = 0) -> Stored:
        """What a dry run answers: the object as it would have been stored."""
        return Stored(key, revision, orjson.dumps(obj), lambda _key, _obj: {})


def _row(plural_key: str) -> Row:
    row = table.by_plural_key(plural_key)
    if row is None:
        raise LookupError(f"no resource is stored as {plural_key}")
    return row


def is_namespace(obj: Obj) -> bool:
    return obj.get("kind") == "Namespace" and obj.get("apiVersion") == "v1"


def released(obj: Obj) -> bool:
    """True for an object that is being deleted, has no grace left to wait for, and no finalizer holds any more."""
    meta = obj["metadata"]
    held = meta.get("finalizers") or meta.get("deletionGracePeriodSeconds")
    if is_namespace(obj):  # the only kind with finalizers of its spec: its content goes first
        held = held or (obj.get("spec") or {}).get("finalizers")
    return bool(meta.get("deletionTimestamp")) and not held


def _match_namespace(call: Call, meta: Obj) -> None:
    if not call.row.namespaced:
        meta.pop("namespace", None)
    elif meta.setdefault("namespace", call.namespace) != call.namespace:
        raise errors.BadRequest("the namespace of the provided object does not match the namespace sent on the request")


def _finishing(
    attributes: chain.Attributes, begin: Callable[[], Callable[[bool], None] | None], write: Callable[[], Stored]
) -> Stored:
    """Reserve, write, and tell everybody who reserved something for this write how it ended."""
    finish, done = None, False
    try:
        finish = begin()
        stored = write()
        done = True
        return stored
    finally:
        if finish is not None:
            finish(done)
        chain.finish(attributes, done)
