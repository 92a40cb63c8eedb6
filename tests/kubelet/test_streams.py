"""Logs, exec, attach and port-forward of real containers: stock kubectl through the real API server, and the refusals."""

import json
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from kubelet.options import Options
from minikube_py.api.types import Obj
from tests import harness
from tests.kubelet.conftest import Nodes, container, is_ready, status_of

TALKER = "i=0; while [ $i -lt 5 ]; do echo line $i; i=$((i+1)); done; echo problem >&2; sleep 3600"


def kubectl(nodes: Nodes, *args: str, stdin: str | None = None, timeout: int = 30) -> subprocess.CompletedProcess[str]:
    command = ["kubectl", "--kubeconfig", nodes.server.kubeconfig, *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout)


@pytest.fixture
def talker(nodes: Nodes, node: Options, namespace: str) -> Obj:
    body = container("main", ["sh", "-c", TALKER], stdin=True)
    return nodes.wait(nodes.pod(namespace, node, "talker", [body]), is_ready)


def test_logs(nodes: Nodes, namespace: str, talker: Obj) -> None:
    def logs(*args: str) -> str:
        result = kubectl(nodes, "-n", namespace, "logs", "talker", *args)
        assert result.returncode == 0, result.stderr
        return result.stdout

    whole = "".join(f"line {i}\n" for i in range(5)) + "problem\n"
    harness.eventually(lambda: sorted(logs().splitlines()) == sorted(whole.splitlines()), what="the whole log")
    assert len(logs("--tail=2").splitlines()) == 2
    whole = logs()  # what went to stderr may come anywhere in it: the engine reads two pipes
    assert logs("--limit-bytes=6") == whole[:6]
    stamped = logs("--timestamps").splitlines()
    assert all(line[:4].isdigit() and "T" in line[:11] and " " in line for line in stamped)
    assert logs("--since=1h") == whole
    missing = kubectl(nodes, "-n", namespace, "logs", "talker", "--previous")
    assert missing.returncode == 1
    assert 'previous terminated container "main" in pod "talker" not found' in missing.stderr


def test_logs_are_followed_to_the_end(nodes: Nodes, node: Options, namespace: str) -> None:
    body = container("main", ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.5; done"])
    pod = nodes.pod(namespace, node, "counter", [body], restartPolicy="Never")
    nodes.wait(pod, lambda p: status_of(p, "main").get("state", {}).get("running"))
    assert kubectl(nodes, "-n", namespace, "logs", "-f", "counter").stdout == "1\n2\n3\n"
    nodes.wait_phase(pod, "Succeeded")
    assert kubectl(nodes, "-n", namespace, "logs", "counter").stdout == "1\n2\n3\n"


def test_logs_of_the_previous_instance(nodes: Nodes, node: Options, namespace: str) -> None:
    body = container("main", ["sh", "-c", "echo mine: $$-$(cat /proc/uptime); exit 1"])
    pod = nodes.pod(namespace, node, "crash", [body])
    nodes.wait(pod, lambda p: status_of(p, "main").get("restartCount", 0) >= 2)
    assert kubectl(nodes, "-n", namespace, "logs", "crash", "--previous").stdout.startswith("mine")


def test_exec(nodes: Nodes, namespace: str, talker: Obj) -> None:
    def run(*command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        flags = ["-i"] if stdin is not None else []
        return kubectl(nodes, "-n", namespace, "exec", *flags, "talker", "--", *command, stdin=stdin)

    plain = run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (plain.returncode, plain.stdout) == (7, "out\n")
    assert plain.stderr.startswith("err\n")
    piped = run("sh", "-c", "cat; echo done", stdin="some input\n")
    assert (piped.returncode, piped.stdout) == (0, "some input\ndone\n")
    assert len(run("sh", "-c", "head -c 300000 /dev/zero").stdout) == 300_000
    missing = run("/no/such")
    assert missing.returncode != 0


def test_exec_with_a_terminal(nodes: Nodes, namespace: str, talker: Obj) -> None:
    """A terminal of the size the client has (kubectl itself needs one: `script` gives it one)."""
    kubectl_exec = f"kubectl --kubeconfig {nodes.server.kubeconfig} -n {namespace} exec -it talker --"
    command = f"stty cols 123 rows 45; {kubectl_exec} sh -c 'sleep 0.5; stty size'"
    result = subprocess.run(
        ["script", "-qec", command, "/dev/null"], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
    )
    assert "45 123" in result.stdout, result.stdout


def test_attach(nodes: Nodes, node: Options, namespace: str) -> None:
    body = container("main", ["sh", "-c", "read line; echo got $line; sleep 1"], stdin=True, stdinOnce=True)
    pod = nodes.wait(nodes.pod(namespace, node, "reader", [body], restartPolicy="Never"), is_ready)
    result = kubectl(nodes, "-n", namespace, "attach", "-i", "reader", stdin="hello\n")
    assert "got hello" in result.stdout, result.stderr
    nodes.wait_phase(pod, "Succeeded")


def test_port_forward(nodes: Nodes, node: Options, namespace: str) -> None:
    body = container("main", ["sh", "-c", "while true; do echo hello | nc -l -p 8080; done"])
    nodes.wait(nodes.pod(namespace, node, "server", [body]), is_ready)
    port = harness.free_port()
    process = subprocess.Popen(
        ["kubectl", "--kubeconfig", nodes.server.kubeconfig, "-n", namespace, "port-forward", "pod/server", f"{port}:8080"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**harness.environment(), "KUBECTL_PORT_FORWARD_WEBSOCKETS": "true"},
    )  # fmt: skip
    try:
        assert process.stdout is not None and "Forwarding" in process.stdout.readline()

        def hello() -> bool:
            with socket.create_connection(("127.0.0.1", port), 5) as connection:
                return connection.recv(100) == b"hello\n"

        harness.eventually(hello, what="an answer through the tunnel")
        harness.eventually(hello, what="a second answer")
    finally:
        harness.stop(process)


def test_only_the_api_server_is_answered(nodes: Nodes, node: Options, namespace: str) -> None:
    def fetch(path: str, identity: str = "") -> tuple[int, str]:
        pki = Path(nodes.server.pki)
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        if identity:
            context.load_cert_chain(pki / f"{identity}.crt", pki / f"{identity}.key")
        try:
            with urllib.request.urlopen(
                f"https://{node.node_ip}:{node.port}{path}", context=context, timeout=10
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    assert fetch("/healthz") == (200, "ok")
    assert fetch("/pods")[0] == 401
    assert fetch("/pods", f"kubelet-{node.node_name}")[0] == 403
    assert fetch("/pods", "apiserver-kubelet-client")[0] == 200
    assert fetch("/nothing", "apiserver-kubelet-client")[0] == 404
    pod = nodes.wait(nodes.pod(namespace, node, "measured"), is_ready)

    def used() -> int:
        summary = json.loads(fetch("/stats/summary", "apiserver-kubelet-client")[1])
        entry = next(entry for entry in summary["pods"] if entry["podRef"]["uid"] == pod["metadata"]["uid"])
        return int(entry["containers"][0]["memory"]["usageBytes"])

    harness.eventually(lambda: used() > 0, what="memory in the summary")
    assert "container_memory_working_set_bytes" in fetch("/metrics/resource", "apiserver-kubelet-client")[1]
    assert "kubelet_running_pods" in fetch("/metrics", "apiserver-kubelet-client")[1]
