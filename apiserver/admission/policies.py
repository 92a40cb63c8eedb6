"""Policies and their bindings: which apply to a write, with which parameters, and what their expressions see.

Who calls it: the two kinds of policies, `validating_policy.py` and `mutating_policy.py`. Invariant: a policy without bindings
does nothing; a policy or binding that is set up wrongly counts as its failure policy says. Expressions of one policy, one
binding and one parameter share a budget.
Upstream: staging/src/k8s.io/apiserver/pkg/admission/plugin/{policy/generic,cel/composition.go}.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from apiserver.admission import conditions, dynamic
from apiserver.admission.attributes import Attributes
from apiserver.admission.forms import Forms
from apiserver.admission.matching import Criteria, criteria, is_exempt, matched
from apiserver.resources import convert, table
from apiserver.resources.row import Row
from minikube_py.api import selectors
from minikube_py.api.cel import objects, program
from minikube_py.api.cel.program import Budget
from minikube_py.api.cel.values import to_cel
from minikube_py.api.errors import APIError
from minikube_py.api.types import Obj

BUDGET = 10_000_000
_REVIEWS = frozenset(("authentication.k8s.io", "authorization.k8s.io"))


class Binding(NamedTuple):
    name: str
    spec: Obj
    criteria: Criteria | None


class Policy(NamedTuple):
    name: str
    spec: Obj
    criteria: Criteria
    bindings: tuple[Binding, ...]

    @property
    def fails_open(self) -> bool:
        return bool(self.spec.get("failurePolicy") == "Ignore")


class Misconfigured(Exception):
    """The policy or its binding cannot be applied; `str()` says why."""


class Invocation(NamedTuple):
    """A policy to be applied. `param` is None where there is none; `error` says that it cannot be."""

    policy: Policy
    row: Row
    binding: Binding | None
    param: Obj | None = None
    error: str = ""


def compiled(policies: list[Obj], bindings: list[Obj]) -> tuple[Policy, ...]:
    """All policies that are bound, in the order of their names."""
    bound: dict[str, list[Binding]] = {}
    for one in bindings:
        spec = one.get("spec") or {}
        resources = spec.get("matchResources")
        wanted = criteria(resources, "resourceRules", "excludeResourceRules") if resources else None
        bound.setdefault(spec.get("policyName") or "", []).append(Binding(one["metadata"]["name"], spec, wanted))
    made = []
    for policy in policies:
        name, spec = policy["metadata"]["name"], policy.get("spec") or {}
        wanted = criteria(spec.get("matchConstraints") or {}, "resourceRules", "excludeResourceRules")
        if name in bound:
            made.append(Policy(name, spec, wanted, tuple(bound[name])))
    return tuple(made)


def invocations(policies: tuple[Policy, ...], attributes: Attributes) -> Iterator[Invocation]:
    """What is to be applied to this write, in order."""
    if is_exempt(attributes) or attributes.row.group in _REVIEWS:
        return
    for policy in policies:
        try:
            row = matched(policy.criteria, attributes)
        except APIError as error:
            yield Invocation(policy, attributes.served, None, error=f"failed to configure policy: {error.message}")
            continue
        if row is not None:
            yield from _bound(policy, row, attributes)


def _bound(policy: Policy, row: Row, attributes: Attributes) -> Iterator[Invocation]:
    try:
        kind = _param_row(policy)
    except Misconfigured as error:
        yield Invocation(policy, row, None, error=f"failed to configure policy: {error}")
        return
    for binding in policy.bindings:
        try:
            if binding.criteria is None or matched(binding.criteria, attributes) is not None:
                for param in _params(kind, binding.spec.get("paramRef"), attributes):
                    yield Invocation(policy, row, binding, param)
        except (APIError, Misconfigured) as error:
            why = error.message if isinstance(error, APIError) else error
            yield Invocation(policy, row, binding, error=f"failed to configure binding: {why}")


# ---- parameters ------------------------------------------------------------------------------------------------------


def _param_row(policy: Policy) -> Row | None:
    wanted = policy.spec.get("paramKind")
    if not wanted:
        return None
    group, _, version = str(wanted.get("apiVersion") or "").rpartition("/")
    row = table.by_kind(group, version, wanted.get("kind") or "")
    if row is None:
        kind = f"{wanted.get('apiVersion')}, Kind={wanted.get('kind')}"
        raise Misconfigured(f"failed to find resource referenced by paramKind: '{kind}'")
    return row


def _params(row: Row | None, ref: Obj | None, attributes: Attributes) -> list[Obj | None]:
    """The parameters of a binding; [None] when it has none to look for, [] when those it names need not be there."""
    if row is None or ref is None:
        return [None]
    namespace = ref.get("namespace") or ""
    if row.namespaced:
        namespace = namespace or attributes.within
        if not namespace:
            raise Misconfigured(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
            )
    elif namespace:
        raise Misconfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    server = dynamic.of(attributes)
    assert server is not None
    if ref.get("name"):
        stored = server.store.get(row.key(namespace, ref["name"]), fresh=False)
        found = [stored] if stored is not None else []
    else:
        selector = selectors.from_label_selector(ref.get("selector") or {})
        found = [
            one for one in server.store.list(row.prefix(namespace), fresh=False).items if selector.matches(one.labels)
        ]
    if not found and ref.get("parameterNotFoundAction") == "Deny":
        raise Misconfigured("no params found for policy binding with `Deny` parameterNotFoundAction")
    return [convert.to_served(row, one.obj()) for one in found]


# ---- what expressions see --------------------------------------------------------------------------------------------


class Composed:
    """The variable `variables`: each of a policy's own is evaluated when it is first asked for."""

    def __init__(self, specs: list[Obj], seen: conditions.Variables, budget: Budget) -> None:
        self._texts = {one["name"]: one["expression"] for one in specs}
        self._seen, self._budget = seen, budget
        self._values: dict[str, Any] = {}

    def cel_has(self, name: str) -> bool:
        return name in self._texts

    def cel_field(self, name: str) -> Any:
        """Raises KeyError for a variable that there is not, ValueError for one that has no value."""
        if name not in self._values:
            self._values[name] = self._evaluated(name, self._texts[name])
        value = self._values[name]
        if isinstance(value, ValueError):
            raise value
        return value

    def _evaluated(self, name: str, text: str) -> Any:
        try:
            made = program.compile(text)
            return made.evaluate(self._seen.named_by(made), self._budget)
        except program.Overspent:
            raise
        except program.CompileError as error:
            return ValueError(f'composited variable "{name}" fails to compile: {error}')
        except program.EvaluationError as error:
            return ValueError(f'composited variable "{name}" fails to evaluate: {error}')


class Judge:
    """The expressions of one invocation, over the write as it is now. All its methods raise EvaluationError or CompileError."""

    def __init__(self, invocation: Invocation, attributes: Attributes, forms: Forms) -> None:
        self._invocation, self._attributes, self._forms = invocation, attributes, forms
        self._budget = Budget(BUDGET)
        self.renew()

    def renew(self) -> None:
        """The object is another now."""
        self._seen = conditions.Variables(
            self._attributes, self._forms, self._invocation.row,
            {
                "params": lambda: to_cel(self._invocation.param),
                "namespaceObject": lambda: to_cel(namespace_of(self._attributes)),
                "variables": lambda: composed,
                **{name: partial(objects.TypeName, name) for name in objects.NAMES},
            },
        )  # fmt: skip
        composed = Composed(self._invocation.policy.spec.get("variables") or [], self._seen, self._budget)

    def applies(self) -> bool:
        """Whether the policy's matchConditions hold."""
        wanted = self._invocation.policy.spec.get("matchConditions")
        return not wanted or conditions.hold(wanted, self._seen, fails_open=self._invocation.policy.fails_open)

    def value(self, text: str) -> Any:
        """The CEL value of an expression of the policy."""
        made = program.compile(text)
        return made.evaluate(self._seen.named_by(made), self._budget)


def namespace_of(attributes: Attributes) -> Obj | None:
    """The namespace that the object is in, without what is only the server's concern."""
    if not attributes.namespace:
        return None
    found = attributes.ctx.lookup("namespaces", "", attributes.namespace)
    if found is None:
        return None
    meta = {key: value for key, value in found["metadata"].items() if key != "managedFields"}
    return {**found, "metadata": meta}
