"""The strategies as data: plural_key → what is special about the kind.

Who calls it: `strategies.for_row`. Invariant: a kind that is not here is GENERIC; defaults come from `defaults/` for every
kind alike. `generation` marks the kinds whose generation upstream counts.
Upstream: the strategy of each kind under pkg/registry.
"""

from apiserver.customresources import checks as crd_checks
from apiserver.customresources import names as crd_names
from apiserver.strategies import kinds, pod, service, warnings
from apiserver.strategies.base import Strategy
from apiserver.strategies.kinds import field, fields
from apiserver.strategies.validation import (
    access,
    admission_policies,
    autoscaling,
    batch,
    config,
    networking,
    registration,
    storage,
    workloads,
)
from apiserver.strategies.validation import service as services
from minikube_py.api import names

_DAEMONSET_STATUS = {
    "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
}  # fmt: skip
_PDB_STATUS = {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}
_TEMPLATE = warnings.template("spec", "template")
_REPLICAS = fields(field("status", "replicas", default="0"))

CORE: dict[str, Strategy] = {
    "pods": Strategy(
        generation=True, on_create=pod.on_create, on_status_update=pod.on_status_update, grace=pod.grace,
        selectable=pod.selectable, create_checks=pod.checks_on_create, update_checks=pod.update_checks,
        status_checks=pod.status_checks, views=pod.VIEWS, returns_deleted=True, warnings=warnings.pod,
    ),
    "podtemplates": Strategy(
        generation=True, changed=kinds.field_changed("template"), checks=workloads.podtemplate, create_on_update=True,
        returns_deleted=True,
    ),
    "replicationcontrollers": Strategy(
        generation=True, checks=workloads.replicationcontroller, initial_status={"replicas": 0}, selectable=_REPLICAS,
    ),
    "services": Strategy(
        name_rule=names.label_1035, on_create=service.on_create, on_update=service.on_update, checks=services.service,
        update_checks=services.service_update, begin_create=service.begin_create, begin_update=service.begin_update,
        after_delete=service.after_delete, initial_status={"loadBalancer": {}}, create_on_update=True,
        selectable=fields(field("spec", "clusterIP"), field("spec", "type")), returns_deleted=True,
        warnings=warnings.service,
    ),
    "endpoints": Strategy(checks=services.endpoints, create_on_update=True),
    "events": Strategy(checks=config.event, create_on_update=True, selectable=kinds.event_fields),
    "namespaces": Strategy(
        name_rule=names.label, on_create=kinds.namespace_create, on_update=kinds.namespace_update,
        checks=config.namespace, selectable=fields(field("status", "phase")), views=kinds.NAMESPACE_VIEWS,
        returns_deleted=True,
    ),
    "nodes": Strategy(
        keep_status=True, checks=config.node, update_checks=config.node_update, status_checks=config.node_status,
        selectable=fields(field("spec", "unschedulable", default="false")),
    ),
    "secrets": Strategy(checks=config.secret, update_checks=config.secret_update, selectable=fields(field("type"))),
    "configmaps": Strategy(checks=config.configmap, update_checks=config.configmap_update, create_on_update=False),
    "serviceaccounts": Strategy(returns_deleted=True),
    "resourcequotas": Strategy(
        checks=config.resourcequota, update_checks=config.resourcequota_update,
        status_checks=config.resourcequota_status, initial_status={}, returns_deleted=True,
    ),
    "limitranges": Strategy(checks=config.limitrange, create_on_update=True),
    "persistentvolumes": Strategy(
        on_create=kinds.volume_create, checks=storage.persistentvolume, update_checks=storage.persistentvolume_update,
        returns_deleted=True,
    ),
    "persistentvolumeclaims": Strategy(
        on_create=kinds.volume_create, create_checks=storage.persistentvolumeclaim,
        update_checks=storage.persistentvolumeclaim_update, returns_deleted=True,
    ),
}  # fmt: skip

WORKLOADS: dict[str, Strategy] = {
    "deployments.apps": Strategy(
        generation=True, changed=kinds.deployment_changed, checks=workloads.deployment,
        update_checks=workloads.selector_kept, initial_status={}, warnings=_TEMPLATE,
    ),
    "replicasets.apps": Strategy(
        generation=True, checks=workloads.replicaset, update_checks=workloads.selector_kept,
        initial_status={"replicas": 0}, selectable=_REPLICAS, warnings=_TEMPLATE,
    ),
    "statefulsets.apps": Strategy(
        generation=True, checks=workloads.statefulset, update_checks=workloads.statefulset_update,
        initial_status={"replicas": 0, "availableReplicas": 0}, warnings=_TEMPLATE,
    ),
    "daemonsets.apps": Strategy(
        generation=True, checks=workloads.daemonset, update_checks=workloads.selector_kept,
        initial_status=_DAEMONSET_STATUS, warnings=_TEMPLATE,
    ),
    "controllerrevisions.apps": Strategy(
        checks=workloads.controllerrevision, update_checks=workloads.controllerrevision_update,
    ),
    "jobs.batch": Strategy(
        generation=True, on_create=kinds.job_create, checks=batch.job, update_checks=batch.job_update,
        warnings=_TEMPLATE, selectable=fields(("status.successful", field("status", "succeeded", default="0")[1])),
    ),
    "cronjobs.batch": Strategy(
        name_rule=workloads.short_name(52), generation=True, checks=batch.cronjob, initial_status={},
        warnings=warnings.template("spec", "jobTemplate", "spec", "template"),
    ),
}  # fmt: skip

POLICY: dict[str, Strategy] = {
    "poddisruptionbudgets.policy": Strategy(
        generation=True, checks=access.poddisruptionbudget, initial_status=_PDB_STATUS, unconditional_update=False,
    ),
    "horizontalpodautoscalers.autoscaling": Strategy(
        checks=autoscaling.horizontalpodautoscaler, initial_status={"desiredReplicas": 0},
    ),
    "roles.rbac.authorization.k8s.io": Strategy(
        name_rule=names.path_segment, checks=access.role, create_on_update=True,
    ),
    "clusterroles.rbac.authorization.k8s.io": Strategy(
        name_rule=names.path_segment, checks=access.clusterrole, create_on_update=True,
    ),
    "rolebindings.rbac.authorization.k8s.io": Strategy(
        name_rule=names.path_segment, checks=access.rolebinding, update_checks=access.role_ref_kept,
        create_on_update=True,
    ),
    "clusterrolebindings.rbac.authorization.k8s.io": Strategy(
        name_rule=names.path_segment, checks=access.clusterrolebinding, update_checks=access.role_ref_kept,
        create_on_update=True,
    ),
    "certificatesigningrequests.certificates.k8s.io": Strategy(
        on_create=kinds.csr_create, on_update=kinds.csr_update, on_status_update=kinds.csr_status,
        checks=access.certificate_request, selectable=fields(field("spec", "signerName")), views=kinds.CSR_VIEWS,
    ),
    "priorityclasses.scheduling.k8s.io": Strategy(
        generation=True, changed=kinds.field_changed("value"), checks=access.priorityclass,
        update_checks=access.priorityclass_update,
    ),
    "leases.coordination.k8s.io": Strategy(checks=config.lease, create_on_update=True, unconditional_update=False),
    "runtimeclasses.node.k8s.io": Strategy(
        checks=config.runtimeclass, update_checks=config.runtimeclass_update, unconditional_update=False,
    ),
    "validatingwebhookconfigurations.admissionregistration.k8s.io": Strategy(
        generation=True, changed=kinds.field_changed("webhooks"), checks=registration.webhooks,
        unconditional_update=False,
    ),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": Strategy(
        generation=True, changed=kinds.field_changed("webhooks"), checks=registration.webhooks,
        unconditional_update=False,
    ),
    "validatingadmissionpolicies.admissionregistration.k8s.io": Strategy(
        generation=True, unconditional_update=False, checks=admission_policies.validating,
        on_create=admission_policies.on_create, on_update=admission_policies.on_update,
    ),
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": Strategy(
        generation=True, unconditional_update=False, checks=admission_policies.validating_binding,
    ),
    "mutatingadmissionpolicies.admissionregistration.k8s.io": Strategy(
        generation=True, unconditional_update=False, checks=admission_policies.mutating,
    ),
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io": Strategy(
        generation=True, unconditional_update=False, checks=admission_policies.mutating_binding,
    ),
    "customresourcedefinitions.apiextensions.k8s.io": Strategy(
        generation=True, on_create=crd_names.on_create, on_update=crd_names.on_update, on_delete=crd_names.on_delete,
        checks=crd_checks.definition, update_checks=crd_checks.successor, status_checks=crd_checks.status_update,
        unconditional_update=False,
    ),
    "apiservices.apiregistration.k8s.io": Strategy(
        name_rule=names.path_segment, on_create=kinds.apiservice_create, checks=registration.apiservice,
        unconditional_update=False, initial_status={},
    ),
    "flowschemas.flowcontrol.apiserver.k8s.io": Strategy(generation=True, initial_status={}),
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": Strategy(generation=True, initial_status={}),
}  # fmt: skip

NETWORK_AND_STORAGE: dict[str, Strategy] = {
    "endpointslices.discovery.k8s.io": Strategy(
        generation=True, changed=kinds.endpoint_slice_changed, checks=services.endpoint_slice,
        update_checks=services.endpoint_slice_update,
    ),
    "ingresses.networking.k8s.io": Strategy(
        generation=True, checks=networking.ingress, initial_status={"loadBalancer": {}},
    ),
    "ingressclasses.networking.k8s.io": Strategy(
        generation=True, checks=networking.ingressclass, update_checks=networking.ingressclass_update,
    ),
    "networkpolicies.networking.k8s.io": Strategy(generation=True, checks=networking.networkpolicy),
    "ipaddresses.networking.k8s.io": Strategy(
        name_rule=networking.ip_name, generation=True, checks=networking.ipaddress_,
        update_checks=networking.parent_kept, selectable=fields(field("spec", "parentRef", "namespace")),
    ),
    "servicecidrs.networking.k8s.io": Strategy(generation=True, checks=networking.servicecidr, initial_status={}),
    "storageclasses.storage.k8s.io": Strategy(
        checks=storage.storageclass, update_checks=storage.storageclass_update, returns_deleted=True,
    ),
    "volumeattachments.storage.k8s.io": Strategy(
        checks=storage.volumeattachment, update_checks=storage.spec_kept, unconditional_update=False,
        returns_deleted=True,
    ),
    "volumeattributesclasses.storage.k8s.io": Strategy(update_checks=storage.parameters_kept, returns_deleted=True),
    "csidrivers.storage.k8s.io": Strategy(
        checks=storage.csidriver, update_checks=storage.csidriver_update, unconditional_update=False,
        returns_deleted=True,
    ),
    "csinodes.storage.k8s.io": Strategy(unconditional_update=False, returns_deleted=True),
    "csistoragecapacities.storage.k8s.io": Strategy(unconditional_update=False),
    "resourceclaims.resource.k8s.io": Strategy(update_checks=storage.spec_kept, initial_status={}),
    "resourceclaimtemplates.resource.k8s.io": Strategy(update_checks=storage.spec_kept),
    "resourceslices.resource.k8s.io": Strategy(
        generation=True, selectable=fields(field("spec", "nodeName"), field("spec", "driver")),
    ),
    "deviceclasses.resource.k8s.io": Strategy(generation=True),
}  # fmt: skip

TABLE: dict[str, Strategy] = {**CORE, **WORKLOADS, **POLICY, **NETWORK_AND_STORAGE}
