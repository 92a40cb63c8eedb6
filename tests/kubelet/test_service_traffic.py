"""Services end to end: kubelets with proxy and DNS, the host's kube-proxy, real containers, the real API server."""

import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dnslib import DNSRecord

from kubelet.network import cleanup, nft, partition
from kubelet.network.netlink import entered
from kubelet.options import Options
from minikube_py.api.gvr import ENDPOINTSLICES, NETWORKPOLICIES, SERVICES, new_object
from minikube_py.api.types import Obj
from tests import harness
from tests.kubelet.conftest import Bridge, Nodes, container, is_ready
from tests.network.objects import slice_of

DNS_VIP = "10.96.0.10"


@pytest.fixture(scope="module")
def pair(nodes: Nodes, bridge: Bridge) -> Iterator[tuple[Options, Options]]:
    """Two nodes with service proxy and DNS, and the host's kube-proxy."""
    changes = {"service_proxy": True, "cluster_dns": (DNS_VIP,), "service_cluster_ip_range": "10.96.0.0/16"}
    made = nodes.start(nodes.options(11, **changes)), nodes.start(nodes.options(12, **changes))
    flags = {
        "kubeconfig": nodes.server.kubeconfig, "profile": bridge.profile, "bridge": bridge.name,
        "cluster-cidr": f"{bridge.prefix}.0.0/16", "service-cidr": "10.96.0.0/16", "cluster-dns": DNS_VIP,
    }  # fmt: skip
    argv = [sys.executable, "-m", "kubelet.network.main", *(f"--{name}={value}" for name, value in flags.items())]
    with Path(nodes.directory, "kube-proxy.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, env=harness.environment(), cwd=harness.ROOT)
    try:
        yield made
    finally:
        harness.stop(process)
        cleanup.remove_all(bridge.profile)
        assert not [name for name in nft.tables() if name.startswith(f"minikube-py-{bridge.profile}/")]


class Pod:
    """A running pod; sockets are opened inside its network namespace."""

    def __init__(self, nodes: Nodes, bridge: Bridge, namespace: str, node: Options, name: str) -> None:
        script = f"mkdir -p /www; echo {name} > /www/index.html; exec httpd -f -p 8080 -h /www"
        created = nodes.pod(namespace, node, name, [container("main", ["sh", "-c", script])])
        self.object = nodes.wait(created, is_ready)
        self.ip: str = self.object["status"]["podIP"]
        uid = self.object["metadata"]["uid"]
        sandbox = next(c for c in bridge.containers() if c["Names"][0].startswith("/k8s_POD") and uid in c["Names"][0])
        self.pid: int = bridge.engine.api.inspect_container(sandbox["Id"])["State"]["Pid"]

    def open(self, kind: int) -> socket.socket:
        with Path(f"/proc/{self.pid}/ns/net").open() as namespace, entered(namespace.fileno()):
            made = socket.socket(socket.AF_INET, kind)
        made.settimeout(3)
        return made

    def lookup(self, name: str, kind: str = "A") -> list[str]:
        with self.open(socket.SOCK_DGRAM) as sock:
            sock.connect((DNS_VIP, 53))
            sock.send(DNSRecord.question(name, kind).pack())
            return [str(record.rdata) for record in DNSRecord.parse(sock.recv(4096)).rr]

    def fetch(self, address: str, port: int = 80) -> str:
        with self.open(socket.SOCK_STREAM) as sock:
            sock.connect((address, port))
            return read(sock)


def read(sock: socket.socket) -> str:
    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
    return sock.makefile().read().splitlines()[-1]


def from_host(address: str, port: int) -> str:
    with socket.create_connection((address, port), 3) as sock:
        return read(sock)


def endpoints(nodes: Nodes, namespace: str, pods: dict[str, Pod]) -> None:
    """What the endpoint slice controller would write."""
    body = slice_of("web", [], 8080, namespace)
    body["endpoints"] = [
        {"addresses": [pod.ip], "nodeName": pod.object["spec"]["nodeName"], "conditions": {"ready": True}}
        for pod in pods.values()
    ]
    nodes.client.create(ENDPOINTSLICES, body, namespace)


def test_a_service_by_name_from_pods_and_host(
    nodes: Nodes, pair: tuple[Options, Options], namespace: str, bridge: Bridge
) -> None:
    pods = {name: Pod(nodes, bridge, namespace, pair[n], name) for n, name in enumerate(("one", "two"))}
    service: Obj = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": namespace},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "targetPort": 8080}], "selector": {"app": "web"}},
    }  # fmt: skip
    made = nodes.client.create(SERVICES, service, namespace)
    endpoints(nodes, namespace, pods)
    name, node_port = f"web.{namespace}.svc.cluster.local", made["spec"]["ports"][0]["nodePort"]
    client = pods["one"]
    harness.eventually(lambda: client.lookup(name) == [made["spec"]["clusterIP"]], what="the name")
    vip = client.lookup(name)[0]
    harness.eventually(lambda: client.fetch(vip), what="the Service")
    assert {pods[which].fetch(vip) for which in ("one", "two") for _ in range(12)} == {"one", "two"}
    assert {client.fetch(pair[1].node_ip, node_port) for _ in range(12)} == {"one", "two"}
    harness.eventually(lambda: from_host(vip, 80), what="the Service from the host")
    assert {from_host(vip, 80) for _ in range(12)} == {"one", "two"}
    assert {from_host("127.0.0.1", node_port) for _ in range(12)} == {"one", "two"}
    assert {from_host(pair[0].node_ip, node_port) for _ in range(12)} == {"one", "two"}
    assert nodes.client.get(SERVICES, "web", namespace)["spec"]["clusterIP"] == vip

    partition.partition(bridge.profile, pair[1].node_name, pair[1].pod_cidr)
    try:
        with pytest.raises(TimeoutError):
            client.fetch(pods["two"].ip, 8080)
        assert pods["two"].lookup(name) == [vip], "its own node still answers"
    finally:
        partition.heal(bridge.profile, pair[1].node_name)
    assert client.fetch(pods["two"].ip, 8080) == "two"

    nodes.client.delete(ENDPOINTSLICES, "web-1", namespace)

    def refused() -> bool:
        try:
            client.fetch(vip)
        except ConnectionRefusedError:
            return True
        return False

    harness.eventually(refused, what="refusal without endpoints")
    nodes.client.delete(SERVICES, "web", namespace)
    harness.eventually(lambda: client.lookup(name) == [], what="the name is gone")


def test_tcp_dns(nodes: Nodes, pair: tuple[Options, Options], namespace: str, bridge: Bridge) -> None:
    pod = Pod(nodes, bridge, namespace, pair[0], "asks")
    with pod.open(socket.SOCK_STREAM) as sock:
        sock.connect((DNS_VIP, 53))
        packed = DNSRecord.question("kubernetes.default.svc.cluster.local").pack()
        sock.sendall(struct.pack(">H", len(packed)) + packed)
        stream = sock.makefile("rb")
        reply = DNSRecord.parse(stream.read(struct.unpack(">H", stream.read(2))[0]))
    assert [str(record.rdata) for record in reply.rr] == ["10.96.0.1"]


def test_a_pod_is_isolated_before_its_first_packet_and_its_probes_pass(
    nodes: Nodes, pair: tuple[Options, Options], namespace: str, bridge: Bridge
) -> None:
    one, two = (Pod(nodes, bridge, namespace, pair[n], name) for n, name in enumerate(("one", "two")))
    assert one.fetch(two.ip, 8080) == "two"
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    deny = nodes.client.create(NETWORKPOLICIES, new_object(NETWORKPOLICIES, "deny", namespace, spec=spec), namespace)

    def cut() -> bool:
        try:
            return not one.fetch(two.ip, 8080)
        except TimeoutError:
            return True

    harness.eventually(cut, what="the policy")
    dials = container("main", ["sh", "-c", f"timeout 1 wget -q -O /dev/null http://{two.ip}:8080/ && exit 7; exit 3"])
    early = nodes.pod(namespace, pair[0], "early", [dials], restartPolicy="Never")
    ended = nodes.wait_phase(early, "Failed")
    assert ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3, (
        "its first packet was dropped"
    )
    probe = {"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1}
    serves = container("main", ["sh", "-c", "mkdir /www; echo hi > /www/index.html; exec httpd -f -p 8080 -h /www"])
    nodes.wait(nodes.pod(namespace, pair[1], "probed", [{**serves, "readinessProbe": probe}]), is_ready)
    assert one.lookup("kubernetes.default.svc.cluster.local"), "the node's own DNS is no egress"
    nodes.client.delete(NETWORKPOLICIES, deny["metadata"]["name"], namespace)
    harness.eventually(lambda: not cut(), what="the policy is gone")
