"""The work queue's promises, checked against a simple model and against threads."""

import random
import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from minikube_py.api.clock import FakeClock
from minikube_py.client.workqueue import WorkQueue

KEYS = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), KEYS), st.tuples(st.just("get"), st.just("")), st.tuples(st.just("done"), KEYS),
        st.tuples(st.just("later"), KEYS), st.tuples(st.just("advance"), st.just("")),
    ),
    max_size=60,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_no_key_is_lost_and_none_is_handed_out_twice_at_a_time(steps: list[tuple[str, str]]) -> None:
    clock, wanted, held, later = FakeClock(), set[str](), set[str](), dict[str, float]()
    queue = WorkQueue(clock)
    for step, key in steps:
        if step == "add":
            queue.add(key)
            wanted.add(key)
        elif step == "later":
            queue.add_after(key, 5.0)
            later.setdefault(key, clock.monotonic() + 5.0)
        elif step == "advance":
            clock.advance(2.0)
        elif step == "done" and key in held:
            queue.done(key)
            held.discard(key)
        elif step == "get":
            for due in [k for k, at in later.items() if at <= clock.monotonic()]:
                del later[due]
                wanted.add(due)
            got = queue.get(timeout=0)
            if got is None:
                assert not wanted - held
            else:
                assert got in wanted and got not in held
                wanted.discard(got)
                held.add(got)


def test_back_off_doubles_up_to_its_bound_and_starts_over_when_forgotten() -> None:
    clock = FakeClock()
    queue = WorkQueue(clock)

    def pause() -> float:
        queue.add_rate_limited("k")
        for steps in range(1, 2_000_000):
            if (key := queue.get(timeout=0)) is not None:
                queue.done(key)
                return (steps - 1) * 0.005
            clock.advance(0.005)
        raise AssertionError("never handed out")

    assert [round(pause(), 3) for _ in range(4)] == [0.005, 0.01, 0.02, 0.04]
    queue.forget("k")
    assert round(pause(), 3) == 0.005
    queue.forget("k")
    for _ in range(40):
        queue.add_rate_limited("k")
    assert queue.failures("k") == 40
    clock.advance(0.006)
    assert queue.get(timeout=0) == "k", "of several delays the earliest counts"
    queue.done("k")
    queue.add_rate_limited("k")
    clock.advance(999.0)
    assert queue.get(timeout=0) is None
    clock.advance(2.0)
    assert queue.get(timeout=0) == "k"


def test_a_failing_key_delays_no_other() -> None:
    clock = FakeClock()
    queue = WorkQueue(clock)
    for _ in range(20):
        queue.add_rate_limited("poison")
    queue.add("good")
    assert queue.get(timeout=0) == "good"


def test_many_threads_lose_nothing() -> None:
    queue, seen, working = WorkQueue(), dict[str, int](), set[str]()
    lock, rounds = threading.Lock(), {f"k{n}": 0 for n in range(20)}

    def work() -> None:
        while (key := queue.get()) is not None:
            with lock:
                assert key not in working
                working.add(key)
                seen[key] = rounds[key]  # what the world said when the worker looked
            with lock:
                working.discard(key)
            queue.done(key)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(2000):
        key = random.choice(list(rounds))
        with lock:
            rounds[key] += 1
        queue.add(key)
    for _ in range(500):
        with lock:
            if all(seen.get(key, 0) == count for key, count in rounds.items()):
                break
        threading.Event().wait(0.01)
    assert {key: count for key, count in rounds.items() if count} == {key: n for key, n in seen.items() if n}
    queue.shutdown()
    for thread in threads:
        thread.join(2)
        assert not thread.is_alive()


def test_shutdown_wakes_a_blocked_worker_and_takes_no_more() -> None:
    queue = WorkQueue()
    got: list[str | None] = []
    thread = threading.Thread(target=lambda: got.append(queue.get()), daemon=True)
    thread.start()
    queue.shutdown()
    thread.join(2)
    assert got == [None]
    queue.add("late")
    assert queue.get(timeout=0) is None and queue.shut_down
