"""The messages that the kubelet exchanges with a driver of dynamic resource allocation. Data.

Who reads it: `dra.drivers`; examples/dra_driver.py, as a server. Invariant: names and numbers are those of the published
api.proto (k8s.io/kubelet/pkg/apis/dra), which are the same in v1 and v1beta1.
"""

from collections.abc import Mapping
from typing import Any

from minikube_py.api.messages import classes

_TEXT = """
Claim: namespace 1 string, uid 2 string, name 3 string
Device: request_names 1 string[], pool_name 2 string, device_name 3 string, cdi_device_ids 4 string[], share_id 5 string
NodePrepareResourcesRequest: claims 1 Claim[]
NodePrepareResourceResponse: devices 1 Device[], error 2 string
NodePrepareResourcesResponse: claims 1 map:NodePrepareResourceResponse
NodeUnprepareResourcesRequest: claims 1 Claim[]
NodeUnprepareResourceResponse: error 1 string
NodeUnprepareResourcesResponse: claims 1 map:NodeUnprepareResourceResponse
"""

PLUGIN_TYPE = "DRAPlugin"
SERVICES = {
    "v1.DRAPlugin": "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin",
    "v1beta1.DRAPlugin": "k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin",
}
"""What a driver says it supports, best first → the name of the gRPC service."""


def messages() -> Mapping[str, Any]:
    """Message name → class."""
    return classes("k8s.io.kubelet.pkg.apis.dra.v1", _TEXT)
