"""Asks kubelets what their containers use, and remembers the last two answers of each.

Who calls it: `answers`, per request. Invariant: nobody is asked while nobody asks; a node is asked once at a time and not
again for some seconds, however many want to know; a node that does not answer is left out, the others are not held up.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import NamedTuple

from apiserver.resourcemetrics.reading import Reading, parse
from apiserver.server import Server
from apiserver.streaming.backend import Backends, kubelet_of
from minikube_py.api.errors import APIError

log = logging.getLogger(__name__)
_FRESH, _USEFUL = 5.0, 120.0
_SECOND_LOOK = 1.0
_ANSWER_SECONDS = 5.0


class Pair(NamedTuple):
    """The last two looks at a node; `before` is None while there was but one."""

    before: Reading | None
    after: Reading


class Scraper:
    """Lives on the event loop."""

    def __init__(self, server: Server, backends: Backends) -> None:
        self._server, self._backends, self._clock = server, backends, server.clock
        self._known: dict[str, Pair] = {}
        self._asking: dict[str, asyncio.Task[Pair | None]] = {}

    async def nodes(self, names: Iterable[str]) -> dict[str, Pair]:
        """The newest two looks at each of these nodes that answers."""
        wanted = list(dict.fromkeys(names))
        found = await asyncio.gather(*map(self._node, wanted))
        self._forget()
        return {name: pair for name, pair in zip(wanted, found, strict=True) if pair is not None}

    async def _node(self, name: str) -> Pair | None:
        known = self._known.get(name)
        if known is not None and 0 <= self._clock.time() - known.after.at < _FRESH:
            return known
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.ensure_future(self._ask(name, known))
            task.add_done_callback(lambda _: self._asking.pop(name, None))
        return await asyncio.shield(task)  # the one who asked first may leave; the others still want to know

    async def _ask(self, name: str, known: Pair | None) -> Pair | None:
        try:
            after = await self._read(name)
            before = known.after if known is not None and after.at - known.after.at < _USEFUL else None
            if before is None:  # the average of a container's whole life says little about now: look twice
                before = after
                await asyncio.get_running_loop().run_in_executor(None, self._clock.sleep, _SECOND_LOOK)
                after = await self._read(name)
        except (APIError, OSError, ValueError, TimeoutError) as error:
            log.info("node %s does not say what its containers use: %s", name, error)
            return None
        self._known[name] = Pair(before, after)
        return self._known[name]

    async def _read(self, name: str) -> Reading:
        url = f"{await kubelet_of(self._server, name)}/metrics/resource"
        async with asyncio.timeout(_ANSWER_SECONDS):
            answer = await self._backends.request("GET", url, kubelet=True)
            try:
                text = (await answer.read()).decode()
            finally:
                answer.close()
        if answer.status != 200:
            raise ValueError(f"HTTP {answer.status}")
        return parse(text, self._clock.time())

    def _forget(self) -> None:
        now = self._clock.time()
        self._known = {name: pair for name, pair in self._known.items() if now - pair.after.at < _USEFUL}
