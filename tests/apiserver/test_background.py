"""A background step: woken, repeated when its time has come, and never ended by what it raises."""

import threading
from collections.abc import Iterator

import pytest

from apiserver.background import Background
from minikube_py.api.clock import FakeClock
from tests.harness import eventually


class Steps:
    """Counts its steps; `hold` keeps one going, `fail` makes it raise."""

    def __init__(self) -> None:
        self.count, self.fail = 0, False
        self.hold = threading.Event()
        self.hold.set()
        self.clock = FakeClock()
        self.thread = Background("steps", self.clock, self.step)

    def step(self) -> float:
        self.count += 1
        self.hold.wait(10)
        if self.fail:
            raise ValueError("as the test asked")
        return 60.0


@pytest.fixture
def steps() -> Iterator[Steps]:
    made = Steps()
    made.thread.start()
    eventually(lambda: made.count == 1)
    yield made
    made.hold.set()
    made.thread.stop()


def test_a_step_is_repeated_after_the_time_it_asked_for(steps: Steps) -> None:
    steps.clock.advance(59)
    threading.Event().wait(0.05)
    assert steps.count == 1
    steps.clock.advance(2)
    eventually(lambda: steps.count == 2)


def test_changes_during_a_step_cause_one_more(steps: Steps) -> None:
    steps.hold.clear()
    steps.thread.wake()
    eventually(lambda: steps.count == 2)
    for _ in range(5):
        steps.thread.wake()
    steps.hold.set()
    eventually(lambda: steps.count == 3)
    threading.Event().wait(0.05)
    assert steps.count == 3


def test_a_step_that_fails_is_tried_again(steps: Steps) -> None:
    steps.fail = True
    steps.thread.wake()
    eventually(lambda: steps.count == 2)
    steps.fail = False
    steps.clock.advance(5)
    threading.Event().wait(0.05)
    assert steps.count == 2  # not at once
    steps.clock.advance(6)
    eventually(lambda: steps.count == 3)
