"""The pods of a StatefulSet: names, ordinals, volumes and revisions that stay with them. Pure functions.

Who calls it: `controllers.statefulset`. Invariant: a pod is a function of its set, ordinal and revision, so that it comes back
as what it was.
Upstream: pkg/controller/statefulset/stateful_set_utils.go.
"""

import copy

from controllers.pod import from_template, is_ready, phase_of
from controllers.revisions import HASH_LABEL
from minikube_py.api.gvr import PERSISTENTVOLUMECLAIMS, new_object
from minikube_py.api.meta import is_terminating, labels_of, name_of, namespace_of
from minikube_py.api.types import Obj

POD_NAME, POD_INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"


def start_of(sts: Obj) -> int:
    return int((sts["spec"].get("ordinals") or {}).get("start") or 0)


def ordinal_of(sts: Obj, pod: Obj) -> int | None:
    """The ordinal in the pod's name, None when it does not belong to this set."""
    base, _, number = name_of(pod).rpartition("-")
    return int(number) if base == name_of(sts) and number.isdigit() else None


def partition_of(sts: Obj) -> int | None:
    """Ordinals below it keep their revision; None when updates happen only as pods are deleted by hand."""
    strategy = sts["spec"].get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return None
    return int((strategy.get("rollingUpdate") or {}).get("partition") or 0)


def is_healthy(pod: Obj) -> bool:
    return phase_of(pod) == "Running" and is_ready(pod) and not is_terminating(pod)


def template_of(revision: Obj) -> Obj:
    """The pod template a revision remembers."""
    return {key: value for key, value in revision["data"]["spec"]["template"].items() if key != "$patch"}


def keeps_current(sts: Obj, ordinal: int, current_replicas: int) -> bool:
    """Whether a new pod with this ordinal is still made from the revision before the update."""
    partition = partition_of(sts)
    return ordinal < start_of(sts) + (current_replicas if partition is None else partition)


def pod_for(sts: Obj, ordinal: int, revision: Obj) -> Obj:
    """The pod with this ordinal, as the revision describes it."""
    name = f"{name_of(sts)}-{ordinal}"
    pod = from_template(template_of(revision), sts, name)
    del pod["metadata"]["generateName"]
    labels = pod["metadata"].get("labels") or {}
    pod["metadata"]["labels"] = {**labels, POD_NAME: name, POD_INDEX: str(ordinal), HASH_LABEL: name_of(revision)}
    spec = pod["spec"]
    spec["hostname"], spec["subdomain"] = name, sts["spec"].get("serviceName") or ""
    claims = [{"name": t["metadata"]["name"], "persistentVolumeClaim": {"claimName": name_of(claim)}}
              for t, claim in zip(_claim_templates(sts), claims_for(sts, ordinal), strict=True)]  # fmt: skip
    replaced = {volume["name"] for volume in claims}
    others = [volume for volume in spec.get("volumes") or [] if volume["name"] not in replaced]
    if claims or others:
        spec["volumes"] = [*claims, *others]
    return pod


def claims_for(sts: Obj, ordinal: int) -> list[Obj]:
    """The volume claims of this ordinal; they outlive its pods."""
    claims = []
    for template in _claim_templates(sts):
        name = f"{template['metadata']['name']}-{name_of(sts)}-{ordinal}"
        claim = new_object(
            PERSISTENTVOLUMECLAIMS, name, namespace_of(sts), spec=copy.deepcopy(template.get("spec") or {})
        )
        selected = (sts["spec"]["selector"] or {}).get("matchLabels") or {}
        claim["metadata"]["labels"] = {**(template["metadata"].get("labels") or {}), **selected}
        if annotations := template["metadata"].get("annotations"):
            claim["metadata"]["annotations"] = dict(annotations)
        claims.append(claim)
    return claims


def _claim_templates(sts: Obj) -> list[Obj]:
    return sts["spec"].get("volumeClaimTemplates") or []


def revision_name(pod: Obj) -> str:
    return labels_of(pod).get(HASH_LABEL, "")
