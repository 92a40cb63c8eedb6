"""Stock kubectl against the whole cluster, as the README's reader would use it."""

import json
import re
import ssl
import subprocess
import urllib.error
import urllib.request

from tests import harness
from tests.e2e.conftest import SLEEP, WEB, Cluster, deployment, pod


def test_apply_describe_logs_exec_delete(cluster: Cluster) -> None:
    manifest = json.dumps(pod("life", f"echo hello; {SLEEP}", restart="Always"))
    assert "pod/life created" in cluster.kubectl("apply", "-f", "-", stdin=manifest)
    assert "condition met" in cluster.kubectl("wait", "--for=condition=Ready", "pod/life", "--timeout=60s")
    assert "pod/life unchanged" in cluster.kubectl("apply", "-f", "-", stdin=manifest)
    row = cluster.kubectl("get", "pod", "life").splitlines()[1].split()
    assert row[:4] == ["life", "1/1", "Running", "0"]
    assert cluster.kubectl("logs", "life") == "hello\n"
    assert cluster.kubectl("exec", "life", "--", "sh", "-c", "echo out; hostname") == "out\nlife\n"
    assert cluster.kubectl("exec", "-i", "life", "--", "cat", stdin="through the pipe") == "through the pipe"
    failed = cluster.run(["kubectl", "exec", "life", "--", "sh", "-c", "exit 7"], check=False)
    assert failed.returncode == 7
    described = cluster.kubectl("describe", "pod", "life")
    for reason in ("Scheduled", "Pulled", "Created", "Started"):
        assert re.search(rf"Normal\s+{reason}\s", described), described
    assert 'pod "life" deleted' in cluster.kubectl("delete", "pod", "life")
    assert cluster.run(["kubectl", "get", "pod", "life"], check=False).returncode == 1
    assert cluster.containers("life") == []


def test_rollout_history_and_undo(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(deployment("roll", 2, SLEEP)))
    assert "successfully rolled out" in cluster.kubectl("rollout", "status", "deployment/roll", "--timeout=60s")
    cluster.kubectl("set", "env", "deployment/roll", "COLOUR=blue")
    cluster.kubectl("rollout", "status", "deployment/roll", "--timeout=60s")
    assert {p["spec"]["containers"][0]["env"][0]["value"] for p in cluster.ready_pods("app=roll", 2)} == {"blue"}
    assert cluster.kubectl("rollout", "history", "deployment/roll").count("<none>") == 2
    assert "rolled back" in cluster.kubectl("rollout", "undo", "deployment/roll")
    cluster.kubectl("rollout", "status", "deployment/roll", "--timeout=60s")
    assert all("env" not in p["spec"]["containers"][0] for p in cluster.ready_pods("app=roll", 2))
    cluster.kubectl("scale", "deployment/roll", "--replicas=4")
    cluster.ready_pods("app=roll", 4)
    cluster.kubectl("delete", "deployment", "roll")
    harness.eventually(lambda: not cluster.containers_of("roll-"), 60, what="every container of it gone")


def test_explain_and_tables_come_from_the_server(cluster: Cluster) -> None:
    assert "PodSpec is a description of a pod" in cluster.kubectl("explain", "pod.spec")
    assert cluster.kubectl("get", "nodes", "-o", "wide").splitlines()[0].split()[:5] == [
        "NAME",
        "STATUS",
        "ROLES",
        "AGE",
        "VERSION",
    ]
    assert "deployments" in cluster.kubectl("api-resources", "--api-group=apps", "-o", "name")
    assert cluster.kubectl("auth", "can-i", "create", "pods").strip() == "yes"


def test_unknown_fields_and_wrong_types_are_refused_before_anything_changes(cluster: Cluster) -> None:
    wrong = pod("wrong", "true")
    wrong["spec"]["colour"] = "blue"
    done = cluster.run(["kubectl", "apply", "-f", "-"], check=False, stdin=json.dumps(wrong))
    assert done.returncode == 1
    assert 'unknown field "spec.colour"' in done.stderr
    assert cluster.run(["kubectl", "get", "pod", "wrong"], check=False).returncode == 1


def test_port_forward_and_proxy_reach_a_pod(cluster: Cluster) -> None:
    import urllib.request

    cluster.kubectl(
        "apply", "-f", "-", stdin=json.dumps(pod("web", WEB, restart="Always", ports=[{"containerPort": 8080}]))
    )
    cluster.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    assert cluster.kubectl("get", "--raw", "/api/v1/namespaces/default/pods/web:8080/proxy/index.html") == "web\n"
    port = harness.free_port()
    forward = subprocess.Popen(
        ["kubectl", "port-forward", "pod/web", f"{port}:8080"], env=cluster.environment, stdout=subprocess.DEVNULL
    )
    try:
        harness.eventually(
            lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).read() == b"web\n", what="an answer"
        )
    finally:
        harness.stop(forward)
        cluster.kubectl("delete", "pod", "web")


def test_namespaces_separate_and_take_everything_inside_along(cluster: Cluster) -> None:
    for name in ("red", "blue"):
        cluster.kubectl("create", "namespace", name)
        cluster.kubectl("create", "configmap", "same", f"--from-literal=colour={name}", "-n", name)
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(pod("same", SLEEP, namespace=name)))
    for name in ("red", "blue"):
        cluster.kubectl("wait", "--for=condition=Ready", "pod/same", "-n", name, "--timeout=60s")
    cluster.kubectl("delete", "namespace", "red")
    assert cluster.kubectl("get", "pods,configmaps", "-n", "red", "-o", "name", "--ignore-not-found") == ""
    assert cluster.kubectl("get", "configmap", "same", "-n", "blue", "-o", "jsonpath={.data.colour}") == "blue"
    assert cluster.kubectl("get", "pod", "same", "-n", "blue", "-o", "jsonpath={.status.phase}") == "Running"
    cluster.kubectl("delete", "namespace", "blue")


def test_nobody_anonymous_gets_in(cluster: Cluster) -> None:
    context = ssl.create_default_context(cafile=str(cluster.profile.pki / "ca.crt"))
    assert urllib.request.urlopen(f"{cluster.profile.server}/readyz", context=context).status == 200
    try:
        urllib.request.urlopen(f"{cluster.profile.server}/api/v1/namespaces", context=context)
    except urllib.error.HTTPError as refused:
        assert refused.code in (401, 403)
        assert json.loads(refused.read())["kind"] == "Status"
    else:
        raise AssertionError("an anonymous list was answered")
