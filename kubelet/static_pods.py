"""Static pods: what files in a directory of the node say runs, whatever the API server says or whether there is one.

Who calls it: `main` starts it; `pod_manager` gets the pods as if they came from the API. Invariants: a static pod's uid is the
hash of its file, so a changed file is another pod, which waits for its predecessor's end; each is shown in the API by a mirror
pod, which runs nothing, is made again when somebody deletes it, and goes when the file goes; statuses are written to it.
Upstream: pkg/kubelet/config/file.go and common.go, pkg/kubelet/pod/mirror_client.go.
"""

import hashlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from kubelet.images import default_policy
from kubelet.options import Options
from kubelet.pod_source import PodSource
from kubelet.pod_spec import MIRROR, SOURCE, containers_of, is_mirror
from minikube_py.api import yaml
from minikube_py.api.clock import Clock
from minikube_py.api.errors import AlreadyExists, APIError, NotFound
from minikube_py.api.gvr import PODS
from minikube_py.api.meta import is_terminating, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client

_log = logging.getLogger(__name__)
_EVERY = 1.0
_HASH = "kubernetes.io/config.hash"
Deliver = Callable[[Obj | None, Obj | None], None]
"""(the pod before, the pod now), as informers call their handlers."""


class StaticPods:
    """The static pods of one node. `node` gives the Node object, `busy` whether a pod of this namespace and name still ends,
    `wake` has the pod with this uid report its status."""

    def __init__(
        self, options: Options, client: Client, pods: PodSource, clock: Clock, node: Callable[[], Obj],
        busy: Callable[[str, str], bool], wake: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._wake_pod = wake
        self._options, self._client, self._informer, self._clock = options, client, pods, clock
        self._node, self._busy = node, busy
        self._pods: dict[str, Obj] = {}
        self._refused: dict[Path, str] = {}
        self._stopped, self._wake = threading.Event(), threading.Event()

    def first(self) -> list[Obj]:
        """The pods of all files, which are taken as delivered."""
        self._pods = {uid_of(pod): pod for pod in self._load()}
        return list(self._pods.values())

    def _load(self) -> list[Obj]:
        if not self._options.pod_manifest_path:
            return []
        directory = Path(self._options.pod_manifest_path)
        found: list[Obj] = []
        for path in sorted(directory.iterdir() if directory.is_dir() else ()):
            if path.name.startswith(".") or not path.is_file():
                continue
            try:
                found.append(pod_of(path.read_bytes(), path, self._options.node_name))
                self._refused.pop(path, None)
            except (OSError, ValueError) as error:
                if self._refused.get(path) != str(error):
                    _log.warning("%s is no static pod: %s", path, error)
                self._refused[path] = str(error)
        return found

    def start(self, deliver: Deliver) -> None:
        """Follow the directory and keep the mirrors. Without a directory nothing happens."""
        if not self._options.pod_manifest_path:
            return
        self._informer.add_handler(self._mirror_changed)
        threading.Thread(target=self._run, args=(deliver,), name="static-pods", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()

    def _mirror_changed(self, old: Obj | None, new: Obj | None) -> None:
        pod = new or old or {}
        if is_mirror(pod):
            self._wake.set()
            self._wake_pod(pod["metadata"]["annotations"][MIRROR])

    def _run(self, deliver: Deliver) -> None:
        while not self._stopped.is_set():
            self._clock.wait(self._wake, _EVERY)
            self._wake.clear()
            self._follow(deliver)
            try:
                self._reflect()
            except APIError as error:
                _log.info("mirror pods wait: %s", error)

    def _follow(self, deliver: Deliver) -> None:
        now = {uid_of(pod): pod for pod in self._load()}
        for uid in self._pods.keys() - now.keys():
            deliver(self._pods.pop(uid), None)
        for uid, pod in now.items():
            if uid not in self._pods and not self._busy(pod["metadata"]["namespace"], pod["metadata"]["name"]):
                self._pods[uid] = pod
                deliver(None, pod)

    def _reflect(self) -> None:
        """Make the mirrors what the static pods are. Raises APIError."""
        wanted = {(pod["metadata"]["namespace"], pod["metadata"]["name"]): pod for pod in self._pods.values()}
        for mirror in [pod for pod in self._informer.list() if is_mirror(pod)]:
            meta = mirror["metadata"]
            pod = wanted.get((meta["namespace"], meta["name"]))
            if pod is not None and meta["annotations"][MIRROR] == uid_of(pod) and not is_terminating(mirror):
                del wanted[meta["namespace"], meta["name"]]
                continue
            try:
                self._client.delete(PODS, meta["name"], meta["namespace"], grace_period_seconds=0, uid=meta["uid"])
            except NotFound:
                continue
        for pod in wanted.values():
            try:
                self._client.create(PODS, self._mirror(pod))
            except AlreadyExists:
                continue

    def _mirror(self, pod: Obj) -> Obj:
        meta = {key: value for key, value in pod["metadata"].items() if key != "uid"}
        meta["annotations"] = {**meta["annotations"], MIRROR: uid_of(pod)}
        node = self._node()["metadata"]
        if node.get("uid"):
            owner = {"apiVersion": "v1", "kind": "Node", "name": node["name"], "uid": node["uid"], "controller": True}
            meta["ownerReferences"] = [owner]
        return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod["spec"]}


def pod_of(data: bytes, path: Path, node_name: str) -> Obj:
    """The pod a file describes, as this node runs it. Raises ValueError when it describes none."""
    documents = yaml.load_all(data)
    if len(documents) != 1 or documents[0].get("kind") != "Pod" or documents[0].get("apiVersion") != "v1":
        raise ValueError("a file holds exactly one v1 Pod")
    pod = documents[0]
    meta, spec = pod.setdefault("metadata", {}), pod.get("spec") or {}
    if not meta.get("name") or not spec.get("containers"):
        raise ValueError("a pod needs a name and containers")
    uid = (
        meta.get("uid")
        or hashlib.md5(data + f"host:{node_name}file:{path}".encode(), usedforsecurity=False).hexdigest()
    )
    annotations = {**(meta.get("annotations") or {}), _HASH: uid, SOURCE: "file"}
    meta.update(
        uid=uid,
        name=f"{meta['name']}-{node_name}",
        namespace=meta.get("namespace") or "default",
        annotations=annotations,
    )
    tolerations = [*(spec.get("tolerations") or []), {"operator": "Exists", "effect": "NoExecute"}]
    spec.update(nodeName=node_name, tolerations=tolerations)
    pod["spec"] = spec
    _default(pod)
    return {**pod, "status": {"phase": "Pending"}}


_POD = {
    "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30, "enableServiceLinks": True,
    "schedulerName": "default-scheduler",
}  # fmt: skip
_CONTAINER = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def _default(pod: Obj) -> None:
    """What the API server would have filled in, as far as a kubelet looks at it."""
    pod["spec"] = {**_POD, **pod["spec"]}
    for container in containers_of(pod):
        for name, value in _CONTAINER.items():
            container.setdefault(name, value)
        container.setdefault("imagePullPolicy", default_policy(container.get("image", "")))
        for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
            if kind in container:
                container[kind] = {**_PROBE, **container[kind]}
        for port in container.get("ports") or []:
            port.setdefault("protocol", "TCP")
        resources = container.get("resources") or {}
        if resources.get("limits"):
            resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
