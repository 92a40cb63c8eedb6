"""One pod's life on this node: look, decide, act, report; and at the end stop everything and let go.

Who calls it: `pod_manager` calls `sync` (never twice at once) whenever spec, container, probe or timer give reason to.
Invariants: every step starts from what the runtime shows, so a worker that was cut off anywhere carries on; once a pod is
ending it never starts anything again; the API object is only removed when nothing of the pod runs any more.
Stop of the data path: 9. Upstream: pkg/kubelet/pod_workers.go and SyncPod, SyncTerminatingPod, SyncTerminatedPod in kubelet.go.
"""

import logging
import threading

from kubelet import status as pod_status
from kubelet.backoff import duration
from kubelet.container_status import Facts
from kubelet.decide import Plan, Resize, Start, decide
from kubelet.devices.base import DeviceError
from kubelet.dra.drivers import ClaimError
from kubelet.errors import ConfigError, ImageError, StartError, VolumeError
from kubelet.lifecycle import together
from kubelet.network.ipam import AddressesExhausted
from kubelet.node_services import NodeServices
from kubelet.observation import Observation
from kubelet.pod_spec import container_of, field_path, grace_period, host_network, is_static
from kubelet.pod_view import PodView
from kubelet.pod_volumes import PodVolumes
from kubelet.qos import pod_limits
from kubelet.runtime.base import EXITED, Resources, RuntimeFault, RuntimeUnavailable, Status
from kubelet.status import FAILED, SUCCEEDED, Verdict
from minikube_py.api.clock import parse_rfc3339, rfc3339
from minikube_py.api.errors import APIError
from minikube_py.api.meta import is_terminating, uid_of
from minikube_py.api.types import Obj

_log = logging.getLogger(__name__)
_ENGINE_AWAY, _RETRY, _RETRY_CAP, _MAX_ROUNDS = 1.0, 0.5, 60.0, 50
_SMALL_GRACE = 2


class PodWorker:
    """The pod with one uid. `sync` is called by one thread at a time, everything else from anywhere."""

    def __init__(self, node: NodeServices, pod: Obj) -> None:
        self.node, self.pod, self.uid = node, pod, uid_of(pod)
        self.admitted = self.ended = self.gone = False
        self._removed = self._ending = False
        self._verdict: Verdict | None = None
        self._eviction: tuple[Verdict, int | None] | None = None
        self._limited: Resources | None = None
        self.view = PodView(node.runtime, self.uid)
        self._waiting: dict[str, tuple[str, str]] = {}
        self._trouble = 0
        self._start_time = rfc3339(node.clock.now())
        self.volumes = PodVolumes(node)

    # --- told from outside

    def update(self, pod: Obj) -> None:
        """The API object changed."""
        if any(pod["metadata"].get(name) != self.pod["metadata"].get(name) for name in ("labels", "annotations")):
            self.volumes.stale()  # a downwardAPI volume may show them
        shorter = is_terminating(pod) and grace_period(pod) < grace_period(self.pod)
        self.pod = pod
        if shorter:
            self._hurry(grace_period(pod))

    def removed(self) -> None:
        """The API object is gone: nobody waits for the pod any more, so it gets little time."""
        self._removed = True
        self._hurry(_SMALL_GRACE)

    def evict(self, verdict: Verdict, grace: int | None) -> bool:
        """End the pod, whatever its restart policy. Out: whether there was anything to end. `grace` None is the pod's own."""
        if self.ended or self._eviction is not None or not self.admitted:
            return False
        self._eviction = verdict, grace
        if grace is not None:
            self._hurry(grace)
        return True

    @property
    def occupies(self) -> bool:
        """Whether the pod counts against the node's resources."""
        return self.admitted and not self.ended

    # --- one step

    def sync(self) -> float | None:
        """Bring the pod closer to what it should be. Out: seconds until it wants to be called again, None = when told."""
        try:
            self.view.look()
            return self._end() if self._must_end() else self._live()
        except RuntimeUnavailable as error:
            _log.info("pod %s waits: %s", self.pod["metadata"]["name"], error)
            self.view.look_again()
            return _ENGINE_AWAY
        except RuntimeFault as error:
            _log.warning("pod %s: %s", self.pod["metadata"]["name"], error)
            self.view.look_again()
            return self._later()

    def _later(self) -> float:
        self._trouble += 1
        return float(min(_RETRY_CAP, _RETRY * 2.0 ** min(self._trouble - 1, 10)))

    # --- live

    def _must_end(self) -> bool:
        if self._eviction is not None and self._verdict is None:
            self._verdict = self._eviction[0]
        if self._ending or self._removed or self._eviction is not None or is_terminating(self.pod):
            return True
        if (self.pod.get("status") or {}).get("phase") in (SUCCEEDED, FAILED):
            return True
        limit = self.pod["spec"].get("activeDeadlineSeconds")
        if limit is not None and self._active_for() >= limit:
            self._verdict = Verdict("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
            self._event("Normal", "DeadlineExceeded", self._verdict.message)
            return True
        return False

    def _active_for(self) -> float:
        began = (self.pod.get("status") or {}).get("startTime") or self._start_time
        return self.node.clock.time() - parse_rfc3339(began).timestamp()

    def _live(self) -> float | None:
        if not self.admitted and not self._admit():
            return self._end()
        waits: list[float] = []
        self._limit_pod(waits)
        for _ in range(_MAX_ROUNDS):
            seen = self.view.observed()
            probes = self.node.probes
            probes.follow(self.pod, [s for s in seen.running() if seen.current(s.name) is s], self._ip(seen))
            plan = decide(self.pod, seen, probes.failing(self.uid), probes.started)
            if plan.finished:
                return self._end()
            if not plan or not self._carry_out(plan, waits):
                break
            self._limit_pod(waits)
            if self._must_end():
                return self._end()
        if self.view.observed().sandbox is not None and (again := self.volumes.refresh(self.pod)) is not None:
            waits.append(again)
        self.view.forget_old()
        self._publish()
        limit = self.pod["spec"].get("activeDeadlineSeconds")
        if limit is not None:
            waits.append(min(limit, max(0.1, limit - self._active_for())))
        return min(waits, default=None)

    def _admit(self) -> bool:
        """The node's own check, for a pod that has nothing here yet."""
        known = not self.view.empty
        self.admitted, self._verdict = True, None
        if known:
            return True
        verdict = None
        if not (self.pod.get("status") or {}).get("startTime"):
            verdict = self.node.refuse(self.pod)
        if verdict is None:
            try:
                self.node.devices.admit(self.pod)
                return True
            except DeviceError as error:
                verdict = Verdict(error.reason, f"Pod was rejected: {error}")
        self.admitted, self._verdict = False, verdict
        self._event("Warning", verdict.reason, verdict.message)
        return False

    def _carry_out(self, plan: Plan, waits: list[float]) -> bool:
        """Do what the plan says, as far as it can be done now. Out: True when something changed: ask for a plan again."""
        changed = bool(plan.kill or plan.remove)
        together(lambda kill: self._kill(kill.status, kill.why), plan.kill)
        for container_id in plan.remove:
            self.node.runtime.remove(container_id)
            self.view.inspect(container_id)
        for resize in plan.resize:
            changed = self._resize(resize, waits) or changed
        if plan.create_sandbox is not None:
            return self._make_sandbox(plan.create_sandbox, waits)
        for start in plan.start:
            if self._must_end():
                return True
            changed = self._start(start, waits) or changed
        return changed

    def _kill(self, status: Status, why: str) -> None:
        grace = self.node.probes.grace_of(status.id)
        limit = grace_period(self.pod) if grace is None else grace
        self.node.terminator.stop(
            self.pod, status, limit, status.ip or self._ip(self.view.observed()), self._notify, why
        )
        self.view.inspect(status.id)

    def _resize(self, resize: Resize, waits: list[float]) -> bool:
        """In place; what the kernel refuses (less memory than is in use) is tried again."""
        try:
            self.node.runtime.update_resources(resize.status.id, resize.limits)
        except RuntimeUnavailable:
            raise
        except RuntimeFault as error:
            self._notify(resize.status.name, "Warning", "ResizeError", str(error))
            waits.append(self._later())
            return False
        self.view.inspect(resize.status.id)
        return True

    def _limit_pod(self, waits: list[float]) -> None:
        """Keep the pod's own cgroup at what its spec says; what the kernel refuses (less than is in use) is tried again."""
        wanted = pod_limits(self.pod)
        if wanted == self._limited or self.view.observed().sandbox is None:
            return
        try:
            self.node.cgroups.prepare(self.pod, self.node.options.pod_pids_limit)
            self._limited = wanted
        except OSError as error:
            _log.info("pod %s keeps its limits for now: %s", self.pod["metadata"]["name"], error)
            waits.append(self._later())

    def _make_sandbox(self, attempt: int, waits: list[float]) -> bool:
        node = self.node
        try:
            node.claims.prepare(self.pod)
            self.volumes.setup(self.pod)
            handler = node.starter.runtime_handler(self.pod, self.volumes.since)
            status = node.sandboxes.create(self.pod, attempt, node.volumes.pod_directory(self.uid), handler)
        except ClaimError as error:
            self._event(
                "Warning",
                "FailedPrepareDynamicResources",
                f"Failed to prepare dynamic resources: prepare dynamic resources: {error}",
            )
        except VolumeError as error:
            self._event("Warning", "FailedMount", str(error))
        except RuntimeUnavailable:
            raise
        except (RuntimeFault, OSError, AddressesExhausted, ConfigError, APIError) as error:
            self._event("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            self.view.look_again()
            self.view.look()
        else:
            self._trouble = 0
            self.view.put(status)
            return True
        waits.append(self._later())
        return False

    def _start(self, start: Start, waits: list[float]) -> bool:
        node, name = self.node, start.container
        key = f"{self.uid}_{name}"
        if start.after is not None and self._held_back(start, key, waits):
            return False
        sandbox = self.view.observed().sandbox
        if sandbox is None:
            return True
        try:
            running = {status.name: status.id for status in self.view.observed().running()}
            around = self.volumes.around(self.pod, sandbox, running)
            container_id = node.starter.start(self.pod, start, around, self._notify)
        except VolumeError as error:
            self._event("Warning", "FailedMount", str(error))
            waits.append(self._later())
            return False
        except StartError as error:
            self._waiting[name] = (error.reason, error.message)
            self.view.look_again()
            self.view.look()
            by_image = isinstance(error, ImageError)
            image = str((container_of(self.pod, name) or {}).get("image"))
            waits.append(node.images.retry_after(self.pod, image) if by_image else self._later())
            return False
        self._trouble = 0
        self._waiting.pop(name, None)
        self.view.inspect(container_id)
        return True

    def _held_back(self, start: Start, key: str, waits: list[float]) -> bool:
        """CrashLoopBackOff: whether this restart has to wait."""
        ended = start.after
        assert ended is not None
        moment = (ended.finished_at or ended.created_at or self.node.clock.now()).timestamp()
        left = self.node.restarts.remaining(key, moment)
        if left <= 0:
            self.node.restarts.failed(key, moment)
            return False
        meta = self.pod["metadata"]
        message = (
            f"back-off {duration(self.node.restarts.delay(key))} restarting failed container={start.container} "
            f"pod={meta['name']}_{meta['namespace']}({self.uid})"
        )
        if self._waiting.get(start.container, ("",))[0] != "CrashLoopBackOff":
            self._notify(start.container, "Warning", "BackOff", message)
        self._waiting[start.container] = ("CrashLoopBackOff", message)
        waits.append(left + 0.01)
        return True

    # --- end

    def _end(self) -> float | None:
        """Stop everything, give everything back, say so; when the API object is gone, remove the last traces."""
        self._ending = True
        node, seen = self.node, self.view.observed()
        if self.ended and not seen.running():
            self._conclude(self._ip(seen))
            return None
        node.probes.follow(self.pod, (), "")
        running = seen.running()
        if running:
            node.terminator.stop_all(self.pod, running, self._grace(), self._ip(seen), self._notify)
            for status in running:
                self.view.inspect(status.id)
        for sandbox in seen.sandboxes:
            if sandbox.state != EXITED:
                node.runtime.stop_sandbox(sandbox.id)
                self.view.inspect(sandbox.id)
        if self.view.observed().running():
            return self._later()
        final_ip = self._ip(seen)
        try:
            node.network.teardown(self.uid)
            node.claims.release(self.uid)
            node.volumes.release(self.uid)
        except (OSError, ClaimError) as error:
            _log.warning("pod %s: %s", self.pod["metadata"]["name"], error)
            return self._later()
        node.devices.release(self.uid)
        node.tokens.forget(self.uid)
        node.watches.forget(self.uid)
        self.ended = True
        self._conclude(final_ip)
        return None

    def _grace(self) -> int:
        """Seconds of patience with the containers."""
        own = grace_period(self.pod)
        if self._eviction is not None and self._eviction[1] is not None:
            own = min(own, self._eviction[1])
        return max(1, min(_SMALL_GRACE, own) if self._removed and not is_static(self.pod) else own)

    def _conclude(self, ip: str) -> None:
        """Nothing of the pod runs any more: report that, or, when the API object is gone, remove the last traces."""
        if not self._removed:
            self._publish(terminal=True, ip=ip)
            return
        node = self.node
        for status in self.view.observed().everything():
            node.runtime.remove(status.id)
        node.volumes.teardown(self.uid)
        node.cgroups.remove(self.uid)
        node.images.forget(self.uid)
        node.restarts.forget(f"{self.uid}_")
        node.statuses.forget(self.uid)
        self.gone = True

    def _hurry(self, grace: int) -> None:
        """A deletion with less patience arrived, perhaps while containers are being stopped."""
        if not self._ending or self.ended:
            return

        def stop(status: Status) -> None:
            try:
                self.node.runtime.stop_container(status.id, max(1, grace))
            except RuntimeFault as error:
                _log.info("cannot hurry %s: %s", status.id[:12], error)

        running = self.view.observed().running()
        threading.Thread(target=together, args=(stop, running), name="hurry", daemon=True).start()

    # --- report

    def _ip(self, seen: Observation) -> str:
        if host_network(self.pod):
            return self.node.options.node_ip if seen.sandboxes else ""
        return seen.sandboxes[0].ip if seen.sandboxes else ""

    def _publish(self, *, terminal: bool = False, ip: str = "") -> None:
        node = self.node
        pod = node.statuses.current(self.pod)
        if self._verdict is not None and self.view.empty:
            status = pod_status.rejected(pod, self._verdict, self._start_time)
        elif terminal and pod_status.settled(pod.get("status") or {}):
            status = pod["status"]
        else:
            facts = Facts(
                runtime=node.runtime.name, waiting=self._waiting, messages=self.view.messages,
                devices=node.devices.health(self.uid), ready=node.probes.ready, started=node.probes.started, terminal=terminal,
            )  # fmt: skip
            seen = self.view.observed()
            status = pod_status.generate(
                pod, seen, facts, now=rfc3339(node.clock.now()), start_time=self._start_time,
                host_ip=node.options.node_ip, pod_ip=ip or self._ip(seen), verdict=self._verdict,
            )  # fmt: skip
        node.statuses.set(pod, status, delete=terminal and is_terminating(self.pod))

    def _notify(self, container: str, kind: str, reason: str, message: str) -> None:
        self.node.events.event(self.pod, kind, reason, message, field_path=field_path(self.pod, container))
        if reason == "Pulling":
            self._publish()  # this may take minutes: show what there is

    def _event(self, kind: str, reason: str, message: str) -> None:
        self.node.events.event(self.pod, kind, reason, message)
