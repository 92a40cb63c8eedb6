"""Defaults of Pods and of everything that carries a pod template. Data, and the few functions a constant cannot say.

Who calls it: `defaults/__init__.py`. Invariant: see engine.py. A template gets POD_SPEC only; a Pod also gets POD, as
upstream does (a Deployment's template never shows enableServiceLinks or requests copied from limits).
Upstream: pkg/apis/core/v1/defaults.go, pkg/apis/core/v1/conversion.go (serviceAccount).
"""

from apiserver.strategies.defaults.engine import NonZero, Rules, under
from minikube_py.api.types import Obj


def _pull_policy(image: str) -> str | None:
    """Always for `:latest` (spelt out or implied), IfNotPresent for any other tag and for digests."""
    if not image:
        return None
    if "@" in image:
        return "IfNotPresent"
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return "IfNotPresent" if colon and tag != "latest" else "Always"


def _host_ports(spec: Obj) -> None:
    """On the host's network, the container's port is the host's port."""
    if spec.get("hostNetwork"):
        for container in (spec.get("containers") or []) + (spec.get("initContainers") or []):
            for port in container.get("ports") or ():
                if not port.get("hostPort") and port.get("containerPort"):
                    port["hostPort"] = port["containerPort"]


def _service_account(spec: Obj) -> None:
    """`serviceAccount` is the old name of `serviceAccountName`; both are always shown, the new one wins."""
    if name := spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = name


_NOT_A_SOURCE = frozenset({"name"})


def _volume(volume: Obj) -> None:
    if not any(value is not None for key, value in volume.items() if key not in _NOT_A_SOURCE):
        volume["emptyDir"] = {}


def requests_from_limits(holder: Obj) -> None:
    """Whatever has a limit and no request requests its limit."""
    resources = holder.get("resources")
    if isinstance(resources, dict) and isinstance(resources.get("limits"), dict):
        missing = {k: v for k, v in resources["limits"].items() if k not in (resources.get("requests") or {})}
        if missing:
            resources["requests"] = {**(resources.get("requests") or {}), **missing}


_HTTP_GET: Rules = (("path", "/"), ("scheme", "HTTP"))

_PROBE: Rules = (
    ("timeoutSeconds", NonZero(1)),
    ("periodSeconds", NonZero(10)),
    ("successThreshold", NonZero(1)),
    ("failureThreshold", NonZero(3)),
    ("grpc.service", lambda grpc: None if "service" in grpc else ""),
    *under("httpGet", _HTTP_GET),
)

CONTAINER: Rules = (
    ("terminationMessagePath", "/dev/termination-log"),
    ("terminationMessagePolicy", "File"),
    ("imagePullPolicy", lambda container: _pull_policy(container.get("image") or "")),
    ("resources", {}),
    ("ports[].protocol", "TCP"),
    ("env[].valueFrom.fieldRef.apiVersion", "v1"),
    ("env[].valueFrom.resourceFieldRef.divisor", "0"),
    *under("livenessProbe", _PROBE),
    *under("readinessProbe", _PROBE),
    *under("startupProbe", _PROBE),
    *under("lifecycle.postStart.httpGet", _HTTP_GET),
    *under("lifecycle.preStop.httpGet", _HTTP_GET),
)

_DOWNWARD: Rules = (
    ("items[].fieldRef.apiVersion", "v1"),
    ("items[].resourceFieldRef.divisor", "0"),
)

CLAIM_SPEC: Rules = (("volumeMode", "Filesystem"), ("resources", {}))

VOLUME_SOURCES: Rules = (
    ("hostPath.type", lambda path: None if "type" in path else ""),
    ("iscsi.iscsiInterface", "default"),
    ("rbd.pool", "rbd"),
    ("rbd.user", "admin"),
    ("rbd.keyring", "/etc/ceph/keyring"),
    ("azureDisk.cachingMode", "ReadWrite"),
    ("azureDisk.kind", "Shared"),
    ("azureDisk.fsType", "ext4"),
    ("azureDisk.readOnly", False),
    ("scaleIO.storageMode", "ThinProvisioned"),
    ("scaleIO.fsType", "xfs"),
)

_VOLUME: Rules = (
    ("", _volume),
    ("secret.defaultMode", 0o644),
    ("configMap.defaultMode", 0o644),
    ("downwardAPI.defaultMode", 0o644),
    *under("downwardAPI", _DOWNWARD),
    ("projected.defaultMode", 0o644),
    ("projected.sources[].serviceAccountToken.expirationSeconds", 3600),
    *under("projected.sources[].downwardAPI", _DOWNWARD),
    ("image.pullPolicy", lambda image: _pull_policy(image.get("reference") or "")),
    *under("ephemeral.volumeClaimTemplate.spec", CLAIM_SPEC),
    *VOLUME_SOURCES,
)

POD_SPEC: Rules = (
    ("restartPolicy", "Always"),
    ("dnsPolicy", "ClusterFirst"),
    ("terminationGracePeriodSeconds", 30),
    ("securityContext", {}),
    ("schedulerName", "default-scheduler"),
    ("", _host_ports),
    ("", _service_account),
    *under("containers[]", CONTAINER),
    *under("initContainers[]", CONTAINER),
    *under("ephemeralContainers[]", CONTAINER),
    *under("volumes[]", _VOLUME),
)

POD: Rules = (
    ("spec.enableServiceLinks", True),
    ("status.podIPs", lambda status: [{"ip": status["podIP"]}] if status.get("podIP") else None),
    ("status.podIP", lambda status: (status.get("podIPs") or [{}])[0].get("ip")),
    *under("spec", POD_SPEC),
    ("spec.containers[].", requests_from_limits),
    ("spec.initContainers[].", requests_from_limits),
    ("spec.", requests_from_limits),
)


def template(path: str) -> Rules:
    """Defaults of the pod template at this path."""
    return under(f"{path}.spec", POD_SPEC)
