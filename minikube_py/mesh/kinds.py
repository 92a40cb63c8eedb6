"""The names the mesh is made of: its kinds, labels, ports, and how an identity is written. Pure data.

Who uses it: every file of the mesh. Invariant: an identity names exactly one service account of one namespace, in each of its
two spellings: a SPIFFE URI (what a certificate says it is) and a DNS name (what TLS libraries compare).
Upstream: SPIFFE-ID.md of github.com/spiffe/spiffe; Istio's path /ns/NAMESPACE/sa/ACCOUNT.
"""

from minikube_py.api.gvr import GVR

GROUP = "mesh.minikube-py.io"
MESHROUTES = GVR(GROUP, "v1", "meshroutes", "MeshRoute")
MESHPOLICIES = GVR(GROUP, "v1", "meshpolicies", "MeshPolicy")
SIGNER = f"{GROUP}/workload"
AUDIENCE = GROUP
INJECT = f"{GROUP}/inject"
"""A label of namespaces ("enabled") and an annotation of pods ("false")."""
SIDECAR = f"{GROUP}/sidecar"
"""The label of pods that have one."""
PROXY_USER = 15000
OUTBOUND_PORT, INBOUND_PORT, HEALTH_PORT = 15001, 15006, 15020
RUN = "/var/run/mesh"
TOKENS = "/var/run/mesh-identity"
"""Where a sidecar finds its projected token and the cluster's CA."""


def identity(namespace: str, account: str) -> str:
    """The SPIFFE URI of a service account."""
    return f"spiffe://cluster.local/ns/{namespace}/sa/{account}"


def tls_name(identity_uri: str) -> str:
    """The DNS name that stands for an identity in TLS."""
    _, _, _, _, namespace, _, account = identity_uri.split("/")
    return f"{account}.{namespace}.{GROUP}"
