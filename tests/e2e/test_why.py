"""`minikube-py why`: a pod's place explained, and its having none."""

import json

from tests import harness
from tests.e2e.conftest import SLEEP, Cluster, pod


def test_why_a_pod_runs_or_waits(cluster: Cluster) -> None:
    waiting = pod("waits", SLEEP, resources={"requests": {"cpu": "1000"}})
    for made in (pod("runs", SLEEP), waiting):
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(made))
    try:
        cluster.kubectl("wait", "--for=condition=Ready", "pod/runs", "--timeout=60s")
        runs = cluster.minikube("why", "runs").stdout
        where = cluster.kubectl("get", "pod", "runs", "-o", "jsonpath={.spec.nodeName}")
        assert f": {where}\n" in runs
        assert runs.splitlines()[2].split()[:3] == [where, "chosen", "score"]
        harness.eventually(
            lambda: "no node" in cluster.minikube("why", "pod/waits", check=False).stdout, what="a refusal"
        )
        text = cluster.minikube("why", "waits").stdout
        assert "0/3 nodes are available: 3 Insufficient cpu" in text
        assert text.count("refused   NodeResourcesFit: Insufficient cpu (preemption cannot help)") == 3
        assert json.loads(cluster.minikube("why", "waits", "-o", "json").stdout)["nodeCount"] == 3
        gone = cluster.minikube("why", "nobody", check=False)
        assert gone.returncode == 1 and "nothing is known about scheduling pod" in gone.stderr
    finally:
        cluster.kubectl("delete", "pod", "runs", "waits", "--wait=false", "--grace-period=1")
