"""A second opinion on reads: Debian's wrk fetching one ConfigMap over TLS with a service account's token.

Who calls it: __main__.py. wrk cannot show a client certificate, so a service account that may read ConfigMaps is made for it.
Invariant: the token lives ten minutes at most and its account goes with the measurement's namespace.
"""

import re
import shutil
import subprocess

from bench.figures import Figure, missing
from bench.target import Options, Target
from minikube_py.api.gvr import CONFIGMAPS, GVR, SERVICEACCOUNTS, new_object
from minikube_py.client import kubeconfig
from minikube_py.client.rest import Client

_RBAC = "rbac.authorization.k8s.io"
_ROLES = GVR(_RBAC, "v1", "roles", "Role")
_ROLEBINDINGS = GVR(_RBAC, "v1", "rolebindings", "RoleBinding")
_RATE = re.compile(r"Requests/sec: +([\d.]+)")
_MEDIAN = re.compile(r"^ +50% +(\S+)", re.MULTILINE)
_FAILED = re.compile(r"Non-2xx or 3xx responses: (\d+)")


def _token(client: Client, namespace: str) -> str:
    """A token of an account that may read the namespace's ConfigMaps and nothing else."""
    client.create(SERVICEACCOUNTS, new_object(SERVICEACCOUNTS, "bench", namespace))
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    client.create(_ROLES, new_object(_ROLES, "bench", namespace, rules=rules))
    subject = {"kind": "ServiceAccount", "name": "bench", "namespace": namespace}
    role = {"apiGroup": _RBAC, "kind": "Role", "name": "bench"}
    client.create(_ROLEBINDINGS, new_object(_ROLEBINDINGS, "bench", namespace, subjects=[subject], roleRef=role))
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    issued = client.create(SERVICEACCOUNTS, request, namespace, name="bench", subresource="token")
    return str(issued["status"]["token"])


def measure(target: Target, options: Options) -> list[Figure]:
    name, wrk = "API get, wrk", shutil.which("wrk")
    if wrk is None:
        return [missing(name, "needs wrk: apt-get install wrk")]
    client = target.client()
    with target.namespace() as namespace:
        client.create(CONFIGMAPS, new_object(CONFIGMAPS, "read", namespace, data={"v": "y" * 1500}))
        token = _token(client, namespace)
        url = kubeconfig.load(target.kubeconfig).server + CONFIGMAPS.path(namespace, "read")
        command = [wrk, "-t1", f"-c{options.connections}", f"-d{options.seconds}s", "--latency", "-H",
                   f"Authorization: Bearer {token}", url]  # fmt: skip
        shown = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds + 60).stdout
    rate, median, failed = _RATE.search(shown), _MEDIAN.search(shown), _FAILED.search(shown)
    if rate is None or failed is not None:
        return [missing(name, f"wrk said: {shown.strip()[-200:]}")]
    return [Figure(name, float(rate.group(1)), "/s", "higher", f"p50 {median.group(1)}" if median else "")]
