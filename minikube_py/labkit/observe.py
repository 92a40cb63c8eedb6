"""Looking at a running cluster until something holds, never happens, or keeps holding.

Who calls it: checks and scenes. Invariants: all waiting goes through the clock; a look that cannot be taken because the
cluster does not answer counts neither for nor against the student; an observation that never took a sample is an
`Infrastructure` error, so that a checker that looks at nothing cannot pass anybody.
"""

from collections.abc import Callable
from typing import TypeVar

from minikube_py.api.clock import REAL, Clock
from minikube_py.api.errors import NotFound, ServiceUnavailable, Timeout
from minikube_py.labkit.errors import CheckFailed, Infrastructure

T = TypeVar("T")
EVERY = 0.1


class NotYet(Exception):
    """Raised by a look: it does not hold now; the text says what was seen instead."""


class Hopeless(Exception):
    """Raised by a look: it does not hold and never will, so that nobody need wait for the deadline."""


def eventually(
    look: Callable[[], T], *, expected: str, within: float, where: str = "", every: float = EVERY, clock: Clock = REAL
) -> T:  # fmt: skip
    """The first truthy value that `look` returns within so many seconds.

    `look` may raise NotYet or NotFound to say what it saw instead, or Hopeless. Raises CheckFailed with the last thing seen.
    """
    deadline, seen, samples = clock.monotonic() + within, "nothing", 0
    while True:
        try:
            value, note = _sample(look)
        except Hopeless as error:
            raise CheckFailed(expected, str(error), where) from None
        if note is None:
            samples += 1
            if value:
                return value
            seen = f"{value!r}"
        elif not note.startswith(_SILENT):
            samples += 1
            seen = note
        if clock.monotonic() >= deadline:
            break
        clock.sleep(every)
    if not samples:
        raise Infrastructure(f"could not observe whether {expected}: {note}")
    raise CheckFailed(f"{expected} (within {within:g} s)", seen, where)


def never(
    look: Callable[[], object], *, expected: str, window: float, where: str = "", every: float = EVERY,
    min_samples: int = 1, clock: Clock = REAL,
) -> int:  # fmt: skip
    """For so many seconds `look` must return nothing (falsy). Out: the samples taken.

    Raises CheckFailed with what it returned; Infrastructure when fewer than `min_samples` looks were possible.
    """

    def quiet() -> bool:
        if evidence := look():
            raise NotYet(str(evidence))
        return True

    return continuously(
        quiet, expected=expected, window=window, where=where, every=every, min_samples=min_samples, clock=clock
    )


def continuously(
    look: Callable[[], object], *, expected: str, window: float, where: str = "", every: float = EVERY,
    min_samples: int = 2, clock: Clock = REAL,
) -> int:  # fmt: skip
    """For so many seconds `look` must return something truthy each time. Out: the samples taken. Raises as `never`."""
    start = clock.monotonic()
    samples = 0
    while True:
        value, note = _sample(look)
        if note is not None and note.startswith(_SILENT):
            pass
        elif note is not None or not value:
            after = clock.monotonic() - start
            raise CheckFailed(expected, f"after {after:.1f} s: {note or repr(value)}", where)
        else:
            samples += 1
        if clock.monotonic() - start >= window:
            break
        clock.sleep(every)
    if samples < max(min_samples, 1):
        raise Infrastructure(f"only {samples} samples of {expected!r} could be taken, {min_samples} are needed")
    return samples


_SILENT = "the API does not answer: "


def _sample(look: Callable[[], T]) -> tuple[T | None, str | None]:
    """(value, None), or (None, what was seen instead)."""
    try:
        return look(), None
    except NotYet as error:
        return None, str(error)
    except NotFound as error:
        return None, error.message
    except CheckFailed as error:
        return None, error.observed
    except (ServiceUnavailable, Timeout) as error:
        return None, f"{_SILENT}{error}"
