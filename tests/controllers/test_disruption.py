"""PodDisruptionBudget status follows its pods."""

import pytest

from minikube_py.api.clock import REAL, rfc3339
from minikube_py.api.gvr import DEPLOYMENTS, PODDISRUPTIONBUDGETS, PODS, new_object
from minikube_py.api.meta import condition_of, name_of
from minikube_py.client.rest import Client
from tests.controllers.play import Kubelet, deployment, live_pods, pod_template, running
from tests.harness import eventually

ALL = ("replicaset", "deployment", "disruption")


@pytest.mark.parametrize(
    ("rule", "wanted", "allowed"),
    [
        ({"minAvailable": 3}, 3, 1), ({"maxUnavailable": 1}, 3, 1), ({"minAvailable": "50%"}, 2, 2),
        ({"maxUnavailable": "30%"}, 2, 2), ({"minAvailable": 9}, 9, 0),
    ],
)  # fmt: skip
def test_budget(client: Client, namespace: str, rule: dict[str, object], wanted: int, allowed: int) -> None:
    spec = {"selector": {"matchLabels": {"app": "web"}}, **rule}
    with running(client, *ALL), Kubelet(client, namespace):
        client.create(PODDISRUPTIONBUDGETS, new_object(PODDISRUPTIONBUDGETS, "budget", namespace, spec=spec))
        client.create(DEPLOYMENTS, deployment("web", namespace, 4))

        def counts() -> tuple[int, int, int, int]:
            status = client.get(PODDISRUPTIONBUDGETS, "budget", namespace).get("status") or {}
            names = ("expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed")
            return tuple(status.get(name, 0) for name in names)

        eventually(lambda: counts() == (4, wanted, 4, allowed), what="the counts of four healthy pods")
        condition = condition_of(client.get(PODDISRUPTIONBUDGETS, "budget", namespace), "DisruptionAllowed")
        assert condition is not None and condition["status"] == ("True" if allowed else "False")
        if allowed:
            granted = {"disruptedPods": {name_of(live_pods(client, namespace)[0]): rfc3339(REAL.now())}}
            client.patch(PODDISRUPTIONBUDGETS, "budget", {"status": granted}, namespace, subresource="status")
            eventually(lambda: counts() == (4, wanted, 3, allowed - 1), what="a granted eviction counts at once")


def test_pods_without_a_controller_allow_nothing_under_a_percentage(client: Client, namespace: str) -> None:
    pod = new_object(PODS, "alone", namespace, spec=pod_template("web")["spec"])
    pod["metadata"]["labels"] = {"app": "web"}
    client.create(PODS, pod)
    spec = {"selector": {"matchLabels": {"app": "web"}}, "maxUnavailable": "100%"}
    with running(client, "disruption"):
        client.create(PODDISRUPTIONBUDGETS, new_object(PODDISRUPTIONBUDGETS, "budget", namespace, spec=spec))
        failed = eventually(
            lambda: condition_of(client.get(PODDISRUPTIONBUDGETS, "budget", namespace), "DisruptionAllowed")
        )
        assert (failed["status"], failed["reason"]) == ("False", "SyncFailed") and "no controller" in failed["message"]
