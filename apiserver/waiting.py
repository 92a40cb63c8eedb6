"""Lets synchronous code wait for the disk on the event loop, holding neither the loop nor a thread.

Who calls it: the shell starts each write here (`start`); the SQLite backend waits here for its commit (`result`), admission
for what is just being made (`pause`).
Invariant: `result` suspends only the greenlet that `start` made; called from anywhere else it simply blocks its thread. Code
run by `start` must not block in any other way, and must hold no lock while it writes.

Why: with a thread per write, every write is handed between four threads that all want the interpreter's lock; like this the
pipeline stays plain synchronous code, and a write is handed to the writer's thread and back.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from greenlet import getcurrent, greenlet

from minikube_py.api.clock import Clock

T = TypeVar("T")


class _Waiter(greenlet):
    """Code under way on an event loop."""

    loop: asyncio.AbstractEventLoop


def start(loop: asyncio.AbstractEventLoop, function: Callable[[], T]) -> "asyncio.Future[T]":
    """Run a function on this loop, until its end or its first wait. Out: its result, to be awaited."""
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            value = function()
        except BaseException as error:
            if not done.cancelled():
                done.set_exception(error)
        else:
            if not done.cancelled():
                done.set_result(value)

    waiter = _Waiter(run)
    waiter.loop = loop
    waiter.switch()
    return done


def result(future: "Future[T]", timeout: float | None = None) -> T:
    """The future's result, as `future.result(timeout)`; inside `start` the loop goes on meanwhile. Raises TimeoutError."""
    waiter = getcurrent()
    if not isinstance(waiter, _Waiter):
        return future.result(timeout)
    if not future.done():
        loop, woken = waiter.loop, False

        def wake() -> None:  # whichever comes first, the result or the end of the time
            nonlocal woken
            if not woken:
                woken = True
                waiter.switch()

        timer = loop.call_later(timeout, wake) if timeout is not None else None
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(wake))
        assert waiter.parent is not None, "only a main greenlet has no parent"
        waiter.parent.switch()
        if timer is not None:
            timer.cancel()
    return future.result(0)


def pause(clock: Clock, seconds: float) -> None:
    """Let time pass, as `clock.sleep(seconds)`; inside `start` the loop goes on meanwhile."""
    waiter = getcurrent()
    if not isinstance(waiter, _Waiter):
        clock.sleep(seconds)
        return
    waiter.loop.call_later(seconds, waiter.switch)
    assert waiter.parent is not None, "only a main greenlet has no parent"
    waiter.parent.switch()
