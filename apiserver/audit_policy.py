"""What is logged about which request: the rules of an audit.k8s.io/v1 Policy, the first that matches counts.

Who calls it: `audit.py`, which has read the file of `--audit-policy-file`. Invariant: pure after reading; a file that makes no
sense is one sentence naming the place. Users are matched as they authenticated, before any impersonation.
Upstream: staging/src/k8s.io/apiserver/pkg/audit/policy/{reader,checker}.go, apis/audit/validation.
"""

from pathlib import Path
from typing import Any, NamedTuple

from apiserver.auth.user import UserInfo
from apiserver.options import OptionError
from apiserver.request import RequestInfo
from minikube_py.api import yaml
from minikube_py.api.types import Obj

NONE, METADATA, REQUEST, REQUEST_RESPONSE = LEVELS = ("None", "Metadata", "Request", "RequestResponse")
RECEIVED, STARTED, COMPLETE, PANIC = STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
_FIELDS = {
    "level", "users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs", "omitStages", "omitManagedFields",
}  # fmt: skip
_LISTS = ("users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs", "omitStages")


class Decision(NamedTuple):
    """How much of a request is logged, at which stages, and whether its objects keep their managedFields."""

    level: str
    stages: frozenset[str] = frozenset(STAGES)
    managed_fields: bool = True

    def wants(self, stage: str) -> bool:
        return self.level != NONE and stage in self.stages


class Policy:
    """The rules of one file."""

    def __init__(self, policy: Obj) -> None:
        omitted = frozenset(policy.get("omitStages") or ())
        keeps = not policy.get("omitManagedFields")
        self._rules: list[tuple[Obj, Decision]] = []
        for rule in policy.get("rules") or ():
            stages = frozenset(STAGES) - omitted - frozenset(rule.get("omitStages") or ())
            own = rule.get("omitManagedFields")
            self._rules.append((rule, Decision(rule["level"], stages, keeps if own is None else not own)))

    def decide(self, who: UserInfo, info: RequestInfo) -> Decision:
        """By the first rule that matches; nothing is logged when none does."""
        return next((decision for rule, decision in self._rules if _matches(rule, who, info)), Decision(NONE))


def _matches(rule: Obj, who: UserInfo, info: RequestInfo) -> bool:
    if rule.get("users") and who.name not in rule["users"]:
        return False
    if rule.get("userGroups") and not set(who.groups) & set(rule["userGroups"]):
        return False
    if rule.get("verbs") and info.verb not in rule["verbs"]:
        return False
    if rule.get("namespaces") or rule.get("resources"):
        if not info.is_resource or (rule.get("namespaces") and info.namespace not in rule["namespaces"]):
            return False
        return not rule.get("resources") or any(_names(one, info) for one in rule["resources"])
    if rule.get("nonResourceURLs"):
        return not info.is_resource and any(_is_under(info.path, spec) for spec in rule["nonResourceURLs"])
    return True


def _names(chosen: Obj, info: RequestInfo) -> bool:
    """One entry of `resources`: "pods" is not "pods/log"; "pods/*", "*/scale" and "*" say more."""
    if (chosen.get("group") or "") not in ("*", info.group):
        return False
    if not chosen.get("resources"):
        return True
    if chosen.get("resourceNames") and info.name not in chosen["resourceNames"]:
        return False
    whole = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    forms = {whole, "*", f"{info.resource}/*"} | ({f"*/{info.subresource}"} if info.subresource else set())
    return any(resource in forms for resource in chosen["resources"])


def _is_under(path: str, spec: str) -> bool:
    return path == spec or (spec.endswith("*") and path.startswith(spec.rstrip("*")))


def read(file: str) -> Policy:
    """Raises OptionError for a file that cannot be read or is no policy."""
    try:
        loaded: Any = yaml.load(Path(file).read_bytes())
    except OSError as error:
        raise OptionError(f"--audit-policy-file {file}: {error.strerror}") from None
    except ValueError as error:
        raise OptionError(f"--audit-policy-file {file} is not YAML: {error}") from None
    if wrong := _wrong(loaded):
        raise OptionError(f"--audit-policy-file {file}: {wrong}")
    return Policy(loaded)


def _wrong(policy: Any) -> str:
    if not isinstance(policy, dict) or (policy.get("apiVersion"), policy.get("kind")) != ("audit.k8s.io/v1", "Policy"):
        return "apiVersion: audit.k8s.io/v1 and kind: Policy are expected"
    rules = policy.get("rules")
    if not isinstance(rules, list) or not rules:
        return "rules: at least one is needed"
    if odd := [stage for stage in policy.get("omitStages") or () if stage not in STAGES]:
        return f"omitStages: {odd[0]!r} is none of {', '.join(STAGES)}"
    return next((f"rules[{at}]: {why}" for at, rule in enumerate(rules) if (why := _wrong_rule(rule))), "")


def _wrong_rule(rule: Any) -> str:
    if not isinstance(rule, dict):
        return "a mapping is expected"
    if unknown := sorted(set(rule) - _FIELDS):
        return f"unknown field {unknown[0]!r}"
    if rule.get("level") not in LEVELS:
        return f"level: {rule.get('level')!r} is none of {', '.join(LEVELS)}"
    if wrong := next((name for name in _LISTS if not isinstance(rule.get(name) or [], list)), ""):
        return f"{wrong}: a list is expected"
    if odd := [stage for stage in rule.get("omitStages") or () if stage not in STAGES]:
        return f"omitStages: {odd[0]!r} is none of {', '.join(STAGES)}"
    if rule.get("nonResourceURLs") and (rule.get("resources") or rule.get("namespaces")):
        return "rules cannot apply to both regular resources and non-resource URLs"
    for url in rule.get("nonResourceURLs") or ():
        if url != "*" and (not str(url).startswith("/") or "*" in str(url)[:-1]):
            return f"nonResourceURLs: {url!r} must begin with '/' and may have '*' as its last character only"
    for chosen in rule.get("resources") or ():
        if not isinstance(chosen, dict):
            return "resources: entries with group and resources are expected"
        if chosen.get("resourceNames") and not chosen.get("resources"):
            return "using resourceNames requires at least one resource"
    return ""
