"""Defaults of every built-in kind: a table, plural_key → rules, compiled on first use.

Who calls it: `apiserver/strategies/__init__.py`. Invariant: a kind that is not here has nothing to default. Defaulting is
idempotent, which a property test holds us to.
Upstream: pkg/apis/*/v1/defaults.go.
"""

from collections.abc import Callable
from functools import cache

from apiserver.strategies.defaults import core, pod, policy, workloads
from apiserver.strategies.defaults.engine import Rules, compiled
from minikube_py.api.types import Obj

TABLE: dict[str, Rules] = {
    "pods": pod.POD,
    "podtemplates": workloads.PODTEMPLATE,
    "replicationcontrollers": workloads.REPLICATIONCONTROLLER,
    "deployments.apps": workloads.DEPLOYMENT,
    "replicasets.apps": workloads.REPLICASET,
    "statefulsets.apps": workloads.STATEFULSET,
    "daemonsets.apps": workloads.DAEMONSET,
    "jobs.batch": workloads.JOB,
    "cronjobs.batch": workloads.CRONJOB,
    "services": core.SERVICE,
    "endpoints": core.ENDPOINTS,
    "endpointslices.discovery.k8s.io": core.ENDPOINTSLICE,
    "secrets": core.SECRET,
    "namespaces": core.NAMESPACE,
    "limitranges": core.LIMITRANGE,
    "nodes": core.NODE,
    "persistentvolumes": core.PERSISTENTVOLUME,
    "persistentvolumeclaims": core.PERSISTENTVOLUMECLAIM,
    "storageclasses.storage.k8s.io": core.STORAGECLASS,
    "csidrivers.storage.k8s.io": core.CSIDRIVER,
    "networkpolicies.networking.k8s.io": policy.NETWORKPOLICY,
    "ingressclasses.networking.k8s.io": policy.INGRESSCLASS,
    "horizontalpodautoscalers.autoscaling": policy.HORIZONTALPODAUTOSCALER,
    "rolebindings.rbac.authorization.k8s.io": policy.ROLEBINDING,
    "clusterrolebindings.rbac.authorization.k8s.io": policy.CLUSTERROLEBINDING,
    "priorityclasses.scheduling.k8s.io": policy.PRIORITYCLASS,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": policy.VALIDATINGWEBHOOK,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": policy.MUTATINGWEBHOOK,
    "validatingadmissionpolicies.admissionregistration.k8s.io": policy.ADMISSIONPOLICY,
    "mutatingadmissionpolicies.admissionregistration.k8s.io": policy.ADMISSIONPOLICY,
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": policy.ADMISSIONPOLICYBINDING,
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io": policy.ADMISSIONPOLICYBINDING,
    "flowschemas.flowcontrol.apiserver.k8s.io": policy.FLOWSCHEMA,
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": policy.PRIORITYLEVEL,
    "resourceclaims.resource.k8s.io": policy.RESOURCECLAIM,
    "resourceclaimtemplates.resource.k8s.io": policy.RESOURCECLAIMTEMPLATE,
    "apiservices.apiregistration.k8s.io": policy.APISERVICE,
    "customresourcedefinitions.apiextensions.k8s.io": policy.CUSTOMRESOURCEDEFINITION,
}


@cache
def for_key(plural_key: str) -> Callable[[Obj], None]:
    """The function that defaults objects of this kind in place."""
    return compiled(TABLE.get(plural_key, ()))
