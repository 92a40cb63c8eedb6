"""An expression, compiled once and evaluated often.

Who calls it: validation rules of custom resources, admission webhooks and policies. Invariant: the package cel-python, which
only this directory knows, is imported when the first expression is compiled; a program may be used by several threads; an
evaluation ends, because it runs out of its budget at last.
Upstream: apiserver/pkg/cel/environment, apiserver/pkg/apis/cel/config.go, cel-go.
"""

import re
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_LOCK = threading.Lock()
PER_EXPRESSION = 1_000_000
OVERSPENT = "operation cancelled: actual cost limit exceeded"


class CompileError(ValueError):
    """The expression is none; `str()` is what follows "compilation failed: "."""


class EvaluationError(ValueError):
    """The expression has no value for these variables; `str()` says why."""


class Overspent(EvaluationError):
    """The expressions of one request have cost more together than they may."""


class Budget:
    """What the expressions of one request may cost together."""

    def __init__(self, units: int) -> None:
        self.left = units


class Program:
    """`tree` is the parsed expression, `names` the variables it refers to, `functions` what it calls."""

    def __init__(self, text: str, tree: Any, activation: Any) -> None:
        self.text, self.tree, self._activation = text, tree, activation
        self.names, self.functions = _references(tree)

    def evaluate(self, variables: Mapping[str, Any], budget: Budget | None = None) -> Any:
        """The value for these variables (CEL values: `values.py`). Raises EvaluationError."""
        from celpy.evaluation import CELEvalError

        from minikube_py.api.cel import evaluator, library

        cost = evaluator.Budget(PER_EXPRESSION)
        try:
            running = evaluator.KubernetesEvaluator(self.tree, self._activation(), cost)
            return running.evaluate({**library.namespaces(), **variables})
        except CELEvalError as error:
            raise EvaluationError(_sentence(error)) from None
        except evaluator.OutOfBudget:
            raise EvaluationError(OVERSPENT) from None
        except RecursionError:
            raise EvaluationError("expression is nested too deeply") from None
        finally:
            if budget is not None:
                budget.left -= PER_EXPRESSION - max(cost.left, 0)
                if budget.left < 0:
                    raise Overspent(
                        "validation failed due to running out of cost budget, no further validation rules will be run"
                    )


@lru_cache(maxsize=1024)
def compile(text: str) -> Program:
    """The program of an expression. Raises CompileError."""
    import celpy
    from celpy.celparser import CELParseError, CELParser

    from minikube_py.api.cel import grammar, library

    with _LOCK:
        CELParser.CEL_PARSER = grammar.parser()
        environment = celpy.Environment()
        try:
            tree = environment.compile(text)
        except CELParseError as error:
            line, column = getattr(error, "line", None) or 1, getattr(error, "column", None) or 1
            raise CompileError(shown(text, "Syntax error: unexpected input", line, column)) from None
        except RecursionError:
            raise CompileError(shown(text, "expression is nested too deeply")) from None
        runner = environment.program(tree, functions=library.functions())
    made = Program(text, tree, runner.new_activation)
    known = library.function_names()
    for name, line, column in made.functions:
        if name not in known:
            raise CompileError(shown(text, f"undeclared reference to '{name}' (in container '')", line, column))
    return made


def shown(text: str, why: str, line: int = 1, column: int = 1) -> str:
    """What is wrong with an expression, as cel-go shows it: with the line, and an arrow below the place."""
    lines = text.splitlines() or [""]
    at = lines[min(line, len(lines)) - 1]
    return f"ERROR: <input>:{line}:{column}: {why}\n | {at}\n | {'.' * (column - 1)}^"


def _references(tree: Any) -> tuple[dict[str, tuple[int, int]], list[tuple[str, int, int]]]:
    """Free variables with where they first stand, and the functions called."""
    names: dict[str, tuple[int, int]] = {}
    functions: list[tuple[str, int, int]] = []
    _refer(tree, frozenset(), names, functions)
    return names, functions


BINDERS = {
    ("map", 2): 1, ("map", 3): 1, ("filter", 2): 1, ("all", 2): 1, ("exists", 2): 1, ("exists_one", 2): 1, ("optMap", 2): 1,
    ("optFlatMap", 2): 1, ("bind", 3): 1, ("all", 3): 2, ("exists", 3): 2, ("exists_one", 3): 2, ("existsOne", 3): 2,
    ("transformList", 3): 2, ("transformList", 4): 2, ("transformMap", 3): 2, ("transformMap", 4): 2,
    ("transformMapEntry", 3): 2, ("transformMapEntry", 4): 2,
}  # fmt: skip
"""How many of a macro's arguments are names that it binds in the others."""


def _refer(tree: Any, bound: frozenset[str], names: dict[str, Any], functions: list[Any]) -> None:
    if not hasattr(tree, "data"):
        return
    if tree.data == "ident":
        token = tree.children[0]
        if str(token) not in bound:
            names.setdefault(str(token), (token.line, token.column))
        return
    children = list(tree.children)
    if tree.data in ("ident_arg", "member_dot_arg"):
        token = children[1] if tree.data == "member_dot_arg" else children[0]
        arguments = children[-1].children if hasattr(children[-1], "data") and len(children) > 1 else []
        arguments = arguments if hasattr(children[-1], "data") and children[-1].data == "exprlist" else []
        count = BINDERS.get((str(token), len(arguments)), 0) if tree.data == "member_dot_arg" else 0
        if not count:
            functions.append((str(token), token.line, token.column))
        else:
            bindings = {str(name) for one in arguments[:count] for name in one.scan_values(lambda _: True)}
            if str(token) != "bind":
                _refer(children[0], bound, names, functions)
            else:
                _refer(arguments[1], bound, names, functions)
            for one in arguments[2 if str(token) == "bind" else count :]:
                _refer(one, bound | bindings, names, functions)
            return
    for child in children:
        _refer(child, bound, names, functions)


def _sentence(error: Exception) -> str:
    """The short form of an error, whose texts carry whole environments."""
    text = str(error.args[0]) if error.args else str(error)
    text = text.partition(" (in activation")[0]
    if (found := re.match(r"no such member in mapping: '(.*)'", text)) or text == "no such key":
        return (
            f"no such key: {found[1] if found else error.args[2][0] if len(error.args) > 2 and error.args[2] else ''}"
        )
    if text == "return error for overflow" and len(error.args) > 2 and error.args[2]:
        return str(error.args[2][0])  # what a function of the library says against its arguments
    return "no such overload" if text.startswith("found no matching overload") else text
