"""Pods -> pods with a sidecar: what the mutating webhook changes. Pure.

Who calls it: control.py, for every pod created in a namespace labelled `mesh.minikube-py.io/inject=enabled`. Invariant: a pod
is changed at most once, and nothing that its author wrote is replaced.

Two init containers come before the pod's own: `mesh-init` writes a nat table into the pod's network namespace, once;
`mesh-proxy` never ends (a native sidecar): nothing after it starts before it is ready. TCP is intercepted, both ways, but for:
the proxy's own connections, loopback, and connections from the pod's node (probes). UDP and ICMP are not.
Upstream: Istio's istio-iptables; kubernetes.io "Sidecar Containers".
"""

import base64
from typing import Any

import orjson

from minikube_py.api.meta import annotations_of, labels_of
from minikube_py.api.types import Obj
from minikube_py.mesh.kinds import (
    AUDIENCE,
    HEALTH_PORT,
    INBOUND_PORT,
    INJECT,
    OUTBOUND_PORT,
    PROXY_USER,
    RUN,
    SIDECAR,
    TOKENS,
)

NFT = f"""table ip mesh {{
  chain inbound {{
    type nat hook prerouting priority dstnat
    ip saddr $(HOST_IP) return
    iifname "lo" return
    tcp dport {HEALTH_PORT} return
    meta l4proto tcp redirect to :{INBOUND_PORT}
  }}
  chain outbound {{
    type nat hook output priority -100
    meta skuid {PROXY_USER} return
    oifname "lo" return
    ip daddr 127.0.0.0/8 return
    meta l4proto tcp redirect to :{OUTBOUND_PORT}
  }}
}}"""


def patch(pod: Obj, image: str, control: str) -> list[Obj]:
    """The JSON patch for a pod, [] for one that stays as it is. In: the proxy's image, the control plane's host:port."""
    spec = pod["spec"]
    if spec.get("hostNetwork") or annotations_of(pod).get(INJECT) == "false" or SIDECAR in labels_of(pod):
        return []
    label = SIDECAR.replace("/", "~1")
    labels: Obj = {"op": "add", "path": f"/metadata/labels/{label}", "value": "true"}
    if not pod["metadata"].get("labels"):
        labels |= {"path": "/metadata/labels", "value": {SIDECAR: "true"}}
    containers = [_init(image), _proxy(image, control), *(spec.get("initContainers") or [])]
    return [
        labels,
        {"op": "add", "path": "/spec/initContainers", "value": containers},
        {"op": "add", "path": "/spec/volumes", "value": [*(spec.get("volumes") or []), *_VOLUMES]},
    ]


def review(asked: Obj, image: str, control: str) -> Obj:
    """An AdmissionReview's answer to an AdmissionReview."""
    changes = patch(asked["request"]["object"], image, control)
    response: dict[str, Any] = {"uid": asked["request"]["uid"], "allowed": True}
    if changes:
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(orjson.dumps(changes)).decode()}
    return {"apiVersion": asked["apiVersion"], "kind": asked["kind"], "response": response}


def _init(image: str) -> Obj:
    return {
        "name": "mesh-init", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["nft", NFT],
        "env": [{"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
        "resources": _RESOURCES,
        "securityContext": {
            "runAsUser": 0, "runAsNonRoot": False, "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
        },
    }  # fmt: skip


def _proxy(image: str, control: str) -> Obj:
    return {
        "name": "mesh-proxy", "image": image, "imagePullPolicy": "IfNotPresent", "restartPolicy": "Always",
        "command": ["python3", "-m", "minikube_py.mesh.agent", "--control", control],
        "ports": [{"name": "mesh-metrics", "containerPort": HEALTH_PORT}],
        "startupProbe": {
            "httpGet": {"path": "/healthz", "port": HEALTH_PORT}, "periodSeconds": 1, "failureThreshold": 120,
        },
        "volumeMounts": [
            {"name": "mesh-run", "mountPath": RUN}, {"name": "mesh-identity", "mountPath": TOKENS, "readOnly": True},
        ],
        "resources": _RESOURCES,
        "securityContext": {
            "runAsUser": PROXY_USER, "runAsGroup": PROXY_USER, "runAsNonRoot": True, "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }  # fmt: skip


_RESOURCES = {"requests": {"cpu": "10m", "memory": "48Mi"}}
_VOLUMES = [
    {"name": "mesh-run", "emptyDir": {"medium": "Memory"}},
    {"name": "mesh-identity", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "audience": AUDIENCE, "expirationSeconds": 3600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]}},
]  # fmt: skip
