"""Which strategy each kind has: one table, plural_key → Strategy. Kinds without quirks get GENERIC.

Who calls it: `apiserver/registry.py` (`for_row`) and the store's field index. Invariant: every row has exactly one strategy;
whether its status is split off follows from the row's subresources, never from the table here.
Upstream: pkg/registry/*/strategy.go, one file per kind there.
"""

from dataclasses import replace
from functools import cache

from apiserver.resources.row import Row
from apiserver.strategies import defaults
from apiserver.strategies.base import GENERIC, Strategy
from apiserver.strategies.table import TABLE

__all__ = ["GENERIC", "Strategy", "for_row"]


def for_row(row: Row) -> Strategy:
    """The strategy of this row's kind."""
    if row.custom is not None:
        strategy: Strategy = row.custom.strategy
        return strategy
    return _built_in(row)


@cache
def _built_in(row: Row) -> Strategy:
    return replace(
        TABLE.get(row.plural_key, GENERIC),
        defaults=defaults.for_key(row.plural_key),
        has_status="status" in row.subresources,
    )
