"""Writing pod statuses to the API server, and the last step of a deletion.

Who calls it: `pod_worker` hands over each status it computes; one executor writes. Invariants: only what changed is sent, as a
strategic patch guarded by the pod's uid, so that conditions and fields of others survive and a recreated pod of the same name
is never touched; while the API server is away the newest status of each pod waits; the same status is not sent twice.
Upstream: pkg/kubelet/status/status_manager.go.
"""

import logging
import threading
from dataclasses import dataclass

from kubelet.executor import KeyedExecutor
from kubelet.pod_source import PodSource
from kubelet.pod_spec import MIRROR, is_static
from minikube_py.api.clock import Clock
from minikube_py.api.errors import APIError, Conflict, NotFound, ServiceUnavailable
from minikube_py.api.gvr import PODS
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client

_log = logging.getLogger(__name__)
_MERGED_BY_IP = ("podIPs", "hostIPs")


@dataclass
class _Wanted:
    pod: Obj
    status: Obj
    delete: bool
    accepted: Obj | None = None
    server: Obj | None = None


class StatusWriter:
    """The statuses of the node's pods on their way to the API server. Thread-safe."""

    def __init__(self, client: Client, pods: PodSource, clock: Clock) -> None:
        self._client, self._pods = client, pods
        self._wanted: dict[str, _Wanted] = {}
        self._latest: dict[str, Obj] = {}
        self._lock = threading.Lock()
        self._executor = KeyedExecutor("status", self._write, clock, limit=8)

    def current(self, pod: Obj) -> Obj:
        """The pod with the newest status known: the informer's copy, or the answer to our last patch."""
        with self._lock:
            answer = self._latest.get(pod["metadata"]["uid"]) or (self._shown(pod) if is_static(pod) else None)
        if answer is None or _revision(answer) <= _revision(pod):
            return pod
        return {**pod, "status": answer.get("status") or {}}

    def set(self, pod: Obj, status: Obj, *, delete: bool = False) -> None:
        """Make this the pod's status; with `delete` remove the API object once that is written."""
        uid = pod["metadata"]["uid"]
        with self._lock:
            old = self._wanted.get(uid)
            if old and old.status == status and old.delete == delete and _same_server(old, self._base(pod)):
                return
            if old:
                old.pod, old.status, old.delete = pod, status, delete
            else:
                self._wanted[uid] = _Wanted(pod, status, delete)
        self._executor.add(uid)

    def forget(self, uid: str) -> None:
        """The pod is gone from the API."""
        with self._lock:
            self._wanted.pop(uid, None)
            self._latest.pop(uid, None)
        self._executor.forget(uid)

    def stop(self) -> None:
        self._executor.stop()

    def _base(self, pod: Obj) -> Obj:
        """What the API server holds, as far as we know (lock held)."""
        meta = pod["metadata"]
        base = self._shown(pod) or pod
        answer = self._latest.get(meta["uid"])
        return answer if answer is not None and _revision(answer) > _revision(base) else base

    def _shown(self, pod: Obj) -> Obj | None:
        """The API object that stands for the pod: itself, or a static pod's mirror."""
        meta = pod["metadata"]
        held = self._pods.get(meta["namespace"], meta["name"])
        if held is None:
            return None
        stands_for = held["metadata"].get("annotations", {}).get(MIRROR, held["metadata"]["uid"])
        return held if stands_for == meta["uid"] else None

    def _write(self, uid: str) -> float | None:
        with self._lock:
            wanted = self._wanted.get(uid)
            if wanted is None:
                return None
            pod, status, delete = wanted.pod, wanted.status, wanted.delete
            base = self._base(pod)
        if is_static(base):
            return 1.0  # its mirror is yet to be made
        try:
            patch = difference(base.get("status") or {}, status)
            if patch and not (wanted.accepted == status and wanted.server == base.get("status")):
                self._patch(uid, wanted, pod, status, patch)
            if delete:
                meta = pod["metadata"]
                self._client.delete(PODS, meta["name"], meta["namespace"], grace_period_seconds=0, uid=uid)
        except (NotFound, Conflict) as error:
            _log.debug("status of %s: %s", pod["metadata"]["name"], error)
            if isinstance(error, NotFound) or "uid" in error.message.lower():
                return None
            return 0.2
        except ServiceUnavailable as error:
            _log.info("status of %s waits: %s", pod["metadata"]["name"], error)
            return 1.0
        except APIError as error:
            _log.warning("status of %s refused: %s", pod["metadata"]["name"], error)
            return 5.0
        return None

    def _patch(self, uid: str, wanted: _Wanted, pod: Obj, status: Obj, patch: Obj) -> None:
        meta = pod["metadata"]
        shown = self._shown(pod) or pod
        body = {"metadata": {"uid": shown["metadata"]["uid"]}, "status": patch}
        answer = self._client.patch(PODS, meta["name"], body, meta["namespace"], kind="strategic", subresource="status")
        with self._lock:
            self._latest[uid] = answer
            wanted.accepted, wanted.server = status, answer.get("status")


def _same_server(old: _Wanted, base: Obj) -> bool:
    return old.accepted == old.status and old.server == base.get("status")


def _revision(obj: Obj) -> int:
    text = str(obj["metadata"].get("resourceVersion") or "0")
    return int(text) if text.isdigit() else 0


def difference(old: Obj, new: Obj) -> Obj:
    """The strategic merge patch from one status to another. Pure.

    Conditions are merged by type: only changed ones are sent, none is ever removed.
    """
    patch: Obj = {}
    for key, value in new.items():
        if value == old.get(key):
            continue
        if key == "conditions":
            known = old.get("conditions") or []
            changed = [condition for condition in value if condition not in known]
            if changed:
                patch[key] = changed
        elif key in _MERGED_BY_IP and old.get(key):
            patch[key] = [{"$patch": "replace"}, *value]
        else:
            patch[key] = value
    return patch
