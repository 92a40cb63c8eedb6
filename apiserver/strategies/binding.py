"""`pods/binding` and `bindings`: the scheduler's verdict, a pod is given to a node.

Who calls it: `subresources.py`. Invariant: a pod is assigned once; a terminating, gated or assigned pod is refused (409), so
of two schedulers one wins. The pod's generation does not count it.
Upstream: pkg/registry/core/pod/storage/storage.go (BindingREST).
"""

from apiserver.strategies.base import Context
from apiserver.strategies.checks import required, unsupported
from minikube_py.api import errors
from minikube_py.api.meta import is_terminating, name_of, namespace_of, set_condition, uid_of
from minikube_py.api.types import Obj


def bind(ctx: Context, pod: Obj, binding: Obj) -> Obj:
    """Assign the pod to `binding.target`. Out: a Status of success. Raises Invalid, Conflict."""
    target, name = binding.get("target") or {}, name_of(pod)
    causes = []
    if target.get("kind") not in (None, "", "Node"):
        causes.append(unsupported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        causes.append(required("target.name"))
    if causes:
        raise errors.invalid("Binding", name, causes)
    meta = binding.get("metadata") or {}

    def assign(live: Obj) -> Obj | None:
        _check(live, meta)
        live["spec"]["nodeName"] = target["name"]
        if meta.get("annotations"):
            live["metadata"]["annotations"] = {**(live["metadata"].get("annotations") or {}), **meta["annotations"]}
        set_condition(live.setdefault("status", {}), "PodScheduled", "True", ctx.now())
        return live

    if ctx.dry_run:
        _check(pod, meta)
    else:
        ctx.writer().change("pods", namespace_of(pod), name, assign)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _check(pod: Obj, meta: Obj) -> None:
    name, why = name_of(pod), ""
    if meta.get("uid") and meta["uid"] != uid_of(pod):
        why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {uid_of(pod)}"
    elif is_terminating(pod):
        why = f"pod {name} is being deleted, cannot be assigned to a host"
    elif pod["spec"].get("nodeName"):
        why = f'pod {name} is already assigned to node "{pod["spec"]["nodeName"]}"'
    elif pod["spec"].get("schedulingGates"):
        why = f"pod {name} has non-empty .spec.schedulingGates"
    if why:
        raise errors.conflict("pods/binding", name, why)
