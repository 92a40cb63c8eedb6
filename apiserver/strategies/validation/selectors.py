"""Label selectors and node selectors: operators, and whether values may, must or must not be there.

Who calls it: every validation of a kind that selects. Invariant: what passes here can be evaluated by `api/selectors`.
Upstream: apimachinery/pkg/apis/meta/v1/validation, pkg/apis/core/validation (ValidateNodeSelector).
"""

from apiserver.strategies.checks import each, forbidden, invalid, required, syntax
from apiserver.strategies.metadata import labels
from minikube_py.api import names
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj


def _requirement(item: Obj, path: str) -> list[Cause]:
    causes, operator, values = [], item.get("operator"), item.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            causes.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            causes.append(
                forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
            )
    else:
        causes.append(invalid(f"{path}.operator", operator or "", "not a valid selector operator"))
    causes += syntax(f"{path}.key", item.get("key") or "", names.qualified)
    for index, value in enumerate(values):
        causes += syntax(f"{path}.values[{index}]", value, names.label_value)
    return causes


def label_selector(path: str, selector: Obj | None) -> list[Cause]:
    """A LabelSelector: matchLabels and matchExpressions."""
    if not selector:
        return []
    causes = labels(f"{path}.matchLabels", selector.get("matchLabels"))
    return causes + each(f"{path}.matchExpressions", selector.get("matchExpressions"), _requirement)


def _node_expression(item: Obj, path: str) -> list[Cause]:
    operator, values = item.get("operator"), item.get("values") or []
    if operator in ("Gt", "Lt"):
        causes = syntax(f"{path}.key", item.get("key") or "", names.qualified)
        if len(values) != 1:
            why = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            causes.append(required(f"{path}.values", why))
        return causes
    return _requirement(item, path)


def _node_field(item: Obj, path: str) -> list[Cause]:
    causes, operator, values = [], item.get("operator"), item.get("values") or []
    if operator not in ("In", "NotIn"):
        causes.append(invalid(f"{path}.operator", operator or "", "not a valid selector operator"))
    elif len(values) != 1:
        why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        causes.append(required(f"{path}.values", why))
    if item.get("key") != "metadata.name":
        causes.append(invalid(f"{path}.key", item.get("key") or "", "not a valid field selector key"))
    for index, value in enumerate(values):
        causes += syntax(f"{path}.values[{index}]", value, names.subdomain)
    return causes


def node_term(term: Obj, path: str) -> list[Cause]:
    """One NodeSelectorTerm: labels by matchExpressions, the name by matchFields."""
    causes = each(f"{path}.matchExpressions", term.get("matchExpressions"), _node_expression)
    return causes + each(f"{path}.matchFields", term.get("matchFields"), _node_field)


def node_selector(path: str, selector: Obj) -> list[Cause]:
    """A NodeSelector: terms, of which one must match."""
    terms = selector.get("nodeSelectorTerms")
    if not terms:
        return [required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    return each(f"{path}.nodeSelectorTerms", terms, node_term)
