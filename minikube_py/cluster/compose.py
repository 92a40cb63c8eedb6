"""What a compose cluster needs besides its processes: identities before the first start, and cleaning up after the last.

Who runs it: the services `init` and `cleanup` of docker-compose.yml (`python -m minikube_py.cluster.compose init PORT|clean`).
Invariant: the names and addresses here are those written in docker-compose.yml (a test holds the two together). What exists
is kept, so `init` may run at every start.
"""

import sys
from pathlib import Path

from minikube_py.cluster import engine, kubeconfig, pki
from minikube_py.cluster.identities import encryption_key
from minikube_py.cluster.profile import MAX_PROFILES, Profile

PROFILE = Profile("compose", MAX_PROFILES, 6443).with_nodes(3)
"""Its index is one past those of ordinary profiles, so its addresses are its own."""
API_ADDRESS = PROFILE.gateway.rpartition(".")[0] + ".3"


def init(state: Path, port: int) -> None:
    """Certificates, kubeconfigs and the encryption key in `state`; the administrator's, for `port` of this machine's
    loopback, is `state/kubeconfig`."""
    server = f"https://{API_ADDRESS}:{PROFILE.port}"
    keys = state / "pki"
    pki.ensure(keys, api_addresses=[API_ADDRESS, PROFILE.gateway, PROFILE.api_service_ip])
    encryption_key(keys / "encryption.key")
    for node in PROFILE.nodes:
        pki.issue_node(keys, node.name, [PROFILE.node_ip(node)])
    for identity in ("controllers", "kube-proxy", *(f"kubelet-{node.name}" for node in PROFILE.nodes)):
        kubeconfig.write(
            state / "kubeconfigs" / f"{identity}.conf", kubeconfig.build("compose", server, keys, identity)
        )
    kubeconfig.write(
        state / "kubeconfig", kubeconfig.build("minikube-py-compose", f"https://127.0.0.1:{port}", keys, "admin")
    )


def clean() -> None:
    """Remove the pods' containers and the packet rules the node agents made (they outlive `docker compose stop`)."""
    from kubelet import cgroups
    from kubelet.network import cleanup

    engine.remove_containers(PROFILE.name)
    cleanup.remove_all(PROFILE.name)
    cgroups.remove_all(PROFILE.name)


if __name__ == "__main__":
    if sys.argv[1:2] == ["clean"]:
        clean()
    else:
        init(Path("/state"), int(sys.argv[2]))
