"""The sample `make up` deploys: a web server in two copies behind a Service, from images every machine has.

Who calls it: `minikube-py up --sample`. Invariant: applied with server-side apply, so running it again changes nothing.
"""

from minikube_py.api.gvr import DEPLOYMENTS, GVR, SERVICES, new_object
from minikube_py.api.types import Obj
from minikube_py.cluster import access
from minikube_py.cluster.errors import ClusterError
from minikube_py.cluster.profile import Profile

NAME = "hello"
_PAGE = 'mkdir -p /www && echo "Hello from $HOSTNAME" > /www/index.html && exec httpd -f -p 8080 -h /www'


def objects() -> list[tuple[GVR, Obj]]:
    """The Deployment and the Service."""
    labels = {"app": NAME}
    container: Obj = {
        "name": "web", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", _PAGE],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 2},
    }  # fmt: skip
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}
    deployment = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    service = {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
    return [
        (DEPLOYMENTS, new_object(DEPLOYMENTS, NAME, "default", spec=deployment)),
        (SERVICES, new_object(SERVICES, NAME, "default", spec=service)),
    ]


def deploy(profile: Profile, seconds: float = 60.0) -> None:
    """Apply the sample and wait until both copies are available. Raises ClusterError when they are not in time."""
    api = access.client(profile)
    for resource, obj in objects():
        api.patch(resource, NAME, obj, "default", kind="apply", field_manager="minikube-py", force=True)

    def available() -> bool:
        status = api.get(DEPLOYMENTS, NAME, "default").get("status") or {}
        return bool(status.get("availableReplicas") == 2)

    if not access.until(available, seconds):
        raise ClusterError(
            f"the sample was not available within {seconds:.0f} s; see: kubectl describe pods -l app={NAME}"
        )
