"""One question for many readers, and never an answer from before a reader came."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from apiserver.storage.readindex import ReadIndex


def test_readers_share_questions_and_none_is_stale() -> None:
    """A counter that only grows stands for the store; whoever reads must see at least what was there when it came."""
    lock, state = threading.Lock(), {"revision": 0, "asked": 0}

    def ask() -> int:
        state["asked"] += 1
        with lock:
            revision = state["revision"]
        threading.Event().wait(0.002)
        return revision

    index = ReadIndex(ask)

    def work(_: int) -> None:
        for _ in range(20):
            with lock:
                state["revision"] += 1
                mine = state["revision"]
            assert index.read() >= mine

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert state["asked"] < 16 * 20 / 2


def test_a_question_that_fails_fails_its_asker_and_the_next_one_asks_again() -> None:
    answers: list[int | Exception] = [OSError("gone"), 7]

    def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    index = ReadIndex(ask)
    with pytest.raises(OSError, match="gone"):
        index.read()
    assert index.read() == 7


def test_waiters_of_a_failed_question_do_not_hang() -> None:
    release = threading.Event()
    outcomes: list[str] = []

    def ask() -> int:
        assert release.wait(10)
        raise OSError("gone")

    index = ReadIndex(ask)

    def read() -> None:
        try:
            index.read()
        except OSError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=read) for _ in range(5)]
    for thread in threads:
        thread.start()
    release.set()
    for thread in threads:
        thread.join(10)
    assert outcomes == ["gone"] * 5
