"""What nodes say their pods use, and what the API server makes of it: real API server, simulated and real containers."""

import json
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubelet.options import Options
from kubelet.runtime import cgroup_stats
from kubelet.stats.network import interfaces
from minikube_py.api.gvr import GVR, SERVICEACCOUNTS, new_object
from minikube_py.api.types import Obj
from tests import harness
from tests.apiserver.wire import MERGE, Wire
from tests.kubelet.conftest import Nodes, container, is_ready

METRICS = "/apis/metrics.k8s.io/v1beta1"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_LINE = re.compile(r'[a-zA-Z_:][\w:]*(\{(\w+="([^"\\]|\\.)*",?)*\})? [-+0-9.e]+(inf|nan)?( \d+)?')


@pytest.fixture(scope="module")
def simulated_node(simulated: Nodes) -> Options:
    return simulated.start()


@pytest.fixture
def wire(simulated: Nodes) -> Wire:
    return Wire(simulated.server.url, simulated.server.ca_file, simulated.server.token)


def fetch(nodes: Nodes, options: Options, path: str, identity: str = "", token: str = "") -> tuple[int, str]:
    """A request to the kubelet itself."""
    pki = Path(nodes.server.pki)
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    if identity:
        context.load_cert_chain(pki / f"{identity}.crt", pki / f"{identity}.key")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"https://{options.node_ip}:{options.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def page(nodes: Nodes, options: Options, path: str) -> str:
    status, text = fetch(nodes, options, path, "apiserver-kubelet-client")
    assert status == 200, text
    for line in text.splitlines():
        assert line.startswith("# ") or _LINE.fullmatch(line), line
    return text


def working(cpu: str, memory: str) -> Obj:
    return container(
        "main", env=[{"name": "SIMULATED_CPU", "value": cpu}, {"name": "SIMULATED_MEMORY", "value": memory}]
    )


# ---- the resource metrics API ----------------------------------------------------------------------------------------


def test_what_pods_and_nodes_use(simulated: Nodes, simulated_node: Options, namespace: str, wire: Wire) -> None:
    metadata = {"labels": {"app": "busy"}}
    for name, cpu in (("busy", "250m"), ("idle", "10m")):
        pod = simulated.pod(
            namespace, simulated_node, name, [working(cpu, "64Mi"), {**working("5m", "8Mi"), "name": "side"}]
        )
        simulated.wait(pod, is_ready)
    wire.ok("PATCH", f"/api/v1/namespaces/{namespace}/pods/busy", {"metadata": metadata}, content_type=MERGE)

    pod = harness.eventually(lambda: wire.ok("GET", f"{METRICS}/namespaces/{namespace}/pods/busy"))
    uses = {one["name"]: one["usage"] for one in pod["containers"]}
    assert uses["main"]["memory"] == "65536Ki" and uses["side"]["memory"] == "8192Ki"
    assert abs(int(uses["main"]["cpu"].removesuffix("n")) - 250e6) < 1e6
    assert re.fullmatch(r"[\d.]+s", pod["window"]) and pod["timestamp"].endswith("Z")

    def names(path: str, **query: str) -> list[str]:
        return [one["metadata"]["name"] for one in wire.ok("GET", f"{METRICS}/{path}", **query)["items"]]

    assert names(f"namespaces/{namespace}/pods") == ["busy", "idle"]
    assert names(f"namespaces/{namespace}/pods", labelSelector="app=busy") == ["busy"]
    assert names("pods", fieldSelector=f"metadata.namespace={namespace},metadata.name!=busy") == ["idle"]
    assert simulated_node.node_name in names("nodes")
    node = wire.ok("GET", f"{METRICS}/nodes/{simulated_node.node_name}")
    assert node["kind"] == "NodeMetrics" and int(node["usage"]["cpu"].removesuffix("n")) > 200e6
    table = wire.ok("GET", f"{METRICS}/namespaces/{namespace}/pods", headers={"Accept": TABLE})
    assert [row["cells"][0] for row in table["rows"]] == ["busy", "idle"]
    assert table["rows"][0]["cells"][2] == "73728Ki"


def test_what_is_not_there_and_what_cannot_be_done(namespace: str, wire: Wire) -> None:
    missing = wire("GET", f"{METRICS}/namespaces/{namespace}/pods/nobody")
    assert (missing.status, missing.reason) == (404, "NotFound")
    assert missing.body["message"] == f'podmetrics.metrics.k8s.io "{namespace}/nobody" not found'
    assert wire("GET", f"{METRICS}/nodes/nobody").body["message"] == 'nodemetrics.metrics.k8s.io "nobody" not found'
    assert wire("GET", f"{METRICS}/nothing").status == 404
    assert wire("POST", f"{METRICS}/nodes", {}).status == 405
    assert wire("GET", f"{METRICS}/nodes?watch=true").status == 405
    assert wire("GET", f"{METRICS}/pods", fieldSelector="spec.nodeName=x").status == 400
    stranger = wire("GET", f"{METRICS}/nodes", headers={"Impersonate-User": "nobody"})
    assert stranger.status == 403


def test_it_is_discovered_and_described(wire: Wire) -> None:
    found = wire.ok("GET", METRICS)["resources"]
    assert [(one["name"], one["kind"], one["verbs"]) for one in found] == [
        ("nodes", "NodeMetrics", ["get", "list"]), ("pods", "PodMetrics", ["get", "list"]),
    ]  # fmt: skip
    service = wire.ok("GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io")
    assert service["status"]["conditions"][0]["reason"] == "Local"
    schemas = wire.ok("GET", "/openapi/v3/apis/metrics.k8s.io/v1beta1")["components"]["schemas"]
    assert "io.k8s.metrics.v1beta1.PodMetrics" in schemas


def test_a_node_that_does_not_answer_is_left_out(simulated: Nodes, wire: Wire) -> None:
    options = simulated.start()
    name = options.node_name
    harness.eventually(lambda: wire("GET", f"{METRICS}/nodes/{name}").status == 200)
    simulated.stop(options)
    harness.eventually(lambda: wire("GET", f"{METRICS}/nodes/{name}").status == 404, what="figures to grow old")


# ---- the kubelet's pages ---------------------------------------------------------------------------------------------


def test_a_real_containers_figures(nodes: Nodes, node: Options, namespace: str) -> None:
    limits = {"limits": {"memory": "64Mi", "cpu": "500m"}}
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    command = ["sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 3600"]
    body = container("main", command, resources=limits, readinessProbe=probe)
    pod = nodes.wait(nodes.pod(namespace, node, "measured", [body]), is_ready)

    def entry() -> Any:
        summary = json.loads(fetch(nodes, node, "/stats/summary", "apiserver-kubelet-client")[1])
        return next(one for one in summary["pods"] if one["podRef"]["uid"] == pod["metadata"]["uid"])

    main = harness.eventually(
        lambda: entry()["containers"][0]["cpu"]["usageCoreNanoSeconds"] and entry()["containers"][0]
    )
    assert 0 < main["memory"]["workingSetBytes"] <= main["memory"]["usageBytes"]
    assert main["memory"]["availableBytes"] + main["memory"]["workingSetBytes"] == 64 << 20
    assert main["memory"]["pageFaults"] > 0 and main["rootfs"]["capacityBytes"] > 0
    assert entry()["network"]["interfaces"][0]["name"] == "eth0" and entry()["process_stats"]["process_count"] >= 1
    brief = json.loads(fetch(nodes, node, "/stats/summary?only_cpu_and_memory=true", "apiserver-kubelet-client")[1])[
        "node"
    ]
    assert set(brief) == {"nodeName", "startTime", "cpu", "memory", "swap"}

    named = f'namespace="{namespace}",pod="measured"'
    assert f'container_memory_working_set_bytes{{container="main",{named}}}' in page(nodes, node, "/metrics/resource")
    assert "node_cpu_usage_seconds_total " in page(nodes, node, "/metrics/resource")
    cadvisor = page(nodes, node, "/metrics/cadvisor")
    assert re.search(rf'container_spec_memory_limit_bytes{{container="main",.*{named}}} {64 << 20}\n', cadvisor)
    assert re.search(rf'container_network_receive_bytes_total{{.*{named},interface="eth0"}}', cadvisor)
    probes = page(nodes, node, "/metrics/probes")
    counted = (
        rf'prober_probe_total{{container="main",{named},pod_uid=".*",probe_type="Readiness",result="successful"}} \d'
    )
    assert re.search(counted, probes) and "prober_probe_duration_seconds_count{" in probes
    own = page(nodes, node, "/metrics")
    assert f'kubelet_node_name{{node="{node.node_name}"}} 1' in own
    assert 'kubelet_running_containers{container_state="running"}' in own
    asked = 'kubelet_http_requests_total{long_running="false",method="GET",path="stats",server_type="readwrite"}'
    assert asked in own


def test_who_may_look_is_the_api_servers_to_say(
    simulated: Nodes, simulated_node: Options, namespace: str, wire: Wire
) -> None:
    simulated.client.create(SERVICEACCOUNTS, new_object(SERVICEACCOUNTS, "scraper", namespace))
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/scraper/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    token = wire.ok("POST", path, asked)["status"]["token"]
    rbac = "rbac.authorization.k8s.io"
    rule = {"verbs": ["get"], "apiGroups": [""], "resources": ["nodes/metrics"]}
    subject = {"kind": "ServiceAccount", "name": "scraper", "namespace": namespace}
    role: Obj = {"metadata": {"name": f"scraper-{namespace}"}, "rules": [rule]}
    binding: Obj = {
        "metadata": {"name": f"scraper-{namespace}"}, "subjects": [subject],
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": f"scraper-{namespace}"},
    }  # fmt: skip
    for plural, kind, obj in (
        ("clusterroles", "ClusterRole", role),
        ("clusterrolebindings", "ClusterRoleBinding", binding),
    ):
        simulated.client.create(GVR(rbac, "v1", plural, kind, False), {"apiVersion": f"{rbac}/v1", "kind": kind, **obj})

    def status(path: str, **more: str) -> int:
        return fetch(simulated, simulated_node, path, **more)[0]

    assert status("/metrics/resource") == 401
    assert status("/metrics/resource", token="nonsense") == 401
    assert status("/metrics/resource", token=token) == 200
    refused = fetch(simulated, simulated_node, "/stats/summary", token=token)
    user = f"system:serviceaccount:{namespace}:scraper"
    assert refused == (403, f"Forbidden (user={user}, verb=get, resource=nodes, subresource(s)=[stats])")
    assert status("/pods", identity=f"kubelet-{simulated_node.node_name}") == 403
    assert status("/pods", identity="admin") == 200


# ---- reading the kernel ----------------------------------------------------------------------------------------------

VERSION1: dict[str, str] = {
    "cpuacct/cpuacct.usage": "5000000000\n", "cpuacct/cpuacct.usage_user": "4000000000\n",
    "cpuacct/cpuacct.usage_sys": "1000000000\n", "cpu/cpu.stat": "nr_periods 10\nnr_throttled 3\nthrottled_time 700\n",
    "memory/memory.usage_in_bytes": "1000\n", "memory/memory.max_usage_in_bytes": "2000\n", "memory/memory.failcnt": "4\n",
    "memory/memory.stat": "total_rss 300\ntotal_cache 600\ntotal_mapped_file 50\ntotal_swap 7\ntotal_pgfault 11\n"
    "total_pgmajfault 2\ntotal_active_file 100\ntotal_inactive_file 400\n",
    "pids/pids.current": "5\n", "blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 20\n8:16 Read 1\n",
    "blkio/blkio.throttle.io_serviced_recursive": "8:0 Read 3\n8:0 Write 4\nTotal 7\n",
}  # fmt: skip
VERSION2: dict[str, str] = {
    "cpu.stat": "usage_usec 5000000\nuser_usec 4000000\nsystem_usec 1000000\nnr_periods 10\nnr_throttled 3\nthrottled_usec 1\n",
    "memory.current": "1000\n", "memory.peak": "2000\n", "memory.swap.current": "7\n", "memory.events": "low 0\nmax 4\n",
    "memory.stat": "anon 300\nfile 600\nfile_mapped 50\npgfault 11\npgmajfault 2\nactive_file 100\ninactive_file 400\n",
    "pids.current": "5\n", "io.stat": "8:0 rbytes=10 wbytes=20 rios=2 wios=4\n8:16 rbytes=1 wbytes=0 rios=1 wios=0\n",
}  # fmt: skip


def _v1(root: Path) -> dict[str, Path]:
    return {name: root / name for name in ("cpu", "cpuacct", "memory", "pids", "blkio")}


@pytest.mark.parametrize(
    ("files", "places", "throttled"),
    [(VERSION1, _v1, 700), (VERSION2, lambda root: {"": root}, 1000)],
    ids=["v1", "v2"],
)
def test_both_hierarchies_say_the_same(
    tmp_path: Path, files: dict[str, str], places: Callable[[Path], dict[str, Path]], throttled: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = cgroup_stats.at("c", places(tmp_path))
    assert found is not None
    assert (found.cpu_nanoseconds, found.cpu_user, found.cpu_system) == (5 * 10**9, 4 * 10**9, 10**9)
    assert (found.cfs_periods, found.cfs_throttled, found.cfs_throttled_nanoseconds) == (10, 3, throttled)
    assert (found.memory_usage, found.memory_working_set, found.memory_rss, found.memory_cache) == (1000, 600, 300, 600)
    assert (found.memory_mapped, found.memory_swap, found.memory_peak, found.memory_failures) == (50, 7, 2000, 4)
    assert (found.active_file, found.inactive_file, found.page_faults, found.major_page_faults) == (100, 400, 11, 2)
    assert (found.read_bytes, found.written_bytes, found.reads, found.writes, found.pids) == (11, 20, 3, 4, 5)


def test_a_cgroup_that_is_gone_says_nothing(tmp_path: Path) -> None:
    assert cgroup_stats.at("c", {"": tmp_path}) is None
    assert cgroup_stats.at("c", {"memory": tmp_path / "gone"}) is None
    assert interfaces(0) == []
    assert all(one.name != "lo" and one.rx_bytes >= 0 for one in interfaces(os.getpid()))
