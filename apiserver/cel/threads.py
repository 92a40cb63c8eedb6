"""Expressions take long, as Python goes; so they are evaluated on threads, while the write that needs them is set aside.

Who calls it: policies, and custom kinds with rules. Invariant: what runs here waits for nobody, so a few threads are enough.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import ParamSpec, TypeVar

from apiserver import waiting

P = ParamSpec("P")
T = TypeVar("T")
_THREADS = 8


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="cel")


def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the function answers, or raises."""
    return waiting.result(_pool().submit(function, *args, **kwargs))
