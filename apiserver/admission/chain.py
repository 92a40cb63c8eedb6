"""The admission chain: an ordered table of plugins, run over one write before it is stored.

Who calls it: `apiserver/registry.py`: `admit` (may change the object) after defaulting, `validate` (may only refuse) after
the strategy's validation. Invariant: plugins run in the table's order, mutating ones all before validating ones; a refusal
is an APIError and nothing has been written (but a quota's charge, which is the last of all).
Stop of the data path: 3 (admission).
Upstream: pkg/kubeapiserver/options/plugins.go (the order) and staging/src/k8s.io/apiserver/pkg/admission.
"""

from functools import cache

from apiserver.admission import (
    certificate_subject,
    default_class,
    device_admin_access,
    device_status,
    lifecycle,
    limit_ranger,
    mutating_policy,
    mutating_webhook,
    node_restriction,
    node_taints,
    pod_security,
    priority,
    quota,
    runtime_class,
    service_account,
    storage,
    tolerations,
    validating_policy,
    validating_webhook,
)
from apiserver.admission.attributes import CONNECT, CREATE, DELETE, UPDATE, Attributes, Plugin
from minikube_py.api.types import Obj

__all__ = ["CONNECT", "CREATE", "DELETE", "UPDATE", "Attributes", "Plugin", "admit", "deleted", "finish", "validate"]

_ALL = frozenset({CREATE, UPDATE, DELETE, CONNECT})
_WRITES = frozenset({CREATE, UPDATE})

PLUGINS: tuple[Plugin, ...] = (
    Plugin("NamespaceLifecycle", _ALL, admit=lifecycle.admit, check=lifecycle.check),
    Plugin("LimitRanger", _WRITES, admit=limit_ranger.admit, check=limit_ranger.check),
    Plugin("ServiceAccount", frozenset({CREATE}), admit=service_account.admit),
    Plugin("NodeRestriction", _ALL, check=node_restriction.check),
    Plugin("TaintNodesByCondition", frozenset({CREATE}), admit=node_taints.admit),
    Plugin("PodSecurity", _WRITES, check=pod_security.check),
    Plugin("Priority", _WRITES, admit=priority.admit, check=priority.check),
    Plugin("DefaultTolerationSeconds", _WRITES, admit=tolerations.admit),
    Plugin("DefaultStorageClass", frozenset({CREATE}), admit=default_class.storage),
    Plugin("StorageObjectInUseProtection", frozenset({CREATE}), admit=storage.protect),
    Plugin("PersistentVolumeClaimResize", frozenset({UPDATE}), check=storage.resize),
    Plugin("RuntimeClass", frozenset({CREATE}), admit=runtime_class.admit),
    Plugin("CertificateSubjectRestriction", frozenset({CREATE}), check=certificate_subject.check),
    Plugin("DeviceAdminAccess", _WRITES, check=device_admin_access.check),
    Plugin("DeviceStatus", frozenset({UPDATE}), check=device_status.check),
    Plugin("DefaultIngressClass", frozenset({CREATE}), admit=default_class.ingress),
    Plugin("MutatingAdmissionPolicy", _WRITES, admit=mutating_policy.admit),
    Plugin("MutatingAdmissionWebhook", _ALL, admit=mutating_webhook.admit),
    Plugin("ValidatingAdmissionPolicy", _ALL, check=validating_policy.check),
    Plugin("ValidatingAdmissionWebhook", _ALL, check=validating_webhook.check),
    Plugin("ResourceQuota", _WRITES, check=quota.check),
)


@cache
def _enabled(disabled: str) -> tuple[Plugin, ...]:
    """The chain without the plugins of `--disable-admission-plugins` ("A,B")."""
    off = {name.strip() for name in disabled.split(",")}
    return tuple(plugin for plugin in PLUGINS if plugin.name not in off)


def plugins(attributes: Attributes) -> tuple[Plugin, ...]:
    """The chain that applies to this server, in order."""
    return _enabled(getattr(attributes.ctx.options, "disable_admission_plugins", "") or "")


def admit(attributes: Attributes) -> None:
    """Let every mutating plugin change `attributes.obj`; all again when a webhook or policy did. Raises the first refusal."""
    _admit(attributes)
    if attributes.reinvocation.wanted:
        attributes.reinvocation.again = True
        _admit(attributes)


def _admit(attributes: Attributes) -> None:
    for plugin in plugins(attributes):
        if plugin.admit is not None and attributes.verb in plugin.verbs:
            plugin.admit(attributes)


def validate(attributes: Attributes) -> None:
    """Ask every validating plugin. Raises the first refusal."""
    for plugin in plugins(attributes):
        if plugin.check is not None and attributes.verb in plugin.verbs:
            plugin.check(attributes)


def finish(attributes: Attributes, stored: bool) -> None:
    """Tell the plugins that reserved something for this write how it ended."""
    for hook in attributes.finish:
        hook(stored)


def deleted(attributes: Attributes, last: Obj) -> None:
    """The object is gone; `last` is what it was."""
    quota.released(attributes, last)
