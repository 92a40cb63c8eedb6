"""PodSecurity: a namespace's labels say how much its pods may do to the host: privileged, baseline, restricted.

Who calls it: `chain.py`, for pods (creation, and updates that matter), for what makes pods (warnings and the audit log only),
and for namespaces (labels must make sense; a stricter level names the pods that miss it). Invariant: `enforce` refuses,
`warn` tells the client, `audit` the log; everything a pod breaks is named at once. Defaults and exemptions come from the
PodSecurity configuration of `--admission-control-config-file`.
Upstream: staging/src/k8s.io/pod-security-admission/{admission,api}, plugin/pkg/admission/security/podsecurity.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from apiserver.admission import configuration
from apiserver.admission.attributes import CREATE, UPDATE, Attributes
from apiserver.admission.pod_security_checks import LATEST, Broken, broken
from apiserver.strategies.checks import invalid
from minikube_py.api import errors
from minikube_py.api.errors import Cause
from minikube_py.api.meta import controller_of, name_of
from minikube_py.api.types import Obj

PREFIX = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
MODES = ("enforce", "audit", "warn")
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)")
_MOST_PODS = 3000
_TEMPLATES: dict[str, tuple[str, ...]] = {
    "podtemplates": ("template",),
    "cronjobs.batch": ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(
        ("replicationcontrollers", "replicasets.apps", "deployments.apps", "statefulsets.apps", "daemonsets.apps",
         "jobs.batch"), ("spec", "template"),
    ),
}  # fmt: skip
"""Where what makes pods keeps its pod."""


class Level(NamedTuple):
    """A level, and the minor version of the policy it is meant in."""

    name: str = "privileged"
    version: int = LATEST

    def __str__(self) -> str:
        return f"{self.name}:{'latest' if self.version == LATEST else f'v1.{self.version}'}"

    def breaks(self, metadata: Obj, spec: Obj) -> list[Broken]:
        return [] if self.name == "privileged" else broken(self.name, self.version, metadata, spec)


Policy = dict[str, Level]
"""The level of each mode."""


def check(attributes: Attributes) -> None:
    """Raises Forbidden for a pod that misses its namespace's level, Invalid for a namespace whose labels make no sense."""
    if attributes.resource == "pods":
        _pod(attributes)
    elif attributes.resource == "namespaces" and not attributes.subresource:
        _namespace(attributes)
    elif (at := _TEMPLATES.get(attributes.resource)) and not attributes.subresource:
        template = attributes.obj or {}
        for key in at:
            template = template.get(key) or {}
        if template:
            _evaluate(attributes, template, enforced=False)


def _pod(attributes: Attributes) -> None:
    if attributes.obj is None or attributes.subresource not in ("", "ephemeralcontainers", "resize"):
        return
    if attributes.verb == UPDATE and not _matters(attributes.obj, attributes.old or {}):
        return
    _evaluate(attributes, attributes.obj, enforced=True)


def _matters(new: Obj, old: Obj) -> bool:
    """Of a pod only images and ephemeral containers may change in a way that says more about what it does."""
    kinds = ("initContainers", "containers", "ephemeralContainers")
    images = [
        [{c.get("name"): c.get("image") for c in (pod.get("spec") or {}).get(kind) or ()} for kind in kinds]
        for pod in (new, old)
    ]
    return images[0] != images[1]


def _evaluate(attributes: Attributes, pod: Obj, *, enforced: bool) -> None:
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    if why := _exempt(attributes, spec):
        attributes.annotations[f"{PREFIX}exempt"] = why
        return
    namespace = attributes.ctx.lookup("namespaces", "", attributes.namespace) or {}
    policy, _ = policy_of(attributes, _labels(namespace))
    if enforced:
        attributes.annotations[f"{PREFIX}enforce-policy"] = str(policy["enforce"])
    results = {level: level.breaks(metadata, spec) for level in policy.values()}

    told = {mode: f'PodSecurity "{level}": {", ".join(map(str, results[level]))}' for mode, level in policy.items()}
    missed = {mode for mode, level in policy.items() if results[level]}
    if "audit" in missed:
        attributes.annotations[f"{PREFIX}audit-violations"] = f"would violate {told['audit']}"
    if enforced and "enforce" in missed:
        raise attributes.forbidden(f"violates {told['enforce']}")
    if "warn" in missed:
        attributes.warnings.append(f"would violate {told['warn']}")


def _exempt(attributes: Attributes, spec: Obj) -> str:
    exemptions = _configured(attributes).get("exemptions") or {}
    if attributes.namespace in (exemptions.get("namespaces") or ()):
        return "namespace"
    if attributes.user.name in (exemptions.get("usernames") or ()):
        return "user"
    return "runtimeClass" if spec.get("runtimeClassName") in (exemptions.get("runtimeClasses") or ()) else ""


def _configured(attributes: Attributes) -> Obj:
    return configuration.of(attributes.ctx.options, "PodSecurity")


def _labels(namespace: Obj) -> dict[str, str]:
    found: dict[str, str] = (namespace.get("metadata") or {}).get("labels") or {}
    return found


def policy_of(attributes: Attributes, labels: dict[str, str]) -> tuple[Policy, list[Cause]]:
    """What a namespace's labels ask for, and what is wrong with them: then `enforce` is as strict as can be."""
    defaults = _configured(attributes).get("defaults") or {}
    policy: Policy = {}
    causes: list[Cause] = []
    for mode in MODES:
        name = labels.get(f"{PREFIX}{mode}")
        level = defaults.get(mode) or "privileged" if name is None else name
        if level not in LEVELS:
            why = f"must be one of {', '.join(LEVELS)}"
            causes.append(invalid(f"metadata.labels[{PREFIX}{mode}]", level, why))
            level = "restricted" if mode == "enforce" else "privileged"
        text = labels.get(f"{PREFIX}{mode}-version")
        version = _version(defaults.get(f"{mode}-version") or "latest" if text is None else text)
        if version is None:
            where = f"metadata.labels[{PREFIX}{mode}-version]"
            causes.append(invalid(where, text, 'must be "latest" or "v1.x"'))
        policy[mode] = Level(level, LATEST if version is None else version)
    stricter = LEVELS.index(policy["enforce"].name) > LEVELS.index(policy["warn"].name)
    if f"{PREFIX}warn" not in labels and labels.get(f"{PREFIX}enforce") in LEVELS and stricter:
        # whoever is refused pods wants to hear of it when making what makes them
        version = policy["warn" if f"{PREFIX}warn-version" in labels else "enforce"].version
        policy["warn"] = Level(policy["enforce"].name, version)
    return policy, causes


def _version(text: str) -> int | None:
    found = _VERSION.fullmatch(text)
    return LATEST if text == "latest" else int(found[1]) if found else None


def _namespace(attributes: Attributes) -> None:
    if attributes.obj is None:
        return
    policy, causes = policy_of(attributes, _labels(attributes.obj))
    before, earlier = policy_of(attributes, _labels(attributes.old or {}))
    if causes and (attributes.verb == CREATE or causes != earlier):
        raise errors.invalid("Namespace", attributes.shown_name, causes)
    new, old = policy["enforce"], before["enforce"]
    relaxed = new.version == old.version and LEVELS.index(new.name) <= LEVELS.index(old.name)
    if attributes.verb == UPDATE and new != old and not relaxed and new.name != "privileged":
        attributes.warnings += _missing_it(attributes, new)


def _missing_it(attributes: Attributes, level: Level) -> Iterator[str]:
    """Warnings that name the pods which run already and miss the new level, one pod of each controller first."""
    pods = attributes.ctx.lister("pods", attributes.shown_name)
    seen: set[str] = set()
    first: list[Obj] = []
    more: list[Obj] = []
    for pod in pods:
        owner = (controller_of(pod) or {}).get("uid")
        (more if owner in seen else first).append(pod)
        seen.update([owner] if owner else [])
    chosen = (first + more)[:_MOST_PODS]
    if len(chosen) < len(pods):
        yield f"new PodSecurity enforce level only checked against the first {len(chosen)} of {len(pods)} existing pods"
    missed: dict[str, list[str]] = {}
    for pod in chosen:
        if found := level.breaks(pod["metadata"], pod.get("spec") or {}):
            missed.setdefault(", ".join(result.reason for result in found), []).append(name_of(pod))
    if missed:
        name = attributes.shown_name
        yield f'existing pods in namespace "{name}" violate the new PodSecurity enforce level "{level}"'
    yield from sorted(f"{_some(names)}: {reasons}" for reasons, names in missed.items())


def _some(names: list[str]) -> str:
    others = len(names) - 1
    return min(names) + (f" (and {others} other pod{'s' if others > 1 else ''})" if others else "")
