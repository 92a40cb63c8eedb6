"""Services: by name from a pod, by address from the host, following readiness."""

import os
import signal
import socket
import urllib.request
from collections.abc import Callable

from dnslib import DNSRecord

from minikube_py.api.gvr import ENDPOINTSLICES, SERVICES
from minikube_py.api.types import Obj
from tests import harness
from tests.e2e.conftest import SLEEP, WEB, Cluster, deployment, pod

Apply = Callable[[Obj], None]


def _service(name: str, **spec: object) -> Obj:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports, **spec},
    }


def _fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=3) as response:
        return str(response.read().decode().strip())


def test_reached_by_name_from_pods_and_spread_over_the_copies(cluster: Cluster, apply: Apply) -> None:
    apply(deployment("shop", 3, WEB))
    apply(_service("shop"))
    apply(pod("client", SLEEP, restart="Always"))
    names = {p["metadata"]["name"] for p in cluster.ready_pods("app=shop", 3)}
    cluster.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
    ask = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do wget -qO- http://shop/; done"
    answered = harness.eventually(
        lambda: cluster.kubectl("exec", "client", "--", "sh", "-c", ask), 30, what="answers by name"
    )
    assert set(answered.split()) <= names
    assert len(set(answered.split())) >= 2
    assert "shop.default.svc.cluster.local" in cluster.kubectl(
        "exec", "client", "--", "nslookup", "shop.default.svc.cluster.local"
    )


def test_reached_from_the_host_by_cluster_ip_and_node_port(cluster: Cluster, apply: Apply) -> None:
    apply(deployment("door", 2, WEB))
    apply(_service("door", type="NodePort"))
    names = {p["metadata"]["name"] for p in cluster.ready_pods("app=door", 2)}
    service = cluster.client.get(SERVICES, "door", "default")["spec"]
    node = cluster.profile.node_ip(cluster.profile.nodes[0])
    port = service["ports"][0]["nodePort"]
    harness.eventually(lambda: _fetch(f"http://{service['clusterIP']}/") in names, what="the cluster IP")
    harness.eventually(lambda: _fetch(f"http://{node}:{port}/") in names, what="the node port")


def test_a_load_balancer_is_there_at_once_and_the_cli_says_where(cluster: Cluster, apply: Apply) -> None:
    apply(deployment("front", 2, WEB))
    apply(_service("front", type="LoadBalancer"))
    names = {p["metadata"]["name"] for p in cluster.ready_pods("app=front", 2)}

    def url() -> str:
        return cluster.minikube("service", "front", "--url").stdout.strip()

    outer = harness.eventually(lambda: (found := url()).startswith("http://10.") and found, what="an address")
    assert harness.eventually(lambda: _fetch(outer), what="the load balancer") in names
    port = cluster.client.get(SERVICES, "front", "default")["spec"]["ports"][0]["nodePort"]
    assert _fetch(f"http://127.0.0.1:{port}/") in names
    cluster.kubectl(
        "patch", "service", "front", "-p", '{"spec": {"ports": [{"name": "more", "port": 8088, "targetPort": 8080}]}}'
    )
    more = harness.eventually(lambda: [line for line in url().split() if line.endswith(":8088")], what="the new port")[
        0
    ]
    assert harness.eventually(lambda: _fetch(more), what="a port added later") in names
    assert "load balancer" in cluster.minikube("service", "front").stdout
    assert cluster.minikube("service", "kubernetes", "--url").stdout.startswith("https://10.")
    assert "there are: " in cluster.minikube("service", "nosuch", check=False).stderr


def test_a_killed_name_server_is_back_and_shows_its_counts(cluster: Cluster) -> None:
    node = cluster.profile.nodes[0]

    def answers() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(0.2)
            asking.connect((cluster.profile.node_ip(node), 53))
            asking.send(DNSRecord.question("kubernetes.default.svc.cluster.local").pack())
            try:
                return bool(DNSRecord.parse(asking.recv(4096)).rr)
            except OSError:
                return False

    harness.eventually(answers, what="DNS")
    before = cluster.component(f"kubelet-{node.name}")
    os.kill(before, signal.SIGKILL)
    harness.eventually(lambda: cluster.component(f"kubelet-{node.name}") not in (0, before), what="a new kubelet")
    harness.eventually(answers, what="DNS again")
    page = cluster.kubectl("get", "--raw", f"/api/v1/nodes/{node.name}/proxy/metrics/dns")
    assert 'coredns_dns_responses_total{rcode="NOERROR"} 1' in page


def test_endpoints_follow_readiness(cluster: Cluster, apply: Apply) -> None:
    probe = {"exec": {"command": ["test", "-f", "/tmp/ok"]}, "periodSeconds": 1, "failureThreshold": 1}
    apply(deployment("moody", 1, f"touch /tmp/ok; {WEB}", readinessProbe=probe))
    apply(_service("moody"))
    name = cluster.ready_pods("app=moody", 1)[0]["metadata"]["name"]

    def ready() -> list[bool]:
        chosen = "kubernetes.io/service-name=moody"
        slices = cluster.client.list(ENDPOINTSLICES, "default", label_selector=chosen)["items"]
        return [e["conditions"]["ready"] for s in slices for e in s.get("endpoints") or []]

    harness.eventually(lambda: ready() == [True], what="a ready endpoint")
    cluster.kubectl("exec", name, "--", "rm", "/tmp/ok")
    harness.eventually(lambda: ready() == [False], what="an endpoint that is not ready")
    cluster.kubectl("exec", name, "--", "touch", "/tmp/ok")
    harness.eventually(lambda: ready() == [True], what="ready again")


def test_a_pod_reaches_itself_through_its_service(cluster: Cluster, apply: Apply) -> None:
    apply(deployment("mirror", 1, WEB))
    apply(_service("mirror"))
    name = cluster.ready_pods("app=mirror", 1)[0]["metadata"]["name"]
    harness.eventually(
        lambda: cluster.kubectl("exec", name, "--", "wget", "-qO-", "http://mirror/").strip() == name, what="hairpin"
    )
