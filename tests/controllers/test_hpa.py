"""HorizontalPodAutoscaler against the real API server; the measurements alone are made up."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest

from controllers.options import Options
from minikube_py.api import errors
from minikube_py.api.clock import REAL, rfc3339
from minikube_py.api.gvr import (
    CUSTOMRESOURCEDEFINITIONS,
    DEPLOYMENTS,
    EVENTS,
    GVR,
    HORIZONTALPODAUTOSCALERS,
    PODS,
    new_object,
)
from minikube_py.api.meta import condition_of, name_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers.play import Kubelet, deployment, live_pods, running
from tests.harness import eventually

QUICK = Options(horizontal_pod_autoscaler_sync_period=0.2, horizontal_pod_autoscaler_downscale_stabilization=0.5,
                horizontal_pod_autoscaler_cpu_initialization_period=0.0,
                horizontal_pod_autoscaler_initial_readiness_delay=0.0)  # fmt: skip


class Measured(Client):
    """A client whose metrics APIs answer from tables: cpu by pod (thousandths), other metrics by the path's last part."""

    def __init__(self, client: Client) -> None:
        self.__dict__.update(client.__dict__)
        self.cpu: int | None = None  # of every pod
        self.values: dict[str, str] = {}
        self.asked: list[str] = []

    def request(self, method: str, path: str, **kw: Any) -> Any:
        group = path.split("/")[2] if path.startswith("/apis/") else ""
        if not group.endswith("metrics.k8s.io"):
            return super().request(method, path, **kw)
        self.asked.append(path)
        if path == f"/apis/{group}":
            return 200, {}, orjson.dumps({"preferredVersion": {"version": "v1beta1"}})
        return 200, {}, orjson.dumps({"items": list(self._items(path))})

    def _items(self, path: str) -> Iterator[Obj]:
        parts, now = path.split("/"), rfc3339(REAL.now())
        if path.endswith("/pods"):
            for pod in self.list(PODS, parts[5])["items"]:
                if self.cpu is not None:
                    main = {"name": "main", "usage": {"cpu": f"{self.cpu}m"}}
                    side = {"name": "side", "usage": {"cpu": "5m"}}
                    yield {"metadata": {"name": name_of(pod)}, "timestamp": now, "window": "0s",
                           "containers": [main, side][: len(pod["spec"]["containers"])]}  # fmt: skip
        elif "/pods/*/" in path and parts[-1] in self.values:
            for pod in self.list(PODS, parts[5])["items"]:
                described = {"kind": "Pod", "name": name_of(pod)}
                yield {"describedObject": described, "timestamp": now, "value": self.values[parts[-1]]}
        elif parts[-1] in self.values:
            yield {"describedObject": {"name": parts[-2]}, "timestamp": now, "value": self.values[parts[-1]]}


def autoscaler(namespace: str, *metrics: Obj, least: int = 1, most: int = 10, **spec: Any) -> Obj:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": target, "minReplicas": least, "maxReplicas": most, "metrics": list(metrics), **spec}
    return new_object(HORIZONTALPODAUTOSCALERS, "web", namespace, spec=spec)


def per_cent(of: int) -> Obj:
    return {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": of}},
    }


def external(name: str, **target: str) -> Obj:
    kind = "Value" if "value" in target else "AverageValue"
    return {"type": "External", "external": {"metric": {"name": name}, "target": {"type": kind, **target}}}


def web(namespace: str, replicas: int) -> Obj:
    made = deployment("web", namespace, replicas)
    made["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}
    return made


@contextmanager
def scene(client: Client, namespace: str, replicas: int = 2) -> Iterator[Measured]:
    """A Deployment whose pods run, and the controllers that keep and scale it."""
    measured = Measured(client)
    loops = ("replicaset", "deployment", "horizontal-pod-autoscaler")
    with Kubelet(client, namespace), running(measured, *loops, options=QUICK):
        client.create(DEPLOYMENTS, web(namespace, replicas))
        eventually(lambda: client.get(DEPLOYMENTS, "web", namespace)["status"].get("readyReplicas", 0) == replicas)
        yield measured


def size(client: Client, namespace: str) -> int:
    return int(client.get(DEPLOYMENTS, "web", namespace)["spec"]["replicas"])


def condition(client: Client, namespace: str, kind: str) -> tuple[str, str, str]:
    found = condition_of(client.get(HORIZONTALPODAUTOSCALERS, "web", namespace), kind) or {}
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


def events(client: Client, namespace: str) -> set[tuple[str, str]]:
    found = client.list(EVENTS, namespace)["items"]
    return {(e["reason"], e["message"]) for e in found if e["involvedObject"]["kind"] == "HorizontalPodAutoscaler"}


def test_follows_cpu_up_and_down(client: Client, namespace: str) -> None:
    with scene(client, namespace) as measured:
        measured.cpu = 50
        client.create(HORIZONTALPODAUTOSCALERS, autoscaler(namespace, per_cent(50)))
        eventually(lambda: condition(client, namespace, "ScalingActive")[:2] == ("True", "ValidMetricFound"))
        assert size(client, namespace) == 2
        measured.cpu = 100
        eventually(lambda: size(client, namespace) == 10, what="doubled until the most allowed")
        eventually(lambda: condition(client, namespace, "ScalingLimited")[:2] == ("True", "TooManyReplicas"))
        measured.cpu = 1
        eventually(lambda: size(client, namespace) == 1)
        said = eventually(lambda: len(found := events(client, namespace)) >= 3 and found)
        assert (
            "SuccessfulRescale",
            "New size: 4; reason: cpu resource utilization (percentage of request) above target",
        ) in said
        assert ("SuccessfulRescale", "New size: 1; reason: All metrics below target") in said
        status = client.get(HORIZONTALPODAUTOSCALERS, "web", namespace)["status"]
        current = status["currentMetrics"][0]["resource"]["current"]
        assert current == {"averageUtilization": 1, "averageValue": "1m"}


@pytest.mark.parametrize(("metric", "name", "value", "wanted"), [
    ({"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
     "rps", "20", 8),
    ({"type": "Object", "object": {"describedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
      "metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}}}, "queue", "45", 5),
    ({"type": "Object", "object": {"describedObject": {"apiVersion": "v1", "kind": "Namespace", "name": "x"},
      "metric": {"name": "all"}, "target": {"type": "AverageValue", "averageValue": "1"}}}, "all", "3", 3),
    (external("backlog", averageValue="100m"), "backlog", "690m", 7),
    ({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "main",
      "target": {"type": "AverageValue", "averageValue": "30m"}}}, "cpu", "60", 8),
])  # fmt: skip
def test_every_source(client: Client, namespace: str, metric: Obj, name: str, value: str, wanted: int) -> None:
    with scene(client, namespace) as measured:
        if name == "cpu":
            measured.cpu = int(value)
        measured.values[name] = value
        client.create(HORIZONTALPODAUTOSCALERS, autoscaler(namespace, metric, most=8))
        eventually(lambda: size(client, namespace) == wanted)
        field = metric["type"][0].lower() + metric["type"][1:]
        status = client.get(HORIZONTALPODAUTOSCALERS, "web", namespace)["status"]["currentMetrics"][0]
        assert status["type"] == metric["type"] and "averageValue" in status[field]["current"]


def test_to_zero_and_back(client: Client, namespace: str) -> None:
    with scene(client, namespace) as measured:
        measured.values["jobs"] = "0"
        client.create(HORIZONTALPODAUTOSCALERS, autoscaler(namespace, external("jobs", averageValue="5"), least=0))
        eventually(lambda: size(client, namespace) == 0)
        eventually(lambda: condition(client, namespace, "ScaledToZero")[0] == "True")
        measured.values["jobs"] = "12"
        eventually(lambda: size(client, namespace) == 3)
        eventually(lambda: condition(client, namespace, "ScaledToZero")[0] == "False")
        client.patch(HORIZONTALPODAUTOSCALERS, "web", {"spec": {"minReplicas": 1}}, namespace)
        client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 0}}, namespace)
        eventually(lambda: condition(client, namespace, "ScalingActive")[:2] == ("False", "ScalingDisabled"))
        assert size(client, namespace) == 0, "a person's zero stays"


def test_a_missing_metric_stops_shrinking_but_not_growing(client: Client, namespace: str) -> None:
    with scene(client, namespace) as measured:
        measured.cpu = 1
        client.create(HORIZONTALPODAUTOSCALERS, autoscaler(namespace, per_cent(50), external("gone", value="5")))
        why = ("False", "FailedGetExternalMetric", "the HPA was unable to compute the replica count: failed to get gone"
               f" external metric: unable to get external metric {namespace}/gone/: no metrics returned from external"
               " metrics API")  # fmt: skip
        eventually(lambda: condition(client, namespace, "ScalingActive") == why)
        assert size(client, namespace) == 2
        measured.cpu = 99
        eventually(lambda: size(client, namespace) >= 4)
        reasons = {reason for reason, _ in events(client, namespace)}
        assert {"FailedGetExternalMetric", "FailedComputeMetricsReplicas"} <= reasons


def test_what_cannot_be_scaled_says_so(client: Client, namespace: str) -> None:
    with running(Measured(client), "horizontal-pod-autoscaler", options=QUICK):
        client.create(HORIZONTALPODAUTOSCALERS, autoscaler(namespace, per_cent(50)))
        eventually(lambda: condition(client, namespace, "AbleToScale") == (
            "False", "FailedGetScale", "the HPA controller was unable to get the target's current scale:"
            ' deployments.apps "web" not found'))  # fmt: skip
        target = {"apiVersion": "example.com/v1", "kind": "Nothing", "name": "x"}
        client.patch(HORIZONTALPODAUTOSCALERS, "web", {"spec": {"scaleTargetRef": target}}, namespace)
        eventually(lambda: 'no matches for kind "Nothing"' in condition(client, namespace, "AbleToScale")[2])


def test_two_autoscalers_on_the_same_pods_both_stop(client: Client, namespace: str) -> None:
    with scene(client, namespace) as measured:
        measured.cpu = 100
        one = autoscaler(namespace, per_cent(50), most=2)
        client.create(HORIZONTALPODAUTOSCALERS, one)
        client.create(HORIZONTALPODAUTOSCALERS, {**one, "metadata": {"name": "rival", "namespace": namespace}})
        eventually(lambda: condition(client, namespace, "ScalingActive")[1] == "AmbiguousSelector")


def test_scales_custom_resources(client: Client, namespace: str) -> None:
    group = f"{namespace}.example.com"
    crates = GVR(group, "v1", "crates", "Crate")
    paths = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
             "labelSelectorPath": ".status.selector"}  # fmt: skip
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
               "subresources": {"status": {}, "scale": paths}}  # fmt: skip
    names = {"plural": "crates", "kind": "Crate", "singular": "crate", "listKind": "CrateList"}
    definition = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    client.create(CUSTOMRESOURCEDEFINITIONS, new_object(CUSTOMRESOURCEDEFINITIONS, f"crates.{group}", spec=definition))
    made = eventually(lambda: client.create(crates, new_object(crates, "web", namespace, spec={"replicas": 2})))
    client.update(crates, {**made, "status": {"replicas": 2, "selector": "app=crate"}}, subresource="status")
    measured = Measured(client)
    measured.values["backlog"] = "70"
    with running(measured, "horizontal-pod-autoscaler", options=QUICK):
        target = {"apiVersion": f"{group}/v1", "kind": "Crate", "name": "web"}
        wanted = autoscaler(namespace, external("backlog", averageValue="10"), scaleTargetRef=target, most=4)
        client.create(HORIZONTALPODAUTOSCALERS, wanted)
        eventually(lambda: client.get(crates, "web", namespace)["spec"]["replicas"] == 4)


@pytest.mark.parametrize(("metrics", "more", "why"), [
    ([per_cent(50)], {"minReplicas": 0}, "must specify at least one Object or External metric to support scaling to zero"),
    ([{"type": "Pods"}], {}, "spec.metrics[0].pods: Required value: must populate information"),
    ([{**per_cent(50), "pods": per_cent(5)["resource"]}], {}, "must populate the given metric source only"),
    ([external("x", value="1", averageValue="2")], {}, "may not set both a target value for metric"),
    ([per_cent(0)], {}, "must be greater than 0"),
    ([], {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601}}}, "must be less than or equal to 3600"),
    ([], {"behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1801}]}}}, "1800"),
    ([], {"behavior": {"scaleDown": {"selectPolicy": "Most"}}}, 'supported values: "Disabled", "Max", "Min"'),
])  # fmt: skip
def test_validation(client: Client, namespace: str, metrics: list[Obj], more: Obj, why: str) -> None:
    with pytest.raises(errors.Invalid) as error:
        client.create(HORIZONTALPODAUTOSCALERS, autoscaler(namespace, *metrics, **more))
    assert why in str(error.value)


def test_a_steady_target_is_not_written(client: Client, namespace: str) -> None:
    with scene(client, namespace) as measured:
        measured.cpu = 50
        client.create(HORIZONTALPODAUTOSCALERS, autoscaler(namespace, per_cent(50)))
        eventually(lambda: condition(client, namespace, "ScalingLimited")[0] == "False")
        eventually(lambda: len(measured.asked) > 3)
        before, asked = client.get(HORIZONTALPODAUTOSCALERS, "web", namespace), len(measured.asked)
        eventually(lambda: len(measured.asked) > asked + 5)
        assert client.get(HORIZONTALPODAUTOSCALERS, "web", namespace) == before
        assert len(live_pods(client, namespace)) == 2
