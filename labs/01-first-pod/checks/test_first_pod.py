"""Checks of lab 1. What counts is what the Pod answers; the manifest is read only to see that the token is not in it."""

import base64
import json

from minikube_py.api.gvr import CONFIGMAPS, PODS, SECRETS
from minikube_py.api.types import Obj
from minikube_py.labkit.errors import CheckFailed
from minikube_py.labkit.history import describe
from minikube_py.labkit.observe import Hopeless, NotYet
from minikube_py.labkit.plugin import stage
from minikube_py.labkit.traffic import Reply, fetch
from minikube_py.labkit.world import World, describe_pod

SECONDS, ANSWER_SECONDS = 20.0, 8.0  # the README promises them


def _pod(world: World) -> Obj:
    return world.ready_pod(world.text("namespace"), world.text("pod"), SECONDS)


def _ask(world: World, path: str) -> Reply:
    address = world.client.get(PODS, world.text("pod"), world.text("namespace"))["status"].get("podIP", "")
    return fetch(f"http://{address}:{world.params['port']}/{path}")


def _serves(world: World, greeting: str, token: str) -> None:
    """Both paths answer these values, soon. Raises CheckFailed."""
    where = f"kubectl -n {world.params['namespace']} logs {world.params['pod']}"
    for path, value in (("greeting", greeting), ("token", token)):

        def answers(path: str = path, value: str = value) -> bool:
            reply = _ask(world, path)
            if reply.status == 200 and reply.body.rstrip("\r\n") == value:
                return True
            raise NotYet(str(reply))

        expected = f"GET :{world.params['port']}/{path} answers {value!r}"
        world.eventually(answers, expected=expected, within=ANSWER_SECONDS, where=where)


@stage("serve")
def test_the_pod_serves_both_values(world: World) -> None:
    _pod(world)
    _serves(world, world.text("greeting"), world.text("token"))


@stage("secret")
def test_the_token_is_nowhere_but_in_the_secret(world: World) -> None:
    namespace, name, token = world.text("namespace"), world.text("pod"), world.text("token")
    encoded = base64.b64encode(token.encode()).decode()
    containers = world.containers.running(namespace, name)
    log = PODS.path(namespace, name, "log")
    logs = [
        world.client.request("GET", log, query={"container": c.name})[2].decode(errors="replace") for c in containers
    ]
    places = {
        "the Pod's manifest (kubectl get pod -o yaml)": json.dumps(world.get(PODS, name, namespace)),
        "the command or the image of the container": " ".join(map(world.containers.command_line, containers)),
        "the ConfigMap": json.dumps(world.get(CONFIGMAPS, world.text("config"), namespace)),
        "the logs": " ".join(logs),
    }
    for place, text in places.items():
        if token in text or encoded in text:
            raise CheckFailed(
                "the token is in the Secret only",
                f"it is also in {place}",
                f"kubectl -n {namespace} get pod {name} -o yaml",
            )


@stage("follow")
def test_a_recreated_pod_serves_the_edited_values(world: World) -> None:
    namespace = world.text("namespace")
    greeting, token = world.fresh("greeting"), world.fresh("token")
    world.get(CONFIGMAPS, world.text("config"), namespace)
    world.get(SECRETS, world.text("secret"), namespace)
    world.replace_data(CONFIGMAPS, world.text("config"), namespace, "greeting", greeting)
    world.replace_data(SECRETS, world.text("secret"), namespace, "token", token)
    world.recreate(PODS, world.text("pod"), namespace)
    _pod(world)
    _serves(world, greeting, token)


@stage("survive")
def test_the_pod_comes_back_when_process_1_is_killed(world: World) -> None:
    namespace, name = world.text("namespace"), world.text("pod")
    before, history = _pod(world), world.history()
    body = _ask(world, "token").body
    first = world.containers.running(namespace, name)
    for container in first:
        world.containers.kill_process_1(container)

    def again() -> bool:
        running = world.containers.find(namespace=namespace, pod=name)
        if len(running) < len(first) or {c.id for c in running} & {c.id for c in first}:
            pod = world.client.get(PODS, name, namespace)
            ended = pod["status"]["phase"] in ("Failed", "Succeeded")
            raise (Hopeless if ended else NotYet)(f"no new container runs in the Pod; {describe_pod(pod)}")
        reply = _ask(world, "token")
        if reply.status != 200 or reply.body != body:
            raise NotYet(f"GET /token: {reply}")
        return True

    expected = "a new container in the same Pod answers as before"
    world.eventually(again, expected=expected, within=SECONDS, where=f"kubectl -n {namespace} get pod {name}")
    after = world.get(PODS, name, namespace)
    written = history.writes(resource="pods", namespace=namespace, verbs=("create", "delete"))
    if after["metadata"]["uid"] != before["metadata"]["uid"] or written:
        raise CheckFailed(
            "the same Pod goes on, with a restarted container", f"a new Pod was made: {describe(written)}"
        )
