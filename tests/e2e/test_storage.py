"""Claims on a real cluster: data outlives pods and a node's power cut, goes with its claim, and comes back from a snapshot."""

from collections.abc import Callable
from pathlib import Path

from minikube_py.api.gvr import NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS
from minikube_py.api.meta import condition_of
from minikube_py.api.types import Obj
from tests.e2e.conftest import SLEEP, Cluster, pod
from tests.harness import eventually

Apply = Callable[[Obj], None]
_SCRIPT = "date +%s >> /data/starts; sleep 3600"


def _set(name: str) -> Obj:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}
    container = {
        "name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", _SCRIPT],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }  # fmt: skip
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }
    spec = {
        "serviceName": name, "replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template,
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
    }  # fmt: skip
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": spec}


def _starts(cluster: Cluster, pod: str) -> int:
    return len(cluster.kubectl("exec", pod, "--", "cat", "/data/starts").splitlines())


def test_data_outlives_pods_and_nodes(cluster: Cluster, apply: Apply) -> None:
    apply(_set("vault"))
    node = next(p for p in cluster.ready_pods("app=vault", 2) if p["metadata"]["name"] == "vault-0")["spec"]["nodeName"]
    cluster.kubectl("delete", "pod", "vault-0")
    cluster.ready_pods("app=vault", 2)
    assert _starts(cluster, "vault-0") == 2
    cluster.minikube("node", "stop", node)
    try:
        eventually(lambda: _is_tainted(cluster, node), 60, what="the node is known to be gone")
        cluster.kubectl("delete", "pod", "vault-0", "--force", "--grace-period=0")

        def told() -> str:
            held = cluster.client.get(PODS, "vault-0", "default")
            return str((condition_of(held, "PodScheduled") or {}).get("message", ""))

        eventually(lambda: "didn't match PersistentVolume's node affinity" in told(), 60, what="the reason it waits")
    finally:
        cluster.minikube("node", "start", node)
    cluster.ready_pods("app=vault", 2)
    assert _starts(cluster, "vault-0") == 3, "the data was there when the node returned"
    cluster.kubectl("delete", "statefulset", "vault")
    claims = ["data-vault-0", "data-vault-1"]
    paths = [_path(cluster, claim) for claim in claims]
    cluster.kubectl("delete", "pvc", *claims)
    eventually(lambda: not any(path.exists() for path in paths), 30, what="the data's removal")


def _is_tainted(cluster: Cluster, node: str) -> bool:
    taints = cluster.client.get(NODES, node)["spec"].get("taints") or []
    return any(taint["key"] == "node.kubernetes.io/unreachable" for taint in taints)


def _path(cluster: Cluster, claim: str) -> Path:
    name = cluster.client.get(PERSISTENTVOLUMECLAIMS, claim, "default")["spec"]["volumeName"]
    return Path(cluster.client.get(PERSISTENTVOLUMES, name)["spec"]["local"]["path"])


def _user(claim: str, command: str) -> Obj:
    mounts = [{"name": "data", "mountPath": "/data"}]
    made = pod(f"user-of-{claim}", f"{command}; {SLEEP}", volumeMounts=mounts)
    made["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    return made


def _claim(name: str, **more: Obj) -> Obj:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}, **more}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def test_a_snapshot_brings_old_data_back(cluster: Cluster, apply: Apply) -> None:
    api = "snapshot.storage.k8s.io"
    cluster.minikube("addon", "enable", "snapshots")
    apply(_claim("original"))
    apply(_user("original", "echo old > /data/file"))
    cluster.ready_pods("app=user-of-original", 1)
    source = {"persistentVolumeClaimName": "original"}
    apply(
        {
            "apiVersion": f"{api}/v1",
            "kind": "VolumeSnapshot",
            "metadata": {"name": "before"},
            "spec": {"source": source},
        }
    )
    cluster.kubectl("wait", "volumesnapshot", "before", "--for=jsonpath={.status.readyToUse}=true", "--timeout=30s")
    assert "10Mi" in cluster.kubectl("get", "volumesnapshot", "before")
    cluster.kubectl("exec", "user-of-original", "--", "sh", "-c", "echo new > /data/file")
    apply(_claim("restored", dataSource={"apiGroup": api, "kind": "VolumeSnapshot", "name": "before"}))
    apply(_user("restored", "true"))
    cluster.ready_pods("app=user-of-restored", 1)
    assert cluster.kubectl("exec", "user-of-restored", "--", "cat", "/data/file").strip() == "old"
    assert cluster.kubectl("exec", "user-of-original", "--", "cat", "/data/file").strip() == "new"
    cluster.kubectl("delete", "volumesnapshot", "before", "--timeout=30s")
    eventually(
        lambda: "snapshot-" not in cluster.kubectl("get", "pv", "-o", "name"), 30, what="the snapshot's data is gone"
    )
    cluster.minikube("addon", "disable", "snapshots")
