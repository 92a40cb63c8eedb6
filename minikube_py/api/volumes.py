"""What claims, volumes and storage classes say: class, size, modes, whose volume, where it can be reached.

Who uses it: the binder, the provisioners, the scheduler's volume plugins, the kubelet, admission. Invariant: pure functions of
JSON objects; both sides of a binding are judged here and nowhere else.
Upstream: staging/src/k8s.io/component-helpers/storage/{volume,ephemeral}.
"""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from hashlib import sha256
from typing import NamedTuple

from minikube_py.api import quantity
from minikube_py.api.meta import annotations_of, controller_of, is_terminating, name_of, namespace_of, uid_of
from minikube_py.api.nodeselector import term_matches
from minikube_py.api.selectors import from_label_selector
from minikube_py.api.types import Obj

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
BETA_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
NO_PROVISIONER = "kubernetes.io/no-provisioner"
LOCAL_PATH = "minikube-py.io/local-path"
# Volumes of our own provisioner: where a node offers room, what the volume is made of, who has to remove the data.
DIRECTORY = "minikube-py.io/local-volumes"
NODE_LABEL = "minikube-py.io/node"
COPY_OF, LIMITED = "minikube-py.io/copy-of", "minikube-py.io/limit"
DATA_FINALIZER = "minikube-py.io/local-data"
# When a copy was complete; and, on the volume that holds a snapshot's data, the VolumeSnapshot ("namespace/name").
MADE, SNAPSHOT = "minikube-py.io/made", "minikube-py.io/snapshot"
SINGLE_POD = "ReadWriteOncePod"
CLAIM_PROTECTION, VOLUME_PROTECTION = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"

NOT_SOURCES = frozenset({
    "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
    "storageClassName", "volumeAttributesClassName", "volumeMode",
})  # fmt: skip


def class_of(obj: Obj) -> str:
    """The storage class of a claim or a volume; "" for none. The old annotation wins over the field."""
    annotated = annotations_of(obj).get(BETA_CLASS)
    return annotated if annotated is not None else obj["spec"].get("storageClassName") or ""


def mode_of(obj: Obj) -> str:
    """Filesystem or Block."""
    return obj["spec"].get("volumeMode") or "Filesystem"


def requested(claim: Obj) -> Decimal:
    """Bytes the claim asks for."""
    return quantity.parse(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "0"))


def capacity(volume: Obj) -> Decimal:
    """Bytes the volume has."""
    return quantity.parse((volume["spec"].get("capacity") or {}).get("storage", "0"))


def source_of(volume: Obj) -> tuple[str, Obj]:
    """(kind, its fields) of a PersistentVolume's source: ("hostPath", {"path": …})."""
    for kind, fields in volume["spec"].items():
        if kind not in NOT_SOURCES and fields is not None:
            return kind, fields
    return "", {}


def snapshot_volume(claim: Obj, volumes: Iterable[Obj]) -> Obj | None:
    """The local volume that holds the data of the VolumeSnapshot the claim is to be made from."""
    wanted = f"{namespace_of(claim)}/{claim['spec']['dataSource']['name']}"
    return next((pv for pv in volumes if annotations_of(pv).get(SNAPSHOT) == wanted and not is_terminating(pv)), None)


def is_default(storage_class: Obj) -> bool:
    return any(annotations_of(storage_class).get(key) == "true" for key in DEFAULT_CLASS)


def default_class(classes: Iterable[Obj]) -> Obj | None:
    """Of several defaults the newest."""
    return max(
        filter(is_default, classes),
        key=lambda item: (item["metadata"].get("creationTimestamp", ""), name_of(item)), default=None,
    )  # fmt: skip


def waits_for_consumer(storage_class: Obj | None) -> bool:
    return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def phase_of(obj: Obj) -> str:
    return str((obj.get("status") or {}).get("phase") or "")


def is_fully_bound(claim: Obj) -> bool:
    """The binder has finished with it."""
    return bool(claim["spec"].get("volumeName")) and BIND_COMPLETED in annotations_of(claim)


def belongs_to(volume: Obj, claim: Obj) -> bool:
    """Whether the volume is reserved for the claim: by name, and by uid once it is known."""
    ref = volume["spec"].get("claimRef")
    if not ref or (ref.get("namespace"), ref.get("name")) != (namespace_of(claim), name_of(claim)):
        return False
    return not ref.get("uid") or ref["uid"] == uid_of(claim)


def reaches(volume: Obj, labels: Mapping[str, str], node: str) -> bool:
    """Whether the volume can be used on a node with these labels and this name."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    if not required:
        return True
    return any(term_matches(term, labels, node) for term in required.get("nodeSelectorTerms") or ())


def in_topology(terms: Iterable[Obj], labels: Mapping[str, str]) -> bool:
    """Whether a StorageClass's allowedTopologies (none = all) admit a node with these labels."""
    terms = list(terms)
    return not terms or any(
        all(labels.get(e["key"]) in e["values"] for e in term.get("matchLabelExpressions") or ()) for term in terms
    )


def misfit(volume: Obj, claim: Obj) -> str:
    """Why a volume cannot serve a claim, in upstream's words; "" when it can."""
    if is_terminating(volume):
        return "the volume is marked for deletion"
    if requested(claim) > capacity(volume):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if mode_of(volume) != mode_of(claim):
        return "incompatible volumeMode"
    wanted, had = (obj["spec"].get("volumeAttributesClassName") or "" for obj in (claim, volume))
    if wanted != had:
        return "VolumeAttributesClassName does not match"
    if not set(claim["spec"].get("accessModes") or ()) <= set(volume["spec"].get("accessModes") or ()):
        return "incompatible accessMode"
    return ""


def best_match(
    claim: Obj, volumes: Iterable[Obj], taken: Iterable[str] = (), *, reserved_only: bool = False
) -> Obj | None:
    """The volume that serves the claim best: one reserved for it, else the smallest available one that fits.

    In: `taken` are names of volumes promised to others; `reserved_only` leaves out what is not reserved for this claim.
    """
    selector = claim["spec"].get("selector")
    chosen = from_label_selector(selector) if selector else None
    taken = set(taken)
    best: Obj | None = None
    for volume in volumes:
        if (volume["spec"].get("claimRef") and not belongs_to(volume, claim)) or name_of(volume) in taken:
            continue
        if misfit(volume, claim):
            continue
        if volume["spec"].get("claimRef"):
            return volume
        if reserved_only or phase_of(volume) != "Available":
            continue
        if chosen is not None and not chosen.matches(volume["metadata"].get("labels") or {}):
            continue
        if best is None or (capacity(volume), name_of(volume)) < (capacity(best), name_of(best)):
            best = volume
    return best


class PodClaim(NamedTuple):
    """One volume of a pod that is a claim: the volume's entry, the claim's name, whether it is made for this pod alone."""

    volume: Obj
    name: str
    ephemeral: bool


def claims_of(pod: Obj) -> Iterator[PodClaim]:
    """The claims a pod mounts, generic ephemeral ones under the name they get."""
    for volume in pod["spec"].get("volumes") or ():
        if claim := volume.get("persistentVolumeClaim"):
            yield PodClaim(volume, claim["claimName"], False)
        elif volume.get("ephemeral") is not None:
            yield PodClaim(volume, f"{name_of(pod)}-{volume['name']}", True)


def made_for(claim: Obj, pod: Obj) -> bool:
    """Whether an ephemeral claim was made for this very pod, and not by somebody who chose the same name."""
    owner = controller_of(claim)
    return owner is not None and owner.get("uid") == uid_of(pod)


def attachable_name(driver: str, handle: str) -> str:
    """What a Node calls an attached CSI volume."""
    return f"kubernetes.io/csi/{driver}^{handle}"


def attachment_name(handle: str, driver: str, node: str) -> str:
    """The name of the VolumeAttachment of a CSI volume on a node."""
    return f"csi-{sha256(f'{handle}{driver}{node}'.encode()).hexdigest()}"
