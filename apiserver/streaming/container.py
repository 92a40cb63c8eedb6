"""Which pod, which container: what exec, attach and logs have in common before they dial.

Who calls it: `exec`, `logs`, `portforward`. Invariant: only a container that the pod's spec names reaches a kubelet.
Upstream: pkg/registry/core/pod/strategy.go (validateContainer, LogLocation, streamLocation).
"""

from apiserver.streaming.asgi import Stream
from apiserver.streaming.backend import find
from minikube_py.api import errors
from minikube_py.api.types import Obj


async def pod_of(stream: Stream) -> Obj:
    """The request's pod. Raises NotFound."""
    info = stream.info
    pod = await find(stream.server, f"/registry/pods/{info.namespace}/{info.name}")
    if pod is None:
        raise errors.not_found("pods", info.name)
    return pod


def node_of(pod: Obj) -> str:
    """The pod's node. Raises BadRequest while it has none."""
    node = pod["spec"].get("nodeName", "")
    if not node:
        raise errors.BadRequest(f"pod {pod['metadata']['name']} does not have a host assigned")
    return str(node)


def container_of(pod: Obj, wanted: str) -> str:
    """The container meant; its only one when none is named. Raises BadRequest in upstream's words."""
    name, spec = pod["metadata"]["name"], pod["spec"]
    containers, inits, ephemeral = (
        [each["name"] for each in spec.get(kind) or []]
        for kind in ("containers", "initContainers", "ephemeralContainers")
    )
    if wanted:
        if wanted not in (*containers, *inits, *ephemeral):
            raise errors.BadRequest(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(containers) == 1:
        return str(containers[0])
    message = f"a container name must be specified for pod {name}"
    if containers:
        message += f", choose one of: [{' '.join(containers)}]"
    if inits:
        message += f" or one of the init containers: [{' '.join(inits)}]"
    raise errors.BadRequest(message)


def check_running(pod: Obj, container: str) -> None:
    """Raises NotFound, as the kubelet would, unless the pod's status says that the container runs."""
    groups = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    statuses = (each for group in groups for each in (pod.get("status") or {}).get(group) or [])
    if not any(each["name"] == container and "running" in (each.get("state") or {}) for each in statuses):
        raise errors.NotFound(f'container not found ("{container}")')
