"""The scenarios of housekeeping and storage; scenarios.py says what a scenario is.

Who uses it: test_every_controller.py.
"""

import base64
import contextlib
import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from controllers import certificates
from controllers.options import Options
from minikube_py.api import gvr as g
from minikube_py.api import volumes as v
from minikube_py.api.clock import REAL, rfc3339
from minikube_py.api.gvr import new_object
from minikube_py.api.meta import condition_is, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from minikube_py.cluster import addons
from tests.controllers import play, test_certificates
from tests.controllers.disturbance import QUIET, Disturbed, Ledger
from tests.controllers.scenarios import (
    NODES,
    SELECTOR,
    SERVING,
    WORKLOADS,
    Scenario,
    absent,
    create,
    delete,
    nothing,
    patch,
    replicated,
    status,
    template,
    together,
)
from tests.controllers.storage import BINDER, claim, phase, storage_class, volume, volume_of
from tests.controllers.test_local_path import Node, a_whole_life
from tests.harness import eventually


def _has_ca(client: Client, namespace: str) -> bool:
    text = client.get(g.CONFIGMAPS, "kube-root-ca.crt", namespace)["data"]["ca.crt"]
    return bool(text.startswith("-----BEGIN CERTIFICATE-----"))


def _token_secret(client: Client, namespace: str) -> None:
    client.create(g.SERVICEACCOUNTS, new_object(g.SERVICEACCOUNTS, "robot", namespace))
    secret = new_object(g.SECRETS, "robot", namespace, type="kubernetes.io/service-account-token")
    secret["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "robot"}
    client.create(g.SECRETS, secret)


def _aggregating(client: Client, namespace: str) -> None:
    labels = {"part-of": namespace}
    for part in ("b", "a"):
        rules = [{"apiGroups": [""], "resources": [f"{part}s"], "verbs": ["get"]}]
        role = new_object(g.CLUSTERROLES, f"{namespace}-{part}", rules=rules)
        role["metadata"]["labels"] = labels
        client.create(g.CLUSTERROLES, role)
    rule = {"clusterRoleSelectors": [{"matchLabels": labels}]}
    client.create(g.CLUSTERROLES, new_object(g.CLUSTERROLES, f"{namespace}-all", aggregationRule=rule))


def _aggregated(*parts: str) -> Callable[[Client, str], bool]:
    def check(client: Client, namespace: str) -> bool:
        rules = client.get(g.CLUSTERROLES, f"{namespace}-all").get("rules") or []
        return [rule["resources"] for rule in rules] == [[f"{part}s"] for part in parts]

    return check


def _budgeted(client: Client, namespace: str) -> None:
    replicated(g.REPLICASETS)(client, namespace)
    spec = {"selector": SELECTOR, "maxUnavailable": 1}
    client.create(g.PODDISRUPTIONBUDGETS, new_object(g.PODDISRUPTIONBUDGETS, "web", namespace, spec=spec))


def _doomed(client: Client, namespace: str) -> None:
    doomed = f"{namespace}-doomed"
    client.create(g.NAMESPACES, new_object(g.NAMESPACES, doomed))
    for res in (g.CONFIGMAPS, g.SECRETS):
        client.create(res, new_object(res, "inside", doomed))
    client.delete(g.NAMESPACES, doomed)


def _family(client: Client, namespace: str) -> None:
    owner = client.create(g.CONFIGMAPS, new_object(g.CONFIGMAPS, "owner", namespace))
    for number in range(2):
        child = new_object(g.CONFIGMAPS, f"child-{number}", namespace)
        ref = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": "owner",
            "uid": uid_of(owner),
            "blockOwnerDeletion": True,
        }
        child["metadata"]["ownerReferences"] = [ref]
        client.create(g.CONFIGMAPS, child)
    client.delete(g.CONFIGMAPS, "owner", namespace, propagation_policy="Foreground")


def _used(count: int) -> Callable[[Client, str], bool]:
    def check(client: Client, namespace: str) -> bool:
        return bool(client.get(g.RESOURCEQUOTAS, "q", namespace)["status"]["used"] == {"configmaps": str(count)})

    return check


def _request(signer: str, *subject: str) -> Callable[[Client, str], object]:
    def act(client: Client, namespace: str) -> None:
        asked = test_certificates.request(*subject)[1]
        csr = test_certificates.csr(asked, signer, test_certificates.CLIENT_USAGES)
        csr["metadata"]["name"] = f"{namespace}-csr"
        client.create(g.CERTIFICATESIGNINGREQUESTS, csr)

    return act


def _decide(kind: str, age: float = 0.0) -> Callable[[Client, str], object]:
    def act(client: Client, namespace: str) -> None:
        moment = rfc3339(REAL.now() - timedelta(seconds=age))
        condition = {"type": kind, "status": "True", "reason": "Test", "message": "", "lastUpdateTime": moment}
        body = {"status": {"conditions": [condition]}}
        client.patch(g.CERTIFICATESIGNINGREQUESTS, f"{namespace}-csr", body, subresource="approval")

    return act


def _csr_status(client: Client, namespace: str) -> Obj:
    found: Obj = client.get(g.CERTIFICATESIGNINGREQUESTS, f"{namespace}-csr")
    return found


def _token(namespace: str) -> str:
    """The id of this test's bootstrap token: six letters or digits."""
    return hashlib.sha256(namespace.encode()).hexdigest()[:6]


def _expired_token(client: Client, namespace: str) -> None:
    fields = {"token-id": _token(namespace), "token-secret": "secretsecret0123", "expiration": "2020-01-01T00:00:00Z"}
    data = {name: base64.b64encode(text.encode()).decode() for name, text in fields.items()}
    kind = "bootstrap.kubernetes.io/token"
    client.create(
        g.SECRETS, new_object(g.SECRETS, f"bootstrap-token-{_token(namespace)}", "kube-system", type=kind, data=data)
    )


HOUSEKEEPING: dict[str, Scenario] = {
    "serviceaccount": Scenario((
        (nothing, lambda c, n: c.get(g.SERVICEACCOUNTS, "default", n)),
        (delete(g.SERVICEACCOUNTS, "default"), lambda c, n: c.get(g.SERVICEACCOUNTS, "default", n)),
    )),
    "serviceaccount-token": Scenario((
        (_token_secret, lambda c, n: set(c.get(g.SECRETS, "robot", n)["data"]) == {"token", "ca.crt", "namespace"}),
        (delete(g.SERVICEACCOUNTS, "robot"), lambda c, n: absent(c, g.SECRETS, "robot", n)),
    )),
    "root-ca": Scenario((
        (nothing, _has_ca), (patch(g.CONFIGMAPS, "kube-root-ca.crt", data={"ca.crt": "forged"}), _has_ca),
    )),
    "clusterrole-aggregation": Scenario((
        (_aggregating, _aggregated("a", "b")),
        (lambda c, n: c.delete(g.CLUSTERROLES, f"{n}-a"), _aggregated("b")),
    )),
    "disruption": Scenario((
        (_budgeted, status(g.PODDISRUPTIONBUDGETS, "web", expectedPods=2, currentHealthy=2, disruptionsAllowed=1)),
    ), beside=("replicaset",), kubelet=play.Kubelet),
    "resourcequota": Scenario((
        (together(create(g.CONFIGMAPS, "c"), create(g.RESOURCEQUOTAS, "q", spec={"hard": {"configmaps": "9"}})), _used(1)),
        (delete(g.CONFIGMAPS, "c"), _used(0)),
    )),
    "namespace": Scenario(((_doomed, lambda c, n: absent(c, g.NAMESPACES, f"{n}-doomed")),)),
    "csrapproving": Scenario((
        (_request(certificates.KUBELET_CLIENT, "system:node:n1", "system:nodes"),
         lambda c, n: condition_is(_csr_status(c, n), "Approved")),
    )),
    "csrsigning": Scenario((
        (together(_request(certificates.CLIENT, "ann"), _decide("Approved")),
         lambda c, n: _csr_status(c, n)["status"].get("certificate")),
    ), options=test_certificates.signing),
    "csrcleaner": Scenario((
        (together(_request(certificates.CLIENT, "ann"), _decide("Denied", 7200)),
         lambda c, n: absent(c, g.CERTIFICATESIGNINGREQUESTS, f"{n}-csr")),
    )),
    "token-cleaner": Scenario((
        (_expired_token, lambda c, n: absent(c, g.SECRETS, f"bootstrap-token-{_token(n)}", "kube-system")),
    ), mine=lambda path, namespace: _token(namespace) in path),
    "garbage-collector": Scenario(((_family, lambda c, n: not c.list(g.CONFIGMAPS, n)["items"]),)),
}  # fmt: skip

# -- storage ----------------------------------------------------------------------------------------------------------


def _volume_and_claim(client: Client, namespace: str) -> None:
    client.create(g.STORAGECLASSES, storage_class(namespace))
    client.create(g.PERSISTENTVOLUMES, volume(f"{namespace}-v", namespace))
    client.create(g.PERSISTENTVOLUMECLAIMS, claim("c", namespace))


def _local(client: Client, namespace: str) -> None:
    node = new_object(g.NODES, f"{namespace}-node")
    node["metadata"] |= {"labels": {"kubernetes.io/hostname": f"{namespace}-node"}, "annotations": {v.DIRECTORY: "/x"}}
    client.create(g.NODES, node)
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    client.patch(g.NODES, f"{namespace}-node", ready, subresource="status")
    fields = {"provisioner": v.LOCAL_PATH, "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": True}
    client.create(g.STORAGECLASSES, storage_class(namespace, **fields))
    client.create(g.PERSISTENTVOLUMECLAIMS, claim("c", namespace))
    mark = {"metadata": {"annotations": {v.SELECTED_NODE: f"{namespace}-node"}}}
    client.patch(g.PERSISTENTVOLUMECLAIMS, "c", mark, namespace)


def _grown(client: Client, namespace: str) -> bool:
    found = client.get(g.PERSISTENTVOLUMECLAIMS, "c", namespace)
    capacity = client.get(g.PERSISTENTVOLUMES, found["spec"]["volumeName"])["spec"]["capacity"]["storage"]
    return capacity == "2Gi" and condition_is(found, "FileSystemResizePending")


def _scratch(client: Client, namespace: str) -> None:
    made = {"volumeClaimTemplate": {"spec": claim("x", namespace)["spec"]}}
    spec = {**template()["spec"], "volumes": [{"name": "tmp", "ephemeral": made}]}
    client.create(g.PODS, new_object(g.PODS, "p", namespace, spec=spec))


def _using_csi(client: Client, namespace: str) -> None:
    """A pod on a node, with a claim bound to a volume of a CSI driver."""
    node = new_object(g.NODES, f"{namespace}-node")
    client.create(g.NODES, node)
    source = {"csi": {"driver": "csi.example.com", "volumeHandle": namespace}}
    made = volume(f"{namespace}-v", namespace)
    del made["spec"]["hostPath"]
    made["spec"] |= source
    client.create(g.STORAGECLASSES, storage_class(namespace))
    client.create(g.PERSISTENTVOLUMES, made)
    client.create(g.PERSISTENTVOLUMECLAIMS, claim("c", namespace))
    used = [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]
    spec = {**template()["spec"], "nodeName": f"{namespace}-node", "volumes": used}
    client.create(g.PODS, new_object(g.PODS, "p", namespace, spec=spec))


def _attached(client: Client, namespace: str) -> list[Obj]:
    found: list[Obj] = client.list(g.VOLUMEATTACHMENTS)["items"]
    return [one for one in found if one["spec"]["nodeName"] == f"{namespace}-node"]


def _beside(name: str, *more: str) -> tuple[str, ...]:
    return tuple(other for other in (*BINDER, *more) if other != name)


def _binding(name: str) -> Scenario:
    return Scenario((
        (_volume_and_claim, lambda c, n: volume_of(c, "c", n) == f"{n}-v" and phase(c, f"{n}-v") == "Bound"),
        (delete(g.PERSISTENTVOLUMECLAIMS, "c"), lambda c, n: phase(c, f"{n}-v") == "Released"),
    ), beside=_beside(name))  # fmt: skip


_defining = threading.Lock()


@contextlib.contextmanager
def _node_with_data(client: Client, namespace: str) -> Iterator[None]:
    """A node that makes its volumes, one of which is there."""
    with _defining:
        addons.enable(client, "snapshots")
    kept = new_object(g.VOLUMESNAPSHOTCLASSES, namespace, driver=v.LOCAL_PATH, deletionPolicy="Delete")
    client.create(g.VOLUMESNAPSHOTCLASSES, kept)
    quiet = Disturbed(client, namespace, QUIET, lambda path: False, Ledger())
    with tempfile.TemporaryDirectory() as root:
        node = Node(client, f"{namespace}-node", Path(root))
        fields = {"provisioner": v.LOCAL_PATH, "volumeBindingMode": "WaitForFirstConsumer"}
        client.create(g.STORAGECLASSES, storage_class(namespace, **fields))
        with node.up(), play.running(quiet, *BINDER, "local-path-provisioner"):
            a_whole_life(client, namespace, node)
            eventually(lambda: volume_of(client, "data", namespace))
            yield


def _snapshot(client: Client, namespace: str) -> None:
    spec = {"source": {"persistentVolumeClaimName": "data"}, "volumeSnapshotClassName": namespace}
    client.create(g.VOLUMESNAPSHOTS, new_object(g.VOLUMESNAPSHOTS, "snap", namespace, spec=spec))


def _snapshot_ready(client: Client, namespace: str) -> bool:
    claim = client.get(g.PERSISTENTVOLUMECLAIMS, "data", namespace)
    status = client.get(g.VOLUMESNAPSHOTS, "snap", namespace)["status"]
    return bool(status["readyToUse"]) and claim["metadata"]["finalizers"] == [v.CLAIM_PROTECTION]


def _no_snapshot(client: Client, namespace: str) -> bool:
    held = client.list(g.PERSISTENTVOLUMES, label_selector=f"{v.NODE_LABEL}={namespace}-node")["items"]
    return absent(client, g.VOLUMESNAPSHOTS, "snap", namespace) and len(held) == 1


def _snapshots(beside: str) -> Scenario:
    return Scenario((
        (_snapshot, _snapshot_ready), (delete(g.VOLUMESNAPSHOTS, "snap"), _no_snapshot),
    ), beside=(beside,), kubelet=_node_with_data, mine=lambda path, namespace: namespace in path or "snap" in path)  # fmt: skip


def _of_local_path(path: str, namespace: str) -> bool:
    return namespace in path or "persistentvolumes/pvc-" in path


STORAGE: dict[str, Scenario] = {
    "persistentvolume-binder": _binding("persistentvolume-binder"),
    "persistentvolume-reclaimer": _binding("persistentvolume-reclaimer"),
    "pvc-protection": Scenario((
        (lambda c, n: c.create(g.PERSISTENTVOLUMECLAIMS, claim("c", n)), lambda c, n: c.get(g.PERSISTENTVOLUMECLAIMS, "c", n)),
        (delete(g.PERSISTENTVOLUMECLAIMS, "c"), lambda c, n: absent(c, g.PERSISTENTVOLUMECLAIMS, "c", n)),
    )),
    "pv-protection": Scenario((
        (lambda c, n: c.create(g.PERSISTENTVOLUMES, volume(f"{n}-v", n)), lambda c, n: c.get(g.PERSISTENTVOLUMES, f"{n}-v")),
        (lambda c, n: c.delete(g.PERSISTENTVOLUMES, f"{n}-v"), lambda c, n: absent(c, g.PERSISTENTVOLUMES, f"{n}-v")),
    )),
    "ephemeral-volume": Scenario(((_scratch, lambda c, n: c.get(g.PERSISTENTVOLUMECLAIMS, "p-tmp", n)),)),
    "local-path-provisioner": Scenario(((_local, volume_of_c := lambda c, n: volume_of(c, "c", n)),),
                                       beside=BINDER, mine=_of_local_path),
    "volume-snapshot": _snapshots("local-path-snapshots"),
    "local-path-snapshots": _snapshots("volume-snapshot"),
    "volume-expand": Scenario((
        (_local, volume_of_c),
        (patch(g.PERSISTENTVOLUMECLAIMS, "c", spec={"resources": {"requests": {"storage": "2Gi"}}}), _grown),
    ), beside=_beside("", "local-path-provisioner"), mine=_of_local_path),
    "attachdetach": Scenario((
        (_using_csi, lambda c, n: len(_attached(c, n)) == 1),
        (delete(g.PODS, "p", grace_period_seconds=0), lambda c, n: not _attached(c, n)),
    ), beside=BINDER, mine=lambda path, namespace: namespace in path or "volumeattachments" in path),
    "service-lb": Scenario((
        (create(g.SERVICES, "web", spec={"type": "LoadBalancer", "ports": [{"port": 80}]}),
         lambda c, n: c.get(g.SERVICES, "web", n)["status"].get("loadBalancer", {}).get("ingress")),
    ), options=lambda apiserver: Options(load_balancer_range="10.66.0.0/24")),
}  # fmt: skip

SCENARIOS = WORKLOADS | SERVING | NODES | HOUSEKEEPING | STORAGE
