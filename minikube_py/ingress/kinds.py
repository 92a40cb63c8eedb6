"""The kinds of Gateway API, which the add-on brings as CustomResourceDefinitions. Pure data."""

from minikube_py.api.gvr import GVR

GROUP = "gateway.networking.k8s.io"
GATEWAYCLASSES = GVR(GROUP, "v1", "gatewayclasses", "GatewayClass", namespaced=False)
GATEWAYS = GVR(GROUP, "v1", "gateways", "Gateway")
HTTPROUTES = GVR(GROUP, "v1", "httproutes", "HTTPRoute")
