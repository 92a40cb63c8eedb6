"""An expression, compiled once and evaluated often. The only file that knows the package cel-python.

Who calls it: validation rules of custom resources. Invariant: the package is imported when the first expression is compiled;
a program may be used by several threads. Beyond the package: Kubernetes' functions (`library.py`) and optional access
(`a.?b`, `a[?b]`), which is rewritten into calls.
Upstream: apiserver/pkg/cel/environment, cel-go.
"""

import re
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_LOCK = threading.Lock()
_STRINGS = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")
_OPTIONAL_FIELDS = re.compile(r"\.\?[A-Za-z_]\w*(?:\.\??[A-Za-z_]\w*+(?!\s*\())*")  # what follows is optional too
_OPTIONAL_INDEX = re.compile(r"\[\?([^\]]+)\]")


class CompileError(ValueError):
    """The expression is none; `str()` is what follows "compilation failed: "."""


class EvaluationError(ValueError):
    """The expression has no value for these variables; `str()` says why."""


class Program:
    """`tree` is the parsed expression, for those who look at what it refers to."""

    def __init__(self, text: str, tree: Any, runner: Any) -> None:
        self.text, self.tree, self._runner = text, tree, runner

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """The value for these variables (CEL values: `values.py`). Raises EvaluationError."""
        import celpy

        from apiserver.cel import library

        try:
            return self._runner.evaluate({**variables, **library.namespaces()})
        except celpy.evaluation.CELEvalError as error:
            raise EvaluationError(_sentence(error)) from None
        except RecursionError:
            raise EvaluationError("expression is nested too deeply") from None


@lru_cache(maxsize=512)
def compile(text: str) -> Program:
    """The program of an expression. Raises CompileError."""
    import celpy

    from apiserver.cel import library

    with _LOCK:
        environment = celpy.Environment()
        try:
            tree = environment.compile(_lowered(text))
            return Program(text, tree, environment.program(tree, functions=library.functions()))
        except celpy.celparser.CELParseError as error:
            line, column = getattr(error, "line", None) or 1, getattr(error, "column", None) or 1
            raise CompileError(f"ERROR: <input>:{line}:{column}: Syntax error: unexpected input\n | {text}") from None


def _lowered(text: str) -> str:
    """Optional access as calls; strings stay as they are."""
    if "?" not in text:
        return "no such overload" if text.startswith("found no matching overload") else text
    parts = _STRINGS.split(text)
    for at in range(0, len(parts), 2):
        parts[at] = _OPTIONAL_FIELDS.sub(_calls, parts[at])
        parts[at] = _OPTIONAL_INDEX.sub(r".optionalField(\1)", parts[at])
    return "".join(parts)


def _calls(found: re.Match[str]) -> str:
    return "".join(f'.optionalField("{name.removeprefix("?")}")' for name in found[0].split(".")[1:])


def _sentence(error: Exception) -> str:
    """The short form of an error, whose texts carry whole environments."""
    text = str(error.args[0]) if error.args else str(error)
    text = text.partition(" (in activation")[0]
    if (found := re.match(r"no such member in mapping: '(.*)'", text)) or text == "no such key":
        return (
            f"no such key: {found[1] if found else error.args[2][0] if len(error.args) > 2 and error.args[2] else ''}"
        )
    return "no such overload" if text.startswith("found no matching overload") else text
