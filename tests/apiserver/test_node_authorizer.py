"""What a node may see and touch: what belongs to its own pods, and nothing else; the graph equals a count by hand."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apiserver.auth.node_graph import NodeGraph, references
from apiserver.storage import open_backend
from apiserver.storage.cache import Store
from minikube_py.api.types import Obj
from minikube_py.cluster import pki
from tests.apiserver.wire import MERGE, Wire
from tests.conftest import APIServer

SERIAL = itertools.count(1)
NODES, LEASES = "/api/v1/nodes", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


class Place:
    """Two nodes, a namespace, and node a's pod that names one object of each kind."""

    def __init__(self, apiserver: APIServer, admin: Wire, ns: str) -> None:
        number = next(SERIAL)
        self.a, self.b = f"graph-a{number}", f"graph-b{number}"
        self.admin, self.ns = admin, f"/api/v1/namespaces/{ns}"
        self.on_a, self.on_b = self.node(apiserver, self.a), self.node(apiserver, self.b)

    def node(self, apiserver: APIServer, name: str) -> Wire:
        pki.issue(apiserver.pki, f"test-{name}", f"system:node:{name}", ["system:nodes"])
        cert = (f"{apiserver.pki}/test-{name}.crt", f"{apiserver.pki}/test-{name}.key")
        wire = Wire(apiserver.url, apiserver.ca_file, cert=cert)
        wire.ok("POST", NODES, {"metadata": {"name": name}})
        return wire

    def make(self, plural: str, name: str, **fields: Any) -> str:
        self.admin.ok("POST", f"{self.ns}/{plural}", {"metadata": {"name": name}, **fields})
        return f"{self.ns}/{plural}/{name}"

    def pod(self, name: str, node: str, volumes: list[Obj] | None = None, **spec: Any) -> Obj:
        container: Obj = {"name": "c", "image": "a:1", "envFrom": [{"secretRef": {"name": "env", "optional": True}}]}
        spec = {
            "nodeName": node,
            "containers": [container],
            "volumes": volumes or [],
            "serviceAccountName": "robot",
            **spec,
        }
        made: Obj = self.admin.ok("POST", f"{self.ns}/pods", {"metadata": {"name": name}, "spec": spec})
        return made


@pytest.fixture
def place(apiserver: APIServer, wire: Wire, ns: str) -> Iterator[Place]:
    made = Place(apiserver, wire, ns)
    yield made
    for name in (made.a, made.b):
        wire("DELETE", f"{NODES}/{name}")


def volume(name: str, **source: Any) -> Obj:
    return {"name": name, **source}


def test_only_what_the_nodes_own_pods_name_is_read(place: Place) -> None:
    for name in ("env", "vol", "pull", "other"):
        place.make("secrets", name)
    config = place.make("configmaps", "conf")
    secrets = f"{place.ns}/secrets"
    assert place.on_a("GET", f"{secrets}/env").status == 403
    volumes = [volume("s", secret={"secretName": "vol"}), volume("c", configMap={"name": "conf"})]
    place.pod("one", place.a, volumes, imagePullSecrets=[{"name": "pull"}])
    for name in ("env", "vol", "pull"):
        assert place.on_a("GET", f"{secrets}/{name}").status == 200, name
        assert place.on_b("GET", f"{secrets}/{name}").status == 403
    refused = place.on_a("GET", f"{secrets}/other")
    assert refused.body["message"].endswith(f": no relationship found between node '{place.a}' and this object")
    assert place.on_a("GET", config).status == 200
    assert place.on_a("GET", secrets, fieldSelector="metadata.name=vol").status == 200
    for selector in ("", "metadata.name!=vol", "metadata.name=other", r"type!=x\,metadata.name=vol"):
        assert place.on_a("GET", secrets, fieldSelector=selector).status == 403, selector
    assert place.on_a("GET", "/api/v1/secrets").status == 403
    assert place.on_a("PUT", f"{secrets}/vol", {"metadata": {"name": "vol"}}).status == 403
    place.admin.ok("DELETE", f"{place.ns}/pods/one", {"gracePeriodSeconds": 0})
    assert place.on_a("GET", f"{secrets}/vol").status == 403, "the pod is gone, and its right with it"


def test_a_debugging_container_may_name_more(place: Place) -> None:
    place.make("secrets", "late")
    place.pod("one", place.a)
    assert place.on_a("GET", f"{place.ns}/secrets/late").status == 403
    env = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "late", "key": "k"}}}]
    patch = {"spec": {"ephemeralContainers": [{"name": "d", "image": "a:1", "env": env}]}}
    place.admin.ok("PATCH", f"{place.ns}/pods/one/ephemeralcontainers", patch, content_type=MERGE)
    assert place.on_a("GET", f"{place.ns}/secrets/late").status == 200


def test_claims_their_volumes_and_the_drivers_secrets(place: Place) -> None:
    name, namespace = f"pv-{place.a}", place.ns.rsplit("/", 1)[1]
    spec: Obj = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": name}
    claim = place.make("persistentvolumeclaims", "data", spec={**spec, "storageClassName": ""})
    place.make("secrets", "driver")
    place.make("secrets", "controller")
    driver = {"driver": "d.example.com", "volumeHandle": "h"}
    refs = {f"{name}PublishSecretRef": {"name": secret, "namespace": namespace}
            for name, secret in (("node", "driver"), ("controller", "controller"))}  # fmt: skip
    claimed = {"namespace": namespace, "name": "data"}
    volume_spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "csi": {**driver, **refs},
        "claimRef": claimed,
    }
    place.admin.ok("POST", "/api/v1/persistentvolumes", {"metadata": {"name": name}, "spec": volume_spec})
    place.pod("one", place.a, [volume("d", persistentVolumeClaim={"claimName": "data"})])
    for path in (claim, f"/api/v1/persistentvolumes/{name}", f"{place.ns}/secrets/driver"):
        assert (place.on_a("GET", path).status, place.on_b("GET", path).status) == (200, 403), path
    assert place.on_a("GET", f"{place.ns}/secrets/controller").status == 403
    assert place.on_a("GET", f"{place.ns}/persistentvolumeclaims").status == 403
    status = {"status": {"capacity": {"storage": "2Gi"}}}
    assert place.on_a("PATCH", f"{claim}/status", status, content_type=MERGE).status == 200
    assert (
        place.on_a("PATCH", f"{claim}/status", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE).status == 403
    )
    place.admin.ok("DELETE", f"/api/v1/persistentvolumes/{name}")


def test_tokens_for_its_own_pods_and_the_audiences_they_ask_for(place: Place) -> None:
    account = place.make("serviceaccounts", "robot")
    place.make("serviceaccounts", "other")
    token = {"serviceAccountToken": {"path": "t", "audience": "vault"}}
    pod = place.pod(
        "one", place.a, [volume("t", projected={"sources": [token, {"serviceAccountToken": {"path": "d"}}]})]
    )
    ref = {"apiVersion": "v1", "kind": "Pod", "name": "one", "uid": pod["metadata"]["uid"]}

    def ask(who: Wire, at: str = account, **spec: Any) -> int:
        return who("POST", f"{at}/token", {"spec": {"boundObjectRef": ref, **spec}}).status

    assert ask(place.on_a) == ask(place.on_a, audiences=["vault"]) == 201
    assert ask(place.on_a, audiences=["bank"]) == ask(place.on_a, audiences=["vault", "bank"]) == 403
    assert ask(place.on_b) == ask(place.on_a, at=account.replace("robot", "other")) == 403
    assert ask(place.on_a, boundObjectRef=None) == ask(place.on_a, boundObjectRef={**ref, "uid": "x"}) == 403
    assert place.on_a("GET", account).status == 200
    assert place.on_b("GET", account).status == 403


def test_its_own_node_lease_and_csinode(place: Place) -> None:
    a, own = place.on_a, f"{NODES}/{place.a}"
    assert a("GET", own).status == a("GET", NODES, fieldSelector=f"metadata.name={place.a}").status == 200
    assert a("GET", f"{NODES}/{place.b}").status == a("GET", NODES).status == a("DELETE", own).status == 403
    other = a("PATCH", f"{NODES}/{place.b}/status", {"status": {}}, content_type=MERGE)
    assert f'is not allowed to modify node "{place.b}"' in other.body["message"]
    for base in (LEASES, "/apis/storage.k8s.io/v1/csinodes"):
        spec: Obj = {"spec": {"drivers": []}} if "csi" in base else {}
        assert a("POST", base, {"metadata": {"name": place.b}, **spec}).status == 403
        a.ok("POST", base, {"metadata": {"name": place.a}, **spec})
        assert a("GET", f"{base}/{place.a}").status == 200
        assert place.on_b("GET", f"{base}/{place.a}").status == place.on_b("DELETE", f"{base}/{place.a}").status == 403
        assert a("GET", base).status == 403
        place.admin.ok("DELETE", f"{base}/{place.a}")
    assert a("POST", LEASES.replace("kube-node-lease", "default"), {"metadata": {"name": place.a}}).status == 403


@pytest.mark.parametrize(
    ("patch", "allowed"),
    [
        (
            {"metadata": {"labels": {"mine": "1", "kubelet.kubernetes.io/x": "1", "topology.kubernetes.io/zone": "z"}}},
            True,
        ),
        ({"metadata": {"labels": {"node-restriction.kubernetes.io/x": "1"}}}, False),
        ({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}, False),
        ({"metadata": {"labels": {"example.k8s.io/x": "1"}}}, False),
        ({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "x", "uid": "y"}]}}, False),
        ({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}, False),
        ({"spec": {"unschedulable": True}}, True),
    ],
)
def test_what_a_node_may_change_of_itself(place: Place, patch: Obj, allowed: bool) -> None:
    answer = place.on_a("PATCH", f"{NODES}/{place.a}", patch, content_type=MERGE)
    assert answer.status == (200 if allowed else 403), answer.body


def test_pods_of_its_own(place: Place) -> None:
    place.pod("mine", place.a)
    place.pod("theirs", place.b)
    a, pods = place.on_a, f"{place.ns}/pods"
    assert (a("GET", f"{pods}/mine").status, a("GET", f"{pods}/theirs").status) == (200, 403)
    status = {"status": {"message": "hello"}}
    assert a("PATCH", f"{pods}/mine/status", status, content_type=MERGE).status == 200
    assert a("PATCH", f"{pods}/theirs/status", status, content_type=MERGE).status == 403
    relabelled = a("PATCH", f"{pods}/mine/status", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
    assert relabelled.status == 403 or "labels" not in place.admin.ok("GET", f"{pods}/mine")["metadata"]
    assert a("PATCH", f"{pods}/mine", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE).status == 403
    for name, code in (("theirs", 403), ("mine", 201)):
        assert a("POST", f"{pods}/{name}/eviction", {"metadata": {"name": name}}).status == code
    assert a("DELETE", f"{pods}/theirs").status == 403


def test_mirror_pods_only_and_they_open_nothing(place: Place) -> None:
    place.make("secrets", "vol")
    uid = place.admin.ok("GET", f"{NODES}/{place.a}")["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": place.a, "uid": uid, "controller": True}

    def create(owners: list[Obj], mirror: bool = True, **spec: Any) -> tuple[int, str]:
        annotations = {"kubernetes.io/config.mirror": "h", "kubernetes.io/config.hash": "h"} if mirror else {}
        meta = {"name": "static", "annotations": annotations, "ownerReferences": owners}
        spec = {"nodeName": place.a, "containers": [{"name": "c", "image": "a:1"}], **spec}
        answer = place.on_a("POST", f"{place.ns}/pods", {"metadata": meta, "spec": spec})
        return answer.status, answer.body.get("message", "")

    assert "can only create mirror pods" in create([owner], mirror=False)[1]
    assert "an owner reference set to itself" in create([])[1]
    assert "UID mismatch" in create([{**owner, "uid": "x"}])[1]
    assert "a controller owner reference" in create([{**owner, "controller": False}])[1]
    assert "spec.nodeName set to itself" in create([owner], nodeName=place.b)[1]
    assert "reference secrets" in create([owner], volumes=[volume("s", secret={"secretName": "vol"})])[1]
    assert create([owner])[0] == 201
    assert place.on_a("GET", f"{place.ns}/secrets/vol").status == 403


def test_somebody_who_calls_himself_a_node_is_not_one(apiserver: APIServer, place: Place) -> None:
    pki.issue(apiserver.pki, "no-group", f"system:node:{place.a}", [])
    stranger = Wire(
        apiserver.url, apiserver.ca_file, cert=(f"{apiserver.pki}/no-group.crt", f"{apiserver.pki}/no-group.key")
    )
    assert stranger("GET", f"{NODES}/{place.a}").status == 403


# ---- the graph itself -----------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["x", "y", "z"])
CHANGES = st.lists(
    st.tuples(NAMES, st.sampled_from(["bind-a", "bind-b", "touch", "delete", "debug"]), NAMES), max_size=25
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES, asks=st.sets(st.integers(0, 25)))
def test_the_graph_is_what_one_would_count_by_hand(
    tmp_path: Path, changes: list[tuple[str, str, str]], asks: set[int]
) -> None:
    def fields(plural: str, obj: Obj) -> dict[str, str]:
        return {"spec.nodeName": obj["spec"].get("nodeName", "")}

    directory = tmp_path / str(next(SERIAL))
    directory.mkdir()
    store = Store(open_backend("sqlite", str(directory)), fields)
    store.start()
    try:
        graph = NodeGraph(store)
        for at, (name, change, secret) in enumerate(changes):
            _change(store, name, change, secret)
            if at in asks:
                _compare(store, graph)
        _compare(store, graph)
        _compare(store, NodeGraph(store))
    finally:
        store.close()


def _change(store: Store, name: str, change: str, secret: str) -> None:
    key = f"/registry/pods/ns/{name}"
    held = store.get(key)
    if held is not None and change in ("delete", "bind-a", "bind-b"):
        store.delete(key, held.revision)
        held = None
    if change.startswith("bind") and held is None:
        volumes = [{"name": "v", "secret": {"secretName": secret}}]
        spec = {"nodeName": change[-1], "containers": [], "volumes": volumes}
        store.create(key, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    elif held is not None and change in ("touch", "debug"):
        obj = held.obj()
        if change == "debug":
            later = {"name": "d", "envFrom": [{"secretRef": {"name": secret}}]}
            obj["spec"].setdefault("ephemeralContainers", []).append(later)
        store.update(key, obj | {"status": {"message": secret}}, held.revision)


def _compare(store: Store, graph: NodeGraph) -> None:
    pods = [stored.obj() for stored in store.list("/registry/pods/").items]
    for node, secret in itertools.product("ab", "xyz"):
        wanted = any(p["spec"]["nodeName"] == node and ("secrets", secret) in references(p) for p in pods)
        assert graph.is_related(node, "secrets", "ns", secret) == wanted
        assert graph.is_related(node, "pods", "ns", secret) == any(
            p["metadata"]["name"] == secret and p["spec"]["nodeName"] == node for p in pods
        )
        assert not graph.is_related(node, "secrets", "elsewhere", secret)
