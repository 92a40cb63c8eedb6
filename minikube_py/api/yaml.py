"""YAML in and out, exactly as kubectl and the API server read and write it.

Who uses it: the API server's decoder, kctl, the labs, kubeconfig handling. Invariant: what comes out is plain JSON data
(string keys, no dates, no shared sub-objects), so that nothing downstream knows the text was YAML; `load_all(dump(x))` is [x].
Upstream: sigs.k8s.io/yaml over its fork of go-yaml v2 — YAML 1.1 booleans (yes, on, y), timestamps stay strings, no base-60
numbers, duplicate keys are errors, excessive aliasing is refused, output is sorted and folded at 80 columns.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml import events as ev

from minikube_py.api.types import Obj

_BOOLEANS = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_BASES = (16, 2, 8, 10)
_PLAIN_START = frozenset("yYnNtTfFoO~-+.0123456789")
_MAX_VALUES = 1_000_000
_MAX_DEPTH = 200
_OPEN = object()
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class YAMLError(ValueError):
    """The text is not acceptable YAML. `str()` is one sentence in upstream's form; `line` counts from 1 (0: unknown)."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def scalar(text: str) -> Any:
    """The value of a plain (unquoted) scalar: None, bool, int, float or the text itself."""
    if not text or text in _NULLS:
        return None
    if text[0] not in _PLAIN_START:
        return text
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    digits = text.replace("_", "")
    if found := _INTEGER.fullmatch(digits):
        sign, *forms = found.groups()
        base, form = next((base, form) for base, form in zip(_BASES, forms, strict=True) if form is not None)
        number = int(form, base) * (-1 if sign == "-" else 1)
        return number if -(2**63) <= number < 2**64 else float(number)
    if _FLOAT.fullmatch(digits):
        real = float(digits)
        if not math.isfinite(real):
            return text
        return int(real) if real.is_integer() and abs(real) < 1e21 else real
    if _INFINITE.fullmatch(text):
        raise YAMLError(f"json: unsupported value: {text}")
    return text


def load_all(source: bytes | str, *, unique: bool = True) -> list[Obj]:
    """Every document that is not empty, as JSON objects. JSON is accepted too, being YAML.

    In: `unique=False` lets the last of several equal keys win instead of refusing them. Raises YAMLError, also when a
    document is no mapping.
    """
    found = []
    for line, document in _Builder(source, unique).documents():
        if document is None:
            continue
        if not isinstance(document, dict):
            named = "a list" if isinstance(document, list) else f"the scalar {document!r}"
            raise YAMLError(f"line {line}: the document is no object but {named}", line)
        found.append(document)
    return found


def load(source: bytes | str, *, unique: bool = True) -> Any:
    """The first document, of any type; None when there is none. Raises YAMLError."""
    return next((document for _, document in _Builder(source, unique).documents()), None)


def duplicates(source: bytes | str) -> list[tuple[int, str]]:
    """(line, key) of every key of the first document that repeats one of its mapping. Raises YAMLError."""
    builder = _Builder(source, unique=False)
    next(builder.documents(), None)
    return sorted(builder.repeated)


class _Builder:
    """Builds values straight from the parser's events.

    Not from PyYAML's node graph: composing that recurses in C, so a few kilobytes of brackets would crash the process.
    Counts what it makes and how deep, so that neither nesting nor aliases can blow it up.
    """

    def __init__(self, source: bytes | str, unique: bool) -> None:
        self.source, self.unique = source, unique
        self.made, self.depth = 0, 0
        self.anchors: dict[str, Any] = {}
        self.repeated: list[tuple[int, str]] = []

    def documents(self) -> Iterator[tuple[int, Any]]:
        try:
            self.events: Iterator[Any] = iter(yaml.parse(self.source, Loader=_Loader))
            for event in self.events:
                if isinstance(event, ev.DocumentStartEvent):
                    self.anchors.clear()
                    first = next(self.events)
                    yield first.start_mark.line + 1, self.value(first)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 0
            where = f"line {line}: " if line else ""
            raise YAMLError(f"yaml: {where}{error.problem or error.context}", line) from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise YAMLError(f"yaml: {str(error).splitlines()[0]}") from None

    def value(self, event: Any) -> Any:
        self.count(event)
        if isinstance(event, ev.AliasEvent):
            return self.copy(event, self.anchor(event))
        if isinstance(event, ev.ScalarEvent):
            made: Any = _scalar_of(event)
        else:
            if event.anchor:
                self.anchors[event.anchor] = _OPEN
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                raise YAMLError(
                    f"yaml: the document is nested more than {_MAX_DEPTH} levels deep", event.start_mark.line + 1
                )
            made = self.sequence() if isinstance(event, ev.SequenceStartEvent) else self.mapping()
            self.depth -= 1
        if event.anchor:
            self.anchors[event.anchor] = made
        return made

    def count(self, event: Any) -> None:
        self.made += 1
        if self.made > _MAX_VALUES:
            raise YAMLError("yaml: document contains excessive aliasing", event.start_mark.line + 1)

    def anchor(self, event: Any) -> Any:
        line = event.start_mark.line + 1
        if event.anchor not in self.anchors:
            raise YAMLError(f"yaml: unknown anchor '{event.anchor}' referenced", line)
        if self.anchors[event.anchor] is _OPEN:
            raise YAMLError(f"yaml: anchor '{event.anchor}' value contains itself", line)
        return self.anchors[event.anchor]

    def copy(self, event: Any, value: Any) -> Any:
        self.count(event)
        if isinstance(value, dict):
            return {key: self.copy(event, item) for key, item in value.items()}
        return [self.copy(event, item) for item in value] if isinstance(value, list) else value

    def sequence(self) -> list[Any]:
        made = []
        while not isinstance(event := next(self.events), ev.SequenceEndEvent):
            made.append(self.value(event))
        return made

    def mapping(self) -> Obj:
        made: Obj = {}
        merged: list[Any] = []
        while not isinstance(event := next(self.events), ev.MappingEndEvent):
            if isinstance(event, ev.ScalarEvent) and event.value == "<<" and event.implicit[0]:
                inherited = self.value(next(self.events))
                merged += inherited if isinstance(inherited, list) else [inherited]
                continue
            key, line = self.key(event), event.start_mark.line + 1
            if key in made:
                if self.unique:
                    raise YAMLError(f'yaml: unmarshal errors:\n  line {line}: key "{key}" already set in map', line)
                self.repeated.append((line, key))
            made[key] = self.value(next(self.events))
        for inherited in merged:
            if not isinstance(inherited, dict):
                raise YAMLError("yaml: map merge requires map or sequence of maps as the value")
            made = {**inherited, **made}
        return made

    def key(self, event: Any) -> str:
        if isinstance(event, ev.MappingStartEvent | ev.SequenceStartEvent):
            line: int = event.start_mark.line + 1  # type: ignore[union-attr]  # the stubs say it may lack a mark
            raise YAMLError("yaml: invalid map key: only scalars can be keys", line)
        key = self.value(event)
        if isinstance(key, bool):
            return "true" if key else "false"
        if isinstance(key, float):
            return f"{key:g}"
        return "null" if key is None else str(key)


def _scalar_of(event: Any) -> Any:
    text = event.value
    if event.implicit[0]:
        return scalar(text)
    match (event.tag or "").removeprefix("tag:yaml.org,2002:"):
        case "int" | "bool" | "null":
            return scalar(text)
        case "float":
            return float(scalar(text))
        case "binary":
            return "".join(text.split())
    return text


def dump(obj: Any) -> str:
    """Block-style text with sorted keys, as `kubectl get -o yaml` prints it."""
    return str(yaml.dump(obj, Dumper=_KubectlDumper, default_flow_style=False, allow_unicode=True, sort_keys=True))


def dump_all(objects: list[Any]) -> str:
    """Several documents, separated by `---`."""
    return "---\n".join(map(dump, objects))


class _KubectlDumper(_Dumper):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: Any, text: str) -> Any:
    style = None
    if "\n" in text:
        style = "|"
    elif not text or _is_ambiguous(text):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?", re.ASCII)
_TIMESTAMP = re.compile(
    r"\d{4}-\d\d?-\d\d?(?:(?:[Tt]|\s+)\d\d?:\d\d:\d\d(?:\.\d*)?\s*(?:Z|[-+]\d\d?(?::\d\d)?)?)?", re.ASCII
)


def _is_ambiguous(text: str) -> bool:
    if _INFINITE.fullmatch(text) or _SEXAGESIMAL.fullmatch(text) or _TIMESTAMP.fullmatch(text):
        return True
    return text in ("<<", "=") or not isinstance(scalar(text), str)


_KubectlDumper.add_representer(str, _represent_text)
