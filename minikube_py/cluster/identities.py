"""The identities of a cluster's parts: certificates, kubeconfigs, and the key that encrypts Secrets.

Who calls it: `up`, `node add`, and the compose cluster's init. Invariant: what exists is kept, so it may run at every start.
"""

import os
import secrets
from base64 import b64encode
from pathlib import Path

from minikube_py.api.types import Obj
from minikube_py.cluster import kubeconfig, pki
from minikube_py.cluster.components import component_kubeconfig, kubelet_name
from minikube_py.cluster.profile import Node, Profile


def write_all(profile: Profile) -> None:
    """Certificates and kubeconfigs of every component and node; what exists is kept."""
    addresses = [profile.gateway, profile.api_service_ip, *([profile.listen] if profile.listen else [])]
    pki.ensure(profile.pki, api_addresses=addresses)
    encryption_key(profile.pki / "encryption.key")
    kubeconfig.write(profile.kubeconfig, admin(profile))
    for component in ("controllers", "kube-proxy"):
        _component_kubeconfig(profile, component, profile.server)
    for node in profile.nodes:
        write_node(profile, node)


def write_node(profile: Profile, node: Node) -> None:
    """A node's certificate and kubeconfig. It dials the bridge, so that a partition cuts it off by address."""
    pki.issue_node(profile.pki, node.name, [profile.node_ip(node)])
    server = f"https://{profile.gateway}:{profile.port}" if profile.runs_containers else profile.server
    _component_kubeconfig(profile, kubelet_name(node), server)


def _component_kubeconfig(profile: Profile, component: str, server: str) -> None:
    config = kubeconfig.build(profile.context, server, profile.pki, component)
    kubeconfig.write(Path(component_kubeconfig(profile, component)), config)


def admin(profile: Profile) -> Obj:
    return kubeconfig.build(profile.context, profile.server, profile.pki, "admin")


def encryption_key(path: Path) -> None:
    """The key that encrypts Secrets at rest: a line NAME:BASE64 of 32 random bytes (older keys may follow on further lines)."""
    if path.exists():
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{encryption_key_line('key1')}\n")


def encryption_key_line(name: str) -> str:
    """A new key as it stands in the file."""
    return f"{name}:{b64encode(secrets.token_bytes(32)).decode()}"
