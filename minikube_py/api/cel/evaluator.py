"""Evaluates a parsed expression: the package's evaluator, with what Kubernetes' environment has besides.

Who calls it: `program.py`. Invariant: every step is paid for from a budget, so that no expression runs for ever; a value that
has fields or methods of its own (`cel_field`, `cel_methods`) is asked for them before the library is.
Added: optional access and entries, typed object literals, `cel.bind`, `optMap`, comprehensions with two variables.
Upstream: github.com/google/cel-go/{interpreter,ext/comprehensions.go,ext/bindings.go,cel/optional.go}.
"""

from collections.abc import Callable, Iterable
from typing import Any

from celpy import celtypes
from celpy.evaluation import Activation, CELEvalError, Evaluator
from lark import Token, Tree

from minikube_py.api.cel.library import typed
from minikube_py.api.cel.objects import ObjectValue, TypeName
from minikube_py.api.cel.optional import Optional, optional_field

_PAID = frozenset(("primary", "member_dot", "member_dot_arg", "member_index", "member_object", "listinit", "mapinit"))
_UNITS_PER_STEP = 10
_BYTES_PER_UNIT = 10


class Budget:
    """What may still be spent. Upstream counts about one unit per step, and one per ten characters handled.

    A step costs more here, because it takes so much longer: what may be spent on one expression is some seconds.
    """

    def __init__(self, units: int) -> None:
        self.left = units

    def spend(self, units: int) -> None:
        """Raises OutOfBudget."""
        self.left -= units
        if self.left < 0:
            raise OutOfBudget


class OutOfBudget(Exception):
    """The expression costs too much."""


class KubernetesEvaluator(Evaluator):
    def __init__(self, ast: Tree[Any], activation: Activation, budget: Budget) -> None:
        super().__init__(ast, activation)
        self._budget = budget

    def sub_evaluator(self, ast: Tree[Any]) -> "KubernetesEvaluator":
        return KubernetesEvaluator(ast, self.activation, self._budget)

    def _visit_tree(self, tree: Tree[Any]) -> Any:
        if tree.data in _PAID:
            self._budget.spend(_UNITS_PER_STEP)
        return super()._visit_tree(tree)

    # ---- fields ------------------------------------------------------------------------------------------------------

    def member_dot(self, tree: Tree[Any]) -> Any:
        target, name = self.visit(tree.children[0]), str(tree.children[1])
        if isinstance(target, CELEvalError):
            return target
        if isinstance(target, Optional):
            return optional_field(target, name)
        try:
            if hasattr(target, "cel_field"):
                return target.cel_field(name)
            if isinstance(target, celtypes.MapType):
                return target[celtypes.StringType(name)]
        except KeyError:
            return CELEvalError(f"no such key: {name}", KeyError, (name,), tree=tree)
        except ValueError as error:
            return CELEvalError(str(error), ValueError, error.args, tree=tree)
        return CELEvalError("no such overload", TypeError, None, tree=tree)

    def member_opt_dot(self, tree: Tree[Any]) -> Any:
        target = self.visit(tree.children[0])
        return target if isinstance(target, CELEvalError) else optional_field(target, str(tree.children[1]))

    def member_opt_index(self, tree: Tree[Any]) -> Any:
        target, key = (self.visit(child) for child in tree.children)
        failed = next((one for one in (target, key) if isinstance(one, CELEvalError)), None)
        return failed if failed is not None else optional_field(target, key)

    def member_index(self, tree: Tree[Any]) -> Any:
        target = self.visit(tree.children[0])
        if isinstance(target, Optional):
            return optional_field(target, self.visit(tree.children[1]))
        return super().member_index(tree)

    def macro_has_eval(self, exprlist: Tree[Any]) -> Any:
        """Whether a field is there; what is asked for it must be."""
        holder = _selection(exprlist)
        if holder is None:
            return CELEvalError("invalid argument to has() macro", TypeError, None, tree=exprlist)
        target, name = self.visit(holder.children[0]), str(holder.children[1])
        if isinstance(target, CELEvalError):
            return target
        if isinstance(target, Optional):
            return celtypes.BoolType(optional_field(target, name).present)
        if hasattr(target, "cel_has"):
            return celtypes.BoolType(target.cel_has(name))
        if not isinstance(target, celtypes.MapType):
            return CELEvalError("no such overload", TypeError, None, tree=exprlist)
        return celtypes.BoolType(celtypes.StringType(name) in target)

    # ---- literals ----------------------------------------------------------------------------------------------------

    def member_object(self, tree: Tree[Any]) -> Any:
        """`Object.spec{replicas: 1}`."""
        kind = self.visit(tree.children[0])
        if isinstance(kind, CELEvalError):
            return kind
        if not isinstance(kind, TypeName):
            return CELEvalError("no such type", TypeError, None, tree=tree)
        pairs: list[tuple[str, Any]] = []
        for init in tree.children[1].children if len(tree.children) > 1 else ():
            name, value = str(init.children[0]), self.visit(init.children[1])
            if isinstance(value, CELEvalError):
                return value
            if init.data == "opt_fieldinit":
                if not value.present:
                    continue
                value = value.value
            pairs.append((name, value))
        try:
            return ObjectValue(kind.name, dict(pairs))
        except ValueError as error:
            return CELEvalError(str(error), ValueError, error.args, tree=tree)

    def primary(self, tree: Tree[Any]) -> Any:
        child = tree.children[0]
        if child.data == "list_lit":
            return self._entries(child, lambda values: celtypes.ListType([value for (value,) in values]))
        if child.data == "map_lit":
            inits = child.children[0] if child.children else child
            return self._entries(inits, celtypes.MapType)
        return super().primary(tree)

    def _entries(self, tree: Tree[Any], make: Callable[[list[Any]], Any]) -> Any:
        """A list's or map's entries, without the optional ones that have no value."""
        made = []
        for entry in tree.children:
            values = [self.visit(part) for part in entry.children]
            failed = next((one for one in values if isinstance(one, CELEvalError)), None)
            if failed is not None:
                return failed
            if str(entry.data).startswith("opt_"):
                if not values[-1].present:
                    continue
                values[-1] = values[-1].value
            made.append(tuple(values))
        try:
            return make(made)
        except (TypeError, ValueError) as error:
            return CELEvalError(str(error), type(error), error.args, tree=tree)

    def relation(self, tree: Tree[Any]) -> Any:
        """Values of different types are unequal, as cel-go has it at run time, where the package has no overload."""
        value = super().relation(tree)
        if isinstance(value, CELEvalError) and len(tree.children) == 2:
            operator = tree.children[0].data
            if operator in ("relation_eq", "relation_ne") and not str(value.args[0]).startswith("no such key"):
                sides = self.visit(tree.children[0].children[0]), self.visit(tree.children[1])
                if not any(isinstance(side, CELEvalError) for side in sides):
                    return celtypes.BoolType(operator == "relation_ne")
        return value

    # ---- functions and macros ----------------------------------------------------------------------------------------

    def member_dot_arg(self, tree: Tree[Any]) -> Any:
        name = str(tree.children[1])
        arguments = tree.children[2].children if len(tree.children) > 2 else []
        macro = _MACROS.get((name, len(arguments)))
        if macro is None:
            return super().member_dot_arg(tree)
        if name == "bind" and _identifier(tree.children[0]) != "cel":
            return CELEvalError("no such overload", TypeError, None, tree=tree)
        try:
            return macro(self, tree.children[0], arguments)
        except CELEvalError as error:
            return error

    def method_eval(self, object: Any, method_ident: Token, exprlist: Iterable[Any] | None = None) -> Any:
        arguments = list(exprlist or ())
        failed = next((one for one in (object, *arguments) if isinstance(one, CELEvalError)), None)
        if failed is not None:
            return failed
        self._pay_for((object, *arguments))
        methods = getattr(object, "cel_methods", None)
        if methods is None:
            return super().method_eval(object, method_ident, arguments)
        method = methods.get(str(method_ident))
        if method is None:
            return CELEvalError("no such overload", TypeError, None, token=method_ident)
        try:
            self._budget.spend(getattr(object, "cel_costs", {}).get(str(method_ident), 0))
            return typed(method(*arguments))
        except (TypeError, ValueError) as error:
            text = str(error) if isinstance(error, ValueError) else "no such overload"
            return CELEvalError(text, type(error), error.args, token=method_ident)

    def function_eval(self, name_token: Token, exprlist: Iterable[Any] | None = None) -> Any:
        arguments = list(exprlist or ()) if not isinstance(exprlist, CELEvalError) else [exprlist]
        self._pay_for(arguments)
        return super().function_eval(name_token, arguments)

    def _pay_for(self, values: Iterable[Any]) -> None:
        sizes = (len(value) for value in values if isinstance(value, (str, bytes, list, dict)))
        self._budget.spend(sum(sizes) // _BYTES_PER_UNIT)

    def bound(self, body: Tree[Any], names: Iterable[Tree[Any]], *values: Any) -> Any:
        """The value of `body` while these names mean these values. Raises CELEvalError."""
        variables = dict(zip((_identifier(name) for name in names), values, strict=True))
        value = self.sub_evaluator(body).evaluate(variables)
        if isinstance(value, CELEvalError):
            raise value
        return value

    def of(self, tree: Tree[Any]) -> Any:
        """The value of a part. Raises CELEvalError."""
        value = self.visit(tree)
        if isinstance(value, CELEvalError):
            raise value
        return value


def _selection(tree: Tree[Any]) -> Tree[Any] | None:
    """The `a.b` inside the wrappings of the grammar."""
    while len(tree.children) == 1 and isinstance(tree.children[0], Tree):
        tree = tree.children[0]
        if tree.data == "member_dot":
            return tree
    return None


def _identifier(tree: Tree[Any]) -> str:
    """The name, where an expression is nothing but a name; else ""."""
    while len(tree.children) == 1 and isinstance(tree.children[0], Tree):
        tree = tree.children[0]
    return str(tree.children[0]) if tree.data == "ident" else ""


# ---- macros: (evaluator, what stands before the dot, arguments) ----------------------------------------------------------

Macro = Callable[[KubernetesEvaluator, Any, list[Any]], Any]


def _bind(evaluator: KubernetesEvaluator, _: Any, arguments: list[Any]) -> Any:
    name, value, body = arguments
    return evaluator.bound(body, [name], evaluator.of(value))


def _opt_map(evaluator: KubernetesEvaluator, target: Any, arguments: list[Any]) -> Any:
    found, (name, body) = evaluator.of(target), arguments
    return Optional(True, evaluator.bound(body, [name], found.value)) if found.present else found


def _opt_flat_map(evaluator: KubernetesEvaluator, target: Any, arguments: list[Any]) -> Any:
    found, (name, body) = evaluator.of(target), arguments
    return evaluator.bound(body, [name], found.value) if found.present else found


def _filter_map(evaluator: KubernetesEvaluator, target: Any, arguments: list[Any]) -> Any:
    name, condition, body = arguments
    items = [one for one in evaluator.of(target) if evaluator.bound(condition, [name], one)]
    return celtypes.ListType([evaluator.bound(body, [name], one) for one in items])


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    """(key, value) of a map, (index, value) of a list."""
    if isinstance(value, dict):
        return list(value.items())
    return [(celtypes.IntType(at), one) for at, one in enumerate(value)]


def _exists_two(evaluator: KubernetesEvaluator, target: Any, arguments: list[Any]) -> Any:
    *names, body = arguments
    return celtypes.BoolType(any(evaluator.bound(body, names, *pair) for pair in _pairs(evaluator.of(target))))


def _all_two(evaluator: KubernetesEvaluator, target: Any, arguments: list[Any]) -> Any:
    *names, body = arguments
    return celtypes.BoolType(all(evaluator.bound(body, names, *pair) for pair in _pairs(evaluator.of(target))))


def _exists_one_two(evaluator: KubernetesEvaluator, target: Any, arguments: list[Any]) -> Any:
    *names, body = arguments
    return celtypes.BoolType(sum(bool(evaluator.bound(body, names, *one)) for one in _pairs(evaluator.of(target))) == 1)


def _transformed(evaluator: KubernetesEvaluator, target: Any, arguments: list[Any]) -> list[tuple[Any, Any]]:
    """(key, new value) of what the condition, if there is one, lets through."""
    names, conditions, body = arguments[:2], arguments[2:-1], arguments[-1]
    pairs = [
        pair for pair in _pairs(evaluator.of(target)) if all(evaluator.bound(one, names, *pair) for one in conditions)
    ]
    return [(pair[0], evaluator.bound(body, names, *pair)) for pair in pairs]


def _transform_list(evaluator: KubernetesEvaluator, target: Any, arguments: list[Any]) -> Any:
    return celtypes.ListType([value for _, value in _transformed(evaluator, target, arguments)])


def _transform_map(evaluator: KubernetesEvaluator, target: Any, arguments: list[Any]) -> Any:
    return celtypes.MapType(_transformed(evaluator, target, arguments))


def _transform_entries(evaluator: KubernetesEvaluator, target: Any, arguments: list[Any]) -> Any:
    return celtypes.MapType([pair for _, made in _transformed(evaluator, target, arguments) for pair in made.items()])


_MACROS: dict[tuple[str, int], Macro] = {
    ("bind", 3): _bind, ("optMap", 2): _opt_map, ("optFlatMap", 2): _opt_flat_map, ("map", 3): _filter_map,
    ("exists", 3): _exists_two, ("all", 3): _all_two, ("exists_one", 3): _exists_one_two, ("existsOne", 3): _exists_one_two,
    ("transformList", 3): _transform_list, ("transformList", 4): _transform_list, ("transformMap", 3): _transform_map,
    ("transformMap", 4): _transform_map, ("transformMapEntry", 3): _transform_entries,
    ("transformMapEntry", 4): _transform_entries,
}  # fmt: skip
MACROS = frozenset(name for name, _ in _MACROS) | {"map", "filter", "all", "exists", "exists_one"}
