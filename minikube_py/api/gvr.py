"""Names of resources (group, version, plural) and the URL paths they are served under.

Who uses it: the client library and everything that talks through it, to say which collection it means. The API server has
its own, fuller table (`apiserver/resources`); a test holds the two together.
Invariant: pure data; a path built here is exactly the path upstream serves.
Upstream: staging/src/k8s.io/apimachinery/pkg/runtime/schema and the API conventions on URL layout.
"""

from typing import NamedTuple
from urllib.parse import quote

from minikube_py.api.types import Obj


class GVR(NamedTuple):
    """One served collection: `group` is "" for the core group; `kind` is what its objects call themselves."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The `apiVersion` its objects carry: "v1", "apps/v1"."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """The path of its group and version: "/api/v1", "/apis/apps/v1"."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, of one object, or of its subresource.

        In: an empty `namespace` of a namespaced resource means all namespaces; `namespace` is ignored when cluster-scoped.
        """
        parts = [self.root]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=":"))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


def new_object(resource: GVR, name: str, namespace: str = "", **fields: object) -> Obj:
    """A fresh object of this resource: apiVersion, kind and metadata filled, `fields` (spec=…, data=…) added."""
    metadata: Obj = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **fields}


BINDINGS = GVR("", "v1", "bindings", "Binding")
CONFIGMAPS = GVR("", "v1", "configmaps", "ConfigMap")
ENDPOINTS = GVR("", "v1", "endpoints", "Endpoints")
EVENTS = GVR("", "v1", "events", "Event")
LIMITRANGES = GVR("", "v1", "limitranges", "LimitRange")
NAMESPACES = GVR("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = GVR("", "v1", "nodes", "Node", namespaced=False)
PERSISTENTVOLUMECLAIMS = GVR("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
PERSISTENTVOLUMES = GVR("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
PODS = GVR("", "v1", "pods", "Pod")
REPLICATIONCONTROLLERS = GVR("", "v1", "replicationcontrollers", "ReplicationController")
RESOURCEQUOTAS = GVR("", "v1", "resourcequotas", "ResourceQuota")
SECRETS = GVR("", "v1", "secrets", "Secret")
SERVICEACCOUNTS = GVR("", "v1", "serviceaccounts", "ServiceAccount")
SERVICES = GVR("", "v1", "services", "Service")
CONTROLLERREVISIONS = GVR("apps", "v1", "controllerrevisions", "ControllerRevision")
DAEMONSETS = GVR("apps", "v1", "daemonsets", "DaemonSet")
DEPLOYMENTS = GVR("apps", "v1", "deployments", "Deployment")
REPLICASETS = GVR("apps", "v1", "replicasets", "ReplicaSet")
STATEFULSETS = GVR("apps", "v1", "statefulsets", "StatefulSet")
TOKENREVIEWS = GVR("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", False)
SUBJECTACCESSREVIEWS = GVR(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False
)
CERTIFICATESIGNINGREQUESTS = GVR(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", namespaced=False
)
HORIZONTALPODAUTOSCALERS = GVR("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
CRONJOBS = GVR("batch", "v1", "cronjobs", "CronJob")
JOBS = GVR("batch", "v1", "jobs", "Job")
LEASES = GVR("coordination.k8s.io", "v1", "leases", "Lease")
ENDPOINTSLICES = GVR("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
INGRESSCLASSES = GVR("networking.k8s.io", "v1", "ingressclasses", "IngressClass", namespaced=False)
INGRESSES = GVR("networking.k8s.io", "v1", "ingresses", "Ingress")
NETWORKPOLICIES = GVR("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
PODDISRUPTIONBUDGETS = GVR("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
RUNTIMECLASSES = GVR("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", namespaced=False)
PRIORITYCLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False)
CLUSTERROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
CUSTOMRESOURCEDEFINITIONS = GVR(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
VOLUMESNAPSHOTS = GVR("snapshot.storage.k8s.io", "v1", "volumesnapshots", "VolumeSnapshot")
VOLUMESNAPSHOTCONTENTS = GVR(
    "snapshot.storage.k8s.io", "v1", "volumesnapshotcontents", "VolumeSnapshotContent", namespaced=False
)
VOLUMESNAPSHOTCLASSES = GVR(
    "snapshot.storage.k8s.io", "v1", "volumesnapshotclasses", "VolumeSnapshotClass", namespaced=False
)
APISERVICES = GVR("apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False)
RESOURCECLAIMS = GVR("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim")
RESOURCECLAIMTEMPLATES = GVR("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
RESOURCESLICES = GVR("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", namespaced=False)
DEVICECLASSES = GVR("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", namespaced=False)
CSIDRIVERS = GVR("storage.k8s.io", "v1", "csidrivers", "CSIDriver", namespaced=False)
CSINODES = GVR("storage.k8s.io", "v1", "csinodes", "CSINode", namespaced=False)
CSISTORAGECAPACITIES = GVR("storage.k8s.io", "v1", "csistoragecapacities", "CSIStorageCapacity")
STORAGECLASSES = GVR("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
VOLUMEATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", namespaced=False)
