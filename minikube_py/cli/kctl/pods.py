"""Which pod and which container a user means.

Who uses it: logs, exec. Upstream: staging/src/k8s.io/kubectl/pkg/polymorphichelpers and pkg/cmd/util/podcmd.
"""

import click

from minikube_py.api.gvr import PODS
from minikube_py.api.meta import annotations_of, condition_is, is_terminating
from minikube_py.api.types import Obj
from minikube_py.cli.kctl.session import Session

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def pod_of(session: Session, word: str) -> Obj:
    """The pod called `word`, or for TYPE/NAME a pod that its selector matches, a ready one first."""
    if "/" not in word:
        return session.client.get(PODS, word, session.namespace)
    target = session.targets([word])[0]
    obj = session.client.get(target.resource.gvr, target.name, session.where(target.resource))
    if target.resource.gvr == PODS:
        return obj
    selector = (obj.get("spec") or {}).get("selector") or {}
    labels = selector.get("matchLabels", selector) if isinstance(selector, dict) else {}
    if not labels:
        raise click.ClickException(f"{word} selects no pods")
    chosen = ",".join(f"{k}={v}" for k, v in labels.items() if isinstance(v, str))
    pods = session.client.list(PODS, session.namespace, label_selector=chosen)["items"]
    if not pods:
        raise click.ClickException(f"timed out waiting for the condition: {word} has no pods")
    return min(pods, key=lambda pod: (is_terminating(pod), not condition_is(pod, "Ready")))


def container_of(pod: Obj) -> str:
    """The container a command without -c means; when there are several, says which one it took."""
    names = [c["name"] for c in pod["spec"]["containers"]]
    chosen = annotations_of(pod).get(_DEFAULT_CONTAINER, names[0])
    if len(names) > 1:
        others = names + [c["name"] for c in pod["spec"].get("initContainers") or []]
        click.echo(f'Defaulted container "{chosen}" out of: {", ".join(others)}', err=True)
    return str(chosen)
