"""What a cluster holds before anybody asks: system namespaces, the `kubernetes` Service, roles, and the rest of the furniture.

Who calls it: `main.run`, before the first connection is accepted. Invariant: idempotent; what exists already is left as the
user made it, except the endpoints of the `kubernetes` Service, which always name where this server is reached, and whom
extension API servers may believe; several servers may do it at once.
Upstream: pkg/controlplane/controller (systemnamespaces, kubernetesservice, clusterauthenticationtrust), pkg/apis/flowcontrol/
bootstrap, and the post-start hooks of pkg/registry/*/rest.
"""

import contextlib
import ipaddress
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import orjson

from apiserver.aggregation import local
from apiserver.auth import front_proxy, policy
from apiserver.auth.user import SERVER
from apiserver.options import Options
from apiserver.registry import Call
from apiserver.resources import table
from apiserver.server import Server
from minikube_py.api import errors
from minikube_py.api.clock import rfc3339
from minikube_py.api.meta import set_condition
from minikube_py.api.types import Obj
from minikube_py.api.volumes import DEFAULT_CLASS, LOCAL_PATH

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_REPLACED = ("Endpoints", "EndpointSlice", "ConfigMap")
_PARALLEL = 16
_FLOW = "flowcontrol.apiserver.k8s.io/v1"
_PRIORITIES = {
    "system-node-critical": (
        2000001000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    "system-cluster-critical": (2000000000, "Used for system critical pods that must run in the cluster."),
}


def ensure(server: Server) -> None:
    """Create what is missing, many at a time, since each waits for the disk. Raises StoreUnavailable."""
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="bootstrap") as pool:
        for group in (namespaces(), objects(server.options), endpoints(server.options)):
            list(pool.map(partial(_ensure, server), group))
    server.registry.change("servicecidrs.networking.k8s.io", "", "kubernetes", lambda cidr: _ready(cidr, server))


def namespaces() -> Iterator[Obj]:
    """Where everything else goes."""
    for name in _NAMESPACES:
        yield _object("v1", "Namespace", name)


def objects(options: Options) -> Iterator[Obj]:
    """What is made once, in no particular order."""
    yield from policy.objects()
    for name, (value, text) in _PRIORITIES.items():
        yield _object("scheduling.k8s.io/v1", "PriorityClass", name, value=value, description=text)
    cidr = options.service_cluster_ip_range
    yield _object("networking.k8s.io/v1", "ServiceCIDR", "kubernetes", spec={"cidrs": [cidr]})
    yield _service(cidr)
    if options.cluster_dns:
        yield _dns_service(options.cluster_dns)
    yield from _flow_control()
    yield from {local.name_of(row): local.service(row) for row in table.ROWS}.values()
    yield _trust(options)
    yield _storage_class()


def _storage_class() -> Obj:
    """The default class: a directory on the disk of the node where the claim's first pod goes."""
    standard = _object(
        "storage.k8s.io/v1", "StorageClass", "standard", provisioner=LOCAL_PATH, allowVolumeExpansion=True,
        volumeBindingMode="WaitForFirstConsumer", reclaimPolicy="Delete",
    )  # fmt: skip
    standard["metadata"]["annotations"] = {DEFAULT_CLASS[0]: "true"}
    return standard


def _dns_service(address: str) -> Obj:
    """The name and address of cluster DNS. It has no endpoints: every node's own server answers at this address."""
    ports = [
        {"name": name, "port": 53, "protocol": protocol} for name, protocol in (("dns", "UDP"), ("dns-tcp", "TCP"))
    ]
    service = _object("v1", "Service", "kube-dns", "kube-system", spec={"clusterIP": address, "ports": ports})
    service["metadata"]["labels"] = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}
    return service


def _object(api_version: str, kind: str, name: str, namespace: str = "", **fields: object) -> Obj:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def _ready(cidr: Obj, server: Server) -> Obj:
    """The range is in use from the start: no controller has to make it so."""
    now = rfc3339(server.clock.now())
    set_condition(cidr.setdefault("status", {}), "Ready", "True", now, message="Kubernetes Service CIDR is ready")
    return cidr


def _service(cidr: str) -> Obj:
    """The API as a Service: pods find it at the first address of the range."""
    first = str(ipaddress.ip_network(cidr)[1])
    service = _object("v1", "Service", "kubernetes", "default")
    service["metadata"]["labels"] = {"component": "apiserver", "provider": "kubernetes"}
    port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}
    service["spec"] = {"type": "ClusterIP", "clusterIP": first, "clusterIPs": [first], "ports": [port]}
    return service


def endpoints(options: Options) -> Iterator[Obj]:
    """Where the `kubernetes` Service leads: this server, as Endpoints and as an EndpointSlice."""
    address, number = options.advertised
    port = {"name": "https", "port": number, "protocol": "TCP"}
    subsets = [{"addresses": [{"ip": address}], "ports": [port]}]
    old = _object("v1", "Endpoints", "kubernetes", "default", subsets=subsets)
    old["metadata"]["labels"] = {"endpointslice.kubernetes.io/skip-mirror": "true"}  # the slice below is its twin
    yield old
    family = f"IPv{ipaddress.ip_address(address).version}"
    ready = [{"addresses": [address], "conditions": {"ready": True}}]
    fields = {"addressType": family, "endpoints": ready, "ports": [port]}
    slice_ = _object("discovery.k8s.io/v1", "EndpointSlice", "kubernetes", "default", **fields)
    slice_["metadata"]["labels"] = {"kubernetes.io/service-name": "kubernetes"}
    yield slice_


def _flow_control() -> Iterator[Obj]:
    """The two mandatory levels and their schemas. They are stored for those who look; requests are not queued by them."""
    exempt: Obj = {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}
    limited: Obj = {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}
    yield _object(_FLOW, "PriorityLevelConfiguration", "exempt", spec=exempt)
    yield _object(_FLOW, "PriorityLevelConfiguration", "catch-all", spec={"type": "Limited", "limited": limited})
    everything = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}]
    urls = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
    for name, precedence, groups in (
        ("exempt", 1, ["system:masters"]), ("catch-all", 10000, ["system:unauthenticated", "system:authenticated"]),
    ):  # fmt: skip
        subjects = [{"kind": "Group", "group": {"name": group}} for group in groups]
        rule = {"subjects": subjects, "resourceRules": everything, "nonResourceRules": urls}
        spec: Obj = {"priorityLevelConfiguration": {"name": name}, "matchingPrecedence": precedence, "rules": [rule]}
        if name == "catch-all":
            spec["distinguisherMethod"] = {"type": "ByUser"}
        yield _object(_FLOW, "FlowSchema", name, spec=spec)


def _trust(options: Options) -> Obj:
    """Whom extension API servers may believe: users with a certificate of our client CA, and us about other users."""
    data = {"client-ca-file": Path(options.client_ca).read_text()} if options.client_ca else {}
    if options.requestheader_client_ca:
        allowed = [name for name in options.requestheader_allowed_names.split(",") if name]
        data["requestheader-client-ca-file"] = Path(options.requestheader_client_ca).read_text()
        lists = {
            "allowed-names": allowed, "username-headers": [front_proxy.USER],
            "uid-headers": [front_proxy.UID], "group-headers": [front_proxy.GROUP],
            "extra-headers-prefix": [front_proxy.EXTRA],
        }  # fmt: skip
        data |= {f"requestheader-{name}": orjson.dumps(values).decode() for name, values in lists.items()}
    return _object("v1", "ConfigMap", "extension-apiserver-authentication", "kube-system", data=data)


def _ensure(server: Server, obj: Obj) -> None:
    group, _, version = obj["apiVersion"].rpartition("/")
    row = table.by_kind(group, version, obj["kind"])
    assert row is not None, f"{obj['apiVersion']} {obj['kind']} is not served"
    meta = obj["metadata"]
    call = Call(row, meta.get("namespace", ""), meta["name"], SERVER)
    if server.store.get(row.key(call.namespace, call.name)) is None:
        with contextlib.suppress(errors.AlreadyExists):
            server.registry.create(call, obj)
    elif obj["kind"] in _REPLACED:
        server.registry.update(
            call, lambda old: {**old, **{k: v for k, v in obj.items() if k != "metadata"}}, retry=True
        )
