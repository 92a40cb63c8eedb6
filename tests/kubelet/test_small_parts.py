"""The small pure parts: back-off, executor, environment, DNS files, admission, quality of service, statuses' differences."""

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelet import admission, dns, env, images, node_status, options, qos
from kubelet.backoff import Backoff, duration
from kubelet.downward import View
from kubelet.errors import ConfigError
from kubelet.executor import KeyedExecutor
from kubelet.runtime.base import Image, Info
from kubelet.security import security_of
from kubelet.status_writer import difference
from minikube_py.api.clock import REAL, FakeClock
from minikube_py.api.types import Obj
from tests import harness
from tests.kubelet.build import container, pod

OPTIONS = options.Options(kubeconfig="k", node_name="node-1", root_dir="/r", profile="p", node_ip="10.0.0.1")


def test_backoff_doubles_and_forgets() -> None:
    clock = FakeClock()
    backoff = Backoff(clock, 10, 300)
    waits = []
    for _ in range(8):
        crashed = clock.time()
        waits.append(backoff.remaining("a", crashed))
        clock.advance(waits[-1])
        backoff.failed("a", crashed)
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]
    assert backoff.remaining("b", clock.time()) == 0
    clock.advance(601)
    assert backoff.remaining("a", clock.time()) == 0
    backoff.failed("a", clock.time())
    assert backoff.delay("a") == 10
    assert [duration(s) for s in (10, 80, 300)] == ["10s", "1m20s", "5m0s"]


def test_the_executor_serves_each_key_alone_and_loses_nothing() -> None:
    running: dict[str, int] = {}
    served: dict[str, int] = {}
    overlaps = []
    lock = threading.Lock()

    def handler(key: str) -> None:
        with lock:
            running[key] = running.get(key, 0) + 1
            if running[key] > 1:
                overlaps.append(key)
        REAL.sleep(0.001)
        with lock:
            running[key] -= 1
            served[key] = served.get(key, 0) + 1

    executor = KeyedExecutor("test", handler, REAL)
    for index in range(200):
        executor.add(f"k{index % 7}")
    harness.eventually(lambda: len(served) == 7 and not any(running.values()), 5)
    assert not overlaps
    before = served["k0"]
    executor.add("k0")
    harness.eventually(lambda: served["k0"] == before + 1, 5)
    executor.stop()


def test_the_executor_keeps_time_and_retries() -> None:
    clock = FakeClock()
    calls: list[str] = []

    def handler(key: str) -> float | None:
        calls.append(key)
        if key == "bad":
            raise ValueError("on purpose")
        return 10.0 if key == "again" else None

    executor = KeyedExecutor("test", handler, clock)
    executor.add_after("later", 5)
    executor.add_after("later", 50)
    executor.add("again")
    executor.add("bad")
    harness.eventually(lambda: sorted(calls) == ["again", "bad"], 5)
    clock.advance(5)
    harness.eventually(lambda: calls.count("later") == 1 and calls.count("bad") == 2, 5)
    clock.advance(5)
    harness.eventually(lambda: calls.count("again") == 2, 5)
    executor.stop()


def test_environment_expansion() -> None:
    known = {"A": "1"}
    cases = {"$(A)": "1", "$$(A)": "$(A)", "$(B)": "$(B)", "$A": "$A", "$": "$", "x$(A)y$(A)": "x1y1", "$$$(A)": "$1"}
    assert {text: env.expand(text, known) for text in cases} == cases


@given(st.text(alphabet="$()AB x", max_size=20))
def test_expansion_never_fails_and_leaves_plain_text_alone(text: str) -> None:
    result = env.expand(text, {"A": "1"})
    if "$" not in text:
        assert result == text


def test_service_variables() -> None:
    def service(name: str, namespace: str, address: str, *ports: Obj) -> Obj:
        return {
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": address, "ports": list(ports)},
        }

    known = [
        service("kubernetes", "default", "10.96.0.1", {"name": "https", "port": 443}),
        service("db-main", "a", "10.96.0.2", {"name": "sql", "port": 5432}, {"port": 53, "protocol": "UDP"}),
        service("headless", "a", "None", {"port": 1}), service("other", "b", "10.96.0.3", {"port": 80}),
    ]  # fmt: skip
    got = env.services("a", known)
    assert got["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"
    assert got["DB_MAIN_PORT"] == "tcp://10.96.0.2:5432"
    assert got["DB_MAIN_SERVICE_PORT_SQL"] == "5432"
    assert got["DB_MAIN_PORT_53_UDP_PROTO"] == "udp"
    assert not any(name.startswith(("HEADLESS", "OTHER")) for name in got)
    assert not any(name.startswith("DB_MAIN") for name in env.services("a", known, enable_links=False))


def test_missing_environment_sources() -> None:
    body = container("main", env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}}])

    def build(found: Obj | None) -> dict[str, str]:
        return env.build(pod(body), body, {}, lambda *_: found, View())

    with pytest.raises(ConfigError, match='configmap "cm" not found'):
        build(None)
    with pytest.raises(ConfigError, match="couldn't find key k in ConfigMap default/cm"):
        build({"kind": "ConfigMap", "data": {"x": "y"}})
    assert build({"kind": "ConfigMap", "data": {"k": "v"}}) == {"A": "v"}


def test_resolv_conf_by_policy() -> None:
    host = dns.parse_resolv("search corp.example\nnameserver 1.1.1.1 # comment\noptions timeout:1\n")

    def text(**spec: Any) -> str:
        return dns.resolver_for(pod(**spec), ["10.96.0.10"], "cluster.local", host).text()

    searches = "default.svc.cluster.local svc.cluster.local cluster.local corp.example"
    cluster = f"search {searches}\nnameserver 10.96.0.10\noptions ndots:5\n"
    plain = "search corp.example\nnameserver 1.1.1.1\noptions timeout:1\n"
    assert text() == cluster
    assert text(dnsPolicy="Default") == plain
    assert text(hostNetwork=True) == plain
    assert text(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet") == cluster
    assert text(dnsConfig={"options": [{"name": "ndots", "value": "1"}], "searches": ["x"]}).endswith(
        "options ndots:1\n"
    )


def test_hostnames() -> None:
    assert dns.names_of(pod(), "c.l", "node-1") == ("web", "")
    assert dns.names_of(pod(hostNetwork=True), "c.l", "node-1") == ("node-1", "")
    assert dns.names_of(pod(hostname="h", subdomain="s"), "c.l", "n") == ("h", "h.s.default.svc.c.l")
    assert (
        dns.names_of(pod(hostname="h", subdomain="s", setHostnameAsFQDN=True), "c.l", "n")[0] == "h.s.default.svc.c.l"
    )


def test_admission() -> None:
    node = {
        "metadata": {"name": "node-1", "labels": {"disk": "ssd"}},
        "spec": {"taints": [{"key": "k", "effect": "NoExecute"}]},
        "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3", "example.com/gpu": "1"}},
    }
    tolerant: Obj = {"tolerations": [{"operator": "Exists"}]}

    def wants(**requests: str) -> Obj:
        named = {name.replace("gpu", "example.com/gpu"): value for name, value in requests.items()}
        return pod(container("main", resources={"requests": named}), **tolerant)

    def reason(target: Obj, *others: Obj) -> str:
        verdict = admission.refuse(target, node, others)
        return verdict.reason if verdict else ""

    assert reason(wants(cpu="2")) == ""
    assert reason(wants(cpu="1500m"), wants(cpu="600m")) == "OutOfcpu"
    assert reason(wants(memory="2Gi")) == "OutOfmemory"
    assert reason(wants(gpu="1"), wants(gpu="1")) == "OutOfexample.com/gpu"
    assert reason(wants(), wants(), wants(), wants()) == "OutOfpods"
    assert reason(pod(**tolerant, nodeSelector={"disk": "hdd"})) == "NodeAffinity"
    assert reason(pod()) == "TaintToleration"

    def port(number: int, **fields: str) -> Obj:
        return pod(container("main", ports=[{"containerPort": 80, "hostPort": number, **fields}]), **tolerant)

    assert reason(port(80), port(80)) == "NodePorts"
    assert reason(port(80, protocol="UDP"), port(80)) == ""
    assert reason(port(80, hostIP="127.0.0.1"), port(80, hostIP="127.0.0.2")) == ""
    assert reason(port(80, hostIP="127.0.0.1"), port(80)) == "NodePorts"


def test_quality_of_service() -> None:
    both = {"cpu": "1", "memory": "1Gi"}
    guaranteed = pod(container("main", resources={"limits": both, "requests": {"cpu": "1000m", "memory": "1024Mi"}}))
    burstable = pod(container("main", resources={"requests": {"memory": "1Gi"}}))
    assert [qos.qos_class(p) for p in (guaranteed, burstable, pod())] == ["Guaranteed", "Burstable", "BestEffort"]
    scores = [qos.oom_score_adj(p, p["spec"]["containers"][0], 4 << 30) for p in (guaranteed, burstable, pod())]
    assert scores == [-997, 750, 1000]
    limits = qos.container_limits(guaranteed, guaranteed["spec"]["containers"][0], 4 << 30)
    assert (limits.cpu_shares, limits.cpu_quota, limits.memory) == (1024, 100_000, 1 << 30)


def test_security() -> None:
    def user(image_user: str = "", pod_context: Obj | None = None, **context: Any) -> str:
        target = pod(
            container("main", securityContext=context), **({"securityContext": pod_context} if pod_context else {})
        )
        return security_of(target, target["spec"]["containers"][0], Image("i", user=image_user)).user

    assert user() == ""
    assert user(runAsUser=5) == "5"
    assert user(pod_context={"runAsUser": 7, "runAsGroup": 8}, runAsUser=5) == "5:8"
    assert user("app", runAsGroup=8) == "app:8"
    assert user("1000", runAsNonRoot=True) == ""
    refused: list[tuple[str, Obj]] = [("", {}), ("root", {}), ("app", {}), ("1000", {"runAsUser": 0})]
    for image_user, context in refused:
        with pytest.raises(ConfigError):
            user(image_user, runAsNonRoot=True, **context)


def test_only_what_changed_is_sent() -> None:
    same = {"type": "A", "status": "True"}
    old = {"phase": "Pending", "conditions": [same, {"type": "B", "status": "True"}], "podIPs": [{"ip": "1"}]}
    new = {"phase": "Running", "conditions": [same, {"type": "B", "status": "False"}], "podIPs": [{"ip": "2"}]}
    assert difference(old, old) == {}
    assert difference(old, new) == {
        "phase": "Running", "conditions": [{"type": "B", "status": "False"}], "podIPs": [{"$patch": "replace"}, {"ip": "2"}],
    }  # fmt: skip


def test_image_names() -> None:
    digest = "a@sha256:" + "0" * 64
    policies = {
        "a": "Always",
        "a:latest": "Always",
        "a:1": "IfNotPresent",
        "r.io:5000/a": "Always",
        digest: "IfNotPresent",
    }
    assert {name: images.default_policy(name) for name in policies} == policies


def test_node_status() -> None:
    good = node_status.Readings()
    bad = node_status.Readings(frozenset({"MemoryPressure", "DiskPressure"}), "engine away")
    first = node_status.conditions(good, [], "T1")
    assert {c["type"]: c["status"] for c in first} == {
        "MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False", "Ready": "True",
    }  # fmt: skip
    later = node_status.conditions(good, first, "T2")
    assert {c["lastTransitionTime"] for c in later} == {"T1"} and {c["lastHeartbeatTime"] for c in later} == {"T2"}
    broken = node_status.conditions(bad, later, "T3")
    assert [c["status"] for c in broken] == ["True", "True", "False", "False"]
    gpus = ({"example.com/gpu": "2"}, {"example.com/gpu": "1"})
    status = node_status.status(OPTIONS, Info("docker", "20.10"), [], good, *gpus, [], "T1")
    assert (status["capacity"]["example.com/gpu"], status["allocatable"]["example.com/gpu"]) == ("2", "1")
    assert (status["capacity"]["memory"], status["allocatable"]["memory"]) == ("4Gi", "3996Mi")
    assert status["allocatable"]["ephemeral-storage"] == "18Gi"
    server = {
        **status,
        "capacity": {**status["capacity"], "example.com/foreign": "5"},
        "conditions": [*first, {"type": "X"}],
    }
    assert not node_status.worth_writing(server, {**status, "conditions": later})
    assert node_status.worth_writing(server, {**status, "conditions": broken})


def test_options() -> None:
    argv = ["--kubeconfig=k", "--node-name=n", "--root-dir=/r", "--capacity=cpu=1,pods=30", "--cluster-dns=10.96.0.10",
            "--node-labels=a=b,c=d", "--no-service-proxy", "--port=1"]  # fmt: skip
    got = options.parse(argv)
    assert (got.capacity["cpu"], got.capacity["pods"], got.capacity["memory"]) == ("1", "30", "4Gi")
    assert (got.cluster_dns, got.node_labels, got.service_proxy, got.port) == (
        ("10.96.0.10",),
        {"a": "b", "c": "d"},
        False,
        1,
    )
    for bad in ("--capacity=cpu=lots", "--node-labels=a", "--runtime=rkt"):
        with pytest.raises(SystemExit):
            options.parse([*argv, bad])
