"""DaemonSet: one pod on every node that qualifies, kept up to date node by node.

Who calls it: `controllers.main`. Invariants: no node ever gets a second pod while the first is there; during an update at most
maxUnavailable nodes are without an available pod by its doing. Surge updates (maxSurge above 0) are not built.
Upstream: pkg/controller/daemon/{daemon_controller,update}.go.
"""

from collections import defaultdict
from collections.abc import Iterable

from controllers import daemonset_nodes as nodes
from controllers.children import Expectations, Names, claim, parent_keys, slow_start
from controllers.context import BY_CONTROLLER, Context, index_by_controller, orphans_of
from controllers.pod import available_in, from_template, is_ready, phase_of
from controllers.revisions import HASH_LABEL, Collision, History
from minikube_py.api import errors, selectors
from minikube_py.api.gvr import DAEMONSETS, NODES, PODS
from minikube_py.api.meta import (
    is_terminating,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller

_UNSEEN_RETRY = 1.0
_BACKOFF, _BACKOFF_MAX = 1.0, 900.0


def build(context: Context) -> Controller:
    """Watches DaemonSets, pods, revisions and nodes; keys are DaemonSets."""
    reconciler = DaemonSet(context)
    controller = Controller(reconciler, workers=2, clock=context.clock)
    controller.watch(reconciler.sets).watch(reconciler.pods, reconciler.keys_of_child)
    controller.watch(reconciler.history.informer, reconciler.keys_of_child)
    everywhere = lambda node: [key_of(ds) for ds in reconciler.sets.list()]  # noqa: E731
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
        self.sets, self.nodes = context.informers.of(DAEMONSETS), context.informers.of(NODES)
        self.pods = index_by_controller(context.informers.of(PODS))
        self.history = History(context, DAEMONSETS)
        self._expectations = Expectations(self.pods, context.clock)
        self._names = Names()
        self._events = context.recorder("daemonset-controller")
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}  # (set, node) -> (how often, when last)

    def keys_of_child(self, child: Obj) -> Iterable[str]:
        """The DaemonSet that controls a pod or revision, or those that may want to adopt it."""
        return parent_keys(child, "DaemonSet", self.sets)

    def reconcile(self, key: str) -> float | None:
        ds = self.sets.get_key(key)
        if ds is None:
            self._expectations.forget(key)
            self._names.forget(key)
            return None
        if is_terminating(ds):
            return None
        by_node = self._pods_by_node(ds)
        known = self.history.of(ds)
        try:
            current = self.history.current(ds, known)
        except Collision:
            status = dict(ds.get("status") or {})
            status["collisionCount"] = int(status.get("collisionCount") or 0) + 1
            self._write_status(ds, status)
            return 0.1
        hashed = labels_of(current)[HASH_LABEL]
        if not self._expectations.met(key):
            return _UNSEEN_RETRY
        again = self._place(key, ds, by_node, hashed)
        if (ds["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate" and again is None:
            self._roll(key, ds, by_node, hashed)
        in_use = {labels_of(p).get(HASH_LABEL, "") for pods in by_node.values() for p in pods} | {hashed}
        self.history.clean_up(ds, [r for r in known if uid_of(r) != uid_of(current)], in_use)
        self._write_status(ds, self._status(ds, by_node, hashed))
        waits = (again, self._next_available(ds, by_node))
        return min((seconds for seconds in waits if seconds is not None), default=None)

    def _pods_by_node(self, ds: Obj) -> dict[str, list[Obj]]:
        selector, namespace = selectors.from_label_selector(ds["spec"]["selector"]), namespace_of(ds)
        candidates = self.pods.by_index(BY_CONTROLLER, uid_of(ds)) + self.pods.by_index(
            BY_CONTROLLER, orphans_of(namespace)
        )
        by_node: dict[str, list[Obj]] = defaultdict(list)
        for pod in claim(self._client, DAEMONSETS, ds, PODS, candidates, selector):
            by_node[nodes.node_for(pod)].append(pod)
        return by_node

    # -- one pod per node ---------------------------------------------------------------------------------------------

    def _place(self, key: str, ds: Obj, by_node: dict[str, list[Obj]], hashed: str) -> float | None:
        """Create what is missing and delete what is wrong. Out: seconds until a failed pod may be replaced."""
        spec = nodes.with_tolerations(ds["spec"]["template"]["spec"])
        missing: list[str] = []
        waits: list[float] = []
        here = {name_of(node): nodes.fits(spec, node) for node in self.nodes.list()}
        for node, fit in here.items():
            pods = by_node.get(node, [])
            failed = [p for p in pods if phase_of(p) == "Failed" and not is_terminating(p)]
            if fit.should_run and not pods:
                missing.append(node)
            elif not fit.should_continue:
                self._delete(key, ds, pods)
            elif failed:
                waits += self._replace_failed(key, ds, node, failed)
            else:
                living = sorted((p for p in pods if not is_terminating(p)), key=_oldest_first)
                self._delete(key, ds, living[1:])
        for node in by_node.keys() - here.keys():  # pods that were meant for a node that is gone
            self._delete(key, ds, [p for p in by_node[node] if not p["spec"].get("nodeName")])
        self._create(key, ds, spec, missing, hashed)
        return min(waits, default=None)

    def _create(self, key: str, ds: Obj, spec: Obj, missing: list[str], hashed: str) -> None:
        metadata = ds["spec"]["template"].get("metadata") or {}
        labels = {**(metadata.get("labels") or {}), HASH_LABEL: hashed}
        waiting = iter(missing)

        def one() -> Obj:
            node = next(waiting)
            template = {"metadata": {**metadata, "labels": labels}, "spec": nodes.bound_to(spec, node)}
            base = f"{name_of(ds)}-"
            return self._names.create(
                self._client, PODS, f"{key}@{node}", base, lambda n: from_template(template, ds, n), ds
            )

        first_error: Exception | None = None
        for result in slow_start(len(missing), one):
            if isinstance(result, Exception):
                self._events.event(ds, "Warning", "FailedCreate", f"Error creating: {result}")
                first_error = first_error or result
            else:
                self._expectations.wrote(key, result)
                self._events.event(ds, "Normal", "SuccessfulCreate", f"Created pod: {name_of(result)}")
        if first_error is not None:
            raise first_error

    def _delete(self, key: str, ds: Obj, pods: list[Obj]) -> None:
        for pod in pods:
            if is_terminating(pod):
                continue
            try:
                self._client.delete(PODS, name_of(pod), namespace_of(pod), uid=uid_of(pod))
            except errors.NotFound:
                continue
            self._expectations.deleted(key, pod)
            self._events.event(ds, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

    def _replace_failed(self, key: str, ds: Obj, node: str, failed: list[Obj]) -> list[float]:
        """Delete failed pods, ever more slowly on the same node. Out: seconds to wait, if it is too early."""
        count, last = self._failures.get((key, node), (0, 0.0))
        pause = min(_BACKOFF_MAX, _BACKOFF * 2.0 ** min(count - 1, 10)) if count else 0.0
        left = last + pause - self._clock.monotonic()
        if count and left > 0:
            return [left]
        if count and left < -2 * pause - 60:
            count = 0  # it was well for a while
        self._failures[(key, node)] = (count + 1, self._clock.monotonic())
        for pod in failed:
            message = f"Found failed daemon pod {key_of(pod)} on node {node}, will try to kill it"
            self._events.event(ds, "Warning", "FailedDaemonPod", message)
        self._delete(key, ds, failed)
        return []

    # -- updates and status -------------------------------------------------------------------------------------------

    def _roll(self, key: str, ds: Obj, by_node: dict[str, list[Obj]], hashed: str) -> None:
        spec = nodes.with_tolerations(ds["spec"]["template"]["spec"])
        desired = {name_of(n) for n in self.nodes.list() if nodes.fits(spec, n).should_run}
        most = _max_unavailable(ds, len(desired))
        concerned = {node: by_node.get(node, []) for node in desired}
        ready_seconds, now = int(ds["spec"].get("minReadySeconds") or 0), self._clock.now()
        doomed = nodes.replaceable(concerned, hashed, most, ready_seconds, now)
        self._delete(key, ds, doomed)

    def _status(self, ds: Obj, by_node: dict[str, list[Obj]], hashed: str) -> Obj:
        spec, now = nodes.with_tolerations(ds["spec"]["template"]["spec"]), self._clock.now()
        ready_seconds = int(ds["spec"].get("minReadySeconds") or 0)
        counts = dict.fromkeys(("desiredNumberScheduled", "currentNumberScheduled", "numberMisscheduled", "numberReady",
                                "updatedNumberScheduled", "numberAvailable", "numberUnavailable"), 0)  # fmt: skip
        for node in self.nodes.list():
            pods = sorted(by_node.get(name_of(node), []), key=_oldest_first)
            if not nodes.fits(spec, node).should_run:
                counts["numberMisscheduled"] += bool(pods)
                continue
            counts["desiredNumberScheduled"] += 1
            if pods:
                pod = pods[0]
                counts["currentNumberScheduled"] += 1
                counts["numberReady"] += is_ready(pod)
                counts["numberAvailable"] += available_in(pod, ready_seconds, now) == 0.0
                counts["updatedNumberScheduled"] += labels_of(pod).get(HASH_LABEL) == hashed
        counts["numberUnavailable"] = counts["desiredNumberScheduled"] - counts["numberAvailable"]
        return {**(ds.get("status") or {}), **counts, "observedGeneration": ds["metadata"].get("generation", 0)}

    def _write_status(self, ds: Obj, status: Obj) -> None:
        always = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
        kept = {key: value for key, value in status.items() if value or key in always}
        if kept == (ds.get("status") or {}):
            return
        try:
            self._client.update(DAEMONSETS, {**ds, "status": kept}, subresource="status")
        except errors.NotFound:
            return

    def _next_available(self, ds: Obj, by_node: dict[str, list[Obj]]) -> float | None:
        ready_seconds, now = int(ds["spec"].get("minReadySeconds") or 0), self._clock.now()
        waits = [s for pods in by_node.values() for p in pods if (s := available_in(p, ready_seconds, now))]
        return min(waits) + 0.01 if waits else None


def _oldest_first(pod: Obj) -> tuple[bool, str, str]:
    return not pod["spec"].get("nodeName"), pod["metadata"].get("creationTimestamp", ""), name_of(pod)


def _max_unavailable(ds: Obj, desired: int) -> int:
    """maxUnavailable in pods, percentages rounded up; at least one, or no update would ever proceed."""
    value = ((ds["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}).get("maxUnavailable", 1)
    if isinstance(value, int):
        return max(1, value)
    return max(1, -(-desired * int(value.removesuffix("%")) // 100))
