"""Which columns each kind has: one table, qualified plural → columns.

Who uses it: `apiserver/table.py`. Invariant: every column table begins with the name, but for events, and every kind that is
not named here gets NAME and AGE.
"""

from collections.abc import Callable

from apiserver.printers import core, network, policy, storage, workloads
from apiserver.printers.columns import AGE, NAME, Column
from apiserver.printers.pods import POD, view
from minikube_py.api.types import Obj

GENERIC: tuple[Column, ...] = (NAME, AGE)

_FLOW, _ADMISSION, _RBAC = "flowcontrol.apiserver.k8s.io", "admissionregistration.k8s.io", "rbac.authorization.k8s.io"
COLUMNS: dict[str, tuple[Column, ...]] = {
    "pods": POD,
    "nodes": core.NODE,
    "namespaces": core.NAMESPACE,
    "configmaps": core.CONFIGMAP,
    "secrets": core.SECRET,
    "serviceaccounts": core.SERVICE_ACCOUNT,
    "events": core.EVENT,
    "events.events.k8s.io": core.EVENT,
    "limitranges": core.LIMIT_RANGE,
    "resourcequotas": core.RESOURCE_QUOTA,
    "podtemplates": core.POD_TEMPLATE,
    "componentstatuses": core.COMPONENT_STATUS,
    "services": network.SERVICE,
    "endpoints": network.ENDPOINTS,
    "endpointslices.discovery.k8s.io": network.ENDPOINT_SLICE,
    "ingresses.networking.k8s.io": network.INGRESS,
    "ingressclasses.networking.k8s.io": network.INGRESS_CLASS,
    "networkpolicies.networking.k8s.io": network.NETWORK_POLICY,
    "ipaddresses.networking.k8s.io": network.IP_ADDRESS,
    "servicecidrs.networking.k8s.io": network.SERVICE_CIDR,
    "replicationcontrollers": workloads.REPLICATION_CONTROLLER,
    "deployments.apps": workloads.DEPLOYMENT,
    "replicasets.apps": workloads.REPLICA_SET,
    "statefulsets.apps": workloads.STATEFUL_SET,
    "daemonsets.apps": workloads.DAEMON_SET,
    "controllerrevisions.apps": workloads.CONTROLLER_REVISION,
    "jobs.batch": workloads.JOB,
    "cronjobs.batch": workloads.CRON_JOB,
    "horizontalpodautoscalers.autoscaling": workloads.HORIZONTAL_POD_AUTOSCALER,
    "poddisruptionbudgets.policy": workloads.POD_DISRUPTION_BUDGET,
    "priorityclasses.scheduling.k8s.io": workloads.PRIORITY_CLASS,
    "persistentvolumes": storage.PERSISTENT_VOLUME,
    "persistentvolumeclaims": storage.PERSISTENT_VOLUME_CLAIM,
    "storageclasses.storage.k8s.io": storage.STORAGE_CLASS,
    "volumeattachments.storage.k8s.io": storage.VOLUME_ATTACHMENT,
    "volumeattributesclasses.storage.k8s.io": storage.VOLUME_ATTRIBUTES_CLASS,
    "csidrivers.storage.k8s.io": storage.CSI_DRIVER,
    "csinodes.storage.k8s.io": storage.CSI_NODE,
    "csistoragecapacities.storage.k8s.io": storage.CSI_STORAGE_CAPACITY,
    f"roles.{_RBAC}": policy.ROLE,
    f"clusterroles.{_RBAC}": policy.ROLE,
    f"rolebindings.{_RBAC}": policy.ROLE_BINDING,
    f"clusterrolebindings.{_RBAC}": policy.ROLE_BINDING,
    "certificatesigningrequests.certificates.k8s.io": policy.CERTIFICATE_SIGNING_REQUEST,
    "customresourcedefinitions.apiextensions.k8s.io": policy.CUSTOM_RESOURCE_DEFINITION,
    "apiservices.apiregistration.k8s.io": policy.API_SERVICE,
    f"mutatingwebhookconfigurations.{_ADMISSION}": policy.WEBHOOK_CONFIGURATION,
    f"validatingwebhookconfigurations.{_ADMISSION}": policy.WEBHOOK_CONFIGURATION,
    f"validatingadmissionpolicies.{_ADMISSION}": policy.VALIDATING_ADMISSION_POLICY,
    f"mutatingadmissionpolicies.{_ADMISSION}": policy.MUTATING_ADMISSION_POLICY,
    f"validatingadmissionpolicybindings.{_ADMISSION}": policy.ADMISSION_POLICY_BINDING,
    f"mutatingadmissionpolicybindings.{_ADMISSION}": policy.ADMISSION_POLICY_BINDING,
    f"flowschemas.{_FLOW}": policy.FLOW_SCHEMA,
    f"prioritylevelconfigurations.{_FLOW}": policy.PRIORITY_LEVEL_CONFIGURATION,
    "leases.coordination.k8s.io": policy.LEASE,
    "runtimeclasses.node.k8s.io": policy.RUNTIME_CLASS,
    "resourceclaims.resource.k8s.io": policy.RESOURCE_CLAIM,
    "resourceslices.resource.k8s.io": policy.RESOURCE_SLICE,
}
VIEWS: dict[str, Callable[[Obj], Obj]] = {"pods": view}
"""What an object is made into before its cells are filled, where several columns need the same sum."""
