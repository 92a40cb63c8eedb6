"""What the scheduler writes about a pod it cannot place: the event, the condition, the nomination, and the victims' end.

Who calls it: main.py's writer threads. Invariant: a condition that says the same already is not written again, so a cluster
with pods that stay pending is quiet.
Upstream: pkg/scheduler/schedule_one.go (handleSchedulingFailure) and framework/preemption/executor.go.
"""

import logging
from collections.abc import Sequence

from controllers.scheduler.podinfo import PodInfo
from minikube_py.api import errors, meta
from minikube_py.api.clock import Clock, rfc3339
from minikube_py.api.gvr import PODS
from minikube_py.api.types import Obj
from minikube_py.client.events import EventRecorder
from minikube_py.client.rest import Client

log = logging.getLogger(__name__)


class Reporter:
    """Writes as `scheduler_name`."""

    def __init__(self, client: Client, recorder: EventRecorder, clock: Clock, scheduler_name: str) -> None:
        self._client, self._recorder, self._clock = client, recorder, clock
        self._name = scheduler_name

    def scheduled(self, pod: PodInfo, node: str) -> None:
        message = f"Successfully assigned {pod.key} to {node}"
        self._recorder.event(pod.pod, "Normal", "Scheduled", message)

    def failed(self, pod: PodInfo, reason: str, message: str, nominated: str | None) -> bool:
        """The pod was not placed. `reason`: Unschedulable or SchedulerError; `nominated`: None = leave it as it is.

        Out: False when the API could not be told, so that the pod has to be tried again.
        """
        self._recorder.event(pod.pod, "Warning", "FailedScheduling", message)
        status: Obj = {}
        condition = self._condition(pod.pod, "PodScheduled", "False", reason, message)
        if condition is not None:
            status["conditions"] = [condition]
        current = (pod.pod.get("status") or {}).get("nominatedNodeName") or ""
        if nominated is not None and nominated != current:
            status["nominatedNodeName"] = nominated or None
        try:
            if status:
                self._patch(pod, status)
        except errors.APIError as error:
            log.warning("the status of %s cannot be written: %s", pod.key, error)
            return False
        return True

    def renounce(self, pod: PodInfo) -> None:
        """Take its nomination away: a more important pod gets the room."""
        try:
            self._patch(pod, {"nominatedNodeName": None})
        except (
            errors.APIError
        ) as error:  # the snapshot has forgotten it already; its next attempt writes the status anew
            log.warning("the nomination of %s cannot be taken back: %s", pod.key, error)

    def preempt(self, preemptor: PodInfo, victims: Sequence[PodInfo], node: str) -> bool:
        """Mark and delete the victims, gracefully. Out: False when one could not be deleted, so that all is tried again."""
        done = True
        for victim in victims:
            message = f"{self._name}: preempting to accommodate a higher priority pod"
            condition = self._condition(victim.pod, "DisruptionTarget", "True", "PreemptionByScheduler", message)
            try:
                if condition is not None:
                    self._patch(victim, {"conditions": [condition]})
                self._client.delete(PODS, meta.name_of(victim.pod), victim.namespace, uid=victim.uid)
            except errors.NotFound:
                continue
            except errors.APIError as error:
                log.warning("preempting %s for %s: %s", victim.key, preemptor.key, error)
                done = False
                continue
            self._recorder.event(victim.pod, "Normal", "Preempted", f"Preempted by pod {preemptor.uid} on node {node}")
        return done

    def _condition(self, pod: Obj, kind: str, value: str, reason: str, message: str) -> Obj | None:
        """The condition as it should be written; None when the pod has it already."""
        now = rfc3339(self._clock.now())
        status: Obj = {"conditions": list((pod.get("status") or {}).get("conditions") or ())}
        if not meta.set_condition(status, kind, value, now, reason, message):
            return None
        condition = dict(next(c for c in status["conditions"] if c.get("type") == kind))
        generation = pod["metadata"].get("generation")
        return condition | ({"observedGeneration": generation} if generation else {})

    def _patch(self, pod: PodInfo, status: Obj) -> None:
        patch: Obj = {"metadata": {"uid": pod.uid}, "status": status}
        try:
            self._client.patch(
                PODS, meta.name_of(pod.pod), patch, pod.namespace, kind="strategic", subresource="status",
            )  # fmt: skip
        except (errors.NotFound, errors.Conflict) as error:
            log.debug("status of %s: %s", pod.key, error)
