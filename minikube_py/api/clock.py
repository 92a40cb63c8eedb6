"""The one clock: every wait, timer and timestamp of the components goes through it.

Who uses it: apiserver, controllers, kubelet and the client library. Invariant: none of them takes time from elsewhere, so that
a test, or a class stepping through an exercise, can scale or step it (`FakeClock`) and nothing notices. Left out on purpose:
bounds on answers of the engine and of drivers, and the commands people run (`minikube_py.cluster`, `.cli`, `.labkit`), which
wait for real things in real time.
"""

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where time comes from. All durations are seconds."""

    def now(self) -> datetime: ...
    def time(self) -> float: ...
    def monotonic(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...
    def wait(self, event: threading.Event, timeout: float | None = None) -> bool: ...
    def wait_on(self, condition: threading.Condition, timeout: float | None = None) -> bool: ...


class RealClock:
    """The machine's own time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def wait(self, event: threading.Event, timeout: float | None = None) -> bool:
        """Block until the event is set (True) or the timeout passes (False)."""
        return event.wait(timeout)

    def wait_on(self, condition: threading.Condition, timeout: float | None = None) -> bool:
        """`condition.wait` of a condition the caller holds, who looks again at what it waits for; False: the time passed."""
        return condition.wait(timeout)


class FakeClock:
    """Time that stands still until `advance`. Waiters poll it in small real steps, so it needs no registration."""

    _STEP = 0.005

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._lock = threading.Lock()

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time(), UTC)

    def time(self) -> float:
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        return self.time()

    def sleep(self, seconds: float) -> None:
        deadline = self.time() + seconds
        while self.time() < deadline:
            time.sleep(self._STEP)

    def wait(self, event: threading.Event, timeout: float | None = None) -> bool:
        deadline = None if timeout is None else self.time() + timeout
        while not event.wait(self._STEP):
            if deadline is not None and self.time() >= deadline:
                return event.is_set()
        return True

    def wait_on(self, condition: threading.Condition, timeout: float | None = None) -> bool:
        """Returns early, too: a notification that arrives as a step ends is lost, and only the caller can see what it was."""
        deadline = None if timeout is None else self.time() + timeout
        notified = condition.wait(self._STEP)
        return notified or deadline is None or self.time() < deadline


REAL = RealClock()


def rfc3339(moment: datetime) -> str:
    """`metav1.Time`: whole seconds, UTC, "2026-01-02T03:04:05Z"."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def rfc3339_micro(moment: datetime) -> str:
    """`metav1.MicroTime`: exactly six digits of a second."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_rfc3339(text: str) -> datetime:
    """A moment from any RFC 3339 text (nanoseconds are cut to microseconds). Raises ValueError when it is none."""
    if "." in text:
        head, _, tail = text.partition(".")
        digits = tail.rstrip("Zz") if tail[-1:] in "Zz" else tail
        zone = ""
        for sign in "+-":
            if sign in digits:
                digits, _, rest = digits.partition(sign)
                zone = sign + rest
        text = f"{head}.{digits[:6].ljust(6, '0')}{zone or 'Z'}"
    parsed = datetime.fromisoformat(text.replace("z", "Z"))
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
