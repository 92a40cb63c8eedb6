"""kctl beside kubectl on the same cluster: the same answers where a script could depend on them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import SLEEP, Cluster, deployment, pod


def _both(cluster: Cluster, *arguments: str, stdin: str = "") -> tuple[tuple[int, str, str], tuple[int, str, str]]:
    kubectl = cluster.run(["kubectl", *arguments], check=False, stdin=stdin)
    kctl = cluster.run([sys.executable, "-m", "minikube_py.cli.kctl", *arguments], check=False, stdin=stdin)
    return (kubectl.returncode, kubectl.stdout, kubectl.stderr), (kctl.returncode, kctl.stdout, kctl.stderr)


@pytest.fixture(scope="module", autouse=True)
def something_to_look_at(cluster: Cluster) -> None:
    cluster.kctl("apply", "-f", "-", stdin=json.dumps(deployment("look", 2, SLEEP)))
    cluster.kctl("create", "configmap", "plain", "--from-literal=a=b")
    cluster.kctl("rollout", "status", "deployment/look", "--timeout=60s")


def _comparable(text: str) -> object:
    """JSON by its content, tables by their words; ages pass while one command follows the other."""
    if text.startswith("{"):
        return json.loads(text)
    return [re.sub(r"^(\d+[smhd])+$", "AGE", word) for word in text.split()]


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "pods"),
        ("get", "pods", "-o", "name"),
        ("get", "nodes", "-o", "wide"),
        ("get", "deploy,rs"),
        ("get", "pods", "-A", "-l", "app=look"),
        ("get", "pods", "--no-headers", "--show-labels"),
        ("get", "deployment", "look", "-o", "yaml"),
        ("get", "deployment", "look", "-o", "json"),
        ("get", "pods", "-o", "jsonpath={.items[*].metadata.name}"),
        ("get", "pods", "-o", "jsonpath={range .items[*]}{.metadata.name}{\"\\t\"}{.status.podIP}{\"\\n\"}{end}"),
        ("get", "pods", "-o", "custom-columns=NAME:.metadata.name,NODE:.spec.nodeName"),
        ("get", "pod", "nosuch"),
        ("get", "nosuch"),
        ("get", "pods", "-n", "nosuch"),
        ("rollout", "status", "deployment/look"),
        ("logs", "nosuch"),
        ("delete", "configmap", "nosuch"),
        ("label", "configmap", "nosuch", "a=1"),
        ("annotate", "configmap", "nosuch", "note=x"),
        ("scale", "deployment/look", "--replicas=2"),
        ("wait", "--for=condition=Available", "deployment/look", "--timeout=10s"),
        ("exec", "deploy/look", "--", "sh", "-c", "exit 9"),
        ("cordon", "nosuch"),
        ("api-versions",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_same_answer_as_kubectl(cluster: Cluster, arguments: tuple[str, ...]) -> None:
    kubectl, kctl = _both(cluster, *arguments)
    assert kctl[0] == kubectl[0], (kubectl, kctl)
    assert _comparable(kctl[1]) == _comparable(kubectl[1])
    if kubectl[0] and kubectl[2].startswith("Error from server"):
        assert kctl[2] == kubectl[2]


def test_apply_says_created_configured_unchanged(cluster: Cluster) -> None:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "thrice"}, "data": {"a": "1"}}
    said = []
    for value in ("1", "1", "2"):
        manifest["data"] = {"a": value}
        said.append(cluster.kctl("apply", "-f", "-", stdin=json.dumps(manifest)).strip())
    assert said == ["configmap/thrice created", "configmap/thrice unchanged", "configmap/thrice configured"]
    assert cluster.kctl("delete", "-f", "-", stdin=json.dumps(manifest)) == 'configmap "thrice" deleted\n'


def test_history_undo_drain_and_streams(cluster: Cluster) -> None:
    cluster.kctl("apply", "-f", "-", stdin=json.dumps(deployment("turn", 2, f"echo one; {SLEEP}")))
    cluster.kctl("rollout", "status", "deployment/turn", "--timeout=60s")
    cluster.kctl("apply", "-f", "-", stdin=json.dumps(deployment("turn", 2, f"echo two; {SLEEP}")))
    cluster.kctl("rollout", "status", "deployment/turn", "--timeout=60s")
    assert cluster.kctl("logs", "deploy/turn") == "two\n"
    assert cluster.kctl("rollout", "undo", "deployment/turn") == "deployment.apps/turn rolled back\n"
    cluster.kctl("rollout", "status", "deployment/turn", "--timeout=60s")
    one = cluster.ready_pods("app=turn", 2)[0]
    assert cluster.kctl("logs", one["metadata"]["name"]) == "one\n"
    assert cluster.kctl("exec", "-i", one["metadata"]["name"], "--", "cat", stdin="to and fro") == "to and fro"
    node = one["spec"]["nodeName"]
    drained = cluster.kctl("drain", node, "--force", "--delete-emptydir-data", "--ignore-daemonsets", "--timeout=90s")
    assert f"node/{node} drained" in drained
    assert all(p["spec"]["nodeName"] != node for p in cluster.ready_pods("app=turn", 2))
    assert cluster.kctl("uncordon", node) == f"node/{node} uncordoned\n"
    cluster.kctl("delete", "deployment", "turn")


def test_describe_and_explain_show_what_matters(cluster: Cluster) -> None:
    name = cluster.ready_pods("app=look", 2)[0]["metadata"]["name"]
    described = cluster.kctl("describe", "pod", name)
    for expected in ("Controlled By:", "Image:", "busybox", "Scheduled", "Started", "QoS Class:"):
        assert expected in described
    assert "Allocatable:" in cluster.kctl("describe", "node", "node-1")
    assert "FIELD: containers <[]Container>" in cluster.kctl("explain", "pod.spec.containers")
    assert (
        cluster.run([sys.executable, "-m", "minikube_py.cli.kctl", "explain", "pod.nope"], check=False).returncode == 1
    )


def test_edit_goes_through_the_editor(cluster: Cluster, tmp_path: Path) -> None:
    editor = tmp_path / "editor.sh"
    editor.write_text("#!/bin/sh\nsed -i 's/a: b/a: edited/' \"$1\"\n")
    editor.chmod(0o755)
    command = [sys.executable, "-m", "minikube_py.cli.kctl", "edit", "configmap", "plain"]
    done = subprocess.run(command, env={**cluster.environment, "EDITOR": str(editor)}, capture_output=True, text=True)
    assert done.stdout == "configmap/plain edited\n", done.stderr
    assert cluster.kctl("get", "configmap", "plain", "-o", "jsonpath={.data.a}").strip() == "edited"


def test_manifests_are_checked_before_anything_is_sent(cluster: Cluster) -> None:
    good = json.dumps(pod("never", "true"))
    for bad, said in (
        ("{", "error parsing STDIN"), ("kind: Pod\nmetadata: {name: x}", "apiVersion not set"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}", "put it in quotes"), ("", "no objects passed"),
    ):  # fmt: skip
        text = f"{good}\n---\n{bad}" if bad else bad
        done = cluster.run([sys.executable, "-m", "minikube_py.cli.kctl", "apply", "-f", "-"], check=False, stdin=text)
        assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr
    assert cluster.run(["kubectl", "get", "pod", "never"], check=False).returncode == 1
