"""NodeRestriction: a kubelet writes its own Node, its own Lease, pods that run on it and volumes on its disk; nothing else.

Who calls it: `chain.py`, for users in the group system:nodes. Invariant: a stolen kubelet credential harms one node: it can
neither take work by labels or taints, nor reach other objects through a pod of its making.
Upstream: plugin/pkg/admission/noderestriction/admission.go, pkg/api/pod (HasAPIObjectReference).
"""

import base64
from collections.abc import Callable, Iterator

from cryptography import x509

from apiserver.admission.attributes import CREATE, DELETE, UPDATE, Attributes
from apiserver.auth.node_graph import references
from apiserver.auth.user import NODE_PREFIX, NODES
from minikube_py.api import errors
from minikube_py.api.meta import name_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.api.volumes import NODE_LABEL

_MIRROR = "kubernetes.io/config.mirror"
_PROTECTED = "node-restriction.kubernetes.io"
_LEASES = "kube-node-lease"
_CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
_SERVING_SIGNER = "kubernetes.io/kubelet-serving"
_KUBELET_LABELS = frozenset((
    "beta.kubernetes.io/arch", "beta.kubernetes.io/instance-type", "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone", "kubernetes.io/arch",
    "kubernetes.io/hostname", "kubernetes.io/os", "node.kubernetes.io/instance-type", "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
))  # fmt: skip
_KUBELET_LABEL_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
_CLAIM_STATUS = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")


def check(attributes: Attributes) -> None:
    """Raises Forbidden when a node oversteps."""
    user = attributes.user
    if NODES not in user.groups or not user.name.startswith(NODE_PREFIX):
        return
    node = user.name.removeprefix(NODE_PREFIX)
    if not node:
        raise attributes.forbidden(f'could not determine node from user "{user.name}"')
    rule = _RULES.get(attributes.resource)
    if rule is not None:
        rule(attributes, node)


def _pods(attributes: Attributes, node: str) -> None:
    verb, sub = attributes.verb, attributes.subresource
    if sub == "" and verb == CREATE:
        _mirror(attributes, node, attributes.obj or {})
    elif sub == "" and verb == DELETE:
        if _bound(attributes.old) != node:
            raise attributes.forbidden(f'node "{node}" can only delete pods with spec.nodeName set to itself')
    elif sub == "":
        why = f'unexpected operation "{verb}", node "{node}" can only create and delete mirror pods'
        raise attributes.forbidden(why)
    elif sub == "status" and verb == UPDATE:
        _pod_status(attributes, node)
    elif sub == "eviction" and verb == CREATE:
        if _bound(_live_pod(attributes, attributes.name)) != node:
            raise attributes.forbidden(f"node {node} can only evict pods with spec.nodeName set to itself")
    else:
        why = f"unexpected pod subresource \"{sub}\", only 'status' and 'eviction' are allowed"
        raise attributes.forbidden(why)


def _bound(pod: Obj | None) -> str:
    name: str = ((pod or {}).get("spec") or {}).get("nodeName") or ""
    return name


def _live_pod(attributes: Attributes, name: str) -> Obj:
    pod = attributes.ctx.lookup("pods", attributes.namespace, name)
    if pod is None:
        raise errors.not_found("pods", name)
    return pod


def _mirror(attributes: Attributes, node: str, pod: Obj) -> None:
    """The image of a static pod: bound to and owned by its node, and naming nothing the node may then read."""
    meta = pod.get("metadata") or {}
    if _MIRROR not in (meta.get("annotations") or {}):
        raise attributes.forbidden(
            f'pod does not have "{_MIRROR}" annotation, node "{node}" can only create mirror pods'
        )
    if _bound(pod) != node:
        raise attributes.forbidden(f'node "{node}" can only create pods with spec.nodeName set to itself')
    owners, only = meta.get("ownerReferences") or [], f'node "{node}" can only create pods with'
    if len(owners) > 1:
        raise attributes.forbidden(f"{only} a single owner reference set to itself")
    owner = owners[0] if owners else {}
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
        raise attributes.forbidden(f"{only} an owner reference set to itself")
    if not owner.get("controller"):
        raise attributes.forbidden(f"{only} a controller owner reference set to itself")
    if owner.get("blockOwnerDeletion"):
        raise attributes.forbidden(f'node "{node}" must not set blockOwnerDeletion on an owner reference')
    live = attributes.ctx.lookup("nodes", "", node)
    if live is None:
        raise errors.not_found("nodes", node)
    if owner.get("uid") != uid_of(live):
        raise attributes.forbidden(f"node {node} UID mismatch: expected {owner.get('uid')} got {uid_of(live)}")
    if named := sorted(_named(pod.get("spec") or {})):
        raise attributes.forbidden(f'node "{node}" can not create pods that reference {named[0]}')


def _named(spec: Obj) -> set[str]:
    """The kinds of API objects that a pod's spec needs."""
    found = {plural.partition(".")[0] for plural, _ in references({"metadata": {"name": "mirror"}, "spec": spec})}
    sources = [
        source
        for volume in spec.get("volumes") or ()
        for source in (volume.get("projected") or {}).get("sources") or ()
    ]
    kinds = {"serviceAccountToken": "serviceaccounts", "clusterTrustBundle": "clustertrustbundles",
             "podCertificate": "podcertificates"}  # fmt: skip
    found |= {kinds[kind] for source in sources for kind in kinds if kind in source}
    if any(volume.get("csi") for volume in spec.get("volumes") or ()):
        found.add("csidrivers")
    return found | ({"resourceclaims"} if spec.get("resourceClaims") else set())


def _pod_status(attributes: Attributes, node: str) -> None:
    old, new = attributes.old or {}, attributes.obj or {}
    if _bound(old) != node:
        raise attributes.forbidden(
            f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'
        )
    if _labels(old) != _labels(new):
        raise attributes.forbidden(f'node "{node}" cannot update labels through pod status')
    for field, words in (
        ("resourceClaimStatuses", "resource claim statues"),
        ("extendedResourceClaimStatus", "extended resource claim status"),
    ):
        if ((old.get("status") or {}).get(field) or None) != ((new.get("status") or {}).get(field) or None):
            raise attributes.forbidden(f'node "{node}" cannot update {words}')


def _labels(obj: Obj) -> dict[str, str]:
    labels: dict[str, str] = (obj.get("metadata") or {}).get("labels") or {}
    return labels


def _name(attributes: Attributes) -> str:
    return attributes.name or ((attributes.obj or {}).get("metadata") or {}).get("name") or ""


def _nodes(attributes: Attributes, node: str) -> None:
    if _name(attributes) != node:
        raise attributes.forbidden(f'node "{node}" is not allowed to modify node "{_name(attributes)}"')
    if attributes.verb == DELETE:
        raise attributes.forbidden(f'node "{node}" is not allowed to delete itself')
    if attributes.verb not in (CREATE, UPDATE) or attributes.obj is None:
        return
    new, old = attributes.obj, attributes.old or {}
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if spec.get("configSource") and spec["configSource"] != before.get("configSource"):
        raise attributes.forbidden(f'node "{node}" is not allowed to update configSource to a new non-nil configSource')
    if attributes.verb == UPDATE and (spec.get("taints") or []) != (before.get("taints") or []):
        raise attributes.forbidden(f'node "{node}" is not allowed to modify taints')
    owners = [(obj.get("metadata") or {}).get("ownerReferences") or [] for obj in (new, old)]
    if attributes.verb == UPDATE and owners[0] != owners[1]:
        raise attributes.forbidden(f'node "{node}" is not allowed to modify ownerReferences')
    if forbidden := ", ".join(_forbidden_labels(_labels(new), _labels(old))):
        if attributes.verb == CREATE:
            raise attributes.forbidden(f'node "{node}" is not allowed to set the following labels: {forbidden}')
        raise attributes.forbidden(f"is not allowed to modify labels: {forbidden}")


def _forbidden_labels(new: dict[str, str], old: dict[str, str]) -> Iterator[str]:
    """Of the labels that change, those by which work is steered to nodes: Kubernetes' own, but for the kubelet's."""
    for key in sorted(key for key in {*new, *old} if new.get(key) != old.get(key)):
        domain = key.partition("/")[0] if "/" in key else ""
        reserved = _within(domain, ("kubernetes.io", "k8s.io"))
        own = key in _KUBELET_LABELS or _within(domain, _KUBELET_LABEL_DOMAINS)
        if _within(domain, (_PROTECTED,)) or (reserved and not own):
            yield key


def _within(domain: str, parents: tuple[str, ...]) -> bool:
    return any(domain == parent or domain.endswith(f".{parent}") for parent in parents)


def _leases(attributes: Attributes, node: str) -> None:
    if attributes.namespace != _LEASES:
        raise attributes.forbidden(f'can only access leases in the "{_LEASES}" system namespace')
    if _name(attributes) != node:
        raise attributes.forbidden("can only access node lease with the same name as the requesting node")


def _csi_nodes(attributes: Attributes, node: str) -> None:
    if _name(attributes) != node:
        raise attributes.forbidden("can only access CSINode with the same name as the requesting node")


def _slices(attributes: Attributes, node: str) -> None:
    for obj in (attributes.obj, attributes.old):
        if obj is not None and (obj.get("spec") or {}).get("nodeName") != node:
            raise attributes.forbidden("can only access ResourceSlice with the same NodeName as the requesting node")


def _claims(attributes: Attributes, node: str) -> None:
    if attributes.subresource != "status":
        raise attributes.forbidden("may only update PVC status")
    if attributes.verb != UPDATE:
        raise attributes.forbidden(f'unexpected operation "{attributes.verb}"')
    if _claim_rest(attributes.obj or {}) != _claim_rest(attributes.old or {}):
        why = f'node "{node}" is not allowed to update fields other than status.quantity and status.conditions'
        raise attributes.forbidden(why)


def _claim_rest(claim: Obj) -> Obj:
    meta = {k: v for k, v in claim["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    status = {k: v for k, v in (claim.get("status") or {}).items() if k not in _CLAIM_STATUS}
    return {"metadata": meta, "spec": claim.get("spec"), "status": status}


def _tokens(attributes: Attributes, node: str) -> None:
    """A node asks for tokens only on behalf of pods that run on it, for audiences those pods ask for."""
    if attributes.subresource != "token" or attributes.verb != CREATE:
        return
    spec = (attributes.obj or {}).get("spec") or {}
    ref = spec.get("boundObjectRef") or {}
    if ref.get("apiVersion") != "v1" or ref.get("kind") != "Pod" or not ref.get("name"):
        raise attributes.forbidden("node requested token not bound to a pod")
    if not ref.get("uid"):
        raise attributes.forbidden("node requested token with a pod binding without a uid")
    pod = _live_pod(attributes, ref["name"])
    if uid_of(pod) != ref["uid"]:
        raise attributes.forbidden(
            f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. The object might have "
            "been deleted and then recreated"
        )
    if _bound(pod) != node:
        raise attributes.forbidden("node requested token bound to a pod scheduled on a different node")
    audiences = spec.get("audiences") or [""]
    if len(audiences) > 1:
        raise attributes.forbidden("node may only request 0 or 1 audiences")
    if audiences[0] not in _audiences(attributes, pod):
        raise attributes.forbidden(
            f'audience "{audiences[0]}" not found in pod spec volume, {attributes.user.name} is not authorized to request '
            "tokens for this audience"
        )


def _audiences(attributes: Attributes, pod: Obj) -> Iterator[str]:
    """The audiences of the tokens that a pod's volumes, or the drivers of its volumes, ask for."""
    lookup, namespace = attributes.ctx.lookup, attributes.namespace
    for volume in pod["spec"].get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            if "serviceAccountToken" in source:
                yield source["serviceAccountToken"].get("audience") or ""
        driver = (volume.get("csi") or {}).get("driver", "")
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName", "")
        if volume.get("ephemeral"):
            claim = f"{name_of(pod)}-{volume['name']}"
        if claim:
            held = (lookup("persistentvolumeclaims", namespace, claim) or {}).get("spec") or {}
            behind = (lookup("persistentvolumes", "", held.get("volumeName") or "") or {}).get("spec") or {}
            driver = (behind.get("csi") or {}).get("driver", "")
        asked = (lookup("csidrivers.storage.k8s.io", "", driver) or {}).get("spec") or {} if driver else {}
        for request in asked.get("tokenRequests") or ():
            yield request.get("audience") or ""


def _requests(attributes: Attributes, node: str) -> None:
    """A node asks for certificates in its own name only."""
    if attributes.subresource or attributes.verb != CREATE:
        return
    spec = (attributes.obj or {}).get("spec") or {}
    if spec.get("signerName") not in (_CLIENT_SIGNER, _SERVING_SIGNER):
        return
    try:
        subject = x509.load_pem_x509_csr(base64.b64decode(spec.get("request") or "")).subject
    except ValueError as error:
        raise attributes.forbidden(f"unable to parse csr: {error}") from None
    names = [str(part.value) for part in subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    if names != [attributes.user.name]:
        raise attributes.forbidden(f"can only create a node CSR with CN={attributes.user.name}")


def _volumes(attributes: Attributes, node: str) -> None:
    """Local volumes made for this node, and only to say that their data is complete, or gone."""
    new, old = attributes.obj or {}, attributes.old or {}
    labels = (old.get("metadata") or {}).get("labels") or {}
    if attributes.verb != UPDATE or labels.get(NODE_LABEL) != node or new.get("spec") != old.get("spec"):
        raise attributes.forbidden(f'node "{node}" can only report on and release volumes that are on its own disk')


_RULES: dict[str, Callable[[Attributes, str], None]] = {
    "pods": _pods,
    "nodes": _nodes,
    "leases.coordination.k8s.io": _leases,
    "csinodes.storage.k8s.io": _csi_nodes,
    "resourceslices.resource.k8s.io": _slices,
    "persistentvolumeclaims": _claims,
    "serviceaccounts": _tokens,
    "certificatesigningrequests.certificates.k8s.io": _requests,
    "persistentvolumes": _volumes,
}
