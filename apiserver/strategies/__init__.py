"""Which strategy each kind has: one table, plural_key → Strategy. Kinds without quirks get GENERIC.

Who calls it: `apiserver/registry.py` (`for_row`) and the store's field index. Invariant: every row has exactly one strategy;
whether its status is split off follows from the row's subresources, never from the table here.
Upstream: pkg/registry/*/strategy.go, one file per kind there.
"""

from dataclasses import replace
from functools import cache

from apiserver.resources.row import Row
from apiserver.strategies.base import GENERIC, Strategy

__all__ = ["GENERIC", "Strategy", "for_row"]


@cache
def for_row(row: Row) -> Strategy:
    """The strategy of this row's kind."""
    return replace(_table().get(row.plural_key, GENERIC), has_status="status" in row.subresources)


@cache
def _table() -> dict[str, Strategy]:
    return {}
