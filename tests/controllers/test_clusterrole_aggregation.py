"""Aggregated ClusterRoles show what they are made of, and follow it."""

from minikube_py.api.gvr import CLUSTERROLES, new_object
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers.play import running
from tests.harness import eventually


def rules(client: Client, name: str) -> list[Obj]:
    return client.get(CLUSTERROLES, name).get("rules") or []


def test_rules_appear_follow_and_go(client: Client) -> None:
    wanted = {"verbs": ["get"], "apiGroups": ["acme.com"], "resources": ["anvils"]}
    with running(client, "clusterrole-aggregation"):
        eventually(lambda: any("pods" in rule["resources"] for rule in rules(client, "view")), what="view's own rules")
        eventually(
            lambda: any("pods/exec" in rule["resources"] for rule in rules(client, "admin")), what="admin holds edit"
        )
        labels = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
        extra = new_object(CLUSTERROLES, "acme-view", rules=[wanted])
        extra["metadata"]["labels"] = labels
        client.create(CLUSTERROLES, extra)
        for name in ("view", "edit", "admin"):
            eventually(lambda name=name: wanted in rules(client, name), what=f"{name} to grow")  # type: ignore[misc]
        client.delete(CLUSTERROLES, "acme-view")
        for name in ("view", "edit", "admin"):
            eventually(lambda name=name: wanted not in rules(client, name), what=f"{name} to shrink")  # type: ignore[misc]
