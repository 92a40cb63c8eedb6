"""Every built-in kind through its whole life at the real API server: created, read, changed, given a status, deleted."""

import base64
import contextlib
import copy
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from apiserver.resources import table
from apiserver.resources.row import Row
from minikube_py.api import errors, yaml
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.harness import eventually

MANIFESTS = list(yaml.load_all((Path(__file__).parent / "golden" / "every_kind.input.yaml").read_bytes()))


def signing_request() -> str:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


def row_of(manifest: Obj) -> Row:
    group, _, version = manifest["apiVersion"].rpartition("/")
    row = table.by_kind(group, version, manifest["kind"])
    assert row is not None, manifest
    return row


def prepared(manifest: Obj, namespace: str) -> Obj:
    row, obj = row_of(manifest), copy.deepcopy(manifest)
    obj.setdefault("metadata", {}).setdefault("name", f"every-{namespace}")
    if row.namespaced:
        obj["metadata"]["namespace"] = namespace
    for about in ("involvedObject", "regarding"):
        if about in obj:
            obj[about]["namespace"] = namespace
    if row.plural == "apiservices":  # of a server behind a Service the status is written meanwhile
        obj["spec"] = {name: obj["spec"][name] for name in obj["spec"].keys() - {"service", "insecureSkipTLSVerify"}}
    if row.plural == "certificatesigningrequests":
        obj["spec"]["request"] = signing_request()
    return obj


def test_there_is_a_manifest_for_every_kind() -> None:
    assert {row_of(manifest) for manifest in MANIFESTS} == {row for row in table.ROWS if row.stored}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda m: f"{m['apiVersion']}/{m['kind']}")
def test_a_whole_life(client: Client, namespace: str, manifest: Obj) -> None:
    obj = prepared(manifest, namespace)
    row = row_of(manifest)
    res, meta = row.gvr, obj["metadata"]
    name, ns = meta["name"], meta.get("namespace", "")
    made = client.create(res, obj)
    try:
        assert (made["apiVersion"], made["kind"]) == (obj["apiVersion"], obj["kind"])
        assert made["metadata"]["uid"] and made["metadata"]["creationTimestamp"]
        assert client.get(res, name, ns) == made
        with pytest.raises(errors.AlreadyExists):
            client.create(res, obj)
        changed = client.update(res, {**made, "metadata": {**made["metadata"], "labels": {"every": "kind"}}})
        assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
        if row.plural not in ("deployments", "endpointslices"):
            assert changed["metadata"].get("generation") == made["metadata"].get("generation")
        patched = client.patch(res, name, {"metadata": {"annotations": {"a": "b"}}}, ns, kind="merge")
        assert patched["metadata"]["annotations"]["a"] == "b"
        if "status" in row.subresources:
            again = client.patch(res, name, {"metadata": {"annotations": {"c": "d"}}}, ns, subresource="status")
            assert again["metadata"]["annotations"]["c"] == "d"
            assert again.get("spec") == patched.get("spec")
            assert client.get(res, name, ns, subresource="status")["metadata"]["uid"] == made["metadata"]["uid"]
        found = client.list(res, ns, label_selector="every=kind")["items"]
        assert name in [item["metadata"]["name"] for item in found]
        with pytest.raises(errors.Conflict):
            client.update(res, made)
    finally:
        with contextlib.suppress(errors.NotFound):
            client.delete(res, name, ns)
    if row.plural in ("persistentvolumes", "persistentvolumeclaims"):
        client.patch(res, name, {"metadata": {"finalizers": None}}, ns)
    if row.plural == "namespaces":
        client.update(res, {**client.get(res, name), "spec": {}}, subresource="finalize")
    if row.kind == "CustomResourceDefinition":  # goes after the objects of its kind
        eventually(lambda: not client.list(res)["items"], what="the definition's end")
    with pytest.raises(errors.NotFound):
        client.get(res, name, ns)
