"""Keeps one node's NetworkPolicy table equal to what the API says.

Who calls it: the kubelet starts it, and its sandbox code asks it to `isolate` a pod before the pod gets its wire.
Invariant: a pod that a policy selects has its rules before its first packet; a change is one atomic transaction; what nft
refuses is tried again from scratch while the old rules stay. Without any policy there is no table, no list of all pods is held,
and a pod costs nothing.
Upstream: kubernetes-sigs/kube-network-policies; the documentation's "Pod lifecycle" of network policies.
"""

import logging
import threading

from kubelet.network import nft
from kubelet.network.policy import Pod, build, pod_of
from kubelet.network.rules import table_name
from minikube_py.api.clock import REAL, Clock
from minikube_py.api.gvr import NAMESPACES, NETWORKPOLICIES, PODS
from minikube_py.api.meta import labels_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.informer import Informer, SharedInformers

log = logging.getLogger(__name__)

_COALESCE, _RETRY, _CHECK, _SYNC = 0.005, 1.0, 30.0, 5.0


class PolicyAgent:
    """One node's. `start` once; `isolate` from any thread."""

    def __init__(self, informers: SharedInformers, profile: str, node: str, clock: Clock = REAL) -> None:
        self._informers, self._node, self._clock = informers, node, clock
        self._table_name = table_name(profile, f"{node}/policy")
        self._policies = informers.of(NETWORKPOLICIES)
        self._others: tuple[Informer, Informer] | None = None  # all pods and namespaces, once there is a policy
        self._fresh: dict[str, Pod] = {}  # pods whose address no status says yet, by uid
        self._table = nft.Table()
        self._lock, self._beginning = threading.Lock(), threading.Lock()
        self._changed, self._stopped = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._policies.add_handler(self._wake)

    def start(self) -> None:
        """Start following (a daemon thread); the informers must be started by their owner."""
        self._thread = threading.Thread(target=self._run, name="network-policy", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop following. The table stays, so that isolation does."""
        self._stopped.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join(5)

    def isolate(self, pod: Obj, ip: str) -> None:
        """Put the pod's rules in place, before it is connected. Raises OSError when they cannot be."""
        made = pod_of(pod, ip)
        if made is None:
            return
        with self._lock:
            self._fresh[uid_of(pod)] = made
        try:
            self._sync(check=False)
        except nft.NftError as error:
            raise OSError(f"network policies cannot be enforced: {error}") from None

    def _wake(self, _old: Obj | None = None, _new: Obj | None = None) -> None:
        self._changed.set()

    def _run(self) -> None:
        while not self._policies.wait_synced(1.0):
            if self._stopped.is_set():
                return
        self._changed.set()
        while not self._stopped.is_set():
            woken = self._clock.wait(self._changed, _CHECK)
            if woken:
                self._clock.sleep(_COALESCE)
            if self._stopped.is_set():
                return
            self._changed.clear()
            try:
                self._sync(check=not woken)
            except Exception as error:
                log.warning("network policies: %s; trying again", error, exc_info=not isinstance(error, nft.NftError))
                self._clock.wait(self._stopped, _RETRY)
                self._changed.set()

    def _sync(self, *, check: bool) -> None:
        policies = self._policies.list()
        if not policies and self._others is None:
            with self._lock:
                self._table.remove(self._table_name)
                self._fresh.clear()
            return
        pods, namespaces = self._follow()
        with self._lock:
            found = {uid_of(obj): pod for obj in pods.list() if (pod := pod_of(obj)) is not None}
            for uid in self._fresh.keys() & found.keys():
                self._fresh.pop(uid, None)
            everyone = [*found.values(), *self._fresh.values()]
            wanted = build(self._table_name, self._node, self._policies.list(), everyone, namespaces.list())
            self._table.apply(wanted, check=check)

    def _follow(self) -> tuple[Informer, Informer]:
        """All pods and namespaces, synced. They are asked for when the first policy appears, and kept from then on."""
        with self._beginning:
            if self._others is None:
                pods, namespaces = self._informers.of(PODS), self._informers.of(NAMESPACES)
                pods.add_handler(self._pod_changed)
                namespaces.add_handler(lambda old, new: self._wake() if _labels(old) != _labels(new) else None)
                self._others = pods, namespaces
        for informer in self._others:
            if not informer.wait_synced(_SYNC):
                raise nft.NftError("the pods they speak of are not known yet")
        return self._others

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None and old is not None:
            self._fresh.pop(uid_of(old), None)
        if (pod_of(old) if old else None) != (pod_of(new) if new else None):
            self._changed.set()


def _labels(namespace: Obj | None) -> dict[str, str] | None:
    return labels_of(namespace) if namespace else None
