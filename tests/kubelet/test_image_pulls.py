"""Images from a registry: with and without a password, back-off, what is said about it; and what is collected when."""

import base64
import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kubelet import images, pull_secrets
from kubelet.image_gc import ImageCollector
from kubelet.options import Options
from kubelet.runtime.base import Image, RuntimeFault
from kubelet.runtime.simulated import SimulatedRuntime
from minikube_py.api.clock import FakeClock
from minikube_py.api.gvr import EVENTS, NODES, SECRETS
from minikube_py.api.types import Obj
from tests import harness
from tests.kubelet.conftest import Bridge, Nodes, container, is_ready, status_of
from tests.kubelet.registry import PASSWORD, USER, Registry

# --- names and logins


@pytest.mark.parametrize(
    "name",
    ["a", "a:1", "r.io/a/b:1", "r.io:5000/a__b/c-d", "localhost/a", "a@sha256:" + "0" * 64, "a:1@sha256:" + "0" * 64],
)
def test_good_names(name: str) -> None:
    assert images._NAME.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["", "A", "a:", "NOT:a:name", "a//b", "a:1:2", "r.io/", "-a", "a b", "a@sha256:0", "Üa"]
)
def test_bad_names(name: str) -> None:
    assert not images._NAME.fullmatch(name)


def secret(entries: dict[str, Any], kind: str = ".dockerconfigjson") -> Obj:
    body = {"auths": entries} if kind == ".dockerconfigjson" else entries
    return {"data": {kind: base64.b64encode(json.dumps(body).encode()).decode()}}


def test_logins_go_where_they_belong() -> None:
    entries = {
        name: {"username": name}
        for name in (
            "https://index.docker.io/v1/",
            "*.example.com",
            "r.example.com/team",
            "r.io:5000",
            "https://r.io/v2/",
        )
    }

    def users(image: str) -> list[str]:
        return [login["username"] for login in pull_secrets.logins(image, [secret(entries)])]

    assert users("busybox") == users("library/busybox:1") == ["https://index.docker.io/v1/"]
    assert users("r.example.com/team/app:1") == ["r.example.com/team", "*.example.com"]
    assert users("q.example.com/other") == ["*.example.com"]
    assert users("a.b.example.com/app") == users("example.com/app") == users("r.io:6000/app") == []
    assert users("r.io:5000/app") == ["r.io:5000"] and users("r.io/app@sha256:" + "0" * 64) == ["https://r.io/v2/"]


def test_both_kinds_of_config_and_nonsense() -> None:
    old = secret({"r.io": {"auth": base64.b64encode(b"u:p:q").decode()}}, ".dockercfg")
    broken: list[Obj] = [
        {},
        {"data": {".dockerconfigjson": "!"}},
        secret({"r.io": {"auth": "%%"}}),
        secret({"r.io": {}}),
    ]
    assert pull_secrets.logins("r.io/a", [*broken, old]) == [{"username": "u", "password": "p:q"}]


# --- collection


class Shelf(SimulatedRuntime):
    """A runtime with images: reference → size; some of them used by containers of others."""

    def __init__(self, clock: FakeClock, sizes: dict[str, int]) -> None:
        super().__init__(clock)
        self.sizes, self.busy, self.stuck = sizes, set[str](), set[str]()

    def image_status(self, reference: str) -> Image | None:
        size = self.sizes.get(reference)
        return None if size is None else Image(f"id-{reference}", (reference,), size=size)

    def images_in_use(self) -> set[str]:
        return {f"id-{name}" for name in self.busy}

    def remove_image(self, reference: str) -> None:
        if reference in self.stuck | self.busy:
            raise RuntimeFault("in use")
        self.sizes.pop(reference, None)


OPTIONS = Options(kubeconfig="k", node_name="n", root_dir="/nowhere", pause_image="pause")


def collector(tmp_path: Path, clock: FakeClock, shelf: Shelf, told: list[str], **changes: Any) -> ImageCollector:
    options = replace(OPTIONS, root_dir=str(tmp_path), **changes)
    return ImageCollector(
        options,
        shelf,
        clock,
        lambda: (1000 - sum(shelf.sizes.values()), 1000),
        lambda reason, text: told.append(reason),
    )


def test_the_longest_unused_goes_first_and_no_more_than_needed(tmp_path: Path) -> None:
    clock, told = FakeClock(), list[str]()
    shelf = Shelf(clock, {"mine": 300, "old": 100, "older": 100, "busy": 200, "loaded": 150, "pause": 10})
    shelf.busy = {"busy"}
    made = collector(tmp_path, clock, shelf, told)
    for name in ("older", "old", "busy", "pause", "mine"):
        made.used(name, True)
        clock.advance(10)
    made.used("loaded", False)
    assert made.collect() == 0, "everything is too young"
    clock.advance(300)
    assert made.collect() == 100 and "older" not in shelf.sizes and "old" in shelf.sizes
    shelf.sizes["other"] = 400
    again = collector(tmp_path, clock, shelf, told)  # a restarted kubelet remembers
    assert again.collect() == 400 and told == ["FreeDiskSpaceFailed"]
    assert set(shelf.sizes) == {"busy", "loaded", "pause", "other"}, "what was not pulled by this node stays"


def test_what_the_engine_refuses_stays_and_age_alone_may_do(tmp_path: Path) -> None:
    clock, told = FakeClock(), list[str]()
    shelf = Shelf(clock, {"a": 100, "b": 100})
    shelf.stuck = {"a"}
    made = collector(tmp_path, clock, shelf, told, maximum_image_age=1000.0)
    made.used("a", True)
    made.used("b", True)
    clock.advance(900)
    assert made.collect() == 0
    clock.advance(200)
    assert made.collect() == 100 and set(shelf.sizes) == {"a"}
    shelf.stuck = set()
    assert made.remove_all_unused() and not made.remove_all_unused() and not shelf.sizes


def test_a_file_that_is_lost_or_broken_only_costs_disk(tmp_path: Path) -> None:
    clock = FakeClock()
    shelf = Shelf(clock, {"a": 900})
    (tmp_path / "pulled-images.json").write_text("{half")
    made = collector(tmp_path, clock, shelf, [])
    clock.advance(1000)
    assert made.collect() == 0 and "a" in shelf.sizes


# --- a real engine and a registry


@pytest.fixture(scope="module")
def node(nodes: Nodes) -> Options:
    return nodes.start(nodes.options())


@pytest.fixture
def registry(bridge: Bridge) -> Iterator[Registry]:
    made = Registry()
    try:
        yield made
    finally:
        made.close()
        with contextlib.suppress(Exception):
            bridge.engine.api.remove_image(made.image, force=True)


def events_of(nodes: Nodes, pod: Obj) -> dict[str, str]:
    found = nodes.client.list(EVENTS, pod["metadata"]["namespace"])["items"]
    own = [event for event in found if event["involvedObject"].get("uid") == pod["metadata"]["uid"]]
    return {event["reason"]: event["message"] for event in own}


def test_an_image_is_pulled_once(
    nodes: Nodes, node: Options, namespace: str, registry: Registry, bridge: Bridge
) -> None:
    app = container("main", ["sleep", "3600"], registry.image)
    pod = nodes.wait(nodes.pod(namespace, node, containers=[app]), is_ready)
    assert status_of(pod, "main")["imageID"].startswith("docker://sha256:")
    harness.eventually(lambda: {"Pulling", "Pulled"} <= events_of(nodes, pod).keys(), what="the events")
    said = events_of(nodes, pod)
    assert said["Pulling"] == f'Pulling image "{registry.image}"'
    assert said["Pulled"].startswith(f'Successfully pulled image "{registry.image}" in ')
    assert "including waiting). Image size: " in said["Pulled"]

    def listed() -> bool:
        held = nodes.client.get(NODES, node.node_name)["status"]["images"]
        return any(registry.image in image["names"] for image in held)

    harness.eventually(listed, what="the image in the node's status")
    asked = len(registry.asked)
    second = nodes.wait(nodes.pod(namespace, node, containers=[app]), is_ready)
    assert len(registry.asked) == asked and "already present on machine" in events_of(nodes, second)["Pulled"]
    collector = nodes.running[node.node_name].collector
    assert not collector.remove_all_unused(), "containers use it"
    for each in (pod, second):
        nodes.delete(each)
        nodes.wait_gone(each)
    collector._last_used[registry.image] -= 1000
    harness.eventually(collector.remove_all_unused, what="the image to be collected")
    assert not bridge.engine.images.list(registry.image)


def test_pull_secrets(nodes: Nodes, node: Options, namespace: str, registry: Registry) -> None:
    registry.login = True
    app = container("main", ["sleep", "3600"], registry.image)
    refused = nodes.pod(namespace, node, containers=[app], imagePullSecrets=[{"name": "missing"}])

    def reason(pod: Obj) -> str:
        return str(status_of(pod, "main").get("state", {}).get("waiting", {}).get("reason"))

    nodes.wait(refused, lambda p: reason(p) == "ErrImagePull")
    waiting = nodes.wait(refused, lambda p: reason(p) == "ImagePullBackOff")
    message = status_of(waiting, "main")["state"]["waiting"]["message"]
    assert message.startswith(f'Back-off pulling image "{registry.image}": ErrImagePull: ')
    harness.eventually(
        lambda: {"FailedToRetrieveImagePullSecret", "Failed", "BackOff"} <= events_of(nodes, refused).keys(),
        what="the events of a failure",
    )
    host = registry.image.split("/")[0]
    wrong, right = {"username": USER, "password": "guess"}, {"username": USER, "password": PASSWORD}
    for name, entries in (("wrong", {f"{host}/team": wrong}), ("right", {host: right})):
        body = {**secret(entries), "type": "kubernetes.io/dockerconfigjson", "apiVersion": "v1", "kind": "Secret"}
        nodes.client.create(SECRETS, {**body, "metadata": {"name": name, "namespace": namespace}})
    both = [{"name": "wrong"}, {"name": "right"}]
    nodes.wait(nodes.pod(namespace, node, containers=[app], imagePullSecrets=both), is_ready)


def test_a_registry_that_recovers(nodes: Nodes, node: Options, namespace: str, registry: Registry) -> None:
    registry.broken = True
    pod = nodes.pod(namespace, node, containers=[container("main", ["sleep", "3600"], registry.image)])
    nodes.wait(
        pod, lambda p: status_of(p, "main").get("state", {}).get("waiting", {}).get("reason") == "ImagePullBackOff"
    )
    assert nodes.get(pod)["status"]["phase"] == "Pending"
    registry.broken = False
    nodes.wait(pod, is_ready)


def test_an_image_that_is_not_there_and_one_that_must_not_be_pulled(
    nodes: Nodes, node: Options, namespace: str, registry: Registry
) -> None:
    missing = nodes.pod(namespace, node, containers=[container("main", image=registry.image[:-1] + "2")])
    never = nodes.pod(
        namespace, node, containers=[{**container("main", image=f"{registry.image}-{secrets.token_hex(3)}"),
                                      "imagePullPolicy": "Never"}],
    )  # fmt: skip
    seen = nodes.wait(missing, lambda p: "waiting" in status_of(p, "main").get("state", {})
                      and "manifest" in status_of(p, "main")["state"]["waiting"].get("message", ""))  # fmt: skip
    assert status_of(seen, "main")["state"]["waiting"]["reason"] in ("ErrImagePull", "ImagePullBackOff")
    nodes.wait(
        never, lambda p: status_of(p, "main").get("state", {}).get("waiting", {}).get("reason") == "ErrImageNeverPull"
    )
