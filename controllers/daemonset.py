"""DaemonSet: one pod on every node that qualifies, kept up to date node by node.

Who calls it: `controllers.main`. Invariants: no node has two pods, except while an update surges: then an old and a new one,
until the new one is available; by its doing at most maxUnavailable nodes are without an available pod.
Upstream: pkg/controller/daemon/{daemon_controller,update}.go.
"""

from collections import defaultdict
from collections.abc import Callable

from controllers import daemonset_nodes as nodes
from controllers import daemonset_rollout as rollout
from controllers.context import Context
from controllers.owned_pods import UNSEEN_RETRY, OwnedPods, next_available, raised, write_status
from controllers.pod import available_in, from_template, is_ready, phase_of
from controllers.revisions import HASH_LABEL, Collision, History
from minikube_py.api.gvr import DAEMONSETS, NODES
from minikube_py.api.meta import is_terminating, key_of, labels_of, name_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_BACKOFF, _BACKOFF_MAX = 1.0, 900.0


def build(context: Context) -> Controller:
    """Watches DaemonSets, pods, revisions and nodes; keys are DaemonSets."""
    reconciler = DaemonSet(context)
    controller = Controller(reconciler, workers=2, clock=context.clock)
    controller.watch(reconciler.pods.owners).watch(reconciler.pods.informer, reconciler.pods.keys)
    controller.watch(reconciler.history.informer, reconciler.pods.keys)
    everywhere = lambda node: [key_of(ds) for ds in reconciler.pods.owners.list()]  # noqa: E731
    return controller.watch(reconciler.nodes, everywhere, when=_concern_daemons)


def _concern_daemons(old: Obj | None, new: Obj | None) -> bool:
    """Heartbeats do not matter: only what decides where daemons run."""
    before, after = (
        (labels_of(node), (node.get("spec") or {}).get("taints") or [], is_terminating(node)) if node else None
        for node in (old, new)
    )
    return before != after


class DaemonSet:
    """The reconciler."""

    name = "daemonset"

    def __init__(self, context: Context) -> None:
        self._client, self._clock = context.client, context.clock
        self.nodes = context.informers.of(NODES)
        self.pods = OwnedPods(context, DAEMONSETS, "daemonset-controller")
        self.history = History(context, DAEMONSETS)
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}  # (set, node) -> (how often, when last)

    def reconcile(self, key: str) -> float | None:
        ds = self.pods.owners.get_key(key)
        if ds is None:
            self.pods.forget(key)
            return None
        if is_terminating(ds):
            return None
        by_node: dict[str, list[Obj]] = defaultdict(list)
        for pod in self.pods.of(ds):
            by_node[nodes.node_for(pod)].append(pod)
        known = self.history.of(ds)
        try:
            current = self.history.current(ds, known)
        except Collision:
            status = dict(ds.get("status") or {})
            self._write_status(ds, {**status, "collisionCount": int(status.get("collisionCount") or 0) + 1})
            return 0.1
        hashed = labels_of(current)[HASH_LABEL]
        if not self.pods.expectations.met(key):
            return UNSEEN_RETRY
        spec = nodes.with_tolerations(ds["spec"]["template"]["spec"])
        fits = {name_of(node): nodes.fits(spec, node) for node in self.nodes.list()}
        again = self._place(key, ds, spec, fits, by_node, hashed)
        if (ds["spec"].get("updateStrategy") or {}).get(
            "type", "RollingUpdate"
        ) == "RollingUpdate" and self.pods.expectations.met(key):
            self._roll(key, ds, spec, {n: by_node.get(n, []) for n, fit in fits.items() if fit.should_run}, hashed)
        in_use = {labels_of(p).get(HASH_LABEL, "") for pods in by_node.values() for p in pods} | {hashed}
        self.history.clean_up(ds, [r for r in known if uid_of(r) != uid_of(current)], in_use)
        self._write_status(ds, self._status(ds, fits, by_node, hashed))
        everything = [pod for pods in by_node.values() for pod in pods]
        waits = (again, next_available(everything, _min_ready(ds), self._clock.now()))
        return min((seconds for seconds in waits if seconds is not None), default=None)

    # -- one pod per node ---------------------------------------------------------------------------------------------

    def _place(
        self, key: str, ds: Obj, spec: Obj, fits: dict[str, nodes.Fit], by_node: dict[str, list[Obj]], hashed: str
    ) -> float | None:
        """Create what is missing and delete what is wrong. Out: seconds until a failed pod may be replaced."""
        missing, doomed, waits = [], [], []
        for node, fit in fits.items():
            pods = by_node.get(node, [])
            if fit.should_run and not pods:
                missing.append(node)
            elif not fit.should_continue:
                doomed += pods
            else:
                failed = [p for p in pods if phase_of(p) == "Failed" and not is_terminating(p)]
                if failed and (wait := self._pause_left(key, ds, node, failed)):
                    waits.append(wait)
                elif failed:
                    doomed += failed
                doomed += rollout.surplus([p for p in pods if p not in failed], ds, hashed, self._clock.now())
        for node in by_node.keys() - fits.keys():  # pods that were meant for a node that is gone
            doomed += [p for p in by_node[node] if not p["spec"].get("nodeName")]
        raised(self.pods.delete(key, ds, doomed))
        self._create(key, ds, spec, missing, hashed)
        return min(waits, default=None)

    def _create(self, key: str, ds: Obj, spec: Obj, missing: list[str], hashed: str) -> None:
        metadata = ds["spec"]["template"].get("metadata") or {}
        metadata = {**metadata, "labels": {**(metadata.get("labels") or {}), HASH_LABEL: hashed}}

        def wanted(node: str) -> Callable[[str], Obj]:
            return lambda name: from_template({"metadata": metadata, "spec": nodes.bound_to(spec, node)}, ds, name)

        raised(self.pods.create(key, ds, [(f"{name_of(ds)}-", wanted(node)) for node in missing]))

    def _pause_left(self, key: str, ds: Obj, node: str, failed: list[Obj]) -> float:
        """Failed pods are replaced ever more slowly on the same node. Out: seconds to wait; 0.0: now, and it is said."""
        count, last = self._failures.get((key, node), (0, 0.0))
        pause = min(_BACKOFF_MAX, _BACKOFF * 2.0 ** min(count - 1, 10)) if count else 0.0
        left = last + pause - self._clock.monotonic()
        if count and left > 0:
            return left
        if count and left < -2 * pause - 60:
            count = 0  # it was well for a while
        self._failures[(key, node)] = (count + 1, self._clock.monotonic())
        for pod in failed:
            message = f"Found failed daemon pod {key_of(pod)} on node {node}, will try to kill it"
            self.pods.events.event(ds, "Warning", "FailedDaemonPod", message)
        return 0.0

    # -- updates and status -------------------------------------------------------------------------------------------

    def _roll(self, key: str, ds: Obj, spec: Obj, by_node: dict[str, list[Obj]], hashed: str) -> None:
        doomed, joined = rollout.step(by_node, ds, hashed, self._clock.now())
        raised(self.pods.delete(key, ds, doomed))
        self._create(key, ds, spec, joined, hashed)

    def _status(self, ds: Obj, fits: dict[str, nodes.Fit], by_node: dict[str, list[Obj]], hashed: str) -> Obj:
        counts = dict.fromkeys(("desiredNumberScheduled", "currentNumberScheduled", "numberMisscheduled", "numberReady",
                                "updatedNumberScheduled", "numberAvailable", "numberUnavailable"), 0)  # fmt: skip
        for node, fit in fits.items():
            pods = sorted(by_node.get(node, []), key=rollout.oldest_first)
            if not fit.should_run:
                counts["numberMisscheduled"] += bool(pods)
                continue
            counts["desiredNumberScheduled"] += 1
            if pods:
                pod = pods[0]
                counts["currentNumberScheduled"] += 1
                counts["numberReady"] += is_ready(pod)
                counts["numberAvailable"] += available_in(pod, _min_ready(ds), self._clock.now()) == 0.0
                counts["updatedNumberScheduled"] += labels_of(pod).get(HASH_LABEL) == hashed
        counts["numberUnavailable"] = counts["desiredNumberScheduled"] - counts["numberAvailable"]
        return {**(ds.get("status") or {}), **counts, "observedGeneration": ds["metadata"].get("generation", 0)}

    def _write_status(self, ds: Obj, status: Obj) -> None:
        always = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
        write_status(self._client, DAEMONSETS, ds, status, always)


def _min_ready(ds: Obj) -> int:
    return int(ds["spec"].get("minReadySeconds") or 0)
