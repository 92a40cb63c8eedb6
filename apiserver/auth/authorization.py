"""Authorisation: may this user do that? A chain: masters, what anybody may, the node graph, RBAC; the first yes counts.

Who calls it: the pipeline for every request, impersonation, the access reviews. Invariant: nothing is allowed unless a link
of the chain says so; the anonymous user gets health and version alone.
Stop of the data path: 2 (authorise).
Upstream: staging/src/k8s.io/apiserver/pkg/authorization (union, path), endpoints/filters/authorization.go.
"""

from typing import NamedTuple

from apiserver.auth import node
from apiserver.auth.node_graph import NodeGraph
from apiserver.auth.rbac import RBAC, Asked
from apiserver.auth.user import MASTERS, UserInfo
from apiserver.request import RequestInfo
from minikube_py.api import errors

_OPEN = frozenset(("/healthz", "/livez", "/readyz", "/version", "/version/"))
_OPEN_PREFIXES = ("/healthz/", "/livez/", "/readyz/")


class Verdict(NamedTuple):
    allowed: bool
    reason: str


_MASTER = Verdict(True, "")


class Authorizer:
    """The chain over the live RBAC objects."""

    def __init__(self, rbac: RBAC, nodes: NodeGraph) -> None:
        self.rbac, self._nodes = rbac, nodes

    def decide(self, who: UserInfo, info: RequestInfo) -> Verdict:
        """Whether the request may pass, and why."""
        return _MASTER if MASTERS in who.groups else self.verdict(who, asked_by(info))

    def verdict(self, who: UserInfo, asked: Asked) -> Verdict:
        """Whether, and why."""
        if MASTERS in who.groups:
            return _MASTER
        if asked.path and asked.verb in ("get", "head") and _is_open(asked.path):
            return Verdict(True, "")
        is_nodes, why_not = node.allowed(self._nodes, who, asked)
        if is_nodes:
            return Verdict(True, "")
        why = self.rbac.allowed(who, asked)
        return Verdict(bool(why), why or why_not)


def asked_by(info: RequestInfo) -> Asked:
    """A request as the question that the chain answers."""
    if not info.is_resource:
        return Asked(info.verb, path=info.path)
    of = (info.verb, info.group, info.resource, info.subresource, info.namespace, info.name, "")
    return Asked(*of, info.fields, info.labels)


def _is_open(path: str) -> bool:
    return path in _OPEN or path.startswith(_OPEN_PREFIXES)


def forbidden(who: UserInfo, asked: Asked, why: str = "") -> errors.Forbidden:
    """403 for a request nobody allowed."""
    reason = f": {why}" if why else ""
    if asked.path:
        return errors.Forbidden(f'forbidden: User "{who.name}" cannot {asked.verb} path "{asked.path}"{reason}')
    resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    subject = errors.qualified(asked.resource, asked.group) + (f' "{asked.name}"' if asked.name else "")
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    message = f'{subject} is forbidden: User "{who.name}" cannot {asked.verb} resource "{resource}" in API group '
    message += f'"{asked.group}" {where}{reason}'
    details = {"name": asked.name, "group": asked.group, "kind": asked.resource}
    return errors.Forbidden(message, details={key: value for key, value in details.items() if value})
