"""HorizontalPodAutoscaler: looks at the metrics every few seconds and scales anything that has a scale subresource.

Who calls it: `controllers.main`. Invariants: a target is scaled only by what at least one metric says, and made smaller only
when every metric could be read; nothing but a changed spec and the passing of the period makes it look again, so that its
own status writes do not. Scaling to zero needs an object or external metric and is undone by the same metric.
Unlike upstream, where it waits behind a feature gate, scaling to zero is on.
Upstream: pkg/controller/podautoscaler/horizontal.go.
"""

import contextlib
import copy

from controllers.context import Context
from controllers.hpa_behavior import Bounds, Memory, normalise
from controllers.hpa_replicas import Settings, Tolerances
from controllers.hpa_sources import Sources, Target, Unavailable
from minikube_py.api import errors, quantity, selectors
from minikube_py.api.clock import rfc3339
from minikube_py.api.gvr import GVR, HORIZONTALPODAUTOSCALERS, PODS
from minikube_py.api.meta import condition_is, labels_of, name_of, namespace_of, set_condition, split_key
from minikube_py.api.selectors import Selector
from minikube_py.api.types import Obj
from minikube_py.client.controller import Controller, own_key, spec_changed
from minikube_py.client.discovery import Discovered, discover

_TRIES = 5  # of a scale update that meets somebody else's write


class _Stop(Exception):
    """Nothing more can be decided this time; the status says why."""


def build(context: Context) -> Controller:
    """Watches autoscalers, and pods to count them; keys are autoscalers."""
    reconciler = HorizontalPodAutoscaler(context)
    controller = Controller(reconciler, workers=2, clock=context.clock)
    controller.watch(reconciler.autoscalers, own_key, when=spec_changed)
    return controller.watch(reconciler.pods, lambda pod: ())


class HorizontalPodAutoscaler:
    """The reconciler."""

    name = "horizontal-pod-autoscaler"

    def __init__(self, context: Context) -> None:
        options = context.options
        self._client, self._clock = context.client, context.clock
        self._period = options.horizontal_pod_autoscaler_sync_period
        self._stabilisation = options.horizontal_pod_autoscaler_downscale_stabilization
        self._tolerance = options.horizontal_pod_autoscaler_tolerance
        self.autoscalers = context.informers.of(HORIZONTALPODAUTOSCALERS)
        self.pods = context.informers.of(PODS)
        settings = Settings(options.horizontal_pod_autoscaler_cpu_initialization_period,
                            options.horizontal_pod_autoscaler_initial_readiness_delay)  # fmt: skip
        self._sources = Sources(context.client, self._qualified, settings)
        self._events = context.recorder("horizontal-pod-autoscaler")
        self._memories: dict[str, Memory] = {}
        self._selectors: dict[str, Selector] = {}
        self._served = Discovered()

    def reconcile(self, key: str) -> float | None:
        found = self.autoscalers.get_key(key)
        if found is None:
            self._memories.pop(key, None)
            self._selectors.pop(key, None)
            return None
        hpa = {**found, "status": copy.deepcopy(found.get("status") or {})}
        with contextlib.suppress(_Stop):  # the status says why
            self._autoscale(key, hpa)
        if hpa["status"] != (found.get("status") or {}):
            self._write_status(hpa)
        return self._period

    def _autoscale(self, key: str, hpa: Obj) -> None:
        res, scale = self._scale_of(hpa)
        self._set(hpa, "AbleToScale", "True", "SucceededGetScale",
                  "the HPA controller was able to get the target's current scale")  # fmt: skip
        current = int((scale.get("spec") or {}).get("replicas") or 0)
        now = self._clock.monotonic()
        memory = self._memories.setdefault(key, Memory([(now, current)]))
        spec = hpa["spec"]
        bounds = Bounds(current, int(spec.get("minReplicas", 1)), int(spec["maxReplicas"]))
        asleep = condition_is(hpa, "ScaledToZero")
        statuses: list[Obj] = []
        if current == 0 and not (asleep and (bounds.least > 0 or _can_wake(spec))):
            self._set(hpa, "ScalingActive", "False", "ScalingDisabled",
                      "scaling is disabled since the replica count of the target is zero")  # fmt: skip
            desired, reason = 0, ""
        elif current > bounds.most:
            desired, reason = bounds.most, "Current number of replicas above Spec.MaxReplicas"
        elif 0 < current < bounds.least:
            desired, reason = bounds.least, "Current number of replicas below Spec.MinReplicas"
        else:
            wanted, metric, statuses = self._by_metrics(key, hpa, scale, current)
            reason = f"{metric} above target" if wanted > current else "All metrics below target"
            desired, notes = normalise(memory, spec, bounds, wanted, now, self._stabilisation)
            for note in notes:
                self._set(hpa, *note)
            if current == 0 and desired < bounds.least:
                desired, reason = bounds.least, "Current number of replicas below Spec.MinReplicas"
        if desired != current:
            self._rescale(hpa, res, scale, desired, reason, statuses)
            memory.scaled(now, desired - current, spec.get("behavior") or {})
        self._set_status(hpa, current, desired, statuses)

    # -- the target ---------------------------------------------------------------------------------------------------

    def _scale_of(self, hpa: Obj) -> tuple[GVR, Obj]:
        """The target's collection and its scale. Raises _Stop."""
        target = hpa["spec"]["scaleTargetRef"]
        try:
            res = self._resource(target.get("apiVersion") or "", target["kind"])
            if res is None:
                group = (target.get("apiVersion") or "").rpartition("/")[0]
                raise errors.NotFound(f'no matches for kind "{target["kind"]}" in group "{group}"')
            return res, self._client.get(res, target["name"], namespace_of(hpa), subresource="scale")
        except errors.APIError as error:
            self._events.event(hpa, "Warning", "FailedGetScale", str(error))
            why = f"the HPA controller was unable to get the target's current scale: {error}"
            self._set(hpa, "AbleToScale", "False", "FailedGetScale", why)
            raise _Stop from error

    def _resource(self, api_version: str, kind: str) -> GVR | None:
        """The collection of a kind; asks the server anew for one it has not heard of. Raises APIError."""
        found = self._served.by_kind(api_version, kind)
        if found is None:
            self._served = discover(self._client)
            found = self._served.by_kind(api_version, kind)
        return found

    def _qualified(self, api_version: str, kind: str) -> str:
        try:
            found = self._resource(api_version, kind)
        except errors.APIError as error:
            raise ValueError(str(error)) from error
        if found is None:
            raise ValueError(f'no matches for kind "{kind}" in group "{api_version.rpartition("/")[0]}"')
        return f"{found.plural}.{found.group}" if found.group else found.plural

    def _rescale(self, hpa: Obj, res: GVR, scale: Obj, desired: int, reason: str, statuses: list[Obj]) -> None:
        """Write the size. Raises _Stop."""
        try:
            self._write_scale(res, scale, desired)
        except errors.APIError as error:
            message = f"New size: {desired}; reason: {reason}; error: {error}"
            self._events.event(hpa, "Warning", "FailedRescale", message)
            self._set(hpa, "AbleToScale", "False", "FailedUpdateScale",
                      f"the HPA controller was unable to update the target scale: {error}")  # fmt: skip
            self._set_status(hpa, int(scale["spec"].get("replicas") or 0), None, statuses)
            raise _Stop from error
        self._set(hpa, "AbleToScale", "True", "SucceededRescale",
                  f"the HPA controller was able to update the target scale to {desired}")  # fmt: skip
        self._events.event(hpa, "Normal", "SuccessfulRescale", f"New size: {desired}; reason: {reason}")
        if desired == 0:
            self._set(hpa, "ScaledToZero", "True", "ScaledToZero", "the HPA controller scaled the workload to zero")
        else:
            self._set(hpa, "ScaledToZero", "False", "NotScaledToZero",
                      "the HPA controller did not scale the workload to zero")  # fmt: skip
        hpa["status"]["lastScaleTime"] = rfc3339(self._clock.now())

    def _write_scale(self, res: GVR, scale: Obj, desired: int) -> None:
        for tries_left in range(_TRIES, 0, -1):
            try:
                self._client.update(res, {**scale, "spec": {**scale["spec"], "replicas": desired}}, subresource="scale")
                return
            except errors.Conflict:
                if tries_left == 1:
                    raise
                scale = self._client.get(res, name_of(scale), namespace_of(scale), subresource="scale")

    # -- the metrics --------------------------------------------------------------------------------------------------

    def _by_metrics(self, key: str, hpa: Obj, scale: Obj, current: int) -> tuple[int, str, list[Obj]]:
        """(the most any metric asks for, that metric's name, their statuses). Raises _Stop."""
        target = self._target(key, hpa, scale)
        specs = hpa["spec"].get("metrics") or []
        statuses: list[Obj] = []
        failures: list[Unavailable] = []
        best: tuple[int, str] = (0, "")
        for spec in specs:
            try:
                proposal = self._sources.propose(spec, target, self._tolerances(hpa), self._clock.now())
            except Unavailable as failure:
                self._events.event(hpa, "Warning", failure.reason, failure.cause)
                statuses.append({"type": ""})
                failures.append(failure)
                continue
            statuses.append(proposal.status)
            if best[0] == 0 or proposal.replicas > best[0]:
                best = proposal.replicas, proposal.name
        if failures and (len(failures) >= len(specs) or best[0] < current):
            self._fail(hpa, failures[0].reason, f"the HPA was unable to compute the replica count: {failures[0].cause}")
            summary = f"invalid metrics ({len(failures)} invalid out of {len(specs)}), first error is: {failures[0]}"
            self._events.event(hpa, "Warning", "FailedComputeMetricsReplicas", summary)
            self._set_status(hpa, current, None, statuses)
            raise _Stop
        self._set(hpa, "ScalingActive", "True", "ValidMetricFound",
                  f"the HPA was able to successfully calculate a replica count from {best[1]}")  # fmt: skip
        return *best, statuses

    def _target(self, key: str, hpa: Obj, scale: Obj) -> Target:
        """The target's pods; they must be this autoscaler's alone. Raises _Stop."""
        namespace, text = namespace_of(hpa), (scale.get("status") or {}).get("selector") or ""
        try:
            if not text:
                self._events.event(hpa, "Warning", "SelectorRequired", "selector is required")
                self._fail(hpa, "InvalidSelector", "the HPA target's scale is missing a selector")
                raise _Stop
            selector = selectors.parse_labels(text)
        except ValueError as error:
            why = f"couldn't convert selector into a corresponding internal selector object: {error}"
            self._events.event(hpa, "Warning", "InvalidSelector", why)
            self._fail(hpa, "InvalidSelector", why)
            raise _Stop from error
        self._selectors[key] = selector
        pods = [pod for pod in self.pods.list(namespace) if selector.matches(labels_of(pod))]
        rivals = [
            other for other, theirs in list(self._selectors.items())
            if split_key(other)[0] == namespace and (other == key or any(theirs.matches(labels_of(p)) for p in pods))
        ]  # fmt: skip
        if len(rivals) > 1:
            named = " ".join(f"{{{name} {space}}}" for space, name in map(split_key, rivals))
            why = f"pods by selector {text} are controlled by multiple HPAs: [{named}]"
            self._events.event(hpa, "Warning", "AmbiguousSelector", why)
            self._fail(hpa, "AmbiguousSelector", why)
            raise _Stop
        sizes = (int((scale.get(part) or {}).get("replicas") or 0) for part in ("spec", "status"))
        return Target(namespace, text, pods, *sizes)

    def _tolerances(self, hpa: Obj) -> Tolerances:
        behavior = hpa["spec"].get("behavior") or {}
        down, up = (
            self._tolerance if (behavior.get(side) or {}).get("tolerance") is None
            else float(quantity.parse(behavior[side]["tolerance"]))
            for side in ("scaleDown", "scaleUp")
        )  # fmt: skip
        return Tolerances(down, up)

    # -- status -------------------------------------------------------------------------------------------------------

    def _fail(self, hpa: Obj, reason: str, message: str) -> None:
        self._set(hpa, "ScalingActive", "False", reason, message)

    def _set(self, hpa: Obj, kind: str, value: str, reason: str, message: str) -> None:
        set_condition(hpa["status"], kind, value, rfc3339(self._clock.now()), reason, message)

    def _set_status(self, hpa: Obj, current: int, desired: int | None, statuses: list[Obj]) -> None:
        status = hpa["status"]
        status["currentReplicas"] = current
        status["desiredReplicas"] = status.get("desiredReplicas", 0) if desired is None else desired
        if statuses:
            status["currentMetrics"] = statuses
        else:
            status.pop("currentMetrics", None)

    def _write_status(self, hpa: Obj) -> None:
        try:
            self._client.update(HORIZONTALPODAUTOSCALERS, hpa, subresource="status")
        except errors.NotFound:
            return
        except errors.APIError as error:
            self._events.event(hpa, "Warning", "FailedUpdateStatus", str(error))
            raise


def _can_wake(spec: Obj) -> bool:
    """Whether a metric exists that can be read without pods."""
    return any(metric.get("type") in ("Object", "External") for metric in spec.get("metrics") or [])
