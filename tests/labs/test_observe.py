"""Observing under a stepped clock: deadlines, evidence, and that looking at nothing proves nothing."""

from collections.abc import Callable, Iterator

import pytest

from minikube_py.api.clock import FakeClock
from minikube_py.api.errors import NotFound, ServiceUnavailable
from minikube_py.labkit import observe
from minikube_py.labkit.errors import CheckFailed, Infrastructure
from minikube_py.labkit.observe import Hopeless, NotYet


class Stepping(FakeClock):
    """A clock that jumps whenever somebody sleeps."""

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)


def _script(*steps: object) -> Callable[[], object]:
    """A look that does one step after another: raises exceptions, returns everything else; the last repeats."""
    left = list(steps)

    def look() -> object:
        step = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(step, Exception):
            raise step
        return step

    return look


@pytest.fixture
def clock() -> Iterator[Stepping]:
    yield Stepping()


def test_eventually_returns_the_first_truthy_value(clock: Stepping) -> None:
    look = _script(NotYet("Pending"), NotFound("gone"), ServiceUnavailable("away"), 0, "here")
    assert observe.eventually(look, expected="it", within=5, clock=clock) == "here"
    assert clock.time() - 1_700_000_000 == pytest.approx(4 * observe.EVERY)


def test_eventually_says_what_it_saw_last(clock: Stepping) -> None:
    with pytest.raises(CheckFailed) as failure:
        observe.eventually(
            _script(NotYet("Pending")), expected="it runs", within=2, where="kubectl get pods", clock=clock
        )
    assert (failure.value.expected, failure.value.observed) == ("it runs (within 2 s)", "Pending")
    assert failure.value.look == "kubectl get pods"


def test_eventually_gives_up_early_when_it_is_hopeless(clock: Stepping) -> None:
    start = clock.time()
    with pytest.raises(CheckFailed, match="it has ended"):
        observe.eventually(_script(Hopeless("it has ended")), expected="it runs", within=60, clock=clock)
    assert clock.time() == start


def test_an_api_that_never_answers_is_nobodys_failure(clock: Stepping) -> None:
    with pytest.raises(Infrastructure, match="away"):
        observe.eventually(_script(ServiceUnavailable("away")), expected="it", within=2, clock=clock)
    with pytest.raises(Infrastructure, match="0 samples"):
        observe.continuously(_script(ServiceUnavailable("away")), expected="it", window=2, clock=clock)


def test_never_shows_the_evidence(clock: Stepping) -> None:
    with pytest.raises(CheckFailed, match="two at once"):
        observe.never(_script("", None, "two at once"), expected="one at a time", window=5, clock=clock)


def test_never_counts_its_samples(clock: Stepping) -> None:
    assert observe.never(_script(None), expected="quiet", window=1, every=0.25, clock=clock) == 5


def test_too_few_samples_prove_nothing(clock: Stepping) -> None:
    with pytest.raises(Infrastructure, match="10 are needed"):
        observe.continuously(_script(True), expected="up", window=1, every=0.5, min_samples=10, clock=clock)


def test_continuously_fails_at_the_first_lapse(clock: Stepping) -> None:
    with pytest.raises(CheckFailed, match=r"after 0\.2 s: down"):
        observe.continuously(_script(True, True, NotYet("down"), True), expected="up", window=5, clock=clock)


@pytest.mark.parametrize("broken", [ValueError("a bug of the checker")])
def test_a_checkers_own_bug_is_not_swallowed(broken: Exception, clock: Stepping) -> None:
    with pytest.raises(ValueError, match="bug"):
        observe.eventually(_script(broken), expected="it", within=1, clock=clock)
