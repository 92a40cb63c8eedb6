"""RBAC, certificates, and the small policies: PriorityClass, PodDisruptionBudget.

Who calls it: the strategy table. Invariant: pure.
Upstream: pkg/apis/{rbac,certificates,scheduling,policy}/validation/validation.go.
"""

import base64

from cryptography import x509

from apiserver.strategies.checks import (
    duplicate,
    each,
    forbidden,
    immutable,
    invalid,
    one_of,
    required,
    required_syntax,
    syntax,
    unsupported,
)
from apiserver.strategies.validation.selectors import label_selector
from apiserver.strategies.validation.workloads import at_most_100, int_or_percent
from minikube_py.api import names
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_RBAC = "rbac.authorization.k8s.io"
_HIGHEST_USER_PRIORITY = 1_000_000_000
SYSTEM_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


def _rules(obj: Obj, namespaced: bool) -> list[Cause]:
    causes: list[Cause] = []
    for index, rule in enumerate(obj.get("rules") or ()):
        at = f"rules[{index}]"
        if not rule.get("verbs"):
            causes.append(required(f"{at}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            if namespaced:
                why = "namespaced rules cannot apply to non-resource URLs"
                causes.append(invalid(f"{at}.nonResourceURLs", rule["nonResourceURLs"], why))
            if any(rule.get(name) for name in ("apiGroups", "resources", "resourceNames")):
                why = "rules cannot apply to both regular resources and non-resource URLs"
                causes.append(invalid(f"{at}.nonResourceURLs", rule["nonResourceURLs"], why))
            continue
        if not rule.get("apiGroups"):
            causes.append(required(f"{at}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            causes.append(required(f"{at}.resources", "resource rules must supply at least one resource"))
    return causes


def role(obj: Obj) -> list[Cause]:
    return _rules(obj, namespaced=True)


def clusterrole(obj: Obj) -> list[Cause]:
    causes = _rules(obj, namespaced=False)
    for index, selector in enumerate((obj.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()):
        causes += label_selector(f"aggregationRule.clusterRoleSelectors[{index}]", selector)
    return causes


def _subject(subject: Obj, path: str) -> list[Cause]:
    kind, group = subject.get("kind"), subject.get("apiGroup") or ""
    causes = [] if subject.get("name") else [required(f"{path}.name")]
    if kind == "ServiceAccount":
        if subject.get("name"):
            causes += syntax(f"{path}.name", subject["name"], names.subdomain)
        if group:
            causes.append(unsupported(f"{path}.apiGroup", group, ("",)))
        if not subject.get("namespace"):
            causes.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != _RBAC:
            causes.append(unsupported(f"{path}.apiGroup", group, (_RBAC,)))
    else:
        causes.append(unsupported(f"{path}.kind", kind or "", ("ServiceAccount", "User", "Group")))
    return causes


def _binding(obj: Obj, kinds: tuple[str, ...]) -> list[Cause]:
    ref, causes = obj.get("roleRef") or {}, []
    if ref.get("apiGroup") != _RBAC:
        causes.append(unsupported("roleRef.apiGroup", ref.get("apiGroup") or "", (_RBAC,)))
    if ref.get("kind") not in kinds:
        causes.append(unsupported("roleRef.kind", ref.get("kind") or "", kinds))
    causes += required_syntax("roleRef.name", ref.get("name"), names.path_segment)
    return causes + each("subjects", obj.get("subjects"), _subject)


def rolebinding(obj: Obj) -> list[Cause]:
    return _binding(obj, ("ClusterRole", "Role"))


def clusterrolebinding(obj: Obj) -> list[Cause]:
    return _binding(obj, ("ClusterRole",))


def role_ref_kept(new: Obj, old: Obj) -> list[Cause]:
    if new.get("roleRef") == old.get("roleRef"):
        return []
    return [invalid("roleRef", new.get("roleRef"), "cannot change roleRef")]


def priorityclass(obj: Obj) -> list[Cause]:
    name, value, causes = obj["metadata"].get("name") or "", obj.get("value") or 0, []
    if name.startswith("system-"):
        if SYSTEM_PRIORITIES.get(name) != value:
            why = "priority class names with 'system-' prefix are reserved for system use only"
            causes.append(forbidden("metadata.name", why))
    elif value > _HIGHEST_USER_PRIORITY:
        why = f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"
        causes.append(forbidden("value", why))
    return causes + one_of("preemptionPolicy", obj.get("preemptionPolicy"), ("Never", "PreemptLowerPriority"))


def priorityclass_update(new: Obj, old: Obj) -> list[Cause]:
    causes = []
    if (new.get("value") or 0) != (old.get("value") or 0):
        causes.append(forbidden("value", "may not be changed in an update."))
    return causes + immutable("preemptionPolicy", new.get("preemptionPolicy"), old.get("preemptionPolicy"))


def poddisruptionbudget(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    least, most, causes = spec.get("minAvailable"), spec.get("maxUnavailable"), []
    if least is not None and most is not None:
        causes.append(invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for name, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            causes += int_or_percent(f"spec.{name}", value) + at_most_100(f"spec.{name}", value)
    if spec.get("unhealthyPodEvictionPolicy") is not None:
        policies = ("AlwaysAllow", "IfHealthyBudget")
        causes += one_of("spec.unhealthyPodEvictionPolicy", spec["unhealthyPodEvictionPolicy"], policies)
    return causes + label_selector("spec.selector", spec.get("selector"))


_USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
    "server auth", "signing", "timestamping",
)  # fmt: skip


def certificate_request(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    try:
        request = x509.load_pem_x509_csr(base64.b64decode(spec.get("request") or ""))
        if not request.is_signature_valid:
            causes.append(invalid("spec.request", spec["request"], "bad signature"))
    except (ValueError, TypeError):
        why = "unable to parse csr: PEM block type must be CERTIFICATE REQUEST"
        causes.append(invalid("spec.request", spec.get("request"), why))
    if not spec.get("usages"):
        causes.append(required("spec.usages"))
    seen: set[str] = set()
    for index, usage in enumerate(spec.get("usages") or ()):
        if usage not in _USAGES:
            causes.append(unsupported(f"spec.usages[{index}]", usage, _USAGES))
        if usage in seen:
            causes.append(duplicate(f"spec.usages[{index}]", usage))
        seen.add(usage)
    signer = spec.get("signerName") or ""
    if not signer:
        causes.append(required("spec.signerName"))
    elif signer == "kubernetes.io/legacy-unknown":
        causes.append(invalid("spec.signerName", signer, "the legacy signerName is not allowed via this API version"))
    elif not all(signer.partition("/")[::2]) or names.subdomain(signer.partition("/")[0]):
        why = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        causes.append(invalid("spec.signerName", signer, why))
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < 600:
        causes.append(
            invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 600 seconds (10 minutes)")
        )
    return causes


def certificate_conditions(new: Obj, old: Obj) -> list[Cause]:
    """Approved and Denied exclude each other, are only ever True, and stay once given."""
    now = {c.get("type"): c for c in (new.get("status") or {}).get("conditions") or ()}
    before = {c.get("type"): c for c in (old.get("status") or {}).get("conditions") or ()}
    causes = []
    if "Approved" in now and "Denied" in now:
        causes.append(invalid("status.conditions", "Denied", "Approved and Denied conditions are mutually exclusive"))
    for kind in ("Approved", "Denied", "Failed"):
        if kind in before and kind not in now:
            causes.append(forbidden("status.conditions", f'updates may not remove a condition of type "{kind}"'))
        if kind in now and now[kind].get("status") != "True":
            causes.append(unsupported("status.conditions", now[kind].get("status") or "", ("True",)))
    return causes
