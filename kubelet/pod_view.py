"""What the runtime shows of one pod, kept up to date by looking only where something happened.

Who calls it: `pod_worker` looks before every step; `pod_manager` says where to look (events, the periodic list).
Invariants: what is reported was read from the runtime after the last thing known to have happened; after any failure everything
is looked at again; the termination message of a container is read once, when it is first seen to have ended.
Upstream: pkg/kubelet/container/cache.go and pkg/kubelet/pleg.
"""

import threading
from collections.abc import Mapping

from kubelet.lifecycle import read_message
from kubelet.observation import Observation, observe
from kubelet.runtime import labels
from kubelet.runtime.base import CONTAINER, EXITED, ContainerNotFound, Runtime, RuntimeFault, Status


class PodView:
    """One pod's sandboxes and containers. `look` and `inspect` are the worker's; the rest may be called from any thread."""

    def __init__(self, runtime: Runtime, uid: str) -> None:
        self._runtime, self._uid = runtime, uid
        self._statuses: dict[str, Status] = {}
        self._dirty: set[str] = set()
        self._everything = True
        self._lock = threading.Lock()
        self.messages: dict[str, str] = {}

    def look_again(self, container_id: str = "") -> None:
        """Something happened to this container ("" = to who knows which)."""
        with self._lock:
            if container_id:
                self._dirty.add(container_id)
            else:
                self._everything = True

    def differs(self, listed: Mapping[str, str]) -> bool:
        """Whether a fresh list (id → state) shows anything not known yet."""
        with self._lock:
            return {id_: status.state for id_, status in self._statuses.items()} != dict(listed)

    @property
    def empty(self) -> bool:
        with self._lock:
            return not self._statuses

    def observed(self) -> Observation:
        with self._lock:
            return observe(self._statuses.values())

    def put(self, status: Status) -> None:
        """Take over a status the runtime just answered with."""
        with self._lock:
            self._statuses[status.id] = status

    def look(self) -> None:
        """Look where something happened since the last time. Raises RuntimeFault, and then looks at everything next time."""
        with self._lock:
            everything, dirty = self._everything, self._dirty
            self._everything, self._dirty = False, set()
        try:
            if everything:
                self._look_at_all()
            else:
                for container_id in dirty:
                    self.inspect(container_id)
        except RuntimeFault:
            self.look_again()
            raise

    def _look_at_all(self) -> None:
        found = {summary.id: summary.state for summary in self._runtime.list_all(self._uid)}
        with self._lock:
            known = dict(self._statuses)
            for id_ in known.keys() - found.keys():
                del self._statuses[id_]
        for id_, state in found.items():
            if id_ not in known or known[id_].state != state or state != EXITED:
                self.inspect(id_)

    def inspect(self, container_id: str) -> None:
        """Read one container anew; it is dropped when it is gone. Raises RuntimeFault."""
        try:
            status = self._runtime.inspect(container_id)
        except ContainerNotFound:
            with self._lock:
                self._statuses.pop(container_id, None)
            return
        if status.state == EXITED and status.kind == CONTAINER and container_id not in self.messages:
            file, policy = status.labels.get(labels.MESSAGE_FILE, ""), status.labels.get(labels.MESSAGE_POLICY, "File")
            self.messages[container_id] = read_message(self._runtime, status, file, policy)
        self.put(status)

    def forget_old(self) -> None:
        """Keep the newest instance of each container and the one before; old sandboxes go. Raises RuntimeFault."""
        seen = self.observed()
        for group in (*(group[2:] for group in seen.containers.values()), seen.sandboxes[1:]):
            for status in group:
                if status.state == EXITED:
                    self._runtime.remove(status.id)
                    self.inspect(status.id)
                    self.messages.pop(status.id, None)
