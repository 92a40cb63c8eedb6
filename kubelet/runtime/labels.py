"""The labels every sandbox and container carries: all the state a kubelet needs to find its pods again.

Who calls it: `sandbox` and `container_config` when they build a config, the runtimes when they read one back.
Invariant: names follow the old Docker shim's convention, `k8s_<container>_<pod>_<namespace>_<uid>_<attempt>`, with POD as the
sandbox's container name; two attempts never share a name, so an engine itself refuses to run one twice.
Upstream: pkg/kubelet/types/labels.go and pkg/kubelet/kuberuntime/labels.go.
"""

import hashlib
import json
from collections.abc import Mapping

from kubelet.runtime.base import CONTAINER, SANDBOX, PodRef
from minikube_py.api.types import Obj

PROFILE, NODE = "io.minikube-py.profile", "io.minikube-py.node"
POD_IP, ATTEMPT = "io.minikube-py.pod-ip", "io.minikube-py.attempt"
POD_NAME, POD_NAMESPACE, POD_UID = "io.kubernetes.pod.name", "io.kubernetes.pod.namespace", "io.kubernetes.pod.uid"
CONTAINER_NAME, TYPE = "io.kubernetes.container.name", "io.kubernetes.docker.type"
SANDBOX_ID = "io.kubernetes.sandbox.id"
HASH = "annotation.io.kubernetes.container.hash"
RESTART_COUNT = "annotation.io.kubernetes.container.restartCount"
MESSAGE_PATH = "annotation.io.kubernetes.container.terminationMessagePath"
MESSAGE_POLICY = "annotation.io.kubernetes.container.terminationMessagePolicy"
MESSAGE_FILE = "io.minikube-py.termination-message-file"
GRACE = "annotation.io.kubernetes.pod.terminationGracePeriod"
SANDBOX_NAME = "POD"


def container_hash(container: Obj) -> str:
    """Changes exactly when the container has to be made anew: other parts of a running container's spec cannot change."""
    text = json.dumps([container["name"], container["image"]])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def of_pod(pod: Obj, profile: str, node: str) -> dict[str, str]:
    """What sandbox and containers of a pod have in common."""
    meta = pod["metadata"]
    return {
        PROFILE: profile, NODE: node, POD_NAME: meta["name"], POD_NAMESPACE: meta["namespace"], POD_UID: meta["uid"],
        GRACE: str(pod["spec"].get("terminationGracePeriodSeconds", 30)),
    }  # fmt: skip


def of_sandbox(pod: Obj, profile: str, node: str, attempt: int, ip: str) -> dict[str, str]:
    own = {TYPE: SANDBOX, CONTAINER_NAME: SANDBOX_NAME, ATTEMPT: str(attempt), POD_IP: ip}
    return {**of_pod(pod, profile, node), **own}


def of_container(
    pod: Obj, container: Obj, profile: str, node: str, attempt: int, sandbox_id: str, message_file: str
) -> dict[str, str]:
    own = {
        TYPE: CONTAINER, CONTAINER_NAME: container["name"], SANDBOX_ID: sandbox_id, HASH: container_hash(container),
        ATTEMPT: str(attempt), RESTART_COUNT: str(attempt), MESSAGE_FILE: message_file,
        MESSAGE_PATH: container.get("terminationMessagePath") or "/dev/termination-log",
        MESSAGE_POLICY: container.get("terminationMessagePolicy") or "File",
    }  # fmt: skip
    return {**of_pod(pod, profile, node), **own}


def engine_name(container: str, pod: PodRef, attempt: int) -> str:
    """The engine's name of a container: unique per pod uid and attempt."""
    return f"k8s_{container}_{pod.name}_{pod.namespace}_{pod.uid}_{attempt}"


def pod_ref(labels: Mapping[str, str]) -> PodRef:
    return PodRef(labels.get(POD_NAME, ""), labels.get(POD_NAMESPACE, ""), labels.get(POD_UID, ""))


def attempt_of(labels: Mapping[str, str]) -> int:
    text = labels.get(ATTEMPT, "0")
    return int(text) if text.isdigit() else 0
