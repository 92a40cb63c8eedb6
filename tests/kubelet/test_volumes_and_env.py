"""Volumes, environment and files of real pods, judged by what a process inside sees."""

import json
from pathlib import Path
from typing import Any

import pytest

from kubelet import security
from kubelet.options import Options
from minikube_py.api.gvr import CONFIGMAPS, EVENTS, NAMESPACES, PODS, SECRETS, SERVICES, new_object
from minikube_py.api.types import Obj
from tests import harness
from tests.kubelet.conftest import Nodes, container, is_ready, status_of


def told(nodes: Nodes, node: Options, namespace: str, script: str, *, fields: Obj | None = None, **spec: Any) -> str:
    """What a shell script writes into the termination message of a pod that succeeds."""
    body = container("main", ["sh", "-c", f"({script}) > /dev/termination-log 2>&1"], **(fields or {}))
    pod = nodes.pod(namespace, node, containers=[body], restartPolicy="Never", **spec)
    final = nodes.wait(pod, lambda p: p["status"].get("phase") in ("Succeeded", "Failed"))
    return str(status_of(final, "main")["state"]["terminated"].get("message", ""))


def test_environment(nodes: Nodes, node: Options, namespace: str) -> None:
    nodes.client.create(CONFIGMAPS, new_object(CONFIGMAPS, "settings", namespace, data={"colour": "blue", "size": "7"}))
    nodes.client.create(SECRETS, new_object(SECRETS, "hidden", namespace, stringData={"key": "open sesame"}))
    service = {"ports": [{"port": 8765, "protocol": "TCP"}], "selector": {"a": "b"}}
    made = nodes.client.create(SERVICES, new_object(SERVICES, "foo-service", namespace, spec=service))
    env = [
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "key"}}},
        {"name": "MISSING", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "x", "optional": True}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
        {"name": "JOINED", "value": "$(COLOUR)-$(NAME)-$(UNKNOWN)-$$(COLOUR)"},
    ]
    script = (
        'echo "$COLOUR|$SECRET|${MISSING-unset}|$NAME|$IP|$CPU|$MEMORY|$JOINED|$P_size'
        '|$FOO_SERVICE_SERVICE_HOST|$FOO_SERVICE_PORT_8765_TCP_PORT"'
    )
    fields = {
        "env": env, "envFrom": [{"prefix": "P_", "configMapRef": {"name": "settings"}}],
        "resources": {"limits": {"cpu": "1250m", "memory": "64Mi"}},
    }  # fmt: skip
    words = told(nodes, node, namespace, script, fields=fields).strip().split("|")
    name = words[3]
    assert words[:4] == ["blue", "open sesame", "unset", name]
    assert words[4].startswith(node.pod_cidr.rsplit(".", 1)[0])
    assert words[5:] == [
        "2", str(64 << 20), f"blue-{name}-$(UNKNOWN)-$(COLOUR)", "7", made["spec"]["clusterIP"], "8765",
    ]  # fmt: skip


def test_a_missing_source_is_waited_for(nodes: Nodes, node: Options, namespace: str) -> None:
    body = container("main", ["sleep", "60"], envFrom=[{"configMapRef": {"name": "later"}}])
    pod = nodes.pod(namespace, node, containers=[body])
    waiting = nodes.wait(pod, lambda p: status_of(p, "main").get("state", {}).get("waiting", {}).get("message"))
    reason = status_of(waiting, "main")["state"]["waiting"]
    assert reason == {"reason": "CreateContainerConfigError", "message": 'configmap "later" not found'}
    nodes.client.create(CONFIGMAPS, new_object(CONFIGMAPS, "later", namespace, data={"a": "b"}))
    nodes.wait(pod, is_ready)


def test_empty_dirs(nodes: Nodes, node: Options, namespace: str) -> None:
    mounts = [{"name": "disk", "mountPath": "/disk"}, {"name": "memory", "mountPath": "/memory"}]
    output = told(
        nodes, node, namespace, "stat -c %a /disk /memory; mount | grep -o 'on /memory type tmpfs'; touch /disk/x && id -u",
        fields={"volumeMounts": mounts, "securityContext": {"runAsUser": 1001}},
        volumes=[{"name": "disk", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}],
    )  # fmt: skip
    assert output.split("\n")[:4] == ["777", "777", "on /memory type tmpfs", "1001"]


def test_projected_files(nodes: Nodes, node: Options, namespace: str) -> None:
    nodes.client.create(CONFIGMAPS, new_object(CONFIGMAPS, "files", namespace, data={"a": "one", "b": "two"}))
    nodes.client.create(SECRETS, new_object(SECRETS, "key", namespace, stringData={"password": "secret"}))
    volumes = [
        {"name": "cm", "configMap": {"name": "files", "items": [{"key": "a", "path": "deep/a", "mode": 0o400}]}},
        {"name": "secret", "secret": {"secretName": "key", "defaultMode": 0o440}},
        {"name": "all", "projected": {"sources": [
            {"configMap": {"name": "files"}}, {"secret": {"name": "key"}},
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]}},
    ]  # fmt: skip
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("cm", "secret", "all")]
    mounts.append({"name": "cm", "mountPath": "/etc/single", "subPath": "deep/a"})
    output = told(
        nodes, node, namespace,
        "cat /cm/deep/a /secret/password /all/a /all/b /all/password /all/labels /etc/single; echo; "
        "stat -L -c %a /cm/deep/a /secret/password; readlink /all/a",
        fields={"volumeMounts": mounts}, volumes=volumes,
    )  # fmt: skip
    lines = output.split("\n")
    assert lines[0] == f"onesecretonetwosecret{namespace}one"
    assert lines[1:4] == ["400", "440", "..data/a"]


def test_a_changed_config_map_reaches_the_running_pod(nodes: Nodes, node: Options, namespace: str) -> None:
    nodes.client.create(CONFIGMAPS, new_object(CONFIGMAPS, "live", namespace, data={"a": "old"}))
    script = "until grep -q new /cm/a; do sleep 0.2; done; cat /cm/a > /dev/termination-log"
    body = container("main", ["sh", "-c", script], volumeMounts=[{"name": "cm", "mountPath": "/cm"}])
    pod = nodes.pod(
        namespace, node, containers=[body], restartPolicy="Never",
        volumes=[{"name": "cm", "configMap": {"name": "live"}}],
    )  # fmt: skip
    nodes.wait_phase(pod, "Running")
    nodes.client.patch(CONFIGMAPS, "live", {"data": {"a": "new"}}, namespace)
    final = nodes.wait_phase(pod, "Succeeded")
    assert status_of(final, "main")["state"]["terminated"]["message"] == "new"


def test_changes_arrive_without_polling(nodes: Nodes, namespace: str) -> None:
    """A node that looks again once an hour: what is mounted is watched, by name, for as long as somebody mounts it."""
    options = nodes.start(nodes.options(index=9, sync_frequency=3600.0))
    nodes.client.create(CONFIGMAPS, new_object(CONFIGMAPS, "live", namespace, data={"a": "old"}))
    script = (
        "until grep -q new /all/a && grep -q hush /all/s && grep -q later /all/l; do sleep 0.1; done;"
        "cat /all/a /all/s > /dev/termination-log"
    )
    body = container("main", ["sh", "-c", script], volumeMounts=[{"name": "all", "mountPath": "/all"}])
    label = {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}
    sources = [{"configMap": {"name": "live"}}, {"secret": {"name": "kept"}}, {"downwardAPI": label}]
    pod = nodes.pod(
        namespace, options, containers=[body], restartPolicy="Never",
        volumes=[{"name": "all", "projected": {"sources": sources}}],
    )  # fmt: skip
    harness.eventually(
        lambda: any(e["reason"] == "FailedMount" for e in nodes.client.list(EVENTS, namespace)["items"]),
        what="the pod to wait for the secret",
    )
    nodes.client.create(SECRETS, new_object(SECRETS, "kept", namespace, stringData={"s": "hush"}))
    nodes.wait_phase(pod, "Running")
    watched = nodes.running[options.node_name].node.watches._watched
    assert set(watched) == {("configmaps", namespace, "live"), ("secrets", namespace, "kept")}
    nodes.client.patch(CONFIGMAPS, "live", {"data": {"a": "new"}}, namespace)
    nodes.client.patch(PODS, pod["metadata"]["name"], {"metadata": {"labels": {"sooner": "later"}}}, namespace)
    assert status_of(nodes.wait_phase(pod, "Succeeded"), "main")["state"]["terminated"]["message"] == "newhush"
    harness.eventually(lambda: not watched, what="the watches to end")
    nodes.stop(options)


def test_a_pod_waits_for_its_volume(nodes: Nodes, node: Options, namespace: str) -> None:
    body = container("main", ["sleep", "60"], volumeMounts=[{"name": "cm", "mountPath": "/cm"}])
    volumes = [{"name": "cm", "configMap": {"name": "missing"}}]
    pod = nodes.pod(namespace, node, containers=[body], volumes=volumes)
    waiting = nodes.wait(pod, lambda p: status_of(p, "main").get("state", {}).get("waiting"))
    assert status_of(waiting, "main")["state"]["waiting"]["reason"] == "ContainerCreating"
    nodes.client.create(CONFIGMAPS, new_object(CONFIGMAPS, "missing", namespace, data={}))
    nodes.wait(pod, is_ready)


def test_hosts_resolv_conf_and_hostname(nodes: Nodes, node: Options, namespace: str) -> None:
    output = told(
        nodes, node, namespace, "head -1 /etc/hosts; grep aliased /etc/hosts; grep -c . /etc/resolv.conf; hostname; "
        "grep $(hostname) /etc/hosts; cat /etc/hostname; cat /etc/resolv.conf",
        hostname="chosen", subdomain="sub", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["aliased", "second"]}],
        dnsPolicy="None",
        dnsConfig={"nameservers": ["9.9.9.9"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "2"}]},
    )  # fmt: skip
    lines = output.split("\n")
    assert lines[0] == "# Kubernetes-managed hosts file."
    assert lines[1] == "1.2.3.4\taliased\tsecond"
    assert lines[2:4] == ["3", "chosen"]
    assert f"\tchosen.sub.{namespace}.svc.cluster.local\tchosen" in lines[4]
    assert lines[5:9] == ["chosen", "search a.b", "nameserver 9.9.9.9", "options ndots:2"]


def test_security_context(nodes: Nodes, node: Options, namespace: str) -> None:
    context = {
        "runAsUser": 1000, "runAsGroup": 3000, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}, "runAsNonRoot": True,
    }  # fmt: skip
    output = told(
        nodes, node, namespace, "id; touch /x; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; "
        "stat -c '%g %a' /data; cat /proc/sys/kernel/shm_rmid_forced",
        fields={"securityContext": context, "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        securityContext={"fsGroup": 2000, "supplementalGroups": [4000], "sysctls": [
            {"name": "kernel.shm_rmid_forced", "value": "1"}]},
        volumes=[{"name": "data", "emptyDir": {}}],
    )  # fmt: skip
    assert "uid=1000 gid=3000 groups=" in output
    assert "2000" in output.split("\n")[0] and "4000" in output.split("\n")[0]
    assert "Read-only file system" in output
    assert "CapEff:\t0000000000000000" in output
    assert "NoNewPrivs:\t1" in output and "Seccomp:\t2" in output
    assert "2000 2777" in output
    assert output.strip().endswith("1")


def test_a_seccomp_profile_of_the_nodes_own(
    nodes: Nodes, node: Options, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "SECCOMP_PROFILES", tmp_path)
    refused = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    (tmp_path / "no-mkdir.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]}))

    def context(name: str) -> Obj:
        return {"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": name}}}

    output = told(nodes, node, namespace, "mkdir /x; touch /y && echo touched", fields=context("no-mkdir.json"))
    assert output == "mkdir: can't create directory '/x': Operation not permitted\ntouched\n"
    pod = nodes.pod(namespace, node, containers=[container("main", ["sleep", "60"], **context("gone.json"))])
    waiting = nodes.wait(pod, lambda p: status_of(p, "main").get("state", {}).get("waiting", {}).get("message"))
    assert status_of(waiting, "main")["state"]["waiting"] == {
        "reason": "CreateContainerConfigError",
        "message": f"cannot load seccomp profile '{tmp_path}/gone.json': No such file or directory",
    }


def test_root_is_refused_where_it_must_not_run(nodes: Nodes, node: Options, namespace: str) -> None:
    body = container("main", ["sleep", "60"], securityContext={"runAsNonRoot": True})
    pod = nodes.pod(namespace, node, containers=[body])
    waiting = nodes.wait(pod, lambda p: status_of(p, "main").get("state", {}).get("waiting", {}).get("message"))
    assert status_of(waiting, "main")["state"]["waiting"] == {
        "reason": "CreateContainerConfigError", "message": "container has runAsNonRoot and image will run as root",
    }  # fmt: skip


def test_containers_of_a_pod_share_what_they_should(nodes: Nodes, node: Options, namespace: str) -> None:
    server = container("server", ["sh", "-c", "while true; do echo hello | nc -l -p 8080; done"])
    client = container(
        "client", ["sh", "-c", "until nc -w 1 127.0.0.1 8080 > /dev/termination-log; do sleep 0.2; done"]
    )
    pod = nodes.pod(namespace, node, containers=[client, server], restartPolicy="Never", shareProcessNamespace=True)
    final = nodes.wait(pod, lambda p: "terminated" in status_of(p, "client").get("state", {}))
    assert status_of(final, "client")["state"]["terminated"]["message"] == "hello\n"


def test_a_host_path_of_the_wrong_type(nodes: Nodes, node: Options, namespace: str, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("content")
    mount: Obj = {"volumeMounts": [{"name": "host", "mountPath": "/host"}]}
    good = told(
        nodes, node, namespace, "cat /host/file", fields=mount,
        volumes=[{"name": "host", "hostPath": {"path": str(tmp_path), "type": "Directory"}}],
    )  # fmt: skip
    assert good == "content"
    pod = nodes.pod(
        namespace, node, containers=[container("main", ["true"], **mount)],
        volumes=[{"name": "host", "hostPath": {"path": str(tmp_path / "file"), "type": "Directory"}}],
    )  # fmt: skip
    nodes.wait(pod, lambda p: status_of(p, "main").get("state", {}).get("waiting"))


def test_a_service_account_token(nodes: Nodes, node: Options, namespace: str) -> None:
    """The token is bound to the pod and good for the API server (its TokenReview says whose it is)."""
    from minikube_py.api.gvr import GVR, SERVICEACCOUNTS

    nodes.client.create(SERVICEACCOUNTS, new_object(SERVICEACCOUNTS, "robot", namespace))
    volumes = [
        {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}]}}
    ]
    token = told(
        nodes, node, namespace, "cat /t/token", fields={"volumeMounts": [{"name": "t", "mountPath": "/t"}]},
        volumes=volumes, serviceAccountName="robot",
    )  # fmt: skip
    reviews = GVR("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    answer = nodes.client.create(reviews, review)["status"]
    assert answer["authenticated"] is True
    assert answer["user"]["username"] == f"system:serviceaccount:{namespace}:robot"
    assert nodes.client.get(NAMESPACES, namespace)


def test_an_image_is_a_volume(nodes: Nodes, node: Options, namespace: str) -> None:
    volumes = [{"name": "files", "image": {"reference": "busybox:latest", "pullPolicy": "Always"}}]
    mounts = {"volumeMounts": [{"name": "files", "mountPath": "/files"}]}
    script = "/files/bin/busybox echo from the image; touch /files/x || echo kept"
    said = told(nodes, node, namespace, script, fields=mounts, volumes=volumes)
    assert "from the image" in said and "Read-only file system" in said and "kept" in said
