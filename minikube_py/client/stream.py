"""Answers that never end: raw chunks (`Stream`) and watch events (`Watch`), closable from another thread.

Who calls it: `rest.Client.open` and `.watch` make them; informers, `kctl get -w` and `kctl logs -f` read them.
Invariant: iteration ends quietly when the server ends the answer or `close` is called, and raises ServiceUnavailable when
the connection breaks. An ERROR event is raised as the error its Status describes (Expired for a forgotten revision).
Upstream: staging/src/k8s.io/apimachinery/pkg/watch/streamwatcher.go.
"""

import contextlib
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import orjson

from minikube_py.api import errors
from minikube_py.api.types import Obj
from minikube_py.client.transport import Answer, Failures


class Stream:
    """The bytes of an answer, as they arrive. One thread iterates; any thread may close."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._closed = threading.Event()

    @property
    def headers(self) -> dict[str, str]:
        return dict(self._answer.headers.items())

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._answer
        except Exception as error:
            # Once closed, whatever the torn connection raises is expected.
            if self._closed.is_set():
                return
            if isinstance(error, (*Failures, ValueError)):
                raise errors.ServiceUnavailable(f"the stream broke: {error}") from error
            raise
        finally:
            self._discard()

    def close(self) -> None:
        """End the iteration, also one that is blocked in another thread."""
        self._closed.set()
        with contextlib.suppress(OSError):  # closed already: closing twice is no error
            self._answer.shutdown()

    def _discard(self) -> None:
        """Close the connection: it holds the rest of an unfinished answer and can carry no other."""
        self._closed.set()
        with contextlib.suppress(*Failures):
            self._answer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._discard()


class Watch:
    """Iterator of (type, object): ADDED, MODIFIED, DELETED, BOOKMARK."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[tuple[str, Obj]]:
        for line in lines(self._stream):
            try:
                event = orjson.loads(line)
                kind, obj = event["type"], event["object"]
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise errors.ServiceUnavailable(f"a watch event cannot be read: {error}") from error
            if kind == "ERROR":
                raise errors.from_status(obj)
            yield kind, obj

    def close(self) -> None:
        """End the iteration, also one that is blocked in another thread."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.__exit__(kind, value, trace)


def lines(stream: Stream) -> Iterator[bytes]:
    """Complete lines (without the newline) of a stream; what is left without a newline at its end is dropped."""
    rest = b""
    for chunk in stream:
        if rest:
            chunk = rest + chunk
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            if line:
                yield line
