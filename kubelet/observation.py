"""What the runtime shows of one pod, arranged for deciding and for reporting. Pure.

Who calls it: `pod_worker` builds one from its container statuses before every decision and every status.
Invariant: newest first; a container belongs to the sandbox named in its label, so that what an earlier sandbox left behind
counts as history and never as running in this one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kubelet.runtime import labels
from kubelet.runtime.base import SANDBOX, Status


@dataclass(frozen=True)
class Observation:
    """Sandboxes, and containers by name; every list has its newest attempt first."""

    sandboxes: tuple[Status, ...]
    containers: dict[str, tuple[Status, ...]]

    @property
    def sandbox(self) -> Status | None:
        """The sandbox the pod lives in: the newest one, if it runs."""
        newest = self.sandboxes[0] if self.sandboxes else None
        return newest if newest is not None and newest.running else None

    def newest(self, name: str) -> Status | None:
        """The newest instance of a container, whichever sandbox it was in."""
        found = self.containers.get(name)
        return found[0] if found else None

    def current(self, name: str) -> Status | None:
        """The newest instance of a container within the present sandbox."""
        newest, sandbox = self.newest(name), self.sandbox
        if newest is None or sandbox is None or newest.labels.get(labels.SANDBOX_ID) != sandbox.id:
            return None
        return newest

    def running(self) -> list[Status]:
        return [status for group in self.containers.values() for status in group if status.running]

    def everything(self) -> list[Status]:
        return [*(status for group in self.containers.values() for status in group), *self.sandboxes]


def observe(statuses: Iterable[Status]) -> Observation:
    sandboxes: list[Status] = []
    containers: dict[str, list[Status]] = {}
    for status in statuses:
        if status.kind == SANDBOX:
            sandboxes.append(status)
        else:
            containers.setdefault(status.name, []).append(status)
    for group in (sandboxes, *containers.values()):
        group.sort(
            key=lambda status: (status.attempt, status.created_at is not None, str(status.created_at)), reverse=True
        )
    return Observation(tuple(sandboxes), {name: tuple(group) for name, group in containers.items()})
