"""One version of a custom kind: all that the rest of the server asks about it, compiled from its definition when first asked.

Who uses it: it is `Row.custom`; strategies, decoding, encoding, tables, subresources and OpenAPI reach it through the row.
Invariant: never changed once made (a changed definition makes new ones); what is expensive is made on first use and kept.
Stop of the data path: 3 (decode, default, validate) and the way back, for custom resources.
Upstream: apiextensions-apiserver/pkg/apiserver/customresource_handler.go, pkg/registry/customresource/strategy.go.
"""

import hashlib
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import orjson

from apiserver.cel import threads
from apiserver.customresources import printing, rules, scale, structural, values
from apiserver.customresources.structural import Structural
from apiserver.printers.columns import Column
from apiserver.resources.row import ALL_VERBS, Row, Subresource
from apiserver.strategies.base import Context, Strategy
from apiserver.strategies.subresources import Subresource as Handlers
from minikube_py.api import errors, schema
from minikube_py.api.clone import clone
from minikube_py.api.errors import Cause
from minikube_py.api.schema_node import Node
from minikube_py.api.types import Obj

if TYPE_CHECKING:
    from apiserver.customresources.definition import Definition

_STATUS_VERBS = ("get", "patch", "update")
_UNSTRUCTURED: Obj = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


class Version:
    """`spec` is the entry of the definition's `spec.versions`."""

    def __init__(self, definition: "Definition", spec: Obj) -> None:
        self.definition, self.spec = definition, {key: value for key, value in spec.items() if key != "schema"}
        self.fingerprint = fingerprint([spec, definition.names, definition.namespaced])
        """Changes whenever what is published about this version does."""
        self.name: str = spec["name"]
        self.subresources: Obj = spec.get("subresources") or {}
        names, group = definition.names, definition.group
        subs = []
        if "scale" in self.subresources:
            subs.append(Subresource("scale", _STATUS_VERBS, "Scale", "autoscaling", "v1"))
        if "status" in self.subresources:
            subs.append(Subresource("status", _STATUS_VERBS, names["kind"]))
        self.row = Row(
            group, self.name, names["plural"], names["kind"], definition.namespaced, names.get("singular") or "",
            tuple(names.get("shortNames") or ()), tuple(names.get("categories") or ()), ALL_VERBS, tuple(subs),
            definition_name(group, self.name, names["kind"]), custom=self,
        )  # fmt: skip

    @property
    def deprecation(self) -> str:
        """What those who use this version are told; "" when it is as good as any."""
        if not self.spec.get("deprecated"):
            return ""
        return self.spec.get("deprecationWarning") or f"{self.row.api_version} {self.row.kind} is deprecated"

    # ---- the schema --------------------------------------------------------------------------------------------------

    @property
    def schema(self) -> Obj:
        """The schema's text, decoded anew: it is large, and seldom needed."""
        return self.definition.schema_of(self.name) or _UNSTRUCTURED

    @cached_property
    def structural(self) -> Structural:
        return Structural(self.schema)

    @cached_property
    def node(self) -> Node:
        """The schema as decoding, merging and field ownership see it."""
        node = structural.node_of(self.structural, resource=True)
        node.decoder = self._decode
        return node

    @cached_property
    def _metadata(self) -> Node:
        return structural.metadata_node()

    @cached_property
    def _embeds(self) -> bool:
        return structural.has_embedded(self.structural)

    def _decode(self, obj: Obj) -> tuple[Obj, list[str]]:
        """A copy with its metadata in form and without unknown fields, whose paths are told. Raises DecodeError."""
        made = clone(obj)
        unknown: list[str] = []
        if "metadata" in made:
            typed, unknown = schema.coerce(self._metadata, {"metadata": made["metadata"]})
            made["metadata"] = typed.get("metadata") or {}
        if self._embeds:
            unknown += structural.embedded_metadata(self.structural, made, [])
        return made, unknown + structural.prune(self.structural, made)

    def _default(self, obj: Obj) -> None:
        structural.prune(self.structural, obj)
        structural.default(self.structural, obj)

    # ---- between the request and the store ---------------------------------------------------------------------------

    def read(self, obj: Obj) -> Obj:
        """A stored object in this version, pruned and with today's defaults. May change and return its argument."""
        if obj.get("apiVersion") != self.row.api_version:
            obj = self.definition.convert([obj], self.row.api_version)[0]
        self._default(obj)
        return obj

    def read_all(self, objs: list[Obj]) -> list[Obj]:
        """The same for many, which a webhook converts in one call."""
        made = self.definition.convert(objs, self.row.api_version)
        for obj in made:
            self._default(obj)
        return made

    def write(self, obj: Obj) -> Obj:
        """An object of this version as it is stored; its argument stays as it is."""
        return self.definition.store(obj)

    # ---- how it is written and shown ---------------------------------------------------------------------------------

    @cached_property
    def strategy(self) -> Strategy:
        return Strategy(
            defaults=self._default, on_create=self._on_create, on_status_update=_only_status, create_checks=self._checks,
            update_checks=self._update_checks, status_checks=self._update_checks, selectable=self._selectable,
            changed=self._changed, generation=True, has_status="status" in self.subresources, unconditional_update=False,
        )  # fmt: skip

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        return printing.columns(self.spec.get("additionalPrinterColumns") or ())

    def handlers(self, subresource: str) -> Handlers | None:
        """What answers a subresource of another kind; None when it is a view of the object."""
        if subresource != "scale":
            return None
        paths = self.subresources["scale"]
        return Handlers(read=partial(scale.of, paths), update=partial(scale.apply, paths))

    def _on_create(self, obj: Obj, ctx: Context) -> None:
        if self.definition.terminating:
            raise errors.MethodNotAllowed("create not allowed while custom resource definition is terminating")

    def _checks(self, obj: Obj) -> list[Cause]:
        return values.validate(self.structural, obj) or self._judge(obj)

    def _update_checks(self, new: Obj, old: Obj) -> list[Cause]:
        return values.validate(self.structural, new, old) or self._judge(new, old)

    @cached_property
    def _rules(self) -> rules.Rules:
        return rules.Rules(self.structural.json, root=True)

    def _judge(self, new: Obj, old: Any = values.ABSENT) -> list[Cause]:
        return threads.run(rules.check, self._rules, new, old) if self._rules else []

    def _changed(self, new: Obj, old: Obj) -> bool:
        aside = {"metadata", "apiVersion", "status"} if "status" in self.subresources else {"metadata", "apiVersion"}
        return {k: v for k, v in new.items() if k not in aside} != {k: v for k, v in old.items() if k not in aside}

    @cached_property
    def _fields(self) -> list[tuple[str, printing.Path]]:
        chosen = (field["jsonPath"] for field in self.spec.get("selectableFields") or ())
        return [(path.removeprefix("."), printing.parse(path)) for path in chosen]

    def _selectable(self, obj: Obj) -> dict[str, str]:
        return {label: printing.text(printing.first(path, obj)) for label, path in self._fields}


def fingerprint(value: object) -> str:
    """A short text that is another when the value is."""
    return hashlib.sha256(orjson.dumps(value)).hexdigest()[:16]


def definition_name(group: str, version: str, kind: str) -> str:
    """How OpenAPI names a custom kind: "com.example.stable.v1.CronTab"."""
    return ".".join([*reversed(group.split(".")), version, kind])


def _only_status(new: Obj, old: Obj) -> None:
    """A write to /status changes no metadata but the bookkeeping of fields."""
    kept = {key: new["metadata"][key] for key in ("managedFields", "resourceVersion") if key in new["metadata"]}
    new["metadata"] = {**old["metadata"], **kept}
