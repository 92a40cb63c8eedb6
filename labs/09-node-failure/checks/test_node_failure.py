"""Checks of lab 9: a client that never stops asking, a node that loses power, and the engine's own list of containers."""

from collections import Counter
from collections.abc import Iterator

import pytest

from minikube_py.api.gvr import DEPLOYMENTS, NODES, PODS
from minikube_py.api.meta import condition_is, name_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.labkit.containers import Container
from minikube_py.labkit.errors import CheckFailed, Infrastructure
from minikube_py.labkit.observe import NotYet
from minikube_py.labkit.plugin import stage
from minikube_py.labkit.traffic import Traffic
from minikube_py.labkit.world import World, describe_pod

READY_SECONDS, REPLACED_SECONDS, ERROR_SECONDS, HEAL_SECONDS = 30.0, 25.0, 10.0, 20.0  # the README promises them
CALM_SECONDS = 2.0
DETECTED_SECONDS = 15.0  # the cluster's own business, not the student's


class Outage:
    """What the checks of `outage` and `heal` share: the node that was cut, the dead Pods, the client that keeps asking."""

    node = ""
    dead: tuple[str, ...] = ()
    traffic: Traffic


@pytest.fixture(scope="session")
def outage(world: World) -> Iterator[Outage]:
    shared = Outage()
    with Traffic(world.service_url(world.text("namespace"), world.text("app"))) as shared.traffic:
        yield shared


def all_ready(world: World, away_from: str = "") -> list[Obj]:
    """The Pods, once exactly as many as asked for exist and are Ready on nodes that work. Raises NotYet."""
    pods = [p for p in world.pods(world.text("namespace")) if not away_from or p["spec"].get("nodeName") != away_from]
    good = [pod for pod in pods if condition_is(pod, "Ready")]
    if len(good) == len(pods) == world.number("replicas"):
        return pods
    rest = "; ".join(
        f"{name_of(p)} on {p['spec'].get('nodeName', 'no node')}: {describe_pod(p)}" for p in pods if p not in good
    )
    raise NotYet(
        f"{len(good)} of {world.params['replicas']} Pods Ready"
        + (f", not so: {rest}" if rest else f", {len(pods)} exist")
    )


def programs(world: World) -> list[Container]:
    """The containers that run the README's program, as the engine sees them."""
    program = f"sleep {world.params['warmup']}; exec httpd"
    running = world.containers.find(namespace=world.text("namespace"))
    return [container for container in running if program in world.containers.command_line(container)]


def where(world: World) -> str:
    return f"kubectl -n {world.params['namespace']} get pods -o wide"


@stage("spread")
def test_the_replicas_are_spread(world: World) -> None:
    app, namespace = world.text("app"), world.text("namespace")
    world.get(DEPLOYMENTS, app, namespace)
    world.service_url(namespace, app)
    expected = f"{world.params['replicas']} replicas of {app} are Ready"
    world.eventually(lambda: all_ready(world), expected=expected, within=READY_SECONDS, where=where(world))
    found = programs(world)
    if len(found) != world.number("replicas"):
        told = f"{len(found)} containers do"
        raise CheckFailed(f"{world.params['replicas']} containers run the program of the README", told, where(world))
    counts = {node: sum(c.node == node for c in found) for node in world.ready_nodes()}
    if min(counts.values()) == 0 or max(counts.values()) - min(counts.values()) > 1:
        seen = ", ".join(f"{node}: {count}" for node, count in counts.items())
        raise CheckFailed("every node runs some, and no node two more than another", seen, where(world))


@stage("ready")
def test_a_pod_is_replaced_without_a_failed_request(world: World, outage: Outage) -> None:
    namespace, traffic = world.text("namespace"), outage.traffic
    warm_up(world, traffic)
    start = world.clock.monotonic()
    victim = world.chance.choice(world.pods(namespace))
    world.client.delete(PODS, name_of(victim), namespace)

    def replaced() -> bool:
        return uid_of(victim) not in {uid_of(pod) for pod in all_ready(world)}

    world.eventually(replaced, expected=f"{name_of(victim)} is replaced", within=READY_SECONDS, where=where(world))
    world.clock.sleep(CALM_SECONDS)
    if traffic.failures(start):
        raise CheckFailed("no request fails while a Pod is replaced", traffic.timeline(start, start),
                          f"kubectl -n {namespace} get endpointslices -w")  # fmt: skip


@stage("outage")
def test_a_node_loses_power(world: World, outage: Outage) -> None:
    namespace, traffic = world.text("namespace"), outage.traffic
    pods = world.pods(namespace)
    outage.node = world.chance.choice(sorted({pod["spec"]["nodeName"] for pod in pods}))
    outage.dead = tuple(uid_of(pod) for pod in pods if pod["spec"]["nodeName"] == outage.node)
    world.cut_power(outage.node)
    cut = world.clock.monotonic()
    detected = detection(world, outage.node) - cut
    expected = f"after {outage.node} lost its power, all replicas are Ready on the other nodes"
    within = REPLACED_SECONDS - (world.clock.monotonic() - cut)
    world.eventually(lambda: all_ready(world, outage.node), expected=expected, within=within, where=where(world))
    replaced = world.clock.monotonic() - cut
    world.clock.sleep(max(CALM_SECONDS, ERROR_SECONDS + CALM_SECONDS - replaced))
    told = f"{outage.node} NotReady {detected:.1f} s after the cut, replicas replaced after {replaced:.1f} s; "
    told += traffic.timeline(cut, cut)
    world.note(told)
    if traffic.failures(cut + ERROR_SECONDS):
        raise CheckFailed(f"no request fails later than {ERROR_SECONDS:g} s after the cut", told, where(world))


@stage("heal")
def test_nothing_is_left_when_the_node_is_back(world: World, outage: Outage) -> None:
    namespace, traffic = world.text("namespace"), outage.traffic
    start = world.clock.monotonic()
    world.restore_power(outage.node)

    def clean() -> bool:
        pods = world.client.list(PODS, namespace)["items"]
        ghosts = [
            name_of(pod) for pod in pods if pod["metadata"].get("deletionTimestamp") or uid_of(pod) in outage.dead
        ]
        if ghosts:
            raise NotYet(f"Pods that should be gone: {', '.join(ghosts)}")
        live, found = {uid_of(pod) for pod in all_ready(world)}, programs(world)
        if Counter(c.uid for c in found) != Counter(live):
            raise NotYet(f"{len(found)} containers run, {len(live)} Pods are there")
        return True

    expected = f"exactly {world.params['replicas']} Pods and containers, and none of the dead ones"
    world.eventually(clean, expected=expected, within=HEAL_SECONDS, where=where(world))
    world.clock.sleep(CALM_SECONDS)
    if traffic.failures(start):
        raise CheckFailed("no request fails while the node comes back", traffic.timeline(start, start), where(world))


def warm_up(world: World, traffic: Traffic) -> None:
    """The client has had good answers for a while: what fails later is the fault's doing."""
    where = f"kubectl -n {world.params['namespace']} get endpointslices"
    world.eventually(traffic.steady, expected="the Service answers", within=15, where=where)


def detection(world: World, node: str) -> float:
    """The moment the control plane says that the node is not Ready. Raises Infrastructure when it never does."""
    try:
        world.eventually(lambda: not condition_is(world.client.get(NODES, node), "Ready"),
                         expected=f"{node} is NotReady", within=DETECTED_SECONDS)  # fmt: skip
    except CheckFailed as error:
        raise Infrastructure(f"the control plane does not notice a dead node: {error}") from error
    return world.clock.monotonic()
