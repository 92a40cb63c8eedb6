"""The paths below /stats and /metrics of the kubelet's API.

Who calls it: `server`. Invariant: what has to be measured is measured in a thread; the runtime being away is an error of
500, except where a page has its own way to say so.
Upstream: pkg/kubelet/server/server.go, pkg/kubelet/server/stats/handler.go.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeVar

from kubelet.asgi import Call, HttpError, in_thread
from kubelet.pod_manager import PodManager
from kubelet.runtime import labels
from kubelet.runtime.base import CONTAINER, Info, Runtime, RuntimeFault
from kubelet.stats import pages
from kubelet.stats.collect import Collector, Snapshot
from kubelet.stats.http_counts import HttpCounts
from kubelet.stats.probe_counts import ProbeCounts
from kubelet.stats.summary import summary
from minikube_py.api.exposition import CONTENT_TYPE

_T = TypeVar("_T")
_NOT_FOUND = "404 page not found"


class Reports:
    """The pages of one kubelet; `more` are those of other parts, by path."""

    def __init__(
        self, collector: Collector, runtime: Runtime, pods: PodManager, info: Info, probes: ProbeCounts,
        more: Mapping[tuple[str, ...], Callable[[], str]],
    ) -> None:  # fmt: skip
        self._collector, self._runtime, self._pods, self._options = collector, runtime, pods, collector.options
        self.http = HttpCounts(collector.clock)
        self._pages: dict[tuple[str, ...], Callable[[], str]] = {
            ("metrics",): self._own,
            ("metrics", "resource"): lambda: pages.resources(self._snapshot()),
            ("metrics", "cadvisor"): lambda: pages.cadvisor(self._options, info, collector.snapshot()),
            ("metrics", "probes"): probes.text,
            **more,
        }

    async def stats(self, call: Call) -> None:
        """/stats/summary."""
        if call.parts != ("stats", "summary"):
            raise HttpError(404, _NOT_FOUND)
        snapshot = await self._measured(self._collector.snapshot)
        brief = call.flag("only_cpu_and_memory")
        await call.json(summary(self._options, snapshot, self._collector.started, brief=brief))

    async def metrics(self, call: Call) -> None:
        """/metrics and below."""
        page = self._pages.get(call.parts)
        if page is None:
            raise HttpError(404, _NOT_FOUND)
        await call.text(await self._measured(page), kind=CONTENT_TYPE)

    async def _measured(self, work: Callable[[], _T]) -> _T:
        try:
            found: _T = await in_thread(work)
            return found
        except RuntimeFault as error:
            raise HttpError(500, str(error)) from error

    def _snapshot(self) -> Snapshot | None:
        try:
            return self._collector.snapshot()
        except RuntimeFault:
            return None

    def _own(self) -> str:
        snapshot = self._snapshot()
        states: Counter[str] = Counter()
        if snapshot is not None:
            listed = self._runtime.list_all()
            states.update(one.state for one in listed if one.labels.get(labels.TYPE) == CONTAINER)
        lines = pages.own(self._options, self._pods.pods(), snapshot, states)
        self.http.render(lines)
        lines.process(self._collector.started)
        return lines.text()
