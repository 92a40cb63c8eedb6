"""Synchronous code that waits on the loop: the loop goes on, results and errors arrive, other threads just block."""

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from apiserver import waiting


def test_many_wait_while_the_loop_goes_on() -> None:
    futures = [Future[int]() for _ in range(50)]

    async def run() -> list[int]:
        loop = asyncio.get_running_loop()
        started = [waiting.start(loop, lambda one=future: waiting.result(one) * 2) for future in futures]  # type: ignore[misc]
        assert not any(one.done() for one in started)

        def finish() -> None:
            for index, future in enumerate(reversed(futures)):
                future.set_result(index)

        threading.Thread(target=finish).start()
        return list(await asyncio.gather(*started))

    assert asyncio.run(run()) == [index * 2 for index in reversed(range(50))]


def test_errors_arrive() -> None:
    failing: Future[int] = Future()

    async def run() -> None:
        started = waiting.start(asyncio.get_running_loop(), lambda: waiting.result(failing))
        asyncio.get_running_loop().call_later(0.01, failing.set_exception, KeyError("x"))
        await started

    with pytest.raises(KeyError):
        asyncio.run(run())


def test_code_that_waits_twice() -> None:
    first, second = Future[str](), Future[str]()

    async def run() -> str:
        loop = asyncio.get_running_loop()
        started = waiting.start(loop, lambda: waiting.result(first) + waiting.result(second))
        loop.call_later(0.01, first.set_result, "a")
        loop.call_later(0.02, second.set_result, "b")
        return await started

    assert asyncio.run(run()) == "ab"


def test_a_thread_simply_blocks() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert waiting.result(pool.submit(lambda: 7)) == 7


def test_a_client_that_left_disturbs_nobody() -> None:
    slow: Future[int] = Future()

    async def run() -> None:
        started = waiting.start(asyncio.get_running_loop(), lambda: waiting.result(slow))
        started.cancel()
        slow.set_result(1)
        await asyncio.sleep(0.01)
        assert started.cancelled()

    asyncio.run(run())
