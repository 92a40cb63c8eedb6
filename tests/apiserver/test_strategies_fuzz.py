"""Objects that are of the right types and otherwise nonsense: hooks and plugins refuse them, and never fall over.

A hook that raises anything but an APIError is a 500 for the client, so this walks every kind's schema at random.
"""

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apiserver import strategies
from apiserver.admission import chain
from apiserver.auth.user import UserInfo
from apiserver.resources import table
from apiserver.resources.row import Row
from apiserver.strategies.base import Context
from minikube_py.api import errors, schema
from minikube_py.api.clock import FakeClock
from minikube_py.api.errors import BadRequest
from minikube_py.api.schema import Node
from minikube_py.api.types import Obj

CLOCK = FakeClock()
CTX = Context(UserInfo("u", groups=("g",)), CLOCK, lambda *_: {"metadata": {"name": "default"}}, lambda *_: [])
ROWS = [row for row in table.ROWS if row.stored and row.stored_as is None]
WORDS = [
    "", "a", "b", "Always", "x/y", "RollingUpdate", "ClusterIP", "NodePort", "LoadBalancer", "None", "10.0.0.1", "1", "2Gi",
    "metadata.name", "Exists", "In", "Container", "Pod", "kubernetes", "25%", "* * * * *", "TCP", "Indexed", "ClientIP",
]  # fmt: skip
LEAVES: dict[str, list[Any]] = {
    "string": WORDS, "bytes": ["", "YQ=="], "integer": [0, 1, 2, 80, -1, 30000, 70000], "number": [1.5, 0.0],
    "boolean": [True, False], "quantity": ["1", "500m", "2Gi", "0", "-1"], "int-or-string": [1, 0, 80, "http", "25%", -1, ""],
    "time": ["2026-01-02T03:04:05Z"], "micro-time": ["2026-01-02T03:04:05.000000Z"],
}  # fmt: skip
DEEPEST = 14


def make(node: Node, rng: random.Random, depth: int = 0) -> Any:
    """A value of this node's type; deep optional fields are rare, so that it ends."""
    if node.type == "object":
        often = 0.5 if depth < 2 else 0.22 if depth < 6 else 0.05
        wanted = [name for name in node.properties if rng.random() < (0.9 if name in node.required else often)]
        return {name: make(node.properties[name], rng, depth + 1) for name in wanted if depth < DEEPEST}
    if node.type == "map":
        inner = node.additional
        return {rng.choice(WORDS): make(inner, rng, depth + 1) if inner else 1 for _ in range(rng.randint(0, 2))}
    if node.type == "array":
        count = rng.randint(0, 2) if depth < DEEPEST and node.items else 0
        return [make(node.items, rng, depth + 1) for _ in range(count) if node.items]
    return rng.choice(LEAVES.get(node.type, [None, {}, {"a": 1}, "x"]))


def nonsense(row: Row, rng: random.Random) -> Obj:
    node = schema.load().for_gvk(row.group, row.version, row.kind)
    assert node is not None
    obj: Obj = make(node, rng)
    obj |= {"apiVersion": row.api_version, "kind": row.kind}
    obj["metadata"] = {**(obj.get("metadata") or {}), "name": "x", "uid": "u"}
    obj["metadata"].pop("deletionTimestamp", None)
    return obj


def refusing(step: Callable[[chain.Attributes], None], attributes: chain.Attributes) -> None:
    try:
        step(attributes)
    except errors.APIError as error:
        assert error.code < 500


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.plural_key)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_nonsense_is_refused_and_nothing_else(row: Row, seed: int) -> None:
    rng, hooks = random.Random(seed), strategies.for_row(row)
    new, old = nonsense(row, rng), nonsense(row, rng)
    namespace = "default" if row.namespaced else ""
    attributes = chain.Attributes(chain.CREATE, row, namespace, "x", new, None, CTX.user, CTX)
    hooks.default(new)
    once = copy.deepcopy(new)
    hooks.default(new)
    assert new == once
    refusing(chain.admit, attributes)
    try:
        hooks.prepare_create(new, CTX)
        hooks.prepare_create(copy.deepcopy(old), CTX)
    except BadRequest as refused:  # what cannot be decoded at all is refused before it is looked at
        assert refused.message
        return
    assert all(cause.message for cause in hooks.validate(new))
    refusing(chain.validate, attributes)
    assert all(isinstance(text, str) for text in hooks.warnings(new))
    assert all(isinstance(value, str) for value in hooks.fields(new).values())
    hooks.default(old)
    for subresource in ("", "status", *hooks.views):
        changed = copy.deepcopy(new)
        if subresource:
            hooks.prepare_view(subresource, changed, old, CTX)
            hooks.validate_view(subresource, changed, old)
        else:
            hooks.prepare_update(changed, old, CTX)
            hooks.validate_update(changed, old)
    hooks.before_delete(copy.deepcopy(new), {}, CLOCK)
