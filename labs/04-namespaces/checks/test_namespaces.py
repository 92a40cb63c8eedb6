"""Checks of lab 4: real calls with each account's own token. What a Role says is not read; what it lets through is tried."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from minikube_py.api.errors import APIError, Forbidden
from minikube_py.api.gvr import CONFIGMAPS, PODS, RESOURCEQUOTAS, SECRETS, new_object
from minikube_py.api.meta import name_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from minikube_py.labkit.errors import CheckFailed
from minikube_py.labkit.observe import NotYet
from minikube_py.labkit.plugin import stage
from minikube_py.labkit.traffic import fetch
from minikube_py.labkit.world import World

SECONDS, ANSWER_SECONDS = 20.0, 8.0  # the README promises them
ROLES = "/apis/rbac.authorization.k8s.io/v1"


class Team(NamedTuple):
    """One side, seen by its own account (`api`). `other` is the other side's namespace."""

    namespace: str
    other: str
    motto: str
    limit: int
    api: Client


@pytest.fixture
def teams(world: World) -> list[Team]:
    a, b, robot = world.text("team_a"), world.text("team_b"), world.text("robot")
    return [
        Team(a, b, world.text("motto_a"), world.number("limit_a"), world.as_service_account(a, robot)),
        Team(b, a, world.text("motto_b"), world.number("limit_b"), world.as_service_account(b, robot)),
    ]


@stage("twins")
def test_one_name_means_two_pods(world: World) -> None:
    app, port = world.text("app"), world.text("port")
    for team in ("team_a", "team_b"):
        world.get(PODS, app, world.text(team))
    for namespace, motto in (
        (world.text("team_a"), world.text("motto_a")),
        (world.text("team_b"), world.text("motto_b")),
    ):
        pod = world.ready_pod(namespace, app, SECONDS)

        def answers(pod: Obj = pod, motto: str = motto) -> bool:
            reply = fetch(f"http://{pod['status']['podIP']}:{port}/")
            if reply.status == 200 and reply.body.rstrip("\r\n") == motto:
                return True
            raise NotYet(str(reply))

        expected = f"GET :{port}/ of Pod {app} in {namespace} answers {motto!r}"
        world.eventually(answers, expected=expected, within=ANSWER_SECONDS, where=f"kubectl -n {namespace} logs {app}")


@stage("tenants")
def test_each_account_works_in_its_own_namespace(world: World, teams: list[Team]) -> None:
    for team in teams:
        pod, texts = idle_pod(world.fresh("probe")), new_object(CONFIGMAPS, world.fresh("probe"), data={"a": "b"})
        calls = (
            ("list pods", lambda t=team: t.api.list(PODS, t.namespace)),
            ("create pods", lambda t=team, p=pod: t.api.create(PODS, p, t.namespace)),
            ("get pods", lambda t=team, p=pod: t.api.get(PODS, name_of(p), t.namespace)),
            ("delete pods", lambda t=team, p=pod: t.api.delete(PODS, name_of(p), t.namespace)),
            ("create configmaps", lambda t=team, c=texts: t.api.create(CONFIGMAPS, c, t.namespace)),
            ("get configmaps", lambda t=team, c=texts: t.api.get(CONFIGMAPS, name_of(c), t.namespace)),
            ("list configmaps", lambda t=team: t.api.list(CONFIGMAPS, t.namespace)),
            ("delete configmaps", lambda t=team, c=texts: t.api.delete(CONFIGMAPS, name_of(c), t.namespace)),
        )
        for what, call in calls:
            try:
                call()
            except Forbidden as error:
                raise CheckFailed(
                    f"the account of {team.namespace} may {what} there", error.message, can_i(world, team)
                ) from None


@stage("walls")
def test_each_account_may_do_nothing_else(world: World, teams: list[Team]) -> None:
    for team in teams:
        for what, method, path, body in forbidden_calls(world, team):
            try:
                team.api.request(method, path, query={"dryRun": "All"} if method != "GET" else None, body=body)
                seen = "it was allowed"
            except Forbidden:
                continue
            except APIError as error:
                seen = f"it got past the check of rights: {error.message}"
            raise CheckFailed(f"the account of {team.namespace} may not {what}", seen, can_i(world, team))


def forbidden_calls(world: World, team: Team) -> Iterator[tuple[str, str, str, Obj | None]]:
    """(what, method, path, body) of calls that no account may make. None of them would change anything."""
    mine, theirs, app = team.namespace, team.other, world.text("app")
    pod, texts = idle_pod("probe"), new_object(CONFIGMAPS, "probe", data={})
    binding: Obj = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "probe"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"}, "subjects": [],
    }  # fmt: skip
    yield "list Secrets in its own namespace", "GET", SECRETS.path(mine), None
    yield "create Secrets in its own namespace", "POST", SECRETS.path(mine), new_object(SECRETS, "probe")
    yield "replace ConfigMaps in its own namespace", "PUT", CONFIGMAPS.path(mine, "probe"), texts
    yield "delete all Pods of its own namespace at once", "DELETE", PODS.path(mine), None
    yield "exec into Pods of its own namespace", "POST", PODS.path(mine, app, "exec") + "?command=true", None
    yield "read logs in its own namespace", "GET", PODS.path(mine, app, "log"), None
    yield "change its own quota", "DELETE", RESOURCEQUOTAS.path(mine), None
    yield "grant rights in its own namespace", "POST", f"{ROLES}/namespaces/{mine}/rolebindings", binding
    yield f"list Pods in {theirs}", "GET", PODS.path(theirs), None
    yield f"get Pod {app} in {theirs}", "GET", PODS.path(theirs, app), None
    yield f"list ConfigMaps in {theirs}", "GET", CONFIGMAPS.path(theirs), None
    yield f"list Secrets in {theirs}", "GET", SECRETS.path(theirs), None
    yield f"create Pods in {theirs}", "POST", PODS.path(theirs), pod
    yield f"delete Pod {app} in {theirs}", "DELETE", PODS.path(theirs, app), None
    yield "list the Pods of all namespaces", "GET", PODS.path(), None
    yield "list namespaces", "GET", "/api/v1/namespaces", None
    yield "list nodes", "GET", "/api/v1/nodes", None
    yield (
        "create namespaces",
        "POST",
        "/api/v1/namespaces",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "probe"}},
    )
    yield "list ClusterRoles", "GET", f"{ROLES}/clusterroles", None


@stage("quota")
def test_one_pod_too_many_is_refused_and_room_returns(world: World, teams: list[Team]) -> None:
    for team in teams:
        room = team.limit - len(world.client.list(PODS, team.namespace)["items"])
        names = [world.fresh("crowd") for _ in range(team.limit + 2)]
        where = f"kubectl -n {team.namespace} describe quota"
        with ThreadPoolExecutor(len(names)) as pool:
            refusals = list(pool.map(lambda name, t=team: refusal(t, name), names))
        made = [name for name, refused in zip(names, refusals, strict=True) if not refused]
        if len(made) != room:
            seen = f"{len(made)} of {len(names)} simultaneous requests made a Pod, there was room for {room}"
            raise CheckFailed(f"at most {team.limit} Pods in {team.namespace}", seen, where)
        if strange := [text for text in refusals if text and "exceeded quota" not in text]:
            raise CheckFailed("the quota refuses the Pod", strange[0], where)
        if made:
            team.api.delete(PODS, made.pop(), team.namespace)

            def fits(t: Team = team) -> bool:
                if text := refusal(t, world.fresh("next")):
                    raise NotYet(text)
                return True

            expected = f"after one Pod of {team.namespace} is deleted there is room for one"
            world.eventually(fits, expected=expected, within=SECONDS, where=where)
            if not refusal(team, world.fresh("late")):
                raise CheckFailed(
                    f"at most {team.limit} Pods in {team.namespace}", "one more after room had returned", where
                )


def refusal(team: Team, name: str) -> str:
    """Why the account could not create a Pod of this name; "" if it could."""
    try:
        team.api.create(PODS, idle_pod(name), team.namespace)
    except Forbidden as error:
        return error.message
    return ""


def idle_pod(name: str) -> Obj:
    """A Pod that counts but that no node will ever run."""
    container = {"name": "idle", "image": "busybox:latest", "command": ["true"]}
    return new_object(
        PODS, name, spec={"containers": [container], "nodeSelector": {"labs.minikube-py.io/nowhere": "true"}}
    )


def can_i(world: World, team: Team) -> str:
    account = f"system:serviceaccount:{team.namespace}:{world.params['robot']}"
    return f"kubectl --as {account} -n {team.namespace} auth can-i --list"
