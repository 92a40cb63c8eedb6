"""HTTP as a client of the cluster sees it: single requests, and a client that keeps asking and remembers every answer.

Who calls it: checks. Invariant: every request uses a connection of its own, so that a Service chooses a backend each time;
a timeline without samples is an `Infrastructure` error.
"""

import http.client
import threading
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlsplit

from minikube_py.api.clock import REAL, Clock
from minikube_py.labkit.errors import Infrastructure


class Reply(NamedTuple):
    """`status` 0 means that no answer came; `body` then says why."""

    status: int
    body: str

    def __str__(self) -> str:
        return f"HTTP {self.status} {self.body[:120]!r}" if self.status else f"no answer ({self.body})"


class Sample(NamedTuple):
    """One request of a `Traffic`: when it was sent (seconds, monotonic) and what came back."""

    at: float
    reply: Reply

    @property
    def ok(self) -> bool:
        return self.reply.status == 200


def fetch(url: str, timeout: float = 2.0) -> Reply:
    """GET `url`, never raising: a refused or silent connection is a Reply, too."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/", headers={"Connection": "close"})
        response = connection.getresponse()
        return Reply(response.status, response.read(1 << 20).decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        return Reply(0, str(error) or type(error).__name__)
    finally:
        connection.close()


class Traffic:
    """A client that asks `url` all the time while the block runs."""

    def __init__(self, url: str, *, every: float = 0.1, timeout: float = 0.5, clock: Clock = REAL) -> None:
        self._url, self._every, self._timeout, self._clock = url, every, timeout, clock
        self._stop = threading.Event()
        self._samples: list[Sample] = []
        self._thread = threading.Thread(target=self._run, name="lab-traffic", daemon=True)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(self._timeout * 4)

    def _run(self) -> None:
        while not self._stop.is_set():
            at = self._clock.monotonic()
            self._samples.append(Sample(at, fetch(self._url, self._timeout)))
            self._clock.wait(self._stop, max(0.0, self._every - (self._clock.monotonic() - at)))

    def steady(self, count: int = 5) -> bool:
        """True if the last `count` requests were all answered with 200."""
        last = list(self._samples)[-count:]
        return len(last) == count and all(sample.ok for sample in last)

    def samples(self, since: float = 0.0, until: float = float("inf")) -> list[Sample]:
        """What was asked between the two moments. Raises Infrastructure when nothing was."""
        found = [sample for sample in list(self._samples) if since <= sample.at <= until]
        if not found:
            raise Infrastructure(f"the client of {self._url} took no sample")
        return found

    def failures(self, since: float = 0.0, until: float = float("inf")) -> list[Sample]:
        """The requests of that time that were not answered with 200."""
        return [sample for sample in self.samples(since, until) if not sample.ok]

    def timeline(self, start: float, since: float) -> str:
        """One line: how many requests, how many failed, and from when to when (seconds after `start`)."""
        samples, failures = self.samples(since), self.failures(since)
        line = f"{len(samples)} requests, {len(failures)} failed"
        if failures:
            line += f", the first at {failures[0].at - start:+.1f} s, the last at {failures[-1].at - start:+.1f} s"
            line += f": {failures[-1].reply}"
        return line
