"""Certificates: what is there stays, what is asked for is covered, keys are private."""

import stat
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from minikube_py.cluster import pki


def _subject(path: Path) -> tuple[str, list[str]]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    name = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    return str(name), [str(a.value) for a in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def test_made_once_and_kept(tmp_path: Path) -> None:
    pki.ensure(tmp_path, api_addresses=["10.244.0.1"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    pki.ensure(tmp_path, api_addresses=["10.244.0.1"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.glob("*.key"))


def test_a_new_address_renews_the_serving_certificates_alone(tmp_path: Path) -> None:
    pki.ensure(tmp_path, api_addresses=["10.244.0.1"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    pki.ensure(tmp_path, api_addresses=["10.244.0.1", "10.9.9.9"])
    changed = {path.name for path in tmp_path.iterdir() if before[path.name] != path.read_bytes()}
    assert changed == {f"{name}.{kind}" for name in ("apiserver", "controllers") for kind in ("crt", "key")}


def test_identities_carry_upstreams_names(tmp_path: Path) -> None:
    pki.ensure(tmp_path, api_addresses=[])
    pki.issue_node(tmp_path, "node-1", ["10.244.1.1"])
    assert _subject(tmp_path / "admin.crt") == ("kubernetes-admin", ["system:masters"])
    assert _subject(tmp_path / "kubelet-node-1.crt") == ("system:node:node-1", ["system:nodes"])


def test_the_front_proxy_has_a_ca_of_its_own(tmp_path: Path) -> None:
    pki.ensure(tmp_path, api_addresses=["127.0.0.1"])
    pki.issue(tmp_path, "front-proxy-client", "front-proxy-client", ca="ca")  # as clusters of before have it
    pki.ensure(tmp_path, api_addresses=["127.0.0.1"])
    shown, authority = (
        x509.load_pem_x509_certificate((tmp_path / f"{name}.crt").read_bytes())
        for name in ("front-proxy-client", "front-proxy-ca")
    )
    shown.verify_directly_issued_by(authority)
    before = (tmp_path / "front-proxy-client.crt").read_bytes()
    pki.ensure(tmp_path, api_addresses=["127.0.0.1"])
    assert (tmp_path / "front-proxy-client.crt").read_bytes() == before
