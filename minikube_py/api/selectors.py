"""Label and field selectors: parse their text forms, read their object form, match.

Who uses it: the watch cache and registry for `labelSelector=` and `fieldSelector=`, every controller for
`spec.selector`, the scheduler for affinity. Invariant: a selector is immutable; `str(selector)` parses back to an equal one.
Upstream: apimachinery/pkg/labels/selector.go, pkg/fields/selector.go, pkg/apis/meta/v1/helpers.go (LabelSelectorAsSelector).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_TOKEN = re.compile(r"\s*(?:(==|!=|[=!<>(),])|([^\s=!<>(),]+))")
_SETS = {"In": "in", "NotIn": "notin"}

NAME_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
PREFIX_RULE = (
    "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def key_errors(key: str) -> list[str]:
    """Why this is no label (or annotation) key, in upstream's words; empty when it is one."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        return [f"a qualified name {NAME_RULE[10:]} with an optional DNS subdomain prefix and '/'"]
    found = []
    if slash and not prefix:
        found.append("prefix part must be non-empty")
    elif prefix and len(prefix) > 253:
        found.append("prefix part must be no more than 253 characters")
    elif prefix and not _PREFIX.fullmatch(prefix):
        found.append(PREFIX_RULE)
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > 63:
        found.append("name part must be no more than 63 characters")
    if not _NAME.fullmatch(name) and len(name) <= 63:
        found.append(NAME_RULE)
    return found


def value_errors(value: str) -> list[str]:
    """Why this is no label value, in upstream's words; empty when it is one."""
    if len(value) > 63:
        return ["must be no more than 63 characters"]
    return [] if not value or _NAME.fullmatch(value) else [VALUE_RULE]


class Requirement(NamedTuple):
    """One condition on one label. `op`: In, NotIn, Exists, DoesNotExist, Gt, Lt (node affinity's names)."""

    key: str
    op: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.op:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        limit = next(iter(self.values), "")
        if value is None or not _is_integer(value) or not _is_integer(limit):
            return False
        return int(value) > int(limit) if self.op == "Gt" else int(value) < int(limit)

    def __str__(self) -> str:
        listed = sorted(self.values)
        match self.op:
            case "Exists":
                return self.key
            case "DoesNotExist":
                return f"!{self.key}"
            case "In" if len(listed) == 1:
                return f"{self.key}={listed[0]}"
            case "NotIn" if len(listed) == 1:
                return f"{self.key}!={listed[0]}"
            case "Gt" | "Lt":
                return f"{self.key}{'>' if self.op == 'Gt' else '<'}{listed[0]}"
        return f"{self.key} {_SETS[self.op]} ({','.join(listed)})"


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii()


class Selector(NamedTuple):
    """All requirements must hold; none at all matches everything; `nothing` matches no object whatever."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.nothing:
            return False
        return all(requirement.matches(labels) for requirement in self.requirements)

    @property
    def everything(self) -> bool:
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)


class _Tokens:
    """The text as operators, parentheses, commas and words; `next` gives "" at the end."""

    def __init__(self, text: str) -> None:
        self.text, self.position = text, 0

    def peek(self) -> str:
        found = _TOKEN.match(self.text, self.position)
        return (found.group(1) or found.group(2)) if found else ""

    def next(self) -> str:
        found = _TOKEN.match(self.text, self.position)
        if not found:
            self.position = len(self.text)
            return ""
        self.position = found.end()
        return found.group(1) or found.group(2)


_OPERATORS = frozenset(["=", "==", "!=", "!", "<", ">", "(", ")", ","])


def parse_labels(text: str) -> Selector:
    """The selector written as "a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1". Raises ValueError, one sentence."""
    tokens, found = _Tokens(text), []
    while tokens.peek():
        found.append(_requirement(tokens))
        separator = tokens.next()
        if separator not in ("", ","):
            raise ValueError(f"unable to parse requirement: found '{separator}', expected: ',' or 'end of string'")
        if separator and not tokens.peek():
            raise ValueError("unable to parse requirement: found '', expected: identifier after ','")
    return Selector(tuple(sorted(found, key=lambda requirement: requirement.key)))


def _requirement(tokens: _Tokens) -> Requirement:
    negated = tokens.peek() == "!"
    if negated:
        tokens.next()
    key = tokens.next()
    if not key or key in _OPERATORS:
        raise ValueError(f"unable to parse requirement: found '{key}', expected: !, identifier, or 'end of string'")
    _check("key", key, key_errors(key))
    operator = tokens.peek()
    if negated or operator in ("", ","):
        return Requirement(key, "DoesNotExist" if negated else "Exists")
    tokens.next()
    if operator in ("in", "notin"):
        return Requirement(key, "In" if operator == "in" else "NotIn", _value_set(tokens, key))
    if operator not in ("=", "==", "!=", "<", ">"):
        wanted = "in, notin, =, ==, !=, <, >"
        raise ValueError(f"unable to parse requirement: found '{operator}', expected: {wanted}")
    value = "" if tokens.peek() in ("", ",") else tokens.next()
    if value in _OPERATORS:
        raise ValueError(f"unable to parse requirement: found '{value}', expected: identifier")
    if operator in "<>":
        if not _is_integer(value):
            why = "for 'Gt', 'Lt' operators, the value must be an integer"
            raise ValueError(f'values[0][{key}]: Invalid value: "{value}": {why}')
        return Requirement(key, "Gt" if operator == ">" else "Lt", frozenset((value,)))
    _check(f"values[0][{key}]", value, value_errors(value))
    return Requirement(key, "NotIn" if operator == "!=" else "In", frozenset((value,)))


def _value_set(tokens: _Tokens, key: str) -> frozenset[str]:
    if (opened := tokens.next()) != "(":
        raise ValueError(f"unable to parse requirement: found '{opened}' expected: '('")
    values: list[str] = []
    pending = True
    while (token := tokens.next()) != ")":
        if token == ",":
            if pending:
                values.append("")
            pending = True
        elif not token or token in _OPERATORS or not pending:
            raise ValueError(f"unable to parse requirement: found '{token}', expected: ',', ')' or identifier")
        else:
            _check(f"values[{len(values)}][{key}]", token, value_errors(token))
            values.append(token)
            pending = False
    if pending:
        values.append("")
    return frozenset(values)


def _check(where: str, text: str, problems: list[str]) -> None:
    if problems:
        raise ValueError(f'unable to parse requirement: {where}: Invalid value: "{text}": {"; ".join(problems)}')


def from_map(labels: Mapping[str, str] | None) -> Selector:
    """Equality on every entry, as `spec.selector` of a Service means it; an empty map matches everything."""
    return Selector(tuple(Requirement(k, "In", frozenset((v,))) for k, v in sorted((labels or {}).items())))


def from_label_selector(selector: Mapping[str, Any] | None) -> Selector:
    """A `metav1.LabelSelector`: None matches nothing, {} everything. Raises ValueError for an unknown operator."""
    if selector is None:
        return NOTHING
    found = list(from_map(selector.get("matchLabels")).requirements)
    found.extend(map(requirement_of, selector.get("matchExpressions") or ()))
    return Selector(tuple(found))


def requirement_of(expression: Mapping[str, Any]) -> Requirement:
    """One matchExpressions entry, of a label selector or of node affinity. Raises ValueError when its operator is wrong."""
    op, values = expression.get("operator", ""), frozenset(expression.get("values") or ())
    if op not in ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"):
        raise ValueError(f'"{op}" is not a valid label selector operator')
    if op in ("In", "NotIn") and not values:
        raise ValueError("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty")
    return Requirement(expression.get("key", ""), op, values)


class FieldSelector(NamedTuple):
    """`requirements`: (path, "=" or "!=", value), all of which must hold. A field an object lacks counts as ""."""

    requirements: tuple[tuple[str, str, str], ...] = ()

    def matches(self, fields: Mapping[str, str]) -> bool:
        return all((fields.get(path, "") == value) == (op == "=") for path, op, value in self.requirements)

    def exact(self, path: str) -> str | None:
        """The value that `path` is required to equal, or None."""
        return next((value for p, op, value in self.requirements if p == path and op == "="), None)

    def __str__(self) -> str:
        return ",".join(f"{path}{op}{_ESCAPED.sub(_escape, value)}" for path, op, value in self.requirements)


_ESCAPED = re.compile(r"[\\,=]")
_TERMS = re.compile(r"((?:[^\\,]|\\.)*)(?:,|$)", re.DOTALL)


def _escape(found: re.Match[str]) -> str:
    return "\\" + found.group()


def _terms(text: str) -> Iterable[str]:
    position = 0
    while position < len(text):
        found = _TERMS.match(text, position)
        if not found:
            raise ValueError(f"invalid field selector: {text!r} ends in an unfinished escape")
        yield found.group(1)
        position = found.end()


def parse_fields(text: str) -> FieldSelector:
    r"""The selector written as "a=b,c==d,e!=f"; a comma, = or \ in a value is written after a \. Raises ValueError."""
    found = []
    for term in _terms(text):
        if not term:
            continue
        split = re.match(r"([^=!]*)(!=|==|=)(.*)", term, re.DOTALL)
        if not split:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")
        path, op, value = split.groups()
        if re.search(r"(?<!\\)(?:\\\\)*=", value) or re.search(r"(?<!\\)(?:\\\\)*\\[^\\,=]", value):
            raise ValueError(f"invalid field selector: invalid value {value!r}")
        found.append((path, "!=" if op == "!=" else "=", re.sub(r"\\(.)", r"\1", value)))
    return FieldSelector(tuple(found))
