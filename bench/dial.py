"""New connections from pod to pod, directly and through the cluster IP.

Who calls it: network.py. Both ends are pods on different nodes that run load/kdial.go; turns alternate, so that a busy machine
spoils both alike. Invariant: fifty rounds of 400 connections each way; the pods go with the namespace.
"""

import statistics
from collections import defaultdict

from bench import golang
from bench.figures import Figure, missing
from bench.target import Options, Target, until
from minikube_py.api.gvr import PODS, SERVICES, new_object
from minikube_py.api.meta import condition_is, name_of
from minikube_py.api.types import Obj

_NAME, _PORT, _COUNT, _ROUNDS = "new connections", 8080, 400, 50


def measure(target: Target, options: Options, namespace: str) -> list[Figure]:
    """In: a namespace that is deleted afterwards."""
    binary, nodes, client = golang.build("kdial"), target.ready_nodes(), target.client()
    if binary is None or not nodes:
        return [missing(_NAME, golang.NO_GO if nodes else "no node is Ready")]

    def pod(name: str, node: Obj, *arguments: str) -> Obj:
        container = {
            "name": "c", "image": options.image, "imagePullPolicy": "IfNotPresent",
            "command": ["/bench/kdial", *arguments], "volumeMounts": [{"name": "bench", "mountPath": "/bench"}],
        }  # fmt: skip
        spec = {
            "containers": [container], "restartPolicy": "Never", "nodeName": name_of(node),
            "volumes": [{"name": "bench", "hostPath": {"path": str(binary.parent)}}],
            "terminationGracePeriodSeconds": 0,
        }  # fmt: skip
        made = new_object(PODS, name, namespace, spec=spec)
        made["metadata"]["labels"] = {"app": name}
        return client.create(PODS, made)

    def now(name: str) -> Obj:
        return client.get(PODS, name, namespace)

    pod("dial-server", nodes[0], "-serve", f":{_PORT}")
    ports = [{"port": 80, "targetPort": _PORT}]
    service = client.create(
        SERVICES, new_object(SERVICES, "dial", namespace, spec={"selector": {"app": "dial-server"}, "ports": ports})
    )
    if until(lambda: condition_is(now("dial-server"), "Ready"), 30) is None:
        return [missing(_NAME, "the server's pod did not become Ready")]
    addresses = {
        f"{now('dial-server')['status']['podIP']}:{_PORT}": "direct",
        f"{service['spec']['clusterIP']}:80": "cluster IP",
    }
    pod("dial-client", nodes[-1], "-count", str(_COUNT), "-rounds", str(_ROUNDS), *addresses)
    until(lambda: now("dial-client")["status"].get("phase") in ("Succeeded", "Failed"), 120, 0.2)
    rates: dict[str, list[float]] = defaultdict(list)
    _, _, said = client.request("GET", PODS.path(namespace, "dial-client", "log"))
    for line in said.decode().splitlines():
        address, _, rate = line.partition(" ")
        if address in addresses and rate.replace(".", "").isdigit():
            rates[addresses[address]].append(float(rate))
    if len(rates) < 2:
        return [missing(_NAME, "the client's pod said nothing")]
    found = [Figure(f"{_NAME}, {name}", statistics.median(seen), "/s", "higher") for name, seen in rates.items()]
    pairs = zip(rates["direct"], rates["cluster IP"], strict=False)
    lost = statistics.median(100 * (1 - through / direct) for direct, through in pairs)
    return [*found, Figure("lost to the cluster IP", lost, "%", note="median of the rounds; pod to pod, other node")]
