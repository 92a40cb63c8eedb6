"""The other half of a cluster, for controller tests: runs controllers in this process, and plays the kubelet.

Who uses it: the tests of this directory. The API server is real; pods "run" by having their status patched.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

from controllers.context import Context
from controllers.main import CONTROLLERS
from controllers.options import Options
from minikube_py.api import errors
from minikube_py.api.clock import REAL, Clock, rfc3339
from minikube_py.api.gvr import DEPLOYMENTS, PODS, REPLICASETS, new_object
from minikube_py.api.meta import is_terminating, key_of, labels_of, name_of, namespace_of, split_key
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller
from minikube_py.client.informer import SharedInformers
from minikube_py.client.rest import Client


@contextlib.contextmanager
def running(
    client: Client, *names: str, options: Options | None = None, clock: Clock = REAL
) -> Iterator[list[Controller]]:
    """Run these controllers until the block ends."""
    informers = SharedInformers(client, clock)
    context = Context(client, informers, options or Options(), clock)
    table = dict(CONTROLLERS)
    controllers = [table[name](context) for name in names]
    informers.start()
    for controller in controllers:
        controller.start()
    try:
        yield controllers
    finally:
        for controller in controllers:
            controller.stop()
        informers.stop()
        for recorder in context.recorders:
            recorder.stop()


class Kubelet:
    """Makes the pods of one namespace Running and Ready when `healthy(pod)` says so; finishes deletions."""

    def __init__(self, client: Client, namespace: str, healthy: Callable[[Obj], bool] = lambda pod: True) -> None:
        self.healthy, self._client, self._ips = healthy, client, itertools.count(1)
        self._informers = SharedInformers(client)
        self.pods = self._informers.of(PODS, namespace=namespace)
        self.seen: set[str] = set()  # every pod name that ever was
        self.most = 0  # the most pods that were there at a time, not counting those being deleted
        self.name = "played-kubelet"
        self._controller = Controller(self).watch(self.pods)
        self.pods.add_handler(self._note)

    def _note(self, old: Obj | None, new: Obj | None) -> None:
        if new is not None:
            self.seen.add(name_of(new))
        self.most = max(self.most, len([p for p in self.pods.list() if not is_terminating(p)]))

    def reconcile(self, key: str) -> float | None:
        pod = self.pods.get_key(key)
        if pod is None:
            return None
        namespace, name = split_key(key)
        if is_terminating(pod):
            with contextlib.suppress(errors.NotFound):
                self._client.delete(PODS, name, namespace, grace_period_seconds=0)
            return None
        status = pod.get("status") or {}
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])
        if self.healthy(pod) and not ready:
            set_ready(self._client, pod, True, ip=status.get("podIP") or self._address())
        elif not self.healthy(pod) and status.get("phase") == "Pending" and not status.get("podIP"):
            set_ready(self._client, pod, False, ip=self._address())
        return None

    def _address(self) -> str:
        number = next(self._ips)
        return f"10.9.{number // 250}.{number % 250}"

    def look_again(self) -> None:
        """`healthy` changed its mind: consider every pod anew."""
        for pod in self.pods.list():
            self._controller.queue.add(key_of(pod))

    def __enter__(self) -> Self:
        self._informers.start()
        self._controller.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._controller.stop()
        self._informers.stop()


def set_ready(client: Client, pod: Obj, ready: bool, ip: str = "") -> Obj:
    """Patch the status a kubelet would report for a running pod."""
    status: Obj = {
        "phase": "Running", "startTime": pod["metadata"].get("creationTimestamp") or rfc3339(REAL.now()),
        "conditions": [{
            "type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": rfc3339(REAL.now()),
        }],
    }  # fmt: skip
    if ip:
        status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    return client.patch(PODS, name_of(pod), {"status": status}, namespace_of(pod), subresource="status")


def pod_template(app: str, image: str = "busybox:1") -> Obj:
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "main", "image": image}]}}


def replicaset(name: str, namespace: str, replicas: int, **spec: Any) -> Obj:
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": pod_template(name), **spec}
    return new_object(REPLICASETS, name, namespace, spec=spec)


def deployment(name: str, namespace: str, replicas: int, image: str = "busybox:1", **spec: Any) -> Obj:
    spec = {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": pod_template(name, image),
        "progressDeadlineSeconds": 600, **spec,
    }  # fmt: skip
    return new_object(DEPLOYMENTS, name, namespace, spec=spec)


def live_pods(client: Client, namespace: str, app: str = "") -> list[Obj]:
    """Pods that are not being deleted, oldest name first."""
    items: list[Obj] = client.list(PODS, namespace)["items"]
    return sorted((p for p in items if not is_terminating(p) and app in ("", labels_of(p).get("app"))), key=name_of)


class CountingClient(Client):
    """A client that counts and can disturb its writes. `disturb(n, method, path)` runs before the n-th write."""

    def __init__(self, client: Client, disturb: Callable[[int, str, str], str] | None = None) -> None:
        self.__dict__.update(client.__dict__)
        self.writes: list[str] = []
        self.done: list[str] = []  # those that were not refused
        self._disturb, self._lock = disturb, threading.Lock()

    def request(self, method: str, path: str, **kw: Any) -> Any:
        """As the real one. `disturb` says "" (go on), "lost" (done, unanswered), "down", "conflict", "refused", "twice"."""
        if method == "GET" or "/events" in path:
            return super().request(method, path, **kw)
        with self._lock:
            self.writes.append(f"{method} {path}")
            number = len(self.writes)
        fault = self._disturb(number, method, path) if self._disturb else ""
        if fault == "down":
            raise errors.ServiceUnavailable("made up: not sent")
        if fault == "conflict":
            raise errors.Conflict("made up: conflict")
        if fault == "refused":
            raise errors.Forbidden("made up: exceeded quota")
        if fault == "twice":
            with contextlib.suppress(errors.APIError):
                super().request(method, path, **kw)
        answer = super().request(method, path, **kw)
        self.done.append(f"{method} {path}")
        if fault == "lost":
            raise errors.ServiceUnavailable("made up: the answer was lost")
        return answer
