"""Pods on a real engine, through a real API server: they run, restart, end and leave nothing behind."""



from kubelet.options import Options
from tests import harness
from tests.kubelet.conftest import Bridge, Nodes, is_ready


def test_a_bound_pod_runs_and_goes(nodes: Nodes, node: Options, namespace: str, bridge: Bridge) -> None:
    pod = nodes.pod(namespace, node)
    running = nodes.wait(pod, is_ready)
    status = running["status"]
    assert status["phase"] == "Running"
    assert status["podIP"].startswith(f"{bridge.prefix}.1.")
    assert status["hostIP"] == node.node_ip
    assert status["containerStatuses"][0]["containerID"].startswith("docker://")
    nodes.delete(pod)
    nodes.wait_gone(pod)
    harness.eventually(
        lambda: not [c for c in bridge.containers() if pod["metadata"]["uid"] in c["Names"][0]], what="no container left"
    )
