"""Admission over the real API server, all plugins on: accounts, namespaces, priorities, limits, quotas, node restriction."""

import base64
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from minikube_py.api import errors
from minikube_py.api.gvr import (
    CONFIGMAPS,
    GVR,
    LEASES,
    LIMITRANGES,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    PRIORITYCLASSES,
    RESOURCECLAIMS,
    RESOURCECLAIMTEMPLATES,
    RESOURCEQUOTAS,
    SERVICEACCOUNTS,
    SERVICES,
    new_object,
)
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from minikube_py.cluster import pki
from tests.apiserver.wire import Wire
from tests.conftest import APIServer
from tests.harness import eventually
from tests.scheduler.devices import ask, claim, request, template

pytestmark = pytest.mark.apiserver
RUNTIMECLASSES = GVR("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", namespaced=False)
STORAGECLASSES = GVR("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
ROLES = GVR("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLEBINDINGS = GVR("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CSRS = GVR("certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", namespaced=False)
_names = itertools.count(1)
MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServer]:
    made = APIServer(
        tmp_path_factory.mktemp("admitting"), "--disable-admission-plugins", "",
        "--default-not-ready-toleration-seconds", "5", "--default-unreachable-toleration-seconds", "6",
    )  # fmt: skip
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def client(server: APIServer) -> Client:
    return server.client()


@pytest.fixture
def ns(client: Client) -> str:
    """A namespace with its default account, as the controllers would leave it."""
    name = f"admission-{next(_names)}"
    client.create(NAMESPACES, new_object(NAMESPACES, name))
    client.create(SERVICEACCOUNTS, new_object(SERVICEACCOUNTS, "default", name))
    return name


def pod(ns: str, name: str = "p", resources: Obj | None = None, **spec: Any) -> Obj:
    containers = [{"name": "c", "image": "a:1", "resources": resources or {}}]
    return new_object(PODS, name, ns, spec={"containers": containers, **spec})


def as_node(server: APIServer, name: str) -> Client:
    pki.issue_node(server.pki, name, ["127.0.0.1"])
    return server.client(server.write_kubeconfig(_identity(server, name)))


def _identity(server: APIServer, name: str) -> str:
    return next(path.stem for path in server.pki.glob("*.crt") if name in path.stem)


# ---- ServiceAccount --------------------------------------------------------------------------------------------------


def test_the_token_volume_is_upstreams(client: Client, ns: str) -> None:
    spec = client.create(PODS, pod(ns, initContainers=[{"name": "i", "image": "a:1"}]))["spec"]
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    [volume] = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-") and len(volume["name"]) == len("kube-api-access-") + 5
    assert volume["projected"] == {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
            ]}},
        ],
    }  # fmt: skip
    for container in spec["containers"] + spec["initContainers"]:
        assert container["volumeMounts"] == [{"mountPath": MOUNT, "name": volume["name"], "readOnly": True}]


@pytest.mark.parametrize(
    ("account", "wish", "mounted"),
    [(None, None, True), (None, False, False), (False, None, False), (False, True, True), (True, False, False)],
)
def test_who_decides_about_mounting(
    client: Client, ns: str, account: bool | None, wish: bool | None, mounted: bool
) -> None:
    more = {} if account is None else {"automountServiceAccountToken": account}
    client.create(SERVICEACCOUNTS, new_object(SERVICEACCOUNTS, "own", ns, **more))
    said: dict[str, Any] = {} if wish is None else {"automountServiceAccountToken": wish}
    spec = client.create(PODS, pod(ns, serviceAccountName="own", **said))["spec"]
    assert bool(spec["containers"][0].get("volumeMounts")) is mounted
    assert bool(spec.get("volumes")) is mounted


def test_a_container_that_mounts_there_itself_is_left_alone(client: Client, ns: str) -> None:
    made = pod(ns, volumes=[{"name": "mine", "emptyDir": {}}])
    made["spec"]["containers"][0]["volumeMounts"] = [{"name": "mine", "mountPath": MOUNT}]
    assert [v["name"] for v in client.create(PODS, made)["spec"]["volumes"]] == ["mine"]


def test_an_account_that_does_not_exist(client: Client, ns: str) -> None:
    with pytest.raises(
        errors.Forbidden, match=f'error looking up service account {ns}/nobody: serviceaccount "nobody" not'
    ):
        client.create(PODS, pod(ns, serviceAccountName="nobody"))


def test_a_new_namespaces_account_is_waited_for(client: Client) -> None:
    name = f"admission-{next(_names)}"
    client.create(NAMESPACES, new_object(NAMESPACES, name))
    late = threading.Timer(0.3, lambda: client.create(SERVICEACCOUNTS, new_object(SERVICEACCOUNTS, "default", name)))
    late.start()
    assert client.create(PODS, pod(name))["spec"]["serviceAccountName"] == "default"
    late.join()


# ---- NamespaceLifecycle ----------------------------------------------------------------------------------------------


def test_missing_terminating_and_immortal_namespaces(client: Client, ns: str) -> None:
    with pytest.raises(errors.NotFound, match='namespaces "nowhere" not found'):
        client.create(CONFIGMAPS, new_object(CONFIGMAPS, "c", "nowhere"))
    client.delete(NAMESPACES, ns)
    with pytest.raises(errors.Forbidden, match="because it is being terminated") as caught:
        client.create(CONFIGMAPS, new_object(CONFIGMAPS, "c", ns))
    assert caught.value.details["causes"][0]["reason"] == "NamespaceTerminating"
    for name in ("default", "kube-system", "kube-public"):
        with pytest.raises(errors.Forbidden, match="this namespace may not be deleted"):
            client.delete(NAMESPACES, name)


# ---- devices ---------------------------------------------------------------------------------------------------------


def test_admin_access_to_devices_needs_a_labelled_namespace(client: Client, ns: str) -> None:
    wanted = request(adminAccess=True)
    made: tuple[tuple[GVR, Obj], ...] = (
        (RESOURCECLAIMS, claim("c", wanted, namespace=ns)), (RESOURCECLAIMTEMPLATES, template("t", wanted, namespace=ns)),
    )  # fmt: skip
    for kind, obj in made:
        with pytest.raises(errors.Invalid, match="admin access to devices requires the") as caught:
            client.create(kind, obj)
        assert caught.value.details["causes"][0]["field"] == "spec.devices.requests[0].adminAccess"
    plain = client.create(RESOURCECLAIMS, claim("plain", namespace=ns))
    result = {"request": "r", "driver": "d.example.com", "pool": "p", "device": "x", "adminAccess": True}
    granted = {**plain, "status": {"allocation": {"devices": {"results": [result]}}}}
    with pytest.raises(errors.Invalid, match=r"status.allocation.devices.results\[0\].adminAccess: Forbidden"):
        client.update(RESOURCECLAIMS, granted, subresource="status")
    client.patch(NAMESPACES, ns, {"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}})
    for kind, obj in made:
        client.create(kind, obj)
    client.update(RESOURCECLAIMS, granted, subresource="status")


def test_who_may_say_what_about_a_claims_devices(client: Client, ns: str, server: APIServer) -> None:
    """An account with the plain right to `resourceclaims/status` may neither bind claims nor speak for drivers."""
    field = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
    results = [{"request": "r", "driver": f"{name}.example.com", "pool": "p", "device": "x"} for name in ("a", "b")]
    allocation = {"devices": {"results": results}, "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [field]}]}}
    wire = Wire(server.url, server.ca_file, server.token)
    made = client.create(RESOURCECLAIMS, claim("c", request(count=2), namespace=ns))
    held = client.update(RESOURCECLAIMS, {**made, "status": {"allocation": allocation}}, subresource="status")

    def granted(name: str, **rule: list[str]) -> None:
        client.create(ROLES, new_object(ROLES, name, ns, rules=[{"apiGroups": ["resource.k8s.io"], **rule}]))
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        subject = {"kind": "ServiceAccount", "name": "driver", "namespace": ns}
        client.create(ROLEBINDINGS, new_object(ROLEBINDINGS, name, ns, subjects=[subject], roleRef=ref))

    def said(node: str, **status: Any) -> str:
        """What the account, being on this node, is told when it writes this into the status."""
        headers = {
            "Impersonate-User": f"system:serviceaccount:{ns}:driver",
            "Impersonate-Extra-authentication.kubernetes.io%2fnode-name": node,
        }
        now = client.get(RESOURCECLAIMS, "c", ns)
        body = {**now, "status": {**held["status"], **status}}
        answer = wire("PUT", f"{RESOURCECLAIMS.path(ns, 'c')}/status", body, headers=headers)
        return str(answer.body.get("message", "")) if answer.status != 200 else ""

    def device(driver: str) -> list[Obj]:
        return [{"driver": f"{driver}.example.com", "pool": "p", "device": "x", "data": {"a": 1}}]

    granted("status", resources=["resourceclaims/status"], verbs=["update"])
    eventually(lambda: "cannot associated-node:update resource" in said("n1", devices=device("a")))
    assert "cannot arbitrary-node:update resource" in said("n2", devices=device("a"))
    reserved = [{"resource": "pods", "name": "p", "uid": "u"}]
    assert 'resource="resourceclaims/binding", verb="update" permission' in said("n1", reservedFor=reserved)
    mine = {"resources": ["resourceclaims/driver"], "resourceNames": ["a.example.com"]}
    granted("driver", verbs=["associated-node:update"], **mine)
    eventually(lambda: said("n1", devices=device("a")) == "")
    assert "b.example.com" in said("n1", devices=[*device("a"), *device("b")])
    assert "cannot arbitrary-node:update resource" in said("n2", devices=[])


def test_a_quota_of_devices_counts_the_worst_case(client: Client, ns: str) -> None:
    hard = {"gpu.deviceclass.resource.k8s.io/devices": "5"}
    client.create(RESOURCEQUOTAS, new_object(RESOURCEQUOTAS, "q", ns, spec={"hard": hard}))
    client.patch(
        RESOURCEQUOTAS, "q", {"status": {"hard": hard, "used": dict.fromkeys(hard, "0")}}, ns, subresource="status"
    )
    either = {"name": "e", "firstAvailable": [{"name": "few", **ask()}, {"name": "more", **ask(count=2)}]}
    client.create(RESOURCECLAIMS, claim("c", request(count=2), either, namespace=ns))
    assert client.get(RESOURCEQUOTAS, "q", ns)["status"]["used"] == dict.fromkeys(hard, "4")
    client.create(RESOURCECLAIMS, claim("other", request(wanted="nic", count=9), namespace=ns))
    for more in (request(count=2), request(allocationMode="All")):
        with pytest.raises(errors.Forbidden, match="exceeded quota: q"):
            client.create(RESOURCECLAIMS, claim("d", more, namespace=ns))


# ---- tolerations, priority, runtime class, taints --------------------------------------------------------------------


def test_default_tolerations_follow_the_servers_timing(client: Client, ns: str) -> None:
    own = {
        "key": "node.kubernetes.io/unreachable",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 60,
    }
    spec = client.create(PODS, pod(ns, tolerations=[own]))["spec"]
    assert {t["key"].rpartition("/")[2]: t["tolerationSeconds"] for t in spec["tolerations"]} == {
        "unreachable": 60, "not-ready": 5,
    }  # fmt: skip
    everything = {"operator": "Exists"}
    assert client.create(PODS, pod(ns, "q", tolerations=[everything]))["spec"]["tolerations"] == [everything]


def test_priority_comes_from_the_class(client: Client, ns: str) -> None:
    client.create(PRIORITYCLASSES, new_object(PRIORITYCLASSES, "high", value=1000, preemptionPolicy="Never"))
    spec = client.create(PODS, pod(ns, priorityClassName="high"))["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (1000, "Never")
    assert client.create(PODS, pod(ns, "plain"))["spec"]["priority"] == 0
    assert (
        client.create(PODS, pod(ns, "sys", priorityClassName="system-node-critical"))["spec"]["priority"] == 2000001000
    )
    with pytest.raises(errors.Forbidden, match="no PriorityClass with name nope was found"):
        client.create(PODS, pod(ns, "q", priorityClassName="nope"))
    with pytest.raises(errors.Forbidden, match=r"the integer value of priority \(5\) must not be provided in pod spec"):
        client.create(PODS, pod(ns, "q", priority=5))
    client.create(PRIORITYCLASSES, new_object(PRIORITYCLASSES, "usual", value=7, globalDefault=True))
    try:
        assert client.create(PODS, pod(ns, "r"))["spec"]["priorityClassName"] == "usual"
        with pytest.raises(errors.Forbidden, match="Only one default can exist"):
            client.create(PRIORITYCLASSES, new_object(PRIORITYCLASSES, "other", value=7, globalDefault=True))
    finally:
        client.delete(PRIORITYCLASSES, "usual")


def test_runtime_class_brings_its_overhead(client: Client, ns: str) -> None:
    overhead = {"cpu": "250m"}
    made = new_object(RUNTIMECLASSES, "heavy", handler="h", overhead={"podFixed": overhead},
                      scheduling={"nodeSelector": {"kind": "heavy"}})  # fmt: skip
    client.create(RUNTIMECLASSES, made)
    spec = client.create(PODS, pod(ns, runtimeClassName="heavy"))["spec"]
    assert (spec["overhead"], spec["nodeSelector"]) == (overhead, {"kind": "heavy"})
    with pytest.raises(errors.Forbidden, match='RuntimeClass "light" not found'):
        client.create(PODS, pod(ns, "q", runtimeClassName="light"))


def test_new_nodes_take_no_pods_yet(client: Client) -> None:
    made = client.create(NODES, new_object(NODES, f"n{next(_names)}"))
    assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


def test_default_classes(client: Client, ns: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}

    def claimed(name: str, **more: Any) -> str | None:
        made = client.create(
            PERSISTENTVOLUMECLAIMS, new_object(PERSISTENTVOLUMECLAIMS, name, ns, spec={**spec, **more})
        )
        got: str | None = made["spec"].get("storageClassName")
        return got

    standard = client.get(STORAGECLASSES, "standard")
    assert claimed("a") == "standard", "the class every cluster starts with"
    client.delete(STORAGECLASSES, "standard")
    assert claimed("none") is None
    usual = new_object(STORAGECLASSES, f"usual-{ns}", provisioner="example.com/p")
    usual["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
    client.create(STORAGECLASSES, usual)
    try:
        assert (claimed("b"), claimed("c", storageClassName=""), claimed("d", storageClassName="x")) == (
            f"usual-{ns}",
            "",
            "x",
        )
    finally:
        client.delete(STORAGECLASSES, f"usual-{ns}")
        for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
            standard["metadata"].pop(field)
        client.create(STORAGECLASSES, standard)


def test_storage_in_use_is_protected_and_grows_only_where_allowed(client: Client, ns: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ns}
    made = client.create(PERSISTENTVOLUMECLAIMS, new_object(PERSISTENTVOLUMECLAIMS, "data", ns, spec=spec))
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    larger = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    with pytest.raises(errors.APIError, match=r"bound|immutable"):
        client.patch(PERSISTENTVOLUMECLAIMS, "data", larger, ns)
    client.patch(PERSISTENTVOLUMECLAIMS, "data", {"status": {"phase": "Bound"}}, ns, subresource="status")
    with pytest.raises(errors.Forbidden, match="must support resize"):
        client.patch(PERSISTENTVOLUMECLAIMS, "data", larger, ns)
    client.create(
        STORAGECLASSES, new_object(STORAGECLASSES, ns, provisioner="example.com/p", allowVolumeExpansion=True)
    )
    grown = client.patch(PERSISTENTVOLUMECLAIMS, "data", larger, ns)
    assert grown["spec"]["resources"]["requests"] == {"storage": "2Gi"}
    client.delete(STORAGECLASSES, ns)


# ---- NodeRestriction -------------------------------------------------------------------------------------------------


def test_a_node_writes_only_what_is_its_own(server: APIServer, client: Client, ns: str) -> None:
    kubelet = as_node(server, "worker1")
    kubelet.create(NODES, new_object(NODES, "worker1"))
    with pytest.raises(errors.Forbidden):
        kubelet.create(NODES, new_object(NODES, "worker2"))
    mine = kubelet.get(NODES, "worker1")
    label = {"example.node-restriction.kubernetes.io/zone": "secure"}
    changes: list[Obj] = [{"spec": {"taints": []}}, {"metadata": {"labels": label}}]
    for change in changes:
        with pytest.raises(errors.Forbidden, match="is not allowed to modify"):
            kubelet.patch(NODES, "worker1", change)
    kubelet.patch(NODES, "worker1", {"metadata": {"labels": {"own": "label"}}})
    assert kubelet.get(NODES, "worker1")["spec"] == mine["spec"]
    kubelet.create(LEASES, new_object(LEASES, "worker1", "kube-node-lease", spec={}))
    with pytest.raises(errors.Forbidden):
        kubelet.create(LEASES, new_object(LEASES, "worker2", "kube-node-lease", spec={}))
    for name, node in (("mine", "worker1"), ("theirs", "worker2")):
        client.create(PODS, pod(ns, name, nodeName=node))
    status = {"status": {"phase": "Running"}}
    assert kubelet.patch(PODS, "mine", status, ns, subresource="status")["status"]["phase"] == "Running"
    with pytest.raises(errors.Forbidden):
        kubelet.patch(PODS, "theirs", status, ns, subresource="status")
    with pytest.raises(errors.Forbidden):
        kubelet.delete(PODS, "theirs", ns, grace_period_seconds=0)
    kubelet.delete(PODS, "mine", ns, grace_period_seconds=0)
    with pytest.raises(errors.NotFound):
        client.get(PODS, "mine", ns)


def test_nobody_asks_for_an_administrators_certificate(client: Client) -> None:
    def request(group: str) -> Obj:
        subject = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, group)])
        key = ec.generate_private_key(ec.SECP256R1())
        made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        text = base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()
        spec = {"request": text, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}
        return client.create(CSRS, new_object(CSRS, f"csr{next(_names)}", spec=spec))

    assert request("devs")["spec"]["usages"] == ["client auth"]
    with pytest.raises(errors.Forbidden, match="signer with system:masters group is not allowed"):
        request("system:masters")


# ---- PodSecurity -----------------------------------------------------------------------------------------------------

CAREFUL: Obj = {
    "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
RISKS: list[tuple[str, Obj, Obj, str]] = [
    ("baseline", {"hostNetwork": True, "hostPID": True}, {}, r"host namespaces \(hostNetwork=true, hostPID=true\)"),
    (
        "baseline",
        {},
        {"privileged": True},
        r'privileged \(container "c" must not set securityContext.privileged=true\)',
    ),
    ("baseline", {}, {"capabilities": {"add": ["NET_ADMIN"]}}, 'must not include "NET_ADMIN"'),
    ("baseline", {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, {}, r'hostPath volumes \(volume "v"\)'),
    ("baseline", {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}, {}, "forbidden sysctls"),
    (
        "restricted",
        {},
        {},
        "allowPrivilegeEscalation != false.*unrestricted capabilities.*runAsNonRoot.*seccompProfile",
    ),
    ("restricted", {}, {**CAREFUL, "runAsNonRoot": None}, "runAsNonRoot != true"),
    ("restricted", {"volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]}, CAREFUL, 'volume type "nfs"'),
]


@pytest.mark.parametrize(("level", "spec", "context", "message"), RISKS)
def test_pods_keep_to_their_namespaces_level(
    client: Client, ns: str, level: str, spec: Obj, context: Obj, message: str
) -> None:
    made = pod(ns, **spec)
    made["spec"]["containers"][0]["securityContext"] = {k: v for k, v in context.items() if v is not None}
    client.patch(NAMESPACES, ns, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}})
    with pytest.raises(errors.Forbidden, match=f'violates PodSecurity "{level}:latest": .*{message}'):
        client.create(PODS, made)
    good = pod(ns, "good")
    good["spec"]["containers"][0]["securityContext"] = CAREFUL
    client.create(PODS, good)
    client.patch(NAMESPACES, ns, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}})
    client.create(PODS, made)


# ---- LimitRanger -----------------------------------------------------------------------------------------------------


def test_limit_ranges_default_and_bound(client: Client, ns: str) -> None:
    limits = [{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "2"},
               "min": {"cpu": "50m"}}, {"type": "Pod", "max": {"cpu": "3"}}]  # fmt: skip
    client.create(LIMITRANGES, new_object(LIMITRANGES, "l", ns, spec={"limits": limits}))
    made = client.create(PODS, pod(ns))
    assert made["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "1"}, "requests": {"cpu": "100m"}}
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"].startswith("LimitRanger plugin set: cpu")
    assert made["status"]["qosClass"] == "Burstable"
    for name, bad in (
        ("maximum", {"limits": {"cpu": "4"}}),
        ("minimum", {"requests": {"cpu": "1m"}, "limits": {"cpu": "1"}}),
    ):
        with pytest.raises(errors.Forbidden, match=f"{name} cpu usage per Container"):
            client.create(PODS, pod(ns, "q", bad))
    two = pod(ns, "q", {"limits": {"cpu": "2"}})
    two["spec"]["containers"].append({**two["spec"]["containers"][0], "name": "d"})
    with pytest.raises(errors.Forbidden, match="maximum cpu usage per Pod is 3, but limit is 4"):
        client.create(PODS, two)


# ---- ResourceQuota ---------------------------------------------------------------------------------------------------


def quota(client: Client, ns: str, hard: Obj, **spec: Any) -> None:
    client.create(RESOURCEQUOTAS, new_object(RESOURCEQUOTAS, "q", ns, spec={"hard": hard, **spec}))


def test_concurrent_creates_cannot_overdraw_a_quota(client: Client, ns: str) -> None:
    quota(client, ns, {"configmaps": "5"})

    def create(number: int) -> bool:
        try:
            client.create(CONFIGMAPS, new_object(CONFIGMAPS, f"c{number}", ns))
        except errors.Forbidden as error:
            assert (
                "exceeded quota: q, requested: configmaps=1, used: configmaps=5, limited: configmaps=5" in error.message
            )
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(24))) == 5
    assert client.get(RESOURCEQUOTAS, "q", ns)["status"]["used"] == {"configmaps": "5"}
    name = client.list(CONFIGMAPS, ns)["items"][0]["metadata"]["name"]
    client.delete(CONFIGMAPS, name, ns)
    assert create(99), "what was deleted is free again"


def test_quota_counts_compute_resources_of_pods_that_state_them(client: Client, ns: str) -> None:
    quota(client, ns, {"requests.cpu": "1", "pods": "10"})
    with pytest.raises(errors.Forbidden, match=r"failed quota: q: must specify requests.cpu for: c"):
        client.create(PODS, pod(ns))
    client.create(PODS, pod(ns, "a", {"requests": {"cpu": "600m"}}))
    with pytest.raises(errors.Forbidden, match=r"cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1"):
        client.create(PODS, pod(ns, "b", {"limits": {"cpu": "500m"}}))


def test_quota_scopes_and_services(client: Client, ns: str) -> None:
    quota(client, ns, {"pods": "0"}, scopes=["BestEffort"])
    client.create(PODS, pod(ns, "stated", {"requests": {"cpu": "1"}}))
    with pytest.raises(errors.Forbidden, match="exceeded quota: q"):
        client.create(PODS, pod(ns, "besteffort"))
    hard = {"services.nodeports": "1", "services": "5"}
    client.create(RESOURCEQUOTAS, new_object(RESOURCEQUOTAS, "s", ns, spec={"hard": hard}))
    ports = [{"port": 1, "name": "a"}, {"port": 2, "name": "b"}]
    with pytest.raises(errors.Forbidden, match=r"services.nodeports=2"):
        client.create(SERVICES, new_object(SERVICES, "s", ns, spec={"type": "LoadBalancer", "ports": ports}))
    made = client.create(SERVICES, new_object(SERVICES, "s", ns, spec={"ports": ports}))
    with pytest.raises(errors.Forbidden, match=r"services.nodeports=2"):
        client.update(SERVICES, {**made, "spec": {**made["spec"], "type": "NodePort"}})


def test_failed_and_finished_things_are_given_back(client: Client, ns: str) -> None:
    quota(client, ns, {"pods": "1", "configmaps": "2"})
    client.create(CONFIGMAPS, new_object(CONFIGMAPS, "c", ns))
    with pytest.raises(errors.AlreadyExists):
        client.create(CONFIGMAPS, new_object(CONFIGMAPS, "c", ns))
    made = client.create(PODS, pod(ns))
    assert client.get(RESOURCEQUOTAS, "q", ns)["status"]["used"] == {"configmaps": "1", "pods": "1"}
    client.patch(PODS, made["metadata"]["name"], {"status": {"phase": "Succeeded"}}, ns, subresource="status")
    assert client.get(RESOURCEQUOTAS, "q", ns)["status"]["used"]["pods"] == "0"
    client.create(PODS, pod(ns, "next"))


def test_a_dry_run_charges_nothing(client: Client, ns: str) -> None:
    quota(client, ns, {"configmaps": "1"})
    client.create(CONFIGMAPS, new_object(CONFIGMAPS, "c", ns), dry_run=True)
    client.create(CONFIGMAPS, new_object(CONFIGMAPS, "c", ns))  # there is room for one: the dry run took none of it
    assert client.get(RESOURCEQUOTAS, "q", ns)["status"]["used"] == {"configmaps": "1"}
