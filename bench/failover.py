"""Failover: a node is powered off; how long until its pods run elsewhere, and until the node is back in service.

Who calls it: __main__.py. Only for a cluster of ours with at least two nodes. The node that holds most of the test's pods is
stopped, so replacing them is really measured; it is started again afterwards, whatever happened.
"""

import time
from collections import Counter

from bench.figures import Figure, missing
from bench.pods import deployment
from bench.startup import minikube_py
from bench.target import Options, Target, until
from minikube_py.api.gvr import DEPLOYMENTS, NODES, PODS
from minikube_py.api.meta import condition_is, is_terminating
from minikube_py.api.types import Obj

_REPLICAS = 4


def measure(target: Target, options: Options) -> list[Figure]:
    name = "failover"
    if target.profile is None:
        return [missing(name, "only for a cluster of ours")]
    if len(target.ready_nodes()) < 2:
        return [missing(name, "needs two Ready nodes")]
    client, profile = target.client(), target.profile.name
    with target.namespace() as namespace:
        client.create(DEPLOYMENTS, deployment("web", namespace, _REPLICAS, options.image))

        def serving(*, without: str = "") -> list[Obj]:
            pods = client.list(PODS, namespace)["items"]
            return [
                p
                for p in pods
                if condition_is(p, "Ready") and not is_terminating(p) and p["spec"]["nodeName"] != without
            ]

        if until(lambda: len(serving()) == _REPLICAS, 90, interval=0.1) is None:
            return [missing(name, "the test's Deployment never became available")]
        victim, held = Counter(pod["spec"]["nodeName"] for pod in serving()).most_common(1)[0]
        start = time.monotonic()
        minikube_py("node", "stop", victim, "-p", profile)
        try:
            noticed = until(lambda: not condition_is(client.get(NODES, victim), "Ready"), 120)
            unready = time.monotonic() - start
            replaced = until(lambda: len(serving(without=victim)) >= _REPLICAS, 400, interval=0.05)
            recovered = time.monotonic() - start
        finally:
            back = time.monotonic()
            minikube_py("node", "start", victim, "-p", profile)
            ready = until(lambda: condition_is(client.get(NODES, victim), "Ready"), 120)
            returned = time.monotonic() - back
    if noticed is None or replaced is None or ready is None:
        return [missing(name, "the node was not noticed, its pods not replaced, or it did not come back")]
    note = f"{target.profile.timing} timing, {held} of {_REPLICAS} pods on the node"
    return [
        Figure("failover: node NotReady", unready, "s", note="from `node stop` on"),
        Figure("failover: replacements Ready", recovered, "s", note=note),
        Figure("failover: node Ready again", returned, "s", note="from `node start` on"),
    ]
