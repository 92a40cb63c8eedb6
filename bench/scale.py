"""Scheduling end to end: bare nodes, then pods, created as fast as the API takes them; pods created and bound per second.

Who calls it: __main__.py; load/kscale.go drives it. Ours runs on a control plane of its own (private.py), because bare nodes
have no kubelet and a whole cluster would rightly take them for dead. On a foreign cluster its nodes and pods are removed again.
"""

import re
import subprocess

from bench import golang, private
from bench.figures import Figure, missing
from bench.target import Options, Target, until
from minikube_py.api.gvr import NAMESPACES, NODES
from minikube_py.client.rest import Client

_NODES = re.compile(r"nodes (\d+) in ([\d.]+) s")
_PODS = re.compile(r"pods (\d+) on \d+ nodes: created in ([\d.]+) s, all bound in ([\d.]+) s = (\d+) /s")


def measure(target: Target, options: Options) -> list[Figure]:
    binary = golang.build("kscale")
    if binary is None:
        return [missing("created and bound", golang.NO_GO)]
    if not target.foreign:
        with private.control_plane() as own:
            return _run(str(binary), own, options)
    try:
        return _run(str(binary), target, options)
    finally:
        _clean(target.client(), options.nodes)


def _run(binary: str, target: Target, options: Options) -> list[Figure]:
    name = f"created and bound, {options.scale_pods} pods on {options.nodes} nodes"
    with golang.credentials(target) as flags:
        sizes = ["-nodes", str(options.nodes), "-pods", str(options.scale_pods)]
        done = subprocess.run([binary, *flags, *sizes], capture_output=True, text=True, timeout=500)
    nodes, pods = _NODES.search(done.stdout), _PODS.search(done.stdout)
    if not nodes or not pods or "timed out" in done.stdout:
        return [missing(name, f"the load client said: {(done.stderr or done.stdout).strip()[-200:]}")]
    registered = float(nodes.group(1)) / max(0.1, float(nodes.group(2)))
    return [
        Figure("nodes registered", registered, "/s", "higher", "three writes each"),
        Figure(name, float(pods.group(4)), "pods/s", "higher", f"all created after {pods.group(2)} s"),
    ]


def _clean(client: Client, nodes: int) -> None:
    for number in range(1, nodes + 1):
        client.delete(NODES, f"ks-{number}")
    client.delete(NAMESPACES, "kscale")
    until(lambda: all(n["metadata"]["name"] != "kscale" for n in client.list(NAMESPACES)["items"]), 120, interval=1)
