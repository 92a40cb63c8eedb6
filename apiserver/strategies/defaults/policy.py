"""Defaults of the remaining groups: networking, RBAC, autoscaling, admission, scheduling, flow control, DRA, extensions. Data.

Who calls it: `defaults/__init__.py`. Invariant: see engine.py.
Upstream: pkg/apis/{networking,rbac,autoscaling,admissionregistration,scheduling,flowcontrol,resource}/v*/defaults.go,
staging/src/k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1/defaults.go.
"""

from apiserver.strategies.defaults.engine import NonZero, Rules, under
from minikube_py.api.types import Obj

_RBAC = "rbac.authorization.k8s.io"

NETWORKPOLICY: Rules = (
    ("spec.podSelector", {}),
    ("spec.policyTypes", lambda spec: ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]),
    ("spec.ingress[].ports[].protocol", "TCP"),
    ("spec.egress[].ports[].protocol", "TCP"),
)

INGRESSCLASS: Rules = (("spec.parameters.scope", "Cluster"),)

_CPU = [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]


_UP_POLICIES = [
    {"type": "Pods", "value": 4, "periodSeconds": 15},
    {"type": "Percent", "value": 100, "periodSeconds": 15},
]
_DOWN_POLICIES = [{"type": "Percent", "value": 100, "periodSeconds": 15}]

HORIZONTALPODAUTOSCALER: Rules = (
    ("spec.minReplicas", 1),
    ("spec.metrics", lambda spec: None if spec.get("metrics") else _CPU),
    ("spec.behavior.scaleUp", {}),
    ("spec.behavior.scaleDown", {}),
    ("spec.behavior.scaleUp.selectPolicy", "Max"),
    ("spec.behavior.scaleUp.stabilizationWindowSeconds", 0),
    ("spec.behavior.scaleUp.policies", _UP_POLICIES),
    ("spec.behavior.scaleDown.selectPolicy", "Max"),
    ("spec.behavior.scaleDown.policies", _DOWN_POLICIES),
)

_BINDING: Rules = (
    ("roleRef.apiGroup", _RBAC),
    ("subjects[].apiGroup", lambda subject: _RBAC if subject.get("kind") in ("User", "Group") else None),
)

ROLEBINDING = CLUSTERROLEBINDING = _BINDING

PRIORITYCLASS: Rules = (("preemptionPolicy", "PreemptLowerPriority"),)

_WEBHOOK: Rules = (
    ("failurePolicy", "Fail"),
    ("matchPolicy", "Equivalent"),
    ("namespaceSelector", {}),
    ("objectSelector", {}),
    ("timeoutSeconds", 10),
    ("clientConfig.service.port", 443),
    ("rules[].scope", "*"),
)

VALIDATINGWEBHOOK: Rules = under("webhooks[]", _WEBHOOK)
MUTATINGWEBHOOK: Rules = (*VALIDATINGWEBHOOK, ("webhooks[].reinvocationPolicy", "Never"))

_MATCH: Rules = (
    ("matchPolicy", "Equivalent"),
    ("namespaceSelector", {}),
    ("objectSelector", {}),
    ("resourceRules[].scope", "*"),
    ("excludeResourceRules[].scope", "*"),
)

ADMISSIONPOLICY: Rules = (("spec.failurePolicy", "Fail"), *under("spec.matchConstraints", _MATCH))
ADMISSIONPOLICYBINDING: Rules = under("spec.matchResources", _MATCH)

FLOWSCHEMA: Rules = (("spec.matchingPrecedence", NonZero(1000)),)

PRIORITYLEVEL: Rules = (
    ("spec.limited", lambda spec: {} if spec.get("type") == "Limited" else None),
    ("spec.limited.nominalConcurrencyShares", 30),
    ("spec.limited.lendablePercent", 0),
    ("spec.limited.limitResponse", {}),
    ("spec.limited.limitResponse.type", "Queue"),
    ("spec.limited.limitResponse.queuing", lambda response: {} if response.get("type") == "Queue" else None),
    ("spec.limited.limitResponse.queuing.queues", NonZero(64)),
    ("spec.limited.limitResponse.queuing.handSize", NonZero(8)),
    ("spec.limited.limitResponse.queuing.queueLengthLimit", NonZero(50)),
    ("spec.exempt", lambda spec: {} if spec.get("type") == "Exempt" else None),
    ("spec.exempt.nominalConcurrencyShares", 0),
    ("spec.exempt.lendablePercent", 0),
)

_REQUEST: Rules = (
    ("allocationMode", "ExactCount"),
    (
        "count",
        lambda request: 1 if request.get("allocationMode") == "ExactCount" and not request.get("count") else None,
    ),
    ("tolerations[].operator", "Equal"),
)
_CLAIM: Rules = (
    *under("devices.requests[].exactly", _REQUEST),
    *under("devices.requests[].firstAvailable[]", _REQUEST),
)
RESOURCECLAIM: Rules = under("spec", _CLAIM)
RESOURCECLAIMTEMPLATE: Rules = under("spec.spec", _CLAIM)

APISERVICE: Rules = (("spec.service.port", 443),)


def _list_kind(names: Obj) -> str | None:
    return f"{names['kind']}List" if names.get("kind") else None


CUSTOMRESOURCEDEFINITION: Rules = (
    ("spec.names.singular", lambda names: str(names.get("kind") or "").lower() or None),
    ("spec.names.listKind", _list_kind),
    ("spec.conversion", {"strategy": "None"}),
    ("spec.conversion.webhook.clientConfig.service.port", 443),
)
