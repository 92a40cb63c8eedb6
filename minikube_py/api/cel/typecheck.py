"""Finds what can be seen to be wrong with an expression before it is evaluated: names, fields, operators, its result.

Who calls it: validation of webhook configurations and policies, and the type checking that a policy's status tells. Invariant:
pure; an expression that cel-go takes is taken (what is not known is `dyn`), so some that it refuses are taken as well.
Upstream: github.com/google/cel-go/checker.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from minikube_py.api.cel import program
from minikube_py.api.cel.program import CompileError, Program, shown
from minikube_py.api.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    UINT,
    List,
    Map,
    Struct,
    Type,
    fits,
)


class Problem(NamedTuple):
    line: int
    column: int
    why: str


def check(text: str, variables: Mapping[str, Type], results: Sequence[Type] = ()) -> Program:
    """The program of an expression over these variables. In: `results` the types it may have. Raises CompileError."""
    made = program.compile(text)
    checker = _Checker(variables)
    found = checker.of(made.tree)
    if checker.problems:
        raise CompileError("\n".join(shown(text, one.why, one.line, one.column) for one in checker.problems))
    if results and found != DYN and found not in results:
        wanted = str(results[0]) if len(results) == 1 else f"one of {', '.join(map(str, results))}"
        raise CompileError(f"must evaluate to {wanted}")
    return made


def type_of(text: str, variables: Mapping[str, Type]) -> Type:
    """The type of an expression; DYN when something is wrong with it. Raises CompileError for what is none."""
    checker = _Checker(variables)
    found = checker.of(program.compile(text).tree)
    return DYN if checker.problems else found


_RESULTS: dict[str, Type] = {
    **dict.fromkeys(("size", "indexOf", "lastIndexOf", "int", "getFullYear", "getMonth", "getDayOfMonth"), INT),
    **dict.fromkeys(
        ("startsWith", "endsWith", "contains", "matches", "has", "bool", "isURL", "isIP", "isCIDR", "isQuantity", "isSemver",
         "isSorted", "hasValue", "allowed", "errored", "isGreaterThan", "isLessThan"), BOOL),
    **dict.fromkeys(("lowerAscii", "upperAscii", "trim", "join", "charAt", "substring", "string", "format"), STRING),
    "double": DOUBLE, "uint": UINT, "bytes": BYTES, "timestamp": TIMESTAMP, "duration": DURATION, "split": List(STRING),
}  # fmt: skip
_ORDERED = frozenset((INT, UINT, DOUBLE, STRING, BYTES, BOOL, TIMESTAMP, DURATION))
_NUMBERS = frozenset((INT, UINT, DOUBLE))
_OPERATORS = {
    "relation_lt": "<", "relation_le": "<=", "relation_gt": ">", "relation_ge": ">=", "relation_eq": "==", "relation_ne": "!=",
    "relation_in": "in", "addition_add": "+", "addition_sub": "-", "multiplication_mul": "*", "multiplication_div": "/",
    "multiplication_mod": "%",
}  # fmt: skip
_LITERALS: dict[str, Type] = {
    "UINT_LIT": UINT, "FLOAT_LIT": DOUBLE, "INT_LIT": INT, "MLSTRING_LIT": STRING, "STRING_LIT": STRING, "BYTES_LIT": BYTES,
    "BOOL_LIT": BOOL, "NULL_LIT": NULL,
}  # fmt: skip
_BOOLEAN_MACROS = frozenset(("all", "exists", "exists_one", "existsOne"))


class _Checker:
    """Walks one parsed expression; `problems` is what it found."""

    def __init__(self, variables: Mapping[str, Type]) -> None:
        self._scope: dict[str, Type] = dict(variables)
        self.problems: list[Problem] = []

    def of(self, tree: Any) -> Type:
        """The type of a part."""
        handler = getattr(self, f"_{tree.data}", None)
        if handler is not None:
            found: Type = handler(tree)
            return found
        types = [self.of(child) for child in tree.children if hasattr(child, "data")]
        return types[0] if len(types) == 1 else DYN

    def _complain(self, at: Any, why: str) -> Type:
        self.problems.append(Problem(getattr(at, "line", 1) or 1, getattr(at, "column", 1) or 1, why))
        return DYN

    # ---- operators ---------------------------------------------------------------------------------------------------

    def _expr(self, tree: Any) -> Type:
        if len(tree.children) == 1:
            return self.of(tree.children[0])
        _, then, other = (self.of(child) for child in tree.children)
        return then if then == other else DYN

    def _conditionalor(self, tree: Any) -> Type:
        types = [self.of(child) for child in tree.children]
        return types[0] if len(types) == 1 else BOOL

    _conditionaland = _conditionalor

    def _binary(self, tree: Any) -> Type:
        if len(tree.children) == 1:
            return self.of(tree.children[0])
        part = tree.children[0]
        sign = _OPERATORS[part.data]
        left, right = self.of(part.children[0]), self.of(tree.children[1])
        found = _result(sign, left, right)
        if found is None:
            meta = part.meta
            place = Problem(meta.end_line, meta.end_column - len(sign), "")
            name = "@in" if sign == "in" else f"_{sign}_"
            return self._complain(place, f"found no matching overload for '{name}' applied to '({left}, {right})'")
        return found

    _relation = _addition = _multiplication = _binary

    def _unary(self, tree: Any) -> Type:
        if len(tree.children) == 1:
            return self.of(tree.children[0])
        found = self.of(tree.children[1])
        sign = "!" if tree.children[0].data == "unary_not" else "-"
        wanted = (BOOL,) if sign == "!" else (INT, DOUBLE, DURATION)
        if found != DYN and found not in wanted:
            return self._complain(tree.meta, f"found no matching overload for '{sign}_' applied to '({found})'")
        return found

    # ---- fields ------------------------------------------------------------------------------------------------------

    def _member_dot(self, tree: Any) -> Type:
        holder, name = self.of(tree.children[0]), tree.children[1]
        return self._field(holder, name)

    def _field(self, holder: Type, name: Any) -> Type:
        if isinstance(holder, Map):
            return holder.value
        if isinstance(holder, Struct):
            found = holder.field(str(name))
            return self._complain(_before(name), f"undefined field '{name}'") if found is None else found
        if holder == DYN:
            return DYN
        return self._complain(_before(name), f"type '{holder}' does not support field selection")

    def _member_opt_dot(self, tree: Any) -> Type:
        self._field(self.of(tree.children[0]), tree.children[1])
        return DYN

    def _member_index(self, tree: Any) -> Type:
        holder = self.of(tree.children[0])
        self.of(tree.children[1])
        return holder.items if isinstance(holder, List) else holder.value if isinstance(holder, Map) else DYN

    def _member_object(self, tree: Any) -> Type:
        for init in tree.children[1].children if len(tree.children) > 1 else ():
            self.of(init.children[1])
        return _type_name(tree.children[0]) or DYN

    # ---- literals and names ------------------------------------------------------------------------------------------

    def _literal(self, tree: Any) -> Type:
        return _LITERALS.get(tree.children[0].type, DYN)

    def _ident(self, tree: Any) -> Type:
        from minikube_py.api.cel import library

        name = tree.children[0]
        if str(name) in self._scope:
            return self._scope[str(name)]
        if str(name) in library.namespaces() or str(name) in library.TYPES:
            return DYN
        return self._complain(name, f"undeclared reference to '{name}' (in container '')")

    def _list_lit(self, tree: Any) -> Type:
        types = [self.of(entry.children[0]) for entry in tree.children]
        return List(types[0] if types and all(one == types[0] for one in types) else DYN)

    def _map_lit(self, tree: Any) -> Type:
        entries = tree.children[0].children if tree.children else []
        pairs = [(self.of(entry.children[0]), self.of(entry.children[1])) for entry in entries]
        same = [pairs[0][at] if pairs and all(one[at] == pairs[0][at] for one in pairs) else DYN for at in (0, 1)]
        return Map(*same)

    # ---- functions and macros ----------------------------------------------------------------------------------------

    def _ident_arg(self, tree: Any) -> Type:
        for one in tree.children[1].children if len(tree.children) > 1 else ():
            self.of(one)
        return _RESULTS.get(str(tree.children[0]), DYN)

    def _member_dot_arg(self, tree: Any) -> Type:
        name = str(tree.children[1])
        arguments = tree.children[2].children if len(tree.children) > 2 else []
        bound = program.BINDERS.get((name, len(arguments)), 0)
        if not bound:
            target = self.of(tree.children[0])
            for one in arguments:
                self.of(one)
            return _RESULTS.get(name, DYN) if target != DYN or name not in ("format", "string") else DYN
        if name == "bind":
            return self._within({_name(arguments[0]): self.of(arguments[1])}, arguments[2:])[0]
        target = self.of(tree.children[0])
        types = self._within(
            dict(zip(map(_name, arguments[:bound]), _bound(target, bound), strict=True)), arguments[bound:]
        )
        if name in _BOOLEAN_MACROS:
            return BOOL
        if name == "filter":
            return target if isinstance(target, List) else DYN
        return List(types[-1]) if name in ("map", "transformList") else DYN

    def _within(self, names: dict[str, Type], parts: Sequence[Any]) -> list[Type]:
        """The types of parts in which some names mean something else."""
        outer, self._scope = self._scope, {**self._scope, **names}
        types = [self.of(part) for part in parts]
        self._scope = outer
        return types


def _before(name: Any) -> Problem:
    """The place of the dot before a name, where cel-go sees a selection."""
    return Problem(name.line, name.column - 1, "")


def _bound(target: Type, count: int) -> list[Type]:
    """What a macro's variables are, over this list or map."""
    match target:
        case List():
            return [target.items] if count == 1 else [INT, target.items]
        case Map():
            return [target.key] if count == 1 else [target.key, target.value]
    return [DYN] * count


def _name(tree: Any) -> str:
    return str(next(iter(tree.scan_values(lambda _: True)), ""))


def _type_name(tree: Any) -> str:
    """`Object.spec` of a literal, as its parts are written."""
    return ".".join(map(str, tree.scan_values(lambda _: True)))


def _result(sign: str, left: Type, right: Type) -> Type | None:
    """The type of an operation; None when there is none for these types."""
    if sign in ("==", "!="):
        return BOOL if fits(left, right) else None
    if sign == "in":
        if isinstance(right, List):
            return BOOL if fits(left, right.items) else None
        if isinstance(right, Map):
            return BOOL if fits(left, right.key) else None
        return BOOL if right == DYN else None
    if DYN in (left, right):
        return BOOL if sign in ("<", "<=", ">", ">=") else left if right == DYN else right
    if sign in ("<", "<=", ">", ">="):
        numbers = left in _NUMBERS and right in _NUMBERS
        return BOOL if numbers or (left == right and left in _ORDERED) else None
    return _arithmetic(sign, left, right)


def _arithmetic(sign: str, left: Type, right: Type) -> Type | None:
    if isinstance(left, List) and isinstance(right, List) and sign == "+":
        return left if left == right else List(DYN)
    if left == right and (
        left in _NUMBERS or (sign == "+" and left in (STRING, BYTES)) or (sign in "+-" and left == DURATION)
    ):
        return left if sign != "%" or left != DOUBLE else None
    if {left, right} == {TIMESTAMP, DURATION} and sign in "+-":
        return TIMESTAMP
    return DURATION if left == right == TIMESTAMP and sign == "-" else None
