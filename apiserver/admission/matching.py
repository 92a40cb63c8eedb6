"""Which writes a webhook or policy is about: rules, scope, versions that mean the same, selectors, names.

Who calls it: the dispatchers of webhooks and policies. Invariant: pure but for looking up the write's namespace; what does
not apply raises nothing, whatever is wrong with it.
Upstream: staging/src/k8s.io/apiserver/pkg/admission/plugin/{webhook/predicates,policy/matching}.
"""

from collections.abc import Iterable
from typing import NamedTuple

from apiserver.admission.attributes import CREATE, UPDATE, Attributes
from apiserver.admission.forms import versions
from apiserver.resources.row import Row
from minikube_py.api import errors, selectors
from minikube_py.api.selectors import Selector
from minikube_py.api.types import Obj

_GROUP = "admissionregistration.k8s.io"


class Criteria(NamedTuple):
    """What a webhook, a policy or a binding says about the writes it is for, read once. No `rules` means all writes."""

    rules: tuple[Obj, ...] | None
    excluded: tuple[Obj, ...]
    equivalent: bool
    namespaces: Selector
    objects: Selector


def criteria(resources: Obj, rules: str, excluded: str = "") -> Criteria:
    """In: the object that holds the selectors, and under which names its rules stand."""
    return Criteria(
        tuple(resources.get(rules) or ()) or (None if excluded else ()),
        tuple(resources.get(excluded) or ()),
        resources.get("matchPolicy", "Equivalent") == "Equivalent",
        selectors.from_label_selector(resources.get("namespaceSelector") or {}),
        selectors.from_label_selector(resources.get("objectSelector") or {}),
    )


def is_exempt(attributes: Attributes) -> bool:
    """Webhooks and policies have no say about what configures them: nobody could take a wrong one away."""
    return attributes.row.group == _GROUP


def matched(wanted: Criteria, attributes: Attributes) -> Row | None:
    """In which version the write is meant; None when it is not. Raises NotFound for a namespace that is missing."""
    if not _object_selected(wanted.objects, attributes):
        return None
    if _by_rules(wanted.excluded, wanted.equivalent, attributes):
        return None
    found = attributes.served if wanted.rules is None else _by_rules(wanted.rules, wanted.equivalent, attributes)
    return found if found is not None and _namespace_selected(wanted.namespaces, attributes) else None


def _by_rules(rules: Iterable[Obj], equivalent: bool, attributes: Attributes) -> Row | None:
    """The request's own row when a rule names it, else the first other version of it that one names."""
    row = attributes.served
    if any(_applies(rule, row, attributes) for rule in rules):
        return row
    if not equivalent:
        return None
    others = [other for other in versions(row) if other is not row and _speaks(other, attributes.subresource)]
    return next((other for rule in rules for other in others if _applies(rule, other, attributes)), None)


def _speaks(row: Row, subresource: str) -> bool:
    return not subresource or row.subresource(subresource) is not None


def _applies(rule: Obj, row: Row, attributes: Attributes) -> bool:
    names = rule.get("resourceNames")
    return (
        _in(rule.get("operations"), attributes.verb)
        and _in(rule.get("apiGroups"), row.group)
        and _in(rule.get("apiVersions"), row.version)
        and any(_resource(one, row.plural, attributes.subresource) for one in rule.get("resources") or ())
        and _scope(rule.get("scope") or "*", attributes)
        and (not names or attributes.shown_name in names)
    )


def _in(wanted: list[str] | None, value: str) -> bool:
    return bool(wanted) and ("*" in wanted or value in wanted)  # type: ignore[operator]


def _resource(wanted: str, plural: str, subresource: str) -> bool:
    name, _, sub = wanted.partition("/")
    return name in ("*", plural) and sub in ("*", subresource)


def _scope(wanted: str, attributes: Attributes) -> bool:
    return wanted == "*" or (wanted == "Namespaced") == bool(attributes.namespace)


def _object_selected(selector: Selector, attributes: Attributes) -> bool:
    """One of the two, before and after, has the labels. What has no metadata is selected by no selector but the empty."""
    if selector.everything:
        return True
    found = [one["metadata"] for one in (attributes.obj, attributes.old) if one and "metadata" in one]
    return any(selector.matches(meta.get("labels") or {}) for meta in found)


def _namespace_selected(selector: Selector, attributes: Attributes) -> bool:
    """Objects outside of namespaces are always selected, but Namespaces, which count as in themselves."""
    if selector.everything or not attributes.within:
        return True
    is_namespace = attributes.resource == "namespaces"
    if is_namespace and not attributes.subresource and attributes.verb in (CREATE, UPDATE):
        meta = (attributes.obj or {}).get("metadata") or {}
        return selector.matches(meta.get("labels") or {})
    namespace = attributes.ctx.lookup("namespaces", "", attributes.within)
    if namespace is None:
        raise errors.not_found("namespaces", attributes.within)
    return selector.matches(namespace["metadata"].get("labels") or {})
